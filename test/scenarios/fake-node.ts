import { type Interval, formatInterval, intersection, subtract } from '../../model/interval.js';
import { type Key, keyFromText } from '../../model/key.js';
import type { NodeIdent, RangeId, RangeMeta } from '../../model/range.js';
import { NO_LOAD, type Parent, type RangeInfo } from '../../model/report.js';
import { type Command, type RemoteState, remoteTransition } from '../../model/states.js';
import type { WantedCommand } from '../../controller/orchestrator/types.js';

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
}

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
  /** Requests a second, of every range here. */
  readonly load = new Map<RangeId, number>();

  constructor(
    readonly ident: NodeIdent,
    /** Reaches another node by its address; undefined when it is away. */
    private readonly dial: (address: string) => FakeNode | undefined,
  ) {
    this.incarnation = `${ident}-disk-1`;
  }

  get address(): string {
    return `host:${this.ident}`;
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
    };
  }

  /** Begins a command; `finish` ends it. What is answered by then is the state in between. */
  begin(command: WantedCommand): Outcome {
    const { id } = command.range;
    const fence = this.fences.get(id) ?? 0;
    if (command.epoch < fence) return { error: `epoch ${command.epoch} is older than ${fence}` };
    this.fences.set(id, command.epoch);
    const copy = this.copies.get(id);
    const row = remoteTransition(command.command);
    const state = copy?.state ?? 'NotFound';
    if (state === row.done || state === row.via) {
      if (copy) copy.epoch = command.epoch;
      return { state };
    }
    if (state !== row.from) return { error: `R${id} is ${state}` };
    if (copy) {
      copy.state = row.via;
      copy.epoch = command.epoch;
      copy.lastError = '';
    } else {
      this.copies.set(id, { meta: command.range, state: row.via, epoch: command.epoch, token: [], data: new Map(), lastError: '' });
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
    this.incarnation = `${this.incarnation}+`;
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
    return source ? undefined : 'there is nothing to fetch from';
  }

  private activate(command: WantedCommand, copy: FakeCopy): string | undefined {
    if (command.initial && copy.token.length === 0 && copy.data.size === 0) copy.token = [copy.meta];
    for (const { copy: from, fence } of this.sources(command.parents, copy)) {
      const missing = subtract(copy.meta, copy.token);
      const wanted = missing.flatMap((part) => from.token.flatMap((held) => intersection(part, held) ?? []));
      if (wanted.length === 0) continue;
      if (from.state !== 'Inactive') return `R${from.meta.id} is still ${from.state}`;
      if (command.epoch < fence) return `R${from.meta.id} has seen epoch ${fence}, which is newer than ${command.epoch}`;
      handOver(from, copy, wanted);
    }
    const missing = subtract(copy.meta, copy.token);
    return missing.length === 0 ? undefined : `nobody hands over ${missing.map(formatInterval).join(' ')}`;
  }

  private sources(parents: readonly Parent[], self: FakeCopy): { copy: FakeCopy; fence: number }[] {
    return parents.flatMap((parent) =>
      parent.placements.flatMap(({ node }) => {
        const holder = node === this.address ? this : this.dial(node);
        const copy = holder?.copies.get(parent.range.id);
        return holder && copy && copy !== self ? [{ copy, fence: holder.fences.get(parent.range.id) ?? 0 }] : [];
      }),
    );
  }
}

function handOver(from: FakeCopy, to: FakeCopy, parts: readonly Interval[]): void {
  from.token = from.token.flatMap((held) => subtract(held, parts));
  to.token = [...to.token, ...parts];
  for (const [key, value] of from.data) {
    if (parts.some((part) => intersection(part, { start: key, end: (key + '\0') as Key }))) to.data.set(key, value);
  }
}
