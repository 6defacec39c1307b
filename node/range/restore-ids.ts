import { covers } from '../../model/interval.js';
import type { CopyRecord } from '../storage/copy-record.js';
import { type Storage, writesNothing } from '../storage/storage.js';
import type { WriteIds } from './write-ids.js';

/**
 * How far the clocks of nodes may be apart. Times of records are used here alone, to
 * know after a restart how old the ids are that were not kept.
 */
export const CLOCKS_APART_MS_MAX = 5_000;
const READ_BYTES = 1024 * 1024;

export interface RestoreContext {
  readonly windowMs: number;
  /** The node's monotonic clock, and the time of day. */
  readonly nowMs: number;
  readonly wallMs: number;
}

/** After a restart: reads the ids of the window from what is kept of a copy's log. */
export function restoreIds(ids: WriteIds, storage: Storage, record: CopyRecord, { windowMs, nowMs, wallMs }: RestoreContext): void {
  const range = record.meta.id;
  const bounds = storage.logBounds(range);
  // What was followed of other ranges' logs was known to the process that ended.
  const lostForeign = record.links.some((link) => link.range !== range);
  if (!bounds) {
    const neverWritten = record.baseOffset === 0 && record.owned.some((owned) => covers(owned, record.meta));
    ids.cover(neverWritten && !lostForeign ? -Infinity : nowMs);
    return;
  }
  const learnedAt = (timeMs: number): number => Math.min(nowMs, nowMs - (wallMs - timeMs) + CLOCKS_APART_MS_MAX);
  const oldest = wallMs - windowMs;
  const begin = firstSince(storage, range, bounds, oldest);
  const opening = storage.readLog(range, begin, 1)[0];
  const seen = opening !== undefined && opening.offset === bounds.first && writesNothing(opening);
  // What is kept from before the window tells that nothing of it was trimmed.
  const complete = begin >= bounds.first ? oldest : Math.max(opening?.timeMs ?? 0, oldest);
  // A log that followed a snapshot began early enough to have them all since then, if nothing of it is gone.
  const { ids: followed } = record;
  const isAll = followed !== undefined && followed.after === record.baseOffset && bounds.first === followed.after + 1 && begin < bounds.first;
  // A list of seen ids says itself since when it is complete; nothing was written before offset 1.
  if (lostForeign) ids.cover(nowMs);
  else if (opening?.offset === 1) ids.cover(-Infinity);
  else if (!seen) ids.cover(learnedAt(isAll ? Math.min(followed.sinceMs, complete) : complete));
  for (let after = begin; after < bounds.last; ) {
    const records = storage.readLog(range, after, READ_BYTES);
    for (const each of records) ids.learn(each, learnedAt(each.timeMs ?? 0));
    after = records.at(-1)?.offset ?? bounds.last;
  }
  if (ids.since === undefined) ids.cover(nowMs);
}

/** The offset behind which the log's records of the window are: their times grow with offsets, as far as clocks agree. */
function firstSince(storage: Storage, range: number, bounds: { readonly first: number; readonly last: number }, oldest: number): number {
  let low = bounds.first - 1;
  let high = bounds.last;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((storage.readLog(range, middle, 1)[0]?.timeMs ?? 0) < oldest) low = middle + 1;
    else high = middle;
  }
  return low;
}
