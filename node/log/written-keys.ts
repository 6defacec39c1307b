import { type Key, keyFromBytes } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import { type Storage, writesNothing } from '../storage/storage.js';

/** So much of a log is read in one go. */
const PAGE_BYTES = 1024 * 1024;

/** The keys of a log's records behind `after`, in the order of the log; one that was written often comes often. */
export function* writtenKeys(storage: Storage, range: RangeId, after: number): Generator<Key, undefined, undefined> {
  for (let at = after; ; ) {
    const records = storage.readLog(range, at, PAGE_BYTES);
    for (const record of records) if (!writesNothing(record)) yield keyFromBytes(record.key);
    const last = records.at(-1);
    if (!last) return;
    at = last.offset;
  }
}
