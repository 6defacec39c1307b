import { combineLatest, distinctUntilChanged, filter, firstValueFrom, map, type Observable, startWith, Subject, takeUntil } from 'rxjs';
import { AppError } from '../../runtime/errors.js';
import { alreadyExists, sameInstances, sameProcess, sortInstances, validateInstance } from '../instances.js';
import type { Discovery, Instance, Registration, ServiceName } from '../interfaces.js';
import type { MemoryHub } from './hub.js';

export class MemoryDiscovery implements Discovery {
  private readonly closed = new Subject<void>();
  private isClosed = false;

  constructor(
    private readonly hub: MemoryHub,
    private readonly owner: object,
  ) {}

  async register(instance: Instance): Promise<Registration> {
    validateInstance(instance);
    await this.backendAvailable();
    const key = `${instance.service}/${instance.ident}`;
    const holder = this.hub.entries.get(key);
    if (holder && !sameProcess(holder.instance, instance)) throw alreadyExists(instance, holder.instance);
    const entry = { instance, owner: this.owner };
    this.hub.entries.set(key, entry);
    this.hub.instancesChanged.next();
    return {
      deregister: () => {
        if (this.hub.entries.get(key) === entry) {
          this.hub.entries.delete(key);
          this.hub.instancesChanged.next();
        }
        return Promise.resolve();
      },
    };
  }

  watch(service: ServiceName): Observable<readonly Instance[]> {
    return combineLatest([this.hub.available, this.hub.instancesChanged.pipe(startWith(undefined))]).pipe(
      filter(([available]) => available),
      map(() => this.list(service)),
      distinctUntilChanged(sameInstances),
      takeUntil(this.closed),
    );
  }

  close(): Promise<void> {
    if (!this.isClosed) this.deregisterAll();
    this.abandon();
    return Promise.resolve();
  }

  /** Stops as a killed process does. */
  abandon(): void {
    this.isClosed = true;
    this.closed.next();
  }

  private async backendAvailable(): Promise<void> {
    const available = this.hub.available.pipe(filter(Boolean), takeUntil(this.closed));
    await firstValueFrom(available, { defaultValue: false });
    if (this.isClosed) throw new AppError('CANCELLED', 'the discovery was closed before the registration was made');
  }

  private deregisterAll(): void {
    for (const [key, entry] of this.hub.entries) if (entry.owner === this.owner) this.hub.entries.delete(key);
    this.hub.instancesChanged.next();
  }

  private list(service: ServiceName): readonly Instance[] {
    const instances = [...this.hub.entries.values()].map((entry) => entry.instance);
    return sortInstances(instances.filter((instance) => instance.service === service));
  }
}
