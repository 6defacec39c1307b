import type { Random } from '../runtime/random.js';

export const BACKOFF_FIRST_MS = 100;
export const BACKOFF_MAX_MS = 1000;

/** Waits between tries: doubling up to a second, a little apart for each process. */
export class Backoff {
  private nextMs = BACKOFF_FIRST_MS;

  constructor(private readonly random: Random) {}

  next(): number {
    const ms = this.nextMs;
    this.nextMs = Math.min(BACKOFF_MAX_MS, ms * 2);
    return ms * (0.8 + 0.2 * this.random.next());
  }

  /** After a success. */
  reset(): void {
    this.nextMs = BACKOFF_FIRST_MS;
  }
}
