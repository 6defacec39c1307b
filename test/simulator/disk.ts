import { MemoryStorage } from '../../node/storage/memory.js';
import type { Commit, Storage } from '../../node/storage/storage.js';
import { AppError } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import type { Process } from './process.js';
import type { Weather } from './weather.js';

interface Pending {
  readonly commit: Commit;
  readonly process: Process;
  readonly fails: boolean;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

/**
 * A disk that outlives its processes. Commits become durable one after the other;
 * when the process dies, some of those under way may have got through, in order,
 * and the others are lost.
 */
export class Disk {
  durable: MemoryStorage;
  /** Counts what became durable. */
  version = 0;
  private pending: Pending[] = [];
  private busyUntil = 0;
  private lost = 0;

  constructor(
    readonly name: string,
    private readonly random: Random,
    private readonly weather: Weather,
  ) {
    this.durable = new MemoryStorage(`${name}-disk`);
  }

  open(process: Process): Storage {
    process.onDeath(() => {
      this.crash(process);
    });
    const commit: Storage['commit'] = (changes) => this.commit(process, changes);
    const { durable } = this;
    return new Proxy<Storage>(durable, {
      get: (target, name) => {
        if (name === 'commit') return commit;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** Everything is gone: a new disk is in its place. */
  lose(): void {
    this.version++;
    this.lost++;
    this.pending = [];
    this.durable = new MemoryStorage(`${this.name}-disk-${this.lost}`);
  }

  private commit(process: Process, commit: Commit): Promise<void> {
    if (!process.alive) return new Promise(() => undefined);
    return new Promise((resolve, reject) => {
      const { scheduler } = process;
      const fails = this.weather.happens(this.random, this.weather.profile.diskFull);
      this.pending.push({ commit, process, fails, resolve, reject });
      this.busyUntil = Math.max(this.busyUntil, scheduler.now) + this.weather.diskMs(this.random);
      scheduler.after(this.busyUntil - scheduler.now, () => {
        const next = this.pending[0];
        if (next?.process !== process || !process.alive) return;
        this.pending.shift();
        this.finish(next);
      });
    });
  }

  private finish({ commit, fails, process, resolve, reject }: Pending): void {
    if (!fails) this.apply(commit);
    process.run(() => {
      if (fails) reject(new AppError('RESOURCE_EXHAUSTED', 'the disk is full'));
      else resolve();
    });
  }

  private crash(process: Process): void {
    const mine = this.pending.filter((pending) => pending.process === process && !pending.fails);
    this.pending = [];
    this.busyUntil = 0;
    const reached = Math.floor(this.random.next() * (mine.length + 1));
    for (const { commit } of mine.slice(0, reached)) this.apply(commit);
  }

  private apply(commit: Commit): void {
    this.version++;
    // It applies in a microtask of its own, which the scheduler waits for.
    void this.durable.commit(commit);
  }
}
