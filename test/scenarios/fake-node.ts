import { type Interval, formatInterval, intersection, subtract } from '../../model/interval.js';
import { type Key, keyFromText } from '../../model/key.js';
import type { NodeIdent, RangeId, RangeMeta } from '../../model/range.js';
import { type Member, NO_LOAD, type Parent, type RangeInfo } from '../../model/report.js';
import { type Command, type RemoteState, remoteTransition } from '../../model/states.js';
import type { WantedCommand } from '../../controller/orchestrator/types.js';
import { type Replica, apply, listen, newReplica, prepared, replicaInfo, ship, takeMembership } from './fake-replica.js';

/** What a node keeps of a range on its disk, and what it is doing with it. */
export interface FakeCopy {
  readonly meta: RangeMeta;
  state: RemoteState;
  epoch: number;
  /** The parts of its keys that it has the right to write. */
  token: Interval[];
  /** The newest value of each key that it has. */
  readonly data: Map<Key, number>;
  lastError: string;
  readonly replica: Replica;
}

export function newCopy(meta: RangeMeta, more: Partial<FakeCopy> = {}): FakeCopy {
  return { meta, state: 'Inactive', epoch: 0, token: [], data: new Map(), lastError: '', replica: newReplica(), ...more };
}

/** What a fake node sees of the world around it. */
export interface Around {
  readonly nowMs: () => number;
  readonly nodes: () => readonly FakeNode[];
}

const ALONE: Around = { nowMs: () => 0, nodes: () => [] };

export type Outcome = { readonly state: RemoteState } | { readonly error: string };

/** The keys that clients write, one in each part that scenarios make. */
export const PROBES: readonly Key[] = ['a', 'h', 'm', 't'].map((text) => keyFromText(text));

/**
 * A storage node as the controller sees one: the remote state table, epoch fences,
 * and the write token with the data behind it.
 */
export class FakeNode {
  readonly copies = new Map<RangeId, FakeCopy>();
  /** Ranges that went since the last report. */
  readonly forgotten: RangeInfo[] = [];
  private readonly fences = new Map<RangeId, number>();
  incarnation: string;
  up = true;
  frozen = false;
  wantDrain = false;
  /** No controller ever commanded it: it was a primary or a replica by itself. */
  isStatic = false;
  /** Its followers fetch nothing. */
  lags = false;
  /** No other node hears it, nor it them; the controller does. */
  cutOff = false;
  /** Requests a second, of every range here. */
  readonly load = new Map<RangeId, number>();

  constructor(
    readonly ident: NodeIdent,
    /** Reaches another node by its address; undefined when it is away. */
    private readonly dial: (address: string) => FakeNode | undefined,
    private readonly around: Around = ALONE,
  ) {
    this.incarnation = `${ident}-disk-1`;
  }

  get address(): string {
    return `host:${this.ident}`;
  }

  get member(): Member {
    return { node: this.ident, incarnation: this.incarnation, address: this.address };
  }

  get isRunning(): boolean {
    return this.up && !this.frozen;
  }

  get nowMs(): number {
    return this.around.nowMs();
  }

  peers(): readonly FakeNode[] {
    return this.around.nodes();
  }

  /** What goes on between nodes by itself. */
  pump(): void {
    if (!this.isRunning) return;
    for (const copy of this.copies.values()) {
      ship(this, copy);
      listen(this, copy);
    }
  }

  info(copy: FakeCopy): RangeInfo {
    return {
      meta: copy.meta,
      state: copy.state,
      load: { ...NO_LOAD, readsPerSecond: this.load.get(copy.meta.id) ?? 0 },
      epoch: copy.epoch,
      progress: undefined,
      lastError: copy.lastError,
      serving: subtract(copy.meta, copy.token).length === 0,
      replica: replicaInfo(this, copy),
    };
  }

