import { Observable } from 'rxjs';
import { AppError } from '../../runtime/errors.js';
import { validateInstance } from '../instances.js';
import type { Discovery, Instance, Registration, ServiceName } from '../interfaces.js';
import { SteadyList } from '../steady-list.js';
import { follow } from './follow.js';
import { ConsulRegistration, type RegistrationDeps } from './registration.js';
import { CHECK_TIMING, instancesOf } from './services.js';

/** Added to the time of a check, for those who must register again first. */
const SETTLE_SLACK_MS = 1500;

/** Discovery in Consul's catalogue. */
export class ConsulDiscovery implements Discovery {
  private readonly closing = new AbortController();
  private readonly registrations = new Set<ConsulRegistration>();

  /** After its return an agent calls all that it kept critical until it has looked at them. */
  private readonly settleMs: number;

  constructor(private readonly deps: RegistrationDeps) {
    const { intervalMs, timeoutMs } = deps.check ?? CHECK_TIMING;
    this.settleMs = intervalMs + timeoutMs + SETTLE_SLACK_MS;
  }

  async register(instance: Instance): Promise<Registration> {
    validateInstance(instance);
    if (this.closing.signal.aborted) throw new AppError('CANCELLED', 'the discovery was closed');
    const registration = new ConsulRegistration(instance, this.deps);
    this.registrations.add(registration);
    try {
      await registration.start();
    } catch (thrown) {
      this.registrations.delete(registration);
      throw thrown;
    }
    return {
      deregister: async () => {
        this.registrations.delete(registration);
        await registration.end();
      },
    };
  }

  watch(service: ServiceName): Observable<readonly Instance[]> {
    const { client, clock, random, logger } = this.deps;
    return new Observable((subscriber) => {
      const list = new SteadyList({ clock, settleMs: this.settleMs, emit: (instances) => subscriber.next(instances) });
      const stopping = new AbortController();
      const signal = AbortSignal.any([stopping.signal, this.closing.signal]);
      // Synchronously, so that whoever closes finds the watches completed.
      this.closing.signal.addEventListener('abort', () => subscriber.complete(), { once: true });
      if (signal.aborted) subscriber.complete();
      else {
        void follow({
          query: (options) => client.serviceEntries(service, { passing: true, ...options }),
          clock,
          random,
          signal,
          onValue: (entries) => list.update(instancesOf(service, entries)),
          onLost: (reason) => {
            logger.debug('a watch was interrupted', { service, reason: reason.message });
            list.lost();
          },
        });
      }
      return () => {
        stopping.abort(new AppError('CANCELLED', 'the watch ended'));
        list.close();
      };
    });
  }

  async close(): Promise<void> {
    this.closing.abort(new AppError('CANCELLED', 'the discovery was closed'));
    await Promise.all([...this.registrations].map((registration) => registration.end()));
    this.registrations.clear();
  }

  /** Stops as a killed process does: what is registered stays until Consul notices. */
  abandon(): void {
    this.closing.abort(new AppError('CANCELLED', 'the discovery was abandoned'));
    for (const registration of this.registrations) registration.abandon();
    this.registrations.clear();
  }
}
