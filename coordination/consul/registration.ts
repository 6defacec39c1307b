import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Random } from '../../runtime/random.js';
import { Backoff } from '../backoff.js';
import { alreadyExists, sameInstance } from '../instances.js';
import type { Instance } from '../interfaces.js';
import { isAborted } from '../signals.js';
import type { ConsulClient, ServiceEntry } from './client.js';
import { accepts } from './probe.js';
import { CHECK_TIMING, type CheckTiming, checkOf, definitionOf, instanceOf, serviceId } from './services.js';

/** How often the agent is asked whether it still has the registration: one that restarted may not. */
const VERIFY_MS = 1000;
/** Longer than a check takes to see whether a process lives. */
const VERDICT_SLACK_MS = 500;
const LOOK_AGAIN_MS = 250;
const PROBE_MS = 1000;
const GOODBYE_MS = 1000;

export interface RegistrationDeps {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly check?: CheckTiming;
}

/** One instance that the agent is to have, for as long as this is kept. */
export class ConsulRegistration {
  private readonly ending = new AbortController();
  private readonly id: string;
  private readonly logger: Logger;
  private readonly check: CheckTiming;
  private running: Promise<void> = Promise.resolve();
  /** Another process has the id, so it is not ours to remove. */
  private contested = false;
  private goodbye: Promise<void> | undefined;

  constructor(
    private readonly instance: Instance,
    private readonly deps: RegistrationDeps,
  ) {
    this.id = serviceId(instance.service, instance.ident);
    this.check = deps.check ?? CHECK_TIMING;
    this.logger = deps.logger.child({ service: instance.service, ident: instance.ident });
  }

  /** Resolves when the agent has it for the first time; keeps it from then on. */
  async start(): Promise<void> {
    let first = true;
    await new Promise<void>((resolve, reject) => {
      this.running = this.repeat(async () => {
        if (!first) return this.verify();
        try {
          await this.registerFirst();
          first = false;
          resolve();
        } catch (thrown) {
          const error = AppError.from(thrown);
          if (error.code === 'UNAVAILABLE' || error.code === 'CANCELLED') throw error;
          this.abandon();
          reject(error);
        }
      }).finally(() => reject(new AppError('CANCELLED', 'the discovery was closed before the registration was made')));
    });
  }

  /** Removes it from the agent, as far as that answers now. */
  end(): Promise<void> {
    this.goodbye ??= (async () => {
      this.abandon();
      await this.running;
      if (this.contested) return;
      await this.deps.client.deregisterService(this.id, { timeoutMs: GOODBYE_MS }).catch((thrown: unknown) => {
        this.logger.info('not deregistered, Consul will see that the process is gone', { reason: messageOf(thrown) });
      });
    })();
    return this.goodbye;
  }

  /** Stops as a killed process does: the registration stays until Consul notices. */
  abandon(): void {
    this.ending.abort(new AppError('CANCELLED', 'the registration ended'));
  }

  private async repeat(once: () => Promise<void>): Promise<void> {
    const { clock, random } = this.deps;
    const { signal } = this.ending;
    const backoff = new Backoff(random);
    let away = false;
    while (!signal.aborted) {
      let waitMs = VERIFY_MS;
      try {
        await once();
        if (away) this.logger.info('Consul answers again');
        away = false;
        backoff.reset();
      } catch (thrown) {
        if (isAborted(signal)) return;
        if (!away) this.logger.warn('Consul does not answer, trying on', { reason: messageOf(thrown) });
        away = true;
        waitMs = backoff.next();
      }
      await sleep(clock, waitMs, signal).catch(() => {});
    }
  }

  private async registerFirst(): Promise<void> {
    const predecessor = await this.awaitPredecessor();
    // A check that failed keeps its state when its service is registered again, so a fresh start needs a fresh check.
    if (predecessor && !predecessor.passing) await this.deps.client.deregisterService(this.id, this.ending);
    await this.register();
    this.logger.info('registered with Consul', { address: this.instance.address });
  }

  private async register(): Promise<void> {
    await this.deps.client.registerService(definitionOf(this.instance), checkOf(this.instance, this.check), this.ending);
  }

  /** The ident's last holder once it is sure to be gone. Throws ALREADY_EXISTS while it lives elsewhere. */
  private async awaitPredecessor(): Promise<ServiceEntry | undefined> {
    const { client, clock } = this.deps;
    const { signal } = this.ending;
    const until = clock.now() + this.check.intervalMs + this.check.timeoutMs + VERDICT_SLACK_MS;
    for (;;) {
      const { value: entries } = await client.serviceEntries(this.instance.service, { passing: false, index: 0n, signal });
      const holders = entries.filter((entry) => entry.id === this.id);
      // Two processes cannot listen on one address, so at ours there is only this one.
      const rival = holders.find((entry) => entry.passing && this.addressOf(entry) !== this.instance.address);
      if (!rival) return holders[0];
      const alive = clock.now() >= until || (await accepts(this.addressOf(rival), PROBE_MS, clock));
      if (alive) throw alreadyExists(this.instance, instanceOf(this.instance.service, rival));
      // Nobody answers there, but whose machine is meant only Consul's own check knows.
      await sleep(clock, LOOK_AGAIN_MS, signal);
    }
  }

  private async verify(): Promise<void> {
    const { client } = this.deps;
    const found = await client.agentService(this.id, this.ending);
    if (!found) {
      this.logger.warn('Consul has lost the registration, making it again');
      await this.register();
      this.contested = false;
      return;
    }
    if (sameInstance(this.instance, instanceOf(this.instance.service, found))) {
      this.contested = false;
      return;
    }
    await this.contest(instanceOf(this.instance.service, found));
  }

  /** Somebody registered over us, at the same moment or against the rules. Two that both insist would never end. */
  private async contest(holder: Instance): Promise<void> {
    const { client, clock } = this.deps;
    const { value: entries } = await client.serviceEntries(this.instance.service, { passing: true, index: 0n, signal: this.ending.signal });
    const alive = entries.some((entry) => entry.id === this.id && this.addressOf(entry) === holder.address);
    if (holder.address !== this.instance.address && alive && (await accepts(holder.address, PROBE_MS, clock))) {
      if (!this.contested) this.logger.error('another process has taken this ident: stop one of the two, or rename it', { holder: holder.address });
      this.contested = true;
      return;
    }
    await this.register();
    this.contested = false;
  }

  private addressOf(entry: ServiceEntry): string {
    return instanceOf(this.instance.service, entry).address;
  }
}
