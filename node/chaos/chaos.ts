import type { RangeId, RangeMeta } from '../../model/range.js';
import type { LoadInfo, Membership, Parent, ReplicaInfo, TransferProgress } from '../../model/report.js';
import type { Execute } from '../../rangelet/server.js';
import type { ActivateContext, CommandContext, PrepareContext, RangeService } from '../../rangelet/service.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Random } from '../../runtime/random.js';

export interface ChaosOptions {
  /** The share of commands that are disturbed, from 0 to 1. */
  readonly rate: number;
  readonly delayMsMax: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const DISTURBANCES = ['delayed before', 'refused', 'delayed after', 'answered with an error'] as const;

/**
 * Disturbs the commands as they come and go: late, refused before anything was done,
 * answered late, or done and answered with an error all the same.
 */
export function chaoticCommands(execute: Execute, options: ChaosOptions): Execute {
  const { clock, random, logger, delayMsMax } = options;
  const delay = (): Promise<void> => sleep(clock, random.next() * delayMsMax);
  return async (request, graceMs) => {
    if (random.next() >= options.rate) return execute(request, graceMs);
    const disturbance = DISTURBANCES[Math.floor(random.next() * DISTURBANCES.length)];
    logger.info('chaos', { command: request.command, disturbance });
    if (disturbance === 'refused') throw chaos('refused');
    if (disturbance === 'delayed before') await delay();
    const answer = await execute(request, graceMs);
    if (disturbance === 'delayed after') await delay();
    if (disturbance === 'answered with an error') throw chaos('answered with an error, after it was done');
    return answer;
  };
}

/** Refuses some of what the rangelet asks the service for, before anything is done. */
export class ChaoticService implements RangeService {
  constructor(
    private readonly service: Required<RangeService>,
    private readonly options: ChaosOptions,
  ) {}

  async prepare(range: RangeMeta, context: PrepareContext): Promise<void> {
    await this.disturb(context.signal);
    await this.service.prepare(range, context);
  }

  async activate(range: RangeMeta, context: ActivateContext): Promise<void> {
    await this.disturb(context.signal);
    await this.service.activate(range, context);
  }

  async deactivate(range: RangeMeta, context: CommandContext): Promise<void> {
    await this.disturb(context.signal);
    await this.service.deactivate(range, context);
  }

  async drop(range: RangeMeta, context: CommandContext): Promise<void> {
    await this.disturb(context.signal);
    await this.service.drop(range, context);
  }

  loadInfo(range: RangeId): LoadInfo {
    return this.service.loadInfo(range);
  }

  progress(range: RangeId): TransferProgress | undefined {
    return this.service.progress(range);
  }

  serving(range: RangeId): boolean {
    return this.service.serving(range);
  }

  updateSources(range: RangeMeta, parents: readonly Parent[], context: { readonly epoch: number; readonly fork: number }): void {
    this.service.updateSources(range, parents, context);
  }

  updateMembership(range: RangeMeta, membership: Membership, context: { readonly epoch: number }): void {
    this.service.updateMembership(range, membership, context);
  }

  replica(range: RangeId): ReplicaInfo | undefined {
    return this.service.replica(range);
  }

  private async disturb(signal: AbortSignal): Promise<void> {
    const { rate, random, clock, delayMsMax } = this.options;
    if (random.next() >= rate) return;
    await sleep(clock, random.next() * delayMsMax, signal);
    if (random.next() < 0.5) throw chaos('failed');
  }
}

function chaos(what: string): AppError {
  return new AppError('UNAVAILABLE', `${what} by chaos (--chaos)`);
}
