import type { Cancel, Clock } from '../../runtime/clock.js';
import type { Turn } from '../../runtime/turn.js';
import type { Scheduler } from './scheduler.js';

/** One life of a process. What it asked for before it died never comes back to it. */
export class Process {
  private over = false;
  private isFrozen = false;
  private readonly missed: (() => void)[] = [];
  private readonly deaths: (() => void)[] = [];

  constructor(
    readonly name: string,
    readonly scheduler: Scheduler,
    /** How fast its clock runs; no two are quite alike. */
    private readonly rate = 1,
  ) {}

  get alive(): boolean {
    return !this.over;
  }

  get stands(): boolean {
    return this.isFrozen;
  }

  /** Ends it between two events, so at whatever point it awaits something. */
  die(): void {
    if (this.over) return;
    this.over = true;
    for (const death of this.deaths.splice(0)) death();
  }

  /** Stands still, as with SIGSTOP: what reaches it happens when it goes on. */
  freeze(ms: number): void {
    if (this.over || this.isFrozen) return;
    this.isFrozen = true;
    this.scheduler.after(ms, () => {
      this.thaw();
    });
  }

  thaw(): void {
    this.isFrozen = false;
    // One by one, since each may be followed by others that were not there yet.
    for (const callback of this.missed.splice(0)) this.after(0, callback);
  }

  /** Lets the process run a callback: now, when it goes on, or never. */
  run(callback: () => void): void {
    if (this.over) return;
    if (this.isFrozen) this.missed.push(callback);
    else callback();
  }

  /** What the world does when it dies; never code of the process. */
  onDeath(callback: () => void): void {
    this.deaths.push(callback);
  }

  after(ms: number, callback: () => void): Cancel {
    if (this.over) return () => undefined;
    let cancelled = false;
    const cancel = this.scheduler.after(ms, () => {
      if (cancelled) return;
      this.run(() => {
        if (!cancelled) callback();
      });
    });
    return () => {
      cancelled = true;
      cancel();
    };
  }

  readonly clock: Clock = {
    now: () => this.scheduler.now * this.rate,
    wallMs: () => 1_700_000_000_000 + this.scheduler.now * this.rate,
    after: (ms, callback) => this.after(ms / this.rate, callback),
  };

  readonly turn: Turn = (callback) => {
    this.after(0, callback);
  };

  readonly yieldTurn = (): Promise<void> =>
    new Promise((resolve) => {
      this.after(0, resolve);
    });
}
