import { seededRandom } from '../../runtime/random.js';
import { type Build, SOUND } from './build.js';
import { Clients, KEYS } from './clients.js';
import { CONTROLLERS, Cluster, NODES, PROXIES } from './cluster.js';
import { Invariants, Violation } from './invariants.js';
import { type RegisterOp, isLinearizable } from './linearizable.js';
import { Operators } from './operators.js';
import { Oracle } from './oracle.js';
import { CALM, Weather, drawProfile } from './weather.js';

export interface RunOptions {
  readonly seed: number;
  readonly build?: Build;
  /** Trace lines to keep; all of them with Infinity. */
  readonly keepLines?: number;
}

export interface RunResult {
  readonly seed: number;
  readonly problem: Violation | undefined;
  readonly simulatedMs: number;
  readonly steps: number;
  readonly requests: number;
  readonly operations: { readonly begun: number; readonly done: number };
  /** The same for every run of the seed. */
  readonly digest: string;
  readonly trace: readonly string[];
}

/** Faults come for so long. */
const STORM_MS = { least: 4_000, most: 12_000 };
/** Within this, once the faults are over, everything must be well: a node that failed is passed over for a minute. */
const REST_MS_MAX = 180_000;
const READ_MS_MAX = 10_000;

/** One cluster from its first start, through bad weather, to rest; then the judgement of what clients saw. */
export async function simulate(options: RunOptions): Promise<RunResult> {
  const run = new Run(options);
  const problem = await run.live();
  return run.result(problem);
}

class Run {
  private readonly random;
  private readonly weather: Weather;
  private readonly cluster: Cluster;
  private readonly oracle = new Oracle();
  private readonly invariants: Invariants;
  private readonly clients: Clients;
  private readonly operators: Operators;
  private violation: Violation | undefined;

  constructor(private readonly options: RunOptions) {
    this.random = seededRandom(options.seed);
    this.weather = new Weather({ ...CALM });
    this.cluster = new Cluster(this.random, this.weather, options.build ?? SOUND, options.keepLines ?? 150);
    this.invariants = new Invariants(this.cluster, this.oracle);
    this.clients = new Clients(this.cluster, this.oracle, this.random, (problem) => {
      this.violation ??= new Violation(3, problem);
    });
    this.operators = new Operators(this.cluster, this.random);
  }

  async live(): Promise<Violation | undefined> {
    const { cluster, clients, operators, random } = this;
    try {
      cluster.startAll();
      await this.until(() => this.invariants.restlessness() === undefined, 20_000, () => this.invariants.restlessness());
      this.weather.profile = drawProfile(random);
      cluster.trace.note('weather', JSON.stringify(this.weather.profile));
      clients.start(2 + Math.floor(random.next() * 3));
      operators.start();
      this.misfortunes();
      await this.during(STORM_MS.least + random.next() * (STORM_MS.most - STORM_MS.least));
      await this.heal();
      this.judge();
      return undefined;
    } catch (thrown) {
      if (thrown instanceof Violation) return thrown;
      throw thrown;
    }
  }

  result(problem: Violation | undefined): RunResult {
    const { scheduler, trace } = this.cluster;
    return {
      seed: this.options.seed,
      problem,
      simulatedMs: scheduler.now,
      steps: scheduler.steps,
      requests: this.clients.requests,
      operations: { begun: this.operators.begun, done: this.operators.done },
      digest: trace.digest(),
      trace: trace.last(),
    };
  }

  private async heal(): Promise<void> {
    const { cluster, clients } = this;
    cluster.trace.note('weather', 'clears up');
    this.weather.clear();
    this.operators.stop();
    cluster.network.mendAll();
    cluster.thawAll();
    for (const name of cluster.names) cluster.start(name);
    await this.until(() => this.invariants.restlessness() === undefined, REST_MS_MAX, () => this.invariants.restlessness());
    clients.stop();
    await this.until(() => clients.idle, READ_MS_MAX, () => 'a request got no answer');
    let left = KEYS.length;
    for (const key of KEYS) {
      void clients.readSurely(key).then(() => {
        left--;
      });
    }
    await this.until(() => left === 0, READ_MS_MAX, () => `${left} keys cannot be read`);
  }

