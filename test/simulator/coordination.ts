import { BehaviorSubject, Observable } from 'rxjs';
import type { Discovery, Instance, Leadership, Persister, Registration, ServiceName } from '../../coordination/interfaces.js';
import { sameInstances, sortInstances } from '../../coordination/instances.js';
import { MemoryCoordination } from '../../coordination/memory/memory.js';
import { AppError } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import type { Process } from './process.js';
import type { Scheduler } from './scheduler.js';
import type { Weather } from './weather.js';

/** How long a dead process stays registered. */
const LEASE_MS = { least: 200, most: 3000 };

interface Holder {
  readonly process: Process;
  readonly lost: () => void;
}

/** Who is registered, and the keyspace's documents: both outlive every process. */
export class Coordination {
  private readonly entries = new Map<string, { readonly instance: Instance; readonly owner: Process }>();
  private readonly listed = new BehaviorSubject<readonly Instance[]>([]);
  private readonly memory: MemoryCoordination;
  private holder: Holder | undefined;
  private term = 0;
  /** Counts the writes that reached the documents. */
  version = 0;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly random: Random,
    private readonly weather: Weather,
  ) {
    this.memory = new MemoryCoordination();
  }

  /** The documents as they are. */
  documents(): Promise<ReadonlyMap<string, string>> {
    return this.memory.connect().persister.load();
  }

  discovery(process: Process): Discovery {
    return {
      register: (instance) => this.register(process, instance),
      watch: (service) => this.watch(process, service),
      close: () => Promise.resolve(),
    };
  }

  persister(process: Process): Persister {
    const { persister } = this.memory.connect();
    const away = (): AppError => new AppError('UNAVAILABLE', 'the store of documents is away');
    const fails = (): boolean => this.weather.happens(this.random, this.weather.profile.persisterFails);
    return {
      load: () =>
        new Promise((resolve, reject) => {
          process.after(this.delayMs(), () => {
            if (fails()) reject(away());
            else persister.load().then(resolve, reject);
          });
        }),
      // What was sent before the process died still arrives.
      write: (groups) =>
        new Promise((resolve, reject) => {
          this.scheduler.after(this.delayMs(), () => {
            // As with Consul every write carries the proof that the lock is still its writer's.
            if (this.holder?.process !== process) {
              process.after(this.delayMs(), () => {
                reject(new AppError('ABORTED', 'the lock is lost, and this write with it'));
              });
              return;
            }
            if (fails()) this.memory.failWriteAfter(Math.floor(this.random.next() * (groups.length + 1)));
            this.version++;
            const outcome = persister.write(groups);
            const answerIsLost = fails();
            outcome.then(
              () => {
                process.after(this.delayMs(), () => {
                  if (answerIsLost) reject(away());
                  else resolve();
                });
              },
              (thrown: unknown) => {
                process.after(this.delayMs(), () => {
                  reject(AppError.from(thrown));
                });
              },
            );
          });
        }),
      close: () => Promise.resolve(),
    };
  }

  /** One process at a time holds the lock; one that lost it may be told of that long after another has it. */
  campaign(process: Process, told: (leadership: Leadership) => void): void {
    let believes = false;
    const tell = (leading: boolean, term: number, ms: number): void => {
      process.after(ms, () => {
        believes = leading;
        told({ leading, term, leaderAddress: leading ? process.name : undefined });
      });
    };
    const lost = (): void => {
      tell(false, this.term, this.random.next() ** 2 * 3000);
    };
    const compete = (): void => {
      // Who still believes to have it does not ask for it.
      if (this.holder === undefined && !believes) {
        believes = true;
        this.holder = { process, lost };
        tell(true, ++this.term, this.delayMs());
      }
      process.after(50 + this.random.next() * 100, compete);
    };
    process.after(this.delayMs(), compete);
    process.onDeath(() => {
      const { holder } = this;
      if (holder?.process === process) this.scheduler.after(this.leaseMs(), () => { this.release(holder); });
    });
  }

  /** The lock's session ends, whatever its holder thinks. */
  expire(): void {
    if (this.holder) this.release(this.holder);
  }

  private release(holder: Holder): void {
    if (this.holder !== holder) return;
    this.holder = undefined;
    holder.lost();
  }

  private leaseMs(): number {
    return LEASE_MS.least + this.random.next() * (LEASE_MS.most - LEASE_MS.least);
  }

  private delayMs(): number {
    return 0.2 + this.random.next() * 2;
  }

  private register(process: Process, instance: Instance): Promise<Registration> {
    const key = `${instance.service}/${instance.ident}`;
    process.after(this.delayMs(), () => {
      this.entries.set(key, { instance, owner: process });
      this.tell();
      process.onDeath(() => {
        this.scheduler.after(this.leaseMs(), () => {
          if (this.entries.get(key)?.owner !== process) return;
          this.entries.delete(key);
          this.tell();
        });
      });
    });
    return Promise.resolve({ deregister: () => Promise.resolve() });
  }

  private watch(process: Process, service: ServiceName): Observable<readonly Instance[]> {
    return new Observable((subscriber) => {
      let told: readonly Instance[] | undefined;
      let newest = 0;
      return this.listed.subscribe((all) => {
        const instances = all.filter((instance) => instance.service === service);
        const mine = ++newest;
        process.after(this.delayMs(), () => {
          if (mine !== newest || (told && sameInstances(told, instances))) return;
          told = instances;
          subscriber.next(instances);
        });
      });
    });
  }

  private tell(): void {
    this.listed.next(sortInstances([...this.entries.values()].map(({ instance }) => instance)));
  }
}
