import type { Clock } from '../runtime/clock.js';

/**
 * A value that comes later. Unlike a promise it forgets who stopped waiting, so
 * that callers who ask again and again for what never comes do not pile up.
 */
export class Latch<T> {
  private settled: { readonly value: T } | undefined;
  private readonly waiters = new Set<(value: T) => void>();

  settle(value: T): void {
    if (this.settled) return;
    this.settled = { value };
    for (const waiter of this.waiters) waiter(value);
    this.waiters.clear();
  }

  /** The value; undefined when it has not come within `ms`. */
  wait(clock: Clock, ms: number): Promise<T | undefined> {
    if (this.settled) return Promise.resolve(this.settled.value);
    return new Promise((resolve) => {
      const waiter = (value: T): void => {
        cancel();
        resolve(value);
      };
      const cancel = clock.after(Math.max(0, ms), () => {
        this.waiters.delete(waiter);
        resolve(undefined);
      });
      this.waiters.add(waiter);
    });
  }
}
