import type { RangeId } from '../model/range.js';

/**
 * The newest epoch seen of each range. Older commands are refused, so a command
 * that was delayed cannot undo what came after it. An implementation that keeps
 * its fences on disk also refuses them after a restart.
 */
export interface EpochFences {
  /** 0 when none was seen. */
  get(id: RangeId): number;
  /** Resolves when `epoch` is kept; never lowers a fence. */
  raise(id: RangeId, epoch: number): Promise<void>;
}

/** Fences outlive their ranges, so the ones longest untouched make room. */
const MEMORY_FENCES_MAX = 1_000_000;

/** Fences that last as long as the process. */
export function memoryFences(max = MEMORY_FENCES_MAX): EpochFences {
  const epochs = new Map<RangeId, number>();
  return {
    get: (id) => epochs.get(id) ?? 0,
    raise(id, epoch) {
      const newest = Math.max(epoch, epochs.get(id) ?? 0);
      epochs.delete(id);
      epochs.set(id, newest);
      if (epochs.size > max) epochs.delete(epochs.keys().next().value as RangeId);
      return Promise.resolve();
    },
  };
}
