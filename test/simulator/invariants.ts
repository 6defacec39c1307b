import { Keyspace } from '../../controller/keyspace/keyspace.js';
import { coverageProblem } from '../../controller/keyspace/keyspace.js';
import { type Interval, containsKey, formatInterval, overlaps } from '../../model/interval.js';
import { keyFromText } from '../../model/key.js';
import { type RangeId, formatRange } from '../../model/range.js';
import type { Copy } from '../../node/range/copy.js';
import { DRIFT } from '../../node/range/replicas.js';
import type { KvNode } from '../../node/node.js';
import { KEYS } from './clients.js';
import type { Cluster } from './cluster.js';
import type { Oracle } from './oracle.js';

/** What a run is judged by; the numbers are those of docs/operations/. */
export class Violation extends Error {
  constructor(
    readonly invariant: 1 | 2 | 3 | 4 | 5 | 7 | 8 | 9,
    message: string,
  ) {
    super(`invariant ${invariant}: ${message}`);
    this.name = 'Violation';
  }
}

interface Holder extends Interval {
  readonly copy: string;
}

/** The invariants that hold at any moment, looked at after every step. */
export class Invariants {
  private readonly diskVersions = new Map<string, number>();
  private readonly fences = new Map<string, number>();
  private readonly epochs = new Map<RangeId, number>();
  private readonly admitting = new Set<Copy>();
  private readonly forks: (Interval & { readonly fork: number })[] = [];
  private documentsVersion = 0;

  constructor(
    private readonly cluster: Cluster,
    private readonly oracle: Oracle,
  ) {}

  async check(): Promise<void> {
    this.checkWriters();
    this.checkDisks();
    if (this.cluster.coordination.version !== this.documentsVersion) {
      this.documentsVersion = this.cluster.coordination.version;
      await this.checkKeyspace();
    }
  }

  /** 1, and 4 at the moment when a copy begins to serve. */
  private checkWriters(): void {
    const active: Holder[] = [];
    for (const [process, node] of this.cluster.nodes) {
      for (const copy of node.copies.all()) {
        if (!copy.admitting || copy.replication?.mayRead === false) {
          this.admitting.delete(copy);
          continue;
        }
        this.checkLeases(copy, process.name);
        active.push({ start: copy.meta.start, end: copy.meta.end, copy: `R${copy.meta.id}@${process.name}` });
        if (this.admitting.has(copy)) continue;
        this.admitting.add(copy);
        this.checkServed(node, copy, process.name);
      }
    }
    const problem = firstOverlap(active);
    if (problem) throw new Violation(1, `${problem.a.copy} and ${problem.b.copy} both take writes of ${formatInterval(problem.b)}`);
  }

  /** 1: whoever reads by leases has them of followers who still hold to them, drift allowed for. */
  private checkLeases(copy: Copy, name: string): void {
    for (const { member } of copy.replication?.report() ?? []) {
      if (copy.replication?.isWaitedFor(member) !== true) continue;
      for (const [process, node] of this.cluster.nodes) {
        if (process.name !== member.node || node.sources.storage.incarnation !== member.incarnation) continue;
        const until = node.copies.get(copy.meta.id)?.follower.grantedUntil ?? 0;
        const { leaseMs } = node.sources.replicas;
        if (until === 0 || process.clock.now() <= until + leaseMs * DRIFT) continue;
        throw new Violation(1, `R${copy.meta.id}@${name} reads by a lease of ${member.node}, which is over there`);
      }
    }
  }

  /** What was acknowledged is there when a copy begins to serve. */
  private checkServed(node: KvNode, copy: Copy, name: string): void {
    const mine = KEYS.filter((key) => containsKey(copy.meta, keyFromText(key)));
    const values = mine.map((key) => node.sources.storage.get(Buffer.from(key))?.value.toString());
    const must = mine.filter((key) => this.oracle.mustExist(key));
    const where = `${formatRange(copy.meta)} on ${name}`;
    if (must.length > 0 && values.every((value) => value === undefined)) {
      throw new Violation(4, `${where} held data, and is served empty: ${must.join(' ')} are gone`);
    }
    for (const [i, key] of mine.entries()) {
      const problem = this.oracle.problem(key, values[i]);
      if (problem !== undefined) throw new Violation(3, `${where} begins to serve, but ${problem}`);
    }
  }

  /** 1 on the disks: the right to write a key is on one of them at most. 7 there: fences only rise. */
  private checkDisks(): void {
    let changed = false;
    for (const [name, disk] of this.cluster.disks) {
      if (this.diskVersions.get(name) === disk.version) continue;
      this.diskVersions.set(name, disk.version);
      changed = true;
      for (const [range, epoch] of disk.durable.fences()) {
        const before = this.fences.get(`${disk.durable.incarnation} ${range}`) ?? 0;
        if (epoch < before) throw new Violation(7, `the fence of R${range} on ${name} fell from ${before} to ${epoch}`);
        this.fences.set(`${disk.durable.incarnation} ${range}`, epoch);
      }
      const doomed = disk.durable.copies().find(({ damaged }) => damaged === true);
      if (doomed) throw new Violation(9, `the copy of R${doomed.meta.id} on ${name} is condemned, and nothing damaged it`);
    }
    if (!changed) return;
    const owned: Holder[] = [];
    for (const [name, disk] of this.cluster.disks) {
      for (const { meta, owned: spans, logEpoch } of disk.durable.copies()) {
        // What a fail-over left behind counts for nothing.
        if (this.isVoid(meta, logEpoch)) continue;
        for (const span of spans) owned.push({ start: span.start, end: span.end, copy: `R${meta.id}@${name}` });
      }
    }
    const problem = firstOverlap(owned);
    if (problem) throw new Violation(1, `the right to write ${formatInterval(problem.b)} is on disk twice: of ${problem.a.copy} and of ${problem.b.copy}`);
  }

