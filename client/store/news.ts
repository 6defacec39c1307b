import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Owners } from '../owners.js';

/** What waits looks again by itself, in case the map was right already: seldom, and ever more so. */
const RETRY_MIN_MS = 25;
const RETRY_MAX_MS = 500;

/**
 * Resolves with the next change of the map, or after a while: false then. Rejects when
 * aborted. `tries` is how often it was waited before.
 */
export function nextNews(owners: Pick<Owners, 'changes'>, clock: Clock, options: { readonly tries: number; readonly msMax?: number; readonly signal?: AbortSignal | undefined }): Promise<boolean> {
  const { signal, tries, msMax = Infinity } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(AppError.from(signal.reason));
      return;
    }
    const stop = (): void => {
      cancel();
      subscription.unsubscribe();
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      stop();
      reject(AppError.from(signal?.reason));
    };
    const cancel = clock.after(Math.max(0, Math.min(msMax, RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(tries, 10))), () => {
      stop();
      resolve(false);
    });
    // What it tells to everybody who begins to listen is no news.
    let listening = false;
    const subscription = owners.changes.subscribe(() => {
      if (!listening) return;
      stop();
      resolve(true);
    });
    listening = true;
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
