import type { EpochFences } from '../../rangelet/fences.js';
import type { TermFence } from '../../rangelet/terms.js';
import type { Storage } from '../storage/storage.js';

/** Fences on the node's disk: they hold after a restart, and after a range was dropped. */
export function durableFences(storage: Storage): EpochFences {
  const kept = storage.fences();
  const newest = new Map(kept);
  return {
    get: (range) => newest.get(range) ?? 0,
    async raise(range, epoch) {
      if (epoch <= (kept.get(range) ?? 0)) return;
      // In force at once; an answer goes out only when it is durable.
      newest.set(range, Math.max(newest.get(range) ?? 0, epoch));
      try {
        await storage.commit({ fences: [{ range, epoch: newest.get(range) ?? epoch }] });
        kept.set(range, Math.max(kept.get(range) ?? 0, epoch));
      } catch (thrown) {
        if (newest.get(range) === epoch) newest.set(range, kept.get(range) ?? 0);
        throw thrown;
      }
    },
  };
}

/** The newest term on the node's disk: a controller that was deposed is refused after a restart too. */
export function durableTerms(storage: Storage): TermFence {
  let kept = storage.term();
  let newest = kept;
  return {
    get: () => newest,
    async raise(term) {
      if (term <= kept) return;
      // In force at once; nothing is done for the new controller until it is durable.
      newest = Math.max(newest, term);
      try {
        await storage.commit({ term });
        kept = Math.max(kept, term);
      } catch (thrown) {
        if (newest === term) newest = kept;
        throw thrown;
      }
    },
  };
}