  /** 2 and 7, of what is persisted. */
  private async checkKeyspace(): Promise<void> {
    const documents = await this.cluster.coordination.documents();
    if (documents.size === 0) return;
    let keyspace: Keyspace;
    try {
      keyspace = Keyspace.load(documents);
    } catch (thrown) {
      throw new Violation(2, thrown instanceof Error ? thrown.message : String(thrown));
    }
    const problem = coverageProblem(keyspace.leaves());
    if (problem !== undefined) throw new Violation(2, problem);
    for (const range of keyspace.values()) {
      const before = this.epochs.get(range.id) ?? 0;
      if (range.epoch < before) throw new Violation(7, `the persisted epoch of R${range.id} fell from ${before} to ${range.epoch}`);
      this.epochs.set(range.id, range.epoch);
    }
    this.noteForks(keyspace);
    this.checkMembers(keyspace);
    const wanted = [...keyspace.values()].map((range) => range.placements.filter((p) => p.state === 'Active').length);
    if (wanted.some((count) => count > 1)) throw new Violation(1, 'a range is to be active in two places');
  }

  private noteForks(keyspace: Keyspace): void {
    for (const { start, end, fork } of keyspace.values()) if (fork > 0) this.forks.push({ start, end, fork });
  }

  /** A fail-over of these keys went past what was activated then. */
  private isVoid(meta: Interval, logEpoch: number): boolean {
    return this.forks.some((fork) => overlaps(fork, meta) && logEpoch < fork.fork);
  }

  /** 8: every copy that the controller counts as in sync is one that the primary waits for. */
  private checkMembers(keyspace: Keyspace): void {
    for (const range of keyspace.values()) {
      const primary = range.placements.find(({ index }) => index === range.primary);
      const disk = primary && this.cluster.disks.get(primary.node);
      const record = disk?.durable.copies().find(({ meta }) => meta.id === range.id);
      if (!primary || record?.state !== 'Active' || disk?.durable.incarnation !== primary.incarnation || record.logEpoch < range.fork) continue;
      const kept = record.replica?.members ?? [];
      for (const { index, node, incarnation } of range.placements) {
        if (index === primary.index || !range.insync.includes(index)) continue;
        if (kept.some((member) => member.node === node && member.incarnation === incarnation)) continue;
        throw new Violation(8, `P${index}@${node} counts as in sync with ${formatRange(range)}, and the primary on ${primary.node} waits only for ${kept.map((member) => member.node).join(' ') || 'nobody'} (epoch ${record.replica?.epoch ?? 0} of ${range.epoch})`);
      }
    }
  }

  /** A key of which copies in sync do not have the same, now that nobody writes; undefined when all are alike. */
  difference(): string | undefined {
    for (const range of this.cluster.leader?.keyspace.values() ?? []) {
      const members = range.placements.filter(({ index }) => index === range.primary || range.insync.includes(index));
      for (const key of KEYS.filter((name) => containsKey(range, keyFromText(name)))) {
        const stored = members.map(({ node }) => {
          const found = this.cluster.disks.get(node)?.durable.get(Buffer.from(key));
          return `${node} has ${found ? `${found.value.toString()} of ${found.epoch}/${found.offset}` : 'nothing'}`;
        });
        const kinds = new Set(stored.map((text) => text.slice(text.indexOf(' '))));
        if (kinds.size > 1) return `copies in sync with ${formatRange(range)} differ in key ${key}: ${stored.join(', ')}`;
      }
    }
    return undefined;
  }

  /** Why the cluster has not come to rest; undefined when it has. */
  restlessness(): string | undefined {
    const controller = this.cluster.leader;
    if (!controller) return 'no controller leads';
    const { keyspace } = controller;
    const problem = coverageProblem(keyspace.leaves());
    if (problem !== undefined) return problem;
    if (controller.runningOperations > 0) {
      const waiting = [...keyspace.values()].flatMap(({ id }) => controller.waiting(id)?.because ?? []);
      return `${controller.runningOperations} operations run: ${waiting.join('; ') || 'no reason is given'}`;
    }
    for (const range of keyspace.values()) {
      if (range.state === 'Obsolete' && range.placements.length === 0) continue;
      const text = `${formatRange(range)} is ${range.state}: ${range.placements.map((p) => `${p.state}@${p.node}${p.failed === undefined ? '' : ` (${p.failed})`}`).join(' ')}`;
      const only = range.placements.find(({ index }) => index === range.primary);
      const others = range.placements.filter(({ index }) => index !== range.primary);
      const isWhole = others.length === this.cluster.replicas - 1 && others.every(({ state, index }) => state === 'Inactive' && (this.cluster.replicas === 1 || range.insync.includes(index)));
      const because = controller.waiting(range.id)?.because ?? 'no reason is given';
      if (range.state !== 'Active' || !only || !isWhole || only.state !== 'Active') return `${text}: ${because}`;
      const serves = [...this.cluster.nodes].some(([process, node]) => process.name === only.node && node.copies.get(range.id)?.admitting === true);
      if (!serves) return `${text}, but does not serve: ${because}`;
    }
    const [stray] = controller.problems;
    return stray && `a copy is left over: ${stray.because}`;
  }
}

function firstOverlap(spans: Holder[]): { readonly a: Holder; readonly b: Holder } | undefined {
  spans.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  for (let i = 1; i < spans.length; i++) {
    const a = spans[i - 1] as Holder;
    const b = spans[i] as Holder;
    if (overlaps(a, b)) return { a, b };
  }
  return undefined;
}
