import { Keyspace } from '../../controller/keyspace/keyspace.js';
import { type RangeRecord, placementAt } from '../../controller/keyspace/record.js';
import { type Random, seededRandom } from '../../runtime/random.js';
import { CONTROLLERS, type Cluster, PROXIES } from './cluster.js';
import { Violation } from './invariants.js';
import { JudgedCluster, type JudgedOptions } from './judged.js';
import { Operators } from './operators.js';
import { type Weather, drawProfile } from './weather.js';

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

/** With replicas, disks are lost too. */
const LOSE_DISK_EVERY_MS = 3_000;
/** Faults come for so long. */
const STORM_MS = { least: 4_000, most: 12_000 };

/** One cluster from its first start, through bad weather, to rest; then the judgement of what clients saw. */
export async function simulate(options: JudgedOptions): Promise<RunResult> {
  const run = new Run(options);
  const problem = await run.live();
  return run.result(problem);
}

class Run {
  private readonly judged: JudgedCluster;
  private readonly random: Random;
  private readonly weather: Weather;
  private readonly cluster: Cluster;
  private readonly operators: Operators;

  constructor(private readonly options: JudgedOptions) {
    this.judged = new JudgedCluster(options);
    ({ random: this.random, weather: this.weather, cluster: this.cluster } = this.judged);
    this.operators = new Operators(this.cluster, this.random, seededRandom(~options.seed));
  }

  async live(): Promise<Violation | undefined> {
    const { cluster, judged, operators, random } = this;
    try {
      await judged.start();
      this.weather.profile = drawProfile(random);
      cluster.trace.note('weather', JSON.stringify(this.weather.profile));
      judged.clients.start(2 + Math.floor(random.next() * 3));
      operators.start();
      judged.verifications.start();
      this.misfortunes();
      await judged.during(STORM_MS.least + random.next() * (STORM_MS.most - STORM_MS.least));
      this.heal();
      await judged.rest();
      await judged.judge();
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
      requests: this.judged.clients.requests,
      operations: { begun: this.operators.begun, done: this.operators.done },
      digest: trace.digest(),
      trace: trace.last(),
    };
  }

  private heal(): void {
    const { cluster } = this;
    cluster.trace.note('weather', 'clears up');
    this.weather.clear();
    this.operators.stop();
    this.judged.verifications.stop();
    // What nobody writes any more stays as the storm left it, and shows in the end.
    if (seededRandom(this.options.seed ^ 0x5a5a).next() < 0.5) this.judged.clients.stop();
    cluster.network.mendAll();
    cluster.thawAll();
    for (const name of cluster.names) cluster.start(name);
  }

  // --- misfortunes ---------------------------------------------------------------------

  private misfortunes(): void {
    const { profile } = this.weather;
    this.again(profile.crashEveryMs, () => {
      this.cluster.crash(this.pick(this.cluster.nodeNames));
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
    if (this.cluster.replicas > 1) {
      this.again(LOSE_DISK_EVERY_MS, () => {
        void this.loseDisk(this.pick(this.cluster.nodeNames));
      });
    }
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

  /** Never the last copy of anything: that would be a loss which nobody can make good. */
  private async loseDisk(name: string): Promise<void> {
    const keyspace = Keyspace.load(await this.cluster.coordination.documents());
    const isLast = [...keyspace.values()].some((range) => {
      const holders = range.placements.filter(({ index, node, incarnation }) => (range.primary === index || range.insync.includes(index)) && this.cluster.holds(node, incarnation, range.id));
      // Two copies, one of them lost for good in the middle of a split or join, may wait for an operator: docs/operations/replicas.md.
      const least = range.state === 'Subsuming' ? 2 : 1;
      if (range.state === 'Obsolete' || !holders.some((holder) => holder.node === name)) return false;
      // One that is away may just be passed by for the one that is lost: the same.
      return holders.filter(({ node }) => node === name || this.cluster.isWell(node)).length <= least;
    });
    if (!isLast && !isHandOverAt(keyspace, name)) this.cluster.loseDisk(name);
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

/** A split or join is at the point where nobody could prove any more what the node's copy acknowledged, were its disk lost: docs/operations/replicas.md, known limits. */
function isHandOverAt(keyspace: Keyspace, name: string): boolean {
  return [...keyspace.values()].some((parent) => {
    if (parent.state !== 'Subsuming') return false;
    const children = parent.children.flatMap((id) => keyspace.get(id) ?? []);
    if (!children.some(({ established }) => established)) return false;
    const isAt = (range: RangeRecord, index: number | undefined): boolean => placementAt(range, index)?.node === name;
    // Of a child that is taken back, the one that served has what it took.
    return [parent, ...children].some((range) => isAt(range, range.primary)) || children.some((child) => isAt(child, child.holder));
  });
}