  /** Begins a command; `finish` ends it. What is answered by then is the state in between. */
  begin(command: WantedCommand): Outcome {
    const { id } = command.range;
    const fence = this.fences.get(id) ?? 0;
    if (command.epoch < fence) return { error: `epoch ${command.epoch} is older than ${fence}` };
    this.fences.set(id, command.epoch);
    this.isStatic = false;
    const copy = this.copies.get(id);
    const row = remoteTransition(command.command);
    const state = copy?.state ?? 'NotFound';
    if (state === row.done || state === row.via) {
      if (copy) {
        copy.epoch = command.epoch;
        this.repeat(command, copy);
      }
      return { state };
    }
    if (state !== row.from) return { error: `R${id} is ${state}` };
    if (copy) {
      copy.state = row.via;
      copy.epoch = command.epoch;
      copy.lastError = '';
    } else {
      this.copies.set(id, newCopy(command.range, { state: row.via, epoch: command.epoch }));
    }
    return { state: row.via };
  }

  /** Does the work of a command that was begun. */
  finish(command: WantedCommand, refusal?: string): Outcome {
    const copy = this.copies.get(command.range.id);
    const row = remoteTransition(command.command);
    if (copy?.state !== row.via) return { state: copy?.state ?? 'NotFound' };
    const error = refusal ?? this.work(command, copy);
    const state = error === undefined ? row.done : row.failed;
    copy.state = state;
    copy.lastError = error ?? '';
    if (state === 'NotFound') {
      this.copies.delete(command.range.id);
      this.forgotten.push(this.info(copy));
    }
    return error === undefined ? { state } : { error };
  }

  /** The process is killed: what was under way is undone, what is on disk stays. */
  crash(): void {
    this.up = false;
    for (const [id, copy] of this.copies) {
      const row = (['Prepare', 'Activate', 'Deactivate', 'Drop'] as Command[]).map(remoteTransition).find((r) => r.via === copy.state);
      if (!row) continue;
      copy.state = row.failed;
      if (copy.state === 'NotFound') this.copies.delete(id);
    }
  }

  loseDisk(): void {
    this.copies.clear();
    this.fences.clear();
    this.isStatic = false;
    this.incarnation = `${this.incarnation}+`;
  }

  /** Runs on another's disk from now on. */
  takeDiskOf(other: FakeNode): void {
    this.copies.clear();
    this.fences.clear();
    for (const [id, copy] of other.copies) this.copies.set(id, copy);
    for (const [id, fence] of other.fences) this.fences.set(id, fence);
    this.incarnation = other.incarnation;
    other.loseDisk();
  }

  /** A command to a copy that is where it leads already brings what it says. */
  private repeat(command: WantedCommand, copy: FakeCopy): void {
    if (command.command === 'Prepare') this.follow(command, copy);
    if (command.command === 'Activate' && command.membership && copy.state === 'Active' && command.epoch > copy.replica.configEpoch) {
      takeMembership(this, copy, command.membership, command.epoch);
    }
  }

  /** Follows the active copy of its own range; rights to write from before a fork are void. */
  private follow(command: WantedCommand, copy: FakeCopy): void {
    const own = command.parents.find((parent) => parent.range.id === copy.meta.id);
    const active = own?.placements.find((p) => p.state === 'Active' && p.node !== this.address);
    const { replica } = copy;
    replica.fork = Math.max(replica.fork, command.membership?.fork ?? 0);
    if (replica.logEpoch < replica.fork) copy.token = [];
    if (!active) return;
    if (replica.source !== active.node) replica.lostSinceMs = undefined;
    replica.source = active.node;
  }

  private work(command: WantedCommand, copy: FakeCopy): string | undefined {
    switch (command.command) {
      case 'Prepare':
        return this.prepare(command, copy);
      case 'Activate':
        return this.activate(command, copy);
      case 'Deactivate':
        return undefined;
      case 'Drop':
        return command.force !== true && copy.token.length > 0 && copy.data.size > 0
          ? `BROKEN: R${copy.meta.id} on ${this.ident} is dropped with the only data of ${copy.token.map(formatInterval).join(' ')}`
          : undefined;
    }
  }

