import type { TransferProgress } from '../model/report.js';

/** At most four reports of progress a second for a range. */
export const PROGRESS_EVERY_MS = 250;

export function sameProgress(a: TransferProgress | undefined, b: TransferProgress | undefined): boolean {
  if (!a || !b) return a === b;
  return a.keys === b.keys && a.bytes === b.bytes && a.keysTotal === b.keysTotal && a.caughtUp === b.caughtUp;
}
