import type { Clock } from '../runtime/clock.js';
import { AppError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { Latch } from './latch.js';

/**
 * The newest term of a controller that this node has obeyed. A controller that lost
 * its lock without knowing has an older one, and nothing that it still sends has an
 * effect. An implementation that keeps it on disk also refuses after a restart.
 */
export interface TermFence {
  /** 0 when none was seen. */
  get(): number;
  /** Resolves when `term` is kept; never lowers the fence. */
  raise(term: number): Promise<void>;
}

/** A fence that lasts as long as the process. */
export function memoryTermFence(): TermFence {
  let newest = 0;
  return {
    get: () => newest,
    raise(term) {
      newest = Math.max(newest, term);
      return Promise.resolve();
    },
  };
}

/** Lets commands in by their term, before anything else is looked at. */
export class TermGate {
  /** The write of a newer term; commands that bring it meanwhile wait for the same one. */
  private readonly raises = new Map<number, Latch<AppError | 'raised'>>();

  constructor(
    private readonly fence: TermFence,
    private readonly deps: { readonly clock: Clock; readonly logger: Logger },
  ) {}

  /** Throws for a command of an older term. 0 comes from controllers that know no terms, and is never fenced. */
  check(command: string, term: number): void {
    const newest = this.fence.get();
    if (term === 0 || term >= newest) return;
    throw new AppError('FAILED_PRECONDITION', `${command} of term ${term} is refused: this node obeys the controller of term ${newest}, which took over since`);
  }

  /** True when commands of the term may act at once, as nearly all may. */
  isOpen(term: number): boolean {
    // A fence may show a term before it is kept for good.
    return term === 0 || (term === this.fence.get() && !this.raises.has(term));
  }

  /** Keeps a newer term first. False when that takes longer than `until`. */
  async open(command: string, term: number, until: number): Promise<boolean> {
    const { clock } = this.deps;
    this.check(command, term);
    const raised = await this.raise(term).wait(clock, until - clock.now());
    if (raised === undefined) return false;
    if (raised !== 'raised') throw raised;
    return true;
  }

  private raise(term: number): Latch<AppError | 'raised'> {
    const running = this.raises.get(term);
    if (running) return running;
    const latch = new Latch<AppError | 'raised'>();
    this.raises.set(term, latch);
    void this.keep(term).then((result) => {
      this.raises.delete(term);
      latch.settle(result);
    });
    return latch;
  }

  private async keep(term: number): Promise<AppError | 'raised'> {
    try {
      await this.fence.raise(term);
    } catch (thrown) {
      this.deps.logger.error('a term could not be kept', { term, error: messageOf(thrown) });
      return AppError.from(thrown);
    }
    if (this.fence.get() < term) return new AppError('INTERNAL', `term ${term} was kept, yet the fence does not show it`);
    this.deps.logger.info('obeying the controller of a newer term', { term });
    return 'raised';
  }
}