  private prepare(command: WantedCommand, copy: FakeCopy): string | undefined {
    if (command.initial) return undefined;
    const source = this.sources(command.parents, copy).find(({ copy: from }) => from.state === 'Active');
    if (source) this.follow(command, copy);
    return source ? undefined : 'there is nothing to fetch from';
  }

  private activate(command: WantedCommand, copy: FakeCopy): string | undefined {
    if (command.initial && copy.token.length === 0 && copy.data.size === 0) copy.token = [copy.meta];
    if (command.membership) copy.replica.fork = Math.max(copy.replica.fork, command.membership.fork);
    if (command.membership?.promote === true) this.promote(command, copy);
    for (const { copy: from, fence, fork } of this.sources(command.parents, copy)) {
      const missing = subtract(copy.meta, copy.token);
      const wanted = missing.flatMap((part) => from.token.flatMap((held) => intersection(part, held) ?? []));
      if (wanted.length === 0) continue;
      // A fail-over went past what it was active for.
      if (from.replica.logEpoch < (fork ?? 0)) continue;
      if (from.state !== 'Inactive') return `R${from.meta.id} is still ${from.state}`;
      if (command.epoch < fence) return `R${from.meta.id} has seen epoch ${fence}, which is newer than ${command.epoch}`;
      handOver(from, copy, wanted);
    }
    const missing = subtract(copy.meta, copy.token);
    if (missing.length > 0) return `nobody hands over ${missing.map(formatInterval).join(' ')}`;
    copy.replica.logEpoch = command.epoch;
    copy.replica.servesFrom = copy.replica.log.length;
    copy.replica.source = '';
    if (command.membership) takeMembership(this, copy, command.membership, command.epoch);
    return undefined;
  }

  /** The right to write from its own log, to which belongs what the copies beside it have that it was made from. */
  private promote(command: WantedCommand, copy: FakeCopy): void {
    if (subtract(copy.meta, copy.token).length === 0) return;
    if (copy.replica.logEpoch === 0) {
      const beside = command.parents.flatMap((parent) => (parent.range.id === copy.meta.id ? [] : (this.copies.get(parent.range.id) ?? [])));
      for (const from of beside) take(from, copy, [copy.meta]);
    }
    copy.token = [copy.meta];
  }

  private sources(parents: readonly Parent[], self: FakeCopy): { copy: FakeCopy; fence: number; fork: number | undefined }[] {
    return parents.flatMap((parent) =>
      parent.placements.flatMap(({ node }) => {
        const holder = node === this.address ? this : this.dial(node);
        const copy = holder?.copies.get(parent.range.id);
        return holder && copy && copy !== self ? [{ copy, fence: holder.fences.get(parent.range.id) ?? 0, fork: parent.fork }] : [];
      }),
    );
  }
}

function handOver(from: FakeCopy, to: FakeCopy, parts: readonly Interval[]): void {
  from.token = from.token.flatMap((held) => subtract(held, parts));
  to.token = [...to.token, ...parts];
  take(from, to, parts);
}

/** The end of its log: a copy of the same range takes it as it is, another one what is in its keys. */
function take(from: FakeCopy, to: FakeCopy, parts: readonly Interval[]): void {
  if (from.meta.id === to.meta.id && from.replica.log.length > 0) {
    to.replica.base = from.replica.base;
    to.replica.log = from.replica.log;
    to.replica.committed = from.replica.committed;
    apply(to);
    return;
  }
  const base = prepared(to);
  for (const [key, value] of prepared(from)) {
    if (parts.some((part) => intersection(part, { start: key, end: (key + '\0') as Key }))) base.set(key, value);
  }
  to.replica.base = base;
  to.replica.log = [];
  to.replica.committed = 0;
  apply(to);
}
