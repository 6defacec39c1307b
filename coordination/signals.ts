/** Asks anew: the compiler takes a signal that was not aborted before an `await` for one that never is. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
