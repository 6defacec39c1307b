import { BehaviorSubject, type Observable } from 'rxjs';
import { type Cancel, type Clock, sleep } from '../../runtime/clock.js';
import { AppError, assert, messageOf } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Random } from '../../runtime/random.js';
import { Backoff } from '../backoff.js';
import type { Election, Leadership } from '../interfaces.js';
import { isAborted } from '../signals.js';
import { type ConsulClient, ConsulError, type KvOperation, type Pair } from './client.js';
import type { Fence } from './persister.js';
import { RENEW_MS, Session } from './session.js';

export const LEADER_KEY = 'controller/leader';
const LOOK_AGAIN_MS = 50;
const GOODBYE_MS = 1000;

export interface ConsulElectionOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The key that is the lock. */
  readonly key?: string;
}

interface Candidate {
  readonly ident: string;
  readonly address: string;
}

interface Campaign {
  readonly candidate: Candidate;
  readonly leadership: BehaviorSubject<Leadership>;
  readonly ending: AbortController;
  running: Promise<void>;
}

/** What the leader writes into the lock. */
interface LockValue extends Candidate {
  readonly term: number;
}

/**
 * A lock in Consul's store, held by a session that lives while its process renews it.
 * The term is part of the lock's value and is raised in the transaction that takes
 * it, so no two leaders share one. The leader gives up by itself when the agent hangs
 * up or has not confirmed the session for longer than Consul is sure to keep it.
 */
export class ConsulElection implements Election {
  private readonly key: string;
  private campaigning: Campaign | undefined;
  private held: Session | undefined;
  private abandoned = false;
  /** The greatest term seen: an agent that lost everything does not take it back. */
  private lastTerm = 0;

  constructor(private readonly options: ConsulElectionOptions) {
    this.key = options.key ?? LEADER_KEY;
  }

  campaign(candidate: Candidate): Observable<Leadership> {
    assert(!this.campaigning, 'one campaign at a time');
    const leadership = new BehaviorSubject<Leadership>({ leading: false, term: 0, leaderAddress: undefined });
    const campaign: Campaign = { candidate, leadership, ending: new AbortController(), running: Promise.resolve() };
    this.campaigning = campaign;
    campaign.running = this.run(campaign);
    return leadership.asObservable();
  }

  async resign(): Promise<void> {
    const campaign = this.campaigning;
    if (!campaign) return;
    this.campaigning = undefined;
    const session = this.held;
    this.stepDown(campaign);
    campaign.ending.abort(new AppError('CANCELLED', 'the candidate resigned'));
    // Given back by name, so that the next candidate need not wait for anything.
    if (session) await this.options.client.release(this.key, this.valueFor(campaign, this.lastTerm), session.id, { timeoutMs: GOODBYE_MS }).catch(() => {});
    await campaign.running;
    campaign.leadership.complete();
  }

  leads(): boolean {
    return this.held?.trusted === true;
  }

  /** The proof of leadership for {@link ConsulPersister}; undefined while not leading. */
  fence(): Fence | undefined {
    return this.held?.trusted === true ? { key: this.key, session: this.held.id } : undefined;
  }

  /** Stops as a killed process does: the lock stays until Consul notices. */
  abandon(): void {
    const campaign = this.campaigning;
    this.campaigning = undefined;
    this.abandoned = true;
    campaign?.ending.abort(new AppError('CANCELLED', 'the election was abandoned'));
    campaign?.leadership.complete();
  }

  private async run(campaign: Campaign): Promise<void> {
    const { client, clock, random, logger } = this.options;
    const { signal } = campaign.ending;
    const backoff = new Backoff(random);
    let away = false;
    while (!signal.aborted) {
      try {
        const session = await Session.open({ client, clock, random, name: campaign.candidate.ident, signal });
        if (away) logger.info('Consul answers again');
        away = false;
        backoff.reset();
        await this.standWith(campaign, session).finally(() => {
          this.stepDown(campaign);
          return this.abandoned ? undefined : session.close();
        });
      } catch (thrown) {
        if (isAborted(signal)) return;
        if (!away) logger.warn('no session for the election, trying on', { reason: messageOf(thrown) });
        away = true;
      }
      await sleep(clock, backoff.next(), signal).catch(() => {});
    }
  }

