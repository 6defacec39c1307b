import type { Cancel } from '../../runtime/clock.js';

interface Event {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/**
 * The only source of things that happen: a heap of events on a virtual clock. Two
 * events of one instant happen in the order in which they were made.
 */
export class Scheduler {
  private readonly heap: Event[] = [];
  private made = 0;
  private current = 0;
  private executed = 0;

  get now(): number {
    return this.current;
  }

  /** Events that have happened. */
  get steps(): number {
    return this.executed;
  }

  after(ms: number, run: () => void): Cancel {
    const event: Event = { at: this.current + Math.max(0, ms), order: this.made++, run };
    this.push(event);
    return () => {
      event.run = undefined;
    };
  }

  /** Lets the next event happen, and everything that follows from it at once. False when there is none. */
  async step(): Promise<boolean> {
    for (let event = this.pop(); event; event = this.pop()) {
      const { run } = event;
      if (!run) continue;
      event.run = undefined;
      this.current = event.at;
      this.executed++;
      run();
      await quiet();
      return true;
    }
    return false;
  }

  private push(event: Event): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent] as Event;
      if (!before(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  private pop(): Event | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++;
      if (!before(heap[child] as Event, last)) break;
      heap[at] = heap[child] as Event;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Node runs every promise's continuation before the next immediate, so when it fires nothing is left that could run. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