  /** Every client's history, key by key. */
  private judge(): void {
    for (const key of this.oracle.keys()) {
      const writes = (this.oracle.writes.get(key) ?? []).filter(({ outcome }) => outcome !== 'failed');
      const reads = (this.oracle.reads.get(key) ?? []).filter(({ outcome }) => outcome === 'done');
      const history: RegisterOp[] = [...writes.map((op) => ({ ...op, kind: 'write' as const })), ...reads.map((op) => ({ ...op, kind: 'read' as const }))];
      if (!isLinearizable(history)) throw new Violation(3, `no order of its operations explains what clients read of key ${key}`);
    }
  }

  private async during(ms: number): Promise<void> {
    const end = this.cluster.scheduler.now + ms;
    await this.until(() => this.cluster.scheduler.now >= end, Infinity, () => '');
  }

  /** Steps until something holds; after `ms` without it, `why` is what is wrong. */
  private async until(holds: () => boolean, ms: number, why: () => string | undefined): Promise<void> {
    const { scheduler } = this.cluster;
    const end = scheduler.now + ms;
    // Looked at now and then only, since it costs more than a step.
    while (scheduler.steps % 8 !== 0 || !holds()) {
      if (scheduler.now > end) throw new Violation(5, `not at rest after ${ms} ms without faults: ${why() ?? ''}`);
      if (!(await scheduler.step())) throw new Violation(5, `nothing happens any more: ${why() ?? ''}`);
      await this.invariants.check();
      if (this.violation) throw this.violation;
    }
  }

  // --- misfortunes ---------------------------------------------------------------------

  private misfortunes(): void {
    const { profile } = this.weather;
    this.again(profile.crashEveryMs, () => {
      this.cluster.crash(this.pick(NODES));
    });
    this.again(profile.controllerCrashEveryMs, () => {
      this.cluster.crash(this.pick(CONTROLLERS));
    });
    this.again(profile.lockLostEveryMs, () => {
      this.cluster.trace.note('lock', 'is lost');
      this.cluster.coordination.expire();
    });
    this.again(profile.freezeEveryMs, () => {
      this.cluster.freeze(this.pick(this.cluster.names), this.random.next() ** 2 * 5000);
    });
    this.again(profile.proxyCrashEveryMs, () => {
      this.cluster.crash(this.pick(PROXIES));
    });
    this.again(profile.partitionEveryMs, () => {
      this.partition();
    });
    this.again(profile.streamBreakEveryMs, () => {
      const streams = [...this.cluster.network.streams];
      if (streams.length > 0) this.pick(streams).breakBoth();
    });
  }

  private again(meanMs: number, happen: () => void): void {
    if (meanMs === Infinity) return;
    const storm = this.weather.profile;
    this.cluster.scheduler.after(this.weather.nextMs(this.random, meanMs), () => {
      if (this.weather.profile !== storm) return;
      happen();
      this.again(meanMs, happen);
    });
  }

  /** Two processes, or one and all others, cannot talk for a while, one way or both. */
  private partition(): void {
    const { cluster, random } = this;
    const a = this.pick(cluster.names);
    const others = cluster.names.filter((name) => name !== a);
    const cut = random.next() < 0.5 ? [this.pick(others)] : others;
    const ways = Math.floor(random.next() * 3);
    const ms = random.next() ** 2 * 6000;
    cluster.trace.note('network', `${['to', 'from', 'between'][ways] ?? ''} ${a} and ${cut.join(' ')} cut for ${ms.toFixed(0)} ms`);
    for (const b of cut) {
      if (ways !== 1) cluster.network.cut(b, a);
      if (ways !== 0) cluster.network.cut(a, b);
    }
    cluster.scheduler.after(ms, () => {
      for (const b of cut) {
        cluster.network.mend(a, b);
        cluster.network.mend(b, a);
      }
    });
  }

  private pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random.next() * from.length)] as T;
  }
}