  /** Watches the lock and takes it when it is free, for as long as the session is sure to live. Always rejects. */
  private async standWith(campaign: Campaign, session: Session): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([campaign.ending.signal, over.signal]);
    const watchdog = new Watchdog(this.options.clock, session, () => {
      // At once, in the timer itself: what awaits may come later.
      this.stepDown(campaign);
      over.abort(new AppError('UNAVAILABLE', 'Consul has not confirmed the session in time'));
    });
    try {
      await Promise.race([this.renewing(session, watchdog, signal), this.watching(campaign, session, signal)]);
    } catch (thrown) {
      this.stepDown(campaign);
      throw over.signal.aborted ? (over.signal.reason as Error) : thrown;
    } finally {
      watchdog.stop();
      over.abort(new AppError('CANCELLED', 'the session ended'));
    }
  }

  private async renewing(session: Session, watchdog: Watchdog, signal: AbortSignal): Promise<never> {
    for (;;) {
      await sleep(this.options.clock, RENEW_MS, signal);
      try {
        await session.renew(signal);
        watchdog.feed();
      } catch (thrown) {
        // Slow is not gone: the watchdog says when it is too slow. An agent that hung up may be a new one already.
        if (!isSlow(thrown)) throw thrown;
      }
    }
  }

  private async watching(campaign: Campaign, session: Session, signal: AbortSignal): Promise<never> {
    const { client, clock } = this.options;
    let index = 0n;
    for (;;) {
      let answer;
      try {
        answer = await client.pair(this.key, { index, signal });
      } catch (thrown) {
        if (!isSlow(thrown)) throw thrown;
        index = 0n;
        continue;
      }
      index = answer.index < index ? 0n : answer.index;
      if (await this.consider(campaign, session, answer.value, signal)) continue;
      // Lost a race for it: the answer is old already.
      await sleep(clock, LOOK_AGAIN_MS, signal);
      index = 0n;
    }
  }

  /** Acts on the lock as it is; false when it changed meanwhile. */
  private async consider(campaign: Campaign, session: Session, lock: Pair | undefined, signal: AbortSignal): Promise<boolean> {
    const value = lock && lockValueOf(lock);
    this.lastTerm = Math.max(this.lastTerm, value?.term ?? 0);
    const holder = lock?.session;
    if (holder === session.id) return true;
    if (this.held) throw new AppError('ABORTED', 'the lock was lost');
    if (holder !== undefined) {
      this.tell(campaign, { leading: false, term: value?.term ?? 0, leaderAddress: value?.address });
      return true;
    }
    return this.take(campaign, session, lock, signal);
  }

  private async take(campaign: Campaign, session: Session, lock: Pair | undefined, signal: AbortSignal): Promise<boolean> {
    const term = this.lastTerm + 1;
    const unchanged: KvOperation = lock
      ? { Verb: 'check-index', Key: this.key, Index: lock.modifyIndex }
      : { Verb: 'check-not-exists', Key: this.key };
    const value = Buffer.from(this.valueFor(campaign, term), 'utf8').toString('base64');
    const outcome = await this.options.client.transaction([unchanged, { Verb: 'lock', Key: this.key, Value: value, Session: session.id }], { signal });
    if (outcome.kind === 'conflict') return false;
    // The process may have stood still meanwhile, and the lock gone on without it.
    if (!session.trusted) throw new AppError('UNAVAILABLE', 'the lock came too late');
    this.lastTerm = term;
    this.held = session;
    this.options.logger.info('leading', { term });
    this.tell(campaign, { leading: true, term, leaderAddress: campaign.candidate.address });
    return true;
  }

  /** The leader is unknown from here on, until the lock is read again. */
  private stepDown(campaign: Campaign): void {
    if (this.held) this.options.logger.warn('no longer leading', { term: this.lastTerm });
    this.held = undefined;
    this.tell(campaign, { leading: false, term: campaign.leadership.value.term, leaderAddress: undefined });
  }

  private tell(campaign: Campaign, next: Leadership): void {
    const { value } = campaign.leadership;
    if (value.leading === next.leading && value.term === next.term && value.leaderAddress === next.leaderAddress) return;
    campaign.leadership.next(next);
  }

  private valueFor({ candidate: { ident, address } }: Campaign, term: number): string {
    return JSON.stringify({ ident, address, term } satisfies LockValue);
  }
}

/** Barks when the session has not been renewed for as long as it is trusted. */
class Watchdog {
  private cancel: Cancel;

  constructor(
    private readonly clock: Clock,
    private readonly session: Session,
    private readonly bark: () => void,
  ) {
    this.cancel = this.arm();
  }

  feed(): void {
    this.cancel();
    this.cancel = this.arm();
  }

  stop(): void {
    this.cancel();
  }

  private arm(): Cancel {
    return this.clock.after(Math.max(0, this.session.trustedUntil - this.clock.now()), this.bark, { unref: true });
  }
}

function isSlow(thrown: unknown): boolean {
  return thrown instanceof ConsulError && thrown.code === 'UNAVAILABLE' && thrown.status === undefined && !thrown.connectionLost;
}

/** Undefined for a value that no controller of this kind wrote. */
function lockValueOf(lock: Pair): LockValue | undefined {
  try {
    const value = JSON.parse(lock.value) as Partial<LockValue> | null;
    const { ident, address, term } = value ?? {};
    return typeof ident === 'string' && typeof address === 'string' && Number.isSafeInteger(term) ? { ident, address, term: term as number } : undefined;
  } catch {
    return undefined;
  }
}
