import type { Cancel, Clock } from '../runtime/clock.js';
import { sameInstances, sortInstances } from './instances.js';
import type { Instance } from './interfaces.js';

/**
 * What one watcher shows of a backend that comes and goes. A backend that was away
 * comes back knowing too little: those who were registered with it need a moment to
 * say so again. Until `settleMs` after its return an instance that was shown before
 * stays shown, unless the backend has named it since and then dropped it. So neither
 * a restart nor a frozen backend makes anybody forget a process that lives.
 */
export class SteadyList {
  private shown: readonly Instance[] | undefined;
  private actual: readonly Instance[] = [];
  private interrupted = false;
  /** Shown before the interruption and not named by the backend since. */
  private kept: ReadonlyMap<string, Instance> = new Map();
  private cancelSettling: Cancel | undefined;

  constructor(
    private readonly options: {
      readonly clock: Clock;
      readonly settleMs: number;
      readonly emit: (instances: readonly Instance[]) => void;
    },
  ) {}

  /** The backend cannot be heard: what is shown stays until it is back. */
  lost(): void {
    this.interrupted = true;
  }

  /** The backend's whole list. */
  update(actual: readonly Instance[]): void {
    this.actual = actual;
    if (this.interrupted) this.startSettling();
    if (this.kept.size > 0) {
      const named = new Set(actual.map((instance) => instance.ident));
      this.kept = new Map([...this.kept].filter(([ident]) => !named.has(ident)));
    }
    this.show();
  }

  close(): void {
    this.cancelSettling?.();
    this.cancelSettling = undefined;
  }

  private startSettling(): void {
    this.interrupted = false;
    this.kept = new Map((this.shown ?? []).map((instance) => [instance.ident, instance]));
    this.cancelSettling?.();
    const settled = (): void => {
      this.cancelSettling = undefined;
      this.kept = new Map();
      // Lost again: the next return settles anew, with what is shown now.
      if (!this.interrupted) this.show();
    };
    this.cancelSettling = this.options.clock.after(this.options.settleMs, settled, { unref: true });
  }

  private show(): void {
    const next = sortInstances([...this.actual, ...this.kept.values()]);
    if (this.shown && sameInstances(this.shown, next)) return;
    this.shown = next;
    this.options.emit(next);
  }
}
