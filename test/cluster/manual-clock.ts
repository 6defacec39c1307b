import type { Cancel, Clock } from '../../runtime/clock.js';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Lets promises that are already settled run their continuations, through several layers of `await`. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => process.nextTick(resolve));
}

/** A clock that stands still until a test moves it. Timers fire in the order of their time, then of their making. */
export class ManualClock implements Clock {
  private readonly timers = new Set<Timer>();
  private made = 0;

  constructor(
    private current = 0,
    private readonly epochMs = 1_700_000_000_000,
  ) {}

  now(): number {
    return this.current;
  }

  wallMs(): number {
    return this.epochMs + this.current;
  }

  after(ms: number, callback: () => void): Cancel {
    const timer = { at: this.current + Math.max(0, ms), order: this.made++, callback };
    this.timers.add(timer);
    return () => {
      this.timers.delete(timer);
    };
  }

  /** How many timers wait. */
  get pending(): number {
    return this.timers.size;
  }

  /** When the next timer fires, from now; undefined when none waits. */
  get nextMs(): number | undefined {
    const next = this.next();
    return next && next.at - this.current;
  }

  /** Moves on by `ms`, and lets everything that this wakes run, timer by timer. */
  async advance(ms: number): Promise<void> {
    const until = this.current + ms;
    await settle();
    for (let timer = this.next(); timer && timer.at <= until; timer = this.next()) {
      this.fire(timer);
      await settle();
    }
    this.current = until;
  }

  /** Moves on by `ms` at once: timers fire, while promises wait until the caller awaits something. */
  advanceSync(ms: number): void {
    const until = this.current + ms;
    for (let timer = this.next(); timer && timer.at <= until; timer = this.next()) this.fire(timer);
    this.current = until;
  }

  private fire(timer: Timer): void {
    this.timers.delete(timer);
    this.current = Math.max(this.current, timer.at);
    timer.callback();
  }

  private next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}
