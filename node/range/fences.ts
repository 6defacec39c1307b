import type { EpochFences } from '../../rangelet/fences.js';
import type { Storage } from '../storage/storage.js';

/** Fences on the node's disk: they hold after a restart, and after a range was dropped. */
export function durableFences(storage: Storage): EpochFences {
  const epochs = storage.fences();
  return {
    get: (range) => epochs.get(range) ?? 0,
    async raise(range, epoch) {
      if (epoch <= (epochs.get(range) ?? 0)) return;
      // In force at once; an answer goes out only when it is durable.
      epochs.set(range, epoch);
      await storage.commit({ fences: [{ range, epoch }] });
    },
  };
}
