import { filter, map, type Observable, startWith, Subject } from 'rxjs';
import { AppError } from '../../runtime/errors.js';
import { alreadyExists, sameProcess, sortInstances } from '../instances.js';
import type { Instance, ServiceName } from '../interfaces.js';

/** More than any cluster has; a bound so that a broken peer cannot fill the memory. */
const INSTANCES_MAX = 10_000;

/** What keeps an instance registered. */
export interface Lease {
  /** Another lease of the same process has taken its place. */
  replaced(): void;
}

interface Entry {
  readonly instance: Instance;
  readonly lease: Lease;
}

/** Who is registered with this controller, and by which lease. */
export class Registry {
  private readonly entries = new Map<string, Entry>();
  private readonly changed = new Subject<ServiceName>();

  /** Throws ALREADY_EXISTS when another live process has the ident. */
  enter(instance: Instance, lease: Lease): void {
    const key = keyOf(instance);
    const holder = this.entries.get(key);
    if (holder && !sameProcess(holder.instance, instance)) throw alreadyExists(instance, holder.instance);
    if (!holder && this.entries.size >= INSTANCES_MAX) {
      throw new AppError('RESOURCE_EXHAUSTED', `${INSTANCES_MAX} instances are registered, which is the most this controller holds`);
    }
    this.entries.set(key, { instance, lease });
    // A half-open connection of the same process: it came back before the old one was seen to be dead.
    holder?.lease.replaced();
    this.changed.next(instance.service);
  }

  /** Does nothing when another lease has taken over. */
  leave(instance: Instance, lease: Lease): void {
    const key = keyOf(instance);
    if (this.entries.get(key)?.lease !== lease) return;
    this.entries.delete(key);
    this.changed.next(instance.service);
  }

  list(service: ServiceName): readonly Instance[] {
    const instances = [...this.entries.values()].map((entry) => entry.instance);
    return sortInstances(instances.filter((instance) => instance.service === service));
  }

  /** The list now, and again at each change. */
  watch(service: ServiceName): Observable<readonly Instance[]> {
    return this.changed.pipe(
      filter((changed) => changed === service),
      startWith(service),
      map(() => this.list(service)),
    );
  }
}

function keyOf(instance: Instance): string {
  return `${instance.service}/${instance.ident}`;
}
