import { type Random, seededRandom } from '../../runtime/random.js';
import { type Build, SOUND } from './build.js';
import { Clients, KEYS } from './clients.js';
import { Cluster } from './cluster.js';
import { Invariants, Violation } from './invariants.js';
import { type RegisterOp, isLinearizable } from './linearizable.js';
import { Oracle } from './oracle.js';
import { Verifications } from './verifications.js';
import { CALM, Weather } from './weather.js';

const START_MS_MAX = 20_000;
/** Within this, without faults, everything must be well: a node that failed is passed over for a minute. */
const REST_MS_MAX = 180_000;
const READ_MS_MAX = 10_000;
const VERIFY_MS_MAX = 60_000;

export interface JudgedOptions {
  readonly seed: number;
  readonly build?: Build;
  /** Copies of each range; 1 when not given. */
  readonly replicas?: number | undefined;
  /** Trace lines to keep; all of them with Infinity. */
  readonly keepLines?: number;
}

/** A cluster with clients of which every step is checked, and in the end what clients saw. In calm weather until somebody changes that. */
export class JudgedCluster {
  readonly random: Random;
  readonly weather = new Weather({ ...CALM });
  readonly cluster: Cluster;
  readonly clients: Clients;
  readonly invariants: Invariants;
  readonly verifications: Verifications;
  private readonly oracle = new Oracle();
  private violation: Violation | undefined;

  constructor({ seed, build = SOUND, keepLines = 150, replicas = 1 }: JudgedOptions) {
    this.random = seededRandom(seed);
    this.cluster = new Cluster(this.random, this.weather, build, keepLines, replicas);
    this.invariants = new Invariants(this.cluster, this.oracle);
    this.clients = new Clients(this.cluster, this.oracle, this.random, (problem) => {
      this.violation ??= new Violation(3, problem);
    });
    this.verifications = new Verifications(this.cluster, seededRandom(seed ^ 0x7e51f1), (problem) => {
      this.violation ??= new Violation(9, problem);
    });
  }

  /** From nothing until the first range serves. */
  async start(): Promise<void> {
    this.cluster.startAll();
    await this.rest(START_MS_MAX);
  }

  async during(ms: number): Promise<void> {
    const end = this.cluster.scheduler.now + ms;
    await this.until(() => this.cluster.scheduler.now >= end, Infinity, () => '');
  }

  /** Until every range serves and no operation is under way, which is to come within so long. */
  async rest(ms = REST_MS_MAX): Promise<void> {
    const why = (): string | undefined => this.invariants.restlessness();
    await this.until(() => why() === undefined, ms, why);
  }

  /** Ends the clients; then every key can be read, and some order of all that was done explains what they saw, and copies are alike. */
  async judge(): Promise<void> {
    const { clients } = this;
    clients.stop();
    await this.until(() => clients.idle, READ_MS_MAX, () => 'a request got no answer');
    let left = KEYS.length;
    for (const key of KEYS) {
      void clients.readSurely(key).then(() => {
        left--;
      });
    }
    await this.until(() => left === 0, READ_MS_MAX, () => `${left} keys cannot be read`);
    for (const key of this.oracle.keys()) this.judgeKey(key);
    this.judgeLogs();
    await this.judgeCopies();
    await this.verify();
  }

  private async verify(): Promise<void> {
    const over = { is: false };
    void this.verifications.compareAll().then(() => {
      over.is = true;
    });
    await this.until(() => over.is, VERIFY_MS_MAX, () => 'copies are compared without end');
  }

  /** What is on its way to followers gets there; then copies in sync are alike. */
  private async judgeCopies(): Promise<void> {
    const { scheduler } = this.cluster;
    const end = scheduler.now + READ_MS_MAX;
    await this.until(() => scheduler.now >= end || this.invariants.difference() === undefined, Infinity, () => '');
    const difference = this.invariants.difference();
    if (difference !== undefined) throw new Violation(3, difference);
  }

  /** No two writes have the same value: one that is in a log twice was applied twice. */
  private judgeLogs(): void {
    for (const [name, { durable }] of this.cluster.disks) {
      for (const range of durable.loggedRanges()) {
        const seen = new Map<string, number>();
        for (const { key, value, offset } of durable.readLog(range, 0, Infinity)) {
          if (value === undefined || key.length === 0) continue;
          const before = seen.get(value.toString());
          if (before !== undefined) throw new Violation(3, `the log of R${range} on ${name} has write ${value.toString()} twice, at ${before} and ${offset}`);
          seen.set(value.toString(), offset);
        }
      }
    }
  }

  private judgeKey(key: string): void {
    const writes = (this.oracle.writes.get(key) ?? []).filter(({ outcome }) => outcome !== 'failed');
    const reads = (this.oracle.reads.get(key) ?? []).filter(({ outcome }) => outcome === 'done');
    const history: RegisterOp[] = [...writes.map((op) => ({ ...op, kind: 'write' as const })), ...reads.map((op) => ({ ...op, kind: 'read' as const }))];
    if (!isLinearizable(history)) throw new Violation(3, `no order of its operations explains what clients read of key ${key}`);
  }

  /** Steps until something holds; after `ms` without it, `why` is what is wrong. */
  async until(holds: () => boolean, ms: number, why: () => string | undefined): Promise<void> {
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
}
