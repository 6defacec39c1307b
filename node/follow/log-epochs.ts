import type { Copy } from '../range/copy.js';
import type { Storage } from '../storage/storage.js';
import type { EpochEnd } from './messages.js';

/** Beyond this many fail-overs back a snapshot is as good. */
const EPOCHS_MAX = 64;

/**
 * Which epochs a copy's log holds, oldest first, and where each ends. A log of one
 * epoch was written by one primary, so two logs that have an epoch in common are the
 * same up to the nearer of its ends (KIP-101).
 */
export function logEpochs(storage: Storage, copy: Copy): EpochEnd[] {
  const { id } = copy.meta;
  const { baseOffset, baseEpoch, logEpoch, state } = copy.record;
  const ends: EpochEnd[] = [];
  if (baseEpoch !== undefined || baseOffset === 0) ends.push({ epoch: baseEpoch ?? 0, endOffset: baseOffset });
  const last = storage.logBounds(id)?.last;
  const recordAfter = (offset: number): { epoch: number; offset: number } | undefined => storage.readLog(id, offset, 1)[0];
  for (let next = recordAfter(baseOffset); next !== undefined && last !== undefined; ) {
    const { epoch } = next;
    let low = next.offset;
    let high = last;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const found = recordAfter(middle - 1);
      if (found && found.epoch === epoch) low = found.offset;
      else high = middle - 1;
    }
    push(ends, { epoch, endOffset: low });
    next = recordAfter(low);
  }
  const end = ends[ends.length - 1];
  if (end) push(ends, { epoch: end.epoch, endOffset: Math.max(end.endOffset, copy.durableOffset) });
  if (state === 'Active' && logEpoch > (end?.epoch ?? -1)) push(ends, { epoch: logEpoch, endOffset: copy.durableOffset });
  return ends.slice(-EPOCHS_MAX);
}

function push(ends: EpochEnd[], end: EpochEnd): void {
  if (ends[ends.length - 1]?.epoch === end.epoch) ends[ends.length - 1] = end;
  else ends.push(end);
}

/** The last offset up to which both logs are sure to be the same; undefined when they have no epoch in common. */
export function partingOffset(follower: readonly EpochEnd[], source: readonly EpochEnd[]): number | undefined {
  for (const { epoch, endOffset } of [...follower].reverse()) {
    const same = source.find((end) => end.epoch === epoch);
    if (same) return Math.min(endOffset, same.endOffset);
  }
  return undefined;
}
