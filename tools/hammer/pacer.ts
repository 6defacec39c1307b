import type { Random } from '../../runtime/random.js';
import { ACTIONS, type Action, type Plan } from './plan.js';

/** One request that is due. */
export interface Due {
  readonly worker: number;
  readonly action: Action;
}

interface Stream extends Due {
  readonly perMs: number;
  /** Requests owed; a whole one is due. */
  credit: number;
}

/** What a stall may leave to be caught up with; the rest is counted as skipped, never sent in a flood. */
const CATCH_UP_MS = 250;

/**
 * Says which requests are due at which time, for any number of workers with one
 * timer. The load is open: it does not wait for answers, so a slow system is not
 * spared by being slow.
 */
export class Pacer {
  readonly #streams: Stream[];
  #lastMs: number;
  #skipped = 0;

  constructor(options: { readonly plan: Plan; readonly random: Random; readonly nowMs: number }) {
    this.#lastMs = options.nowMs;
    this.#streams = options.plan.workers.flatMap((worker, index) =>
      ACTIONS.filter((action) => worker.qps[action] > 0).map((action) => ({
        worker: index,
        action,
        perMs: worker.qps[action] / 1000,
        // Else every worker's first request would come at the same moment.
        credit: options.random.next(),
      })),
    );
  }

  /** Requests that were due and will not be sent. */
  get skipped(): number {
    return this.#skipped;
  }

  due(nowMs: number): Due[] {
    const elapsedMs = Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    const due: Due[] = [];
    for (const stream of this.#streams) {
      stream.credit += elapsedMs * stream.perMs;
      const most = Math.max(1, Math.ceil(stream.perMs * CATCH_UP_MS));
      const owed = Math.floor(stream.credit);
      stream.credit -= owed;
      this.#skipped += Math.max(0, owed - most);
      for (let i = 0; i < Math.min(owed, most); i++) due.push({ worker: stream.worker, action: stream.action });
    }
    return due;
  }
}
