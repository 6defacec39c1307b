import type { Change } from '../../coordination/interfaces.js';
import { type Interval, EVERYTHING, compareEnds, formatInterval } from '../../model/interval.js';
import { NO_KEY } from '../../model/key.js';
import { type NodeIdent, type RangeId, formatRange } from '../../model/range.js';
import { AppError } from '../../runtime/errors.js';
import { documentKey, parseDocument, printDocument } from './document.js';
import { type PlacementRecord, type RangeRecord, isWanted, newRange } from './record.js';
import { NODE_DOCUMENTS, NO_WISH, type NodeWish, type WishChange, isEmptyWish, parseWish, printWish, wishKey } from './wish.js';

/** A record's new value, or its removal. */
export interface RecordChange {
  readonly id: RangeId;
  readonly record: RangeRecord | undefined;
}

/**
 * Changes that are written together or not at all. A `deferrable` group only notes
 * what was seen: after a crash it would be seen again, so commands need not wait
 * until it is on disk.
 */
export interface ChangeGroup {
  readonly changes: readonly RecordChange[];
  readonly wishes?: readonly WishChange[];
  readonly deferrable: boolean;
}

export interface KeyspaceView {
  get(id: RangeId): RangeRecord | undefined;
}

const NOTHING: ReadonlySet<RangeId> = new Set();

/**
 * The desired state: every range by id. Records are values; the map around them is
 * changed in place, since it may hold a hundred thousand of them.
 */
export class Keyspace implements KeyspaceView {
  private readonly records = new Map<RangeId, RangeRecord>();
  private readonly nodes = new Map<NodeIdent, Set<RangeId>>();
  private readonly homeless = new Set<RangeId>();
  private readonly repairs = new Set<RangeId>();
  private readonly wishes = new Map<NodeIdent, NodeWish>();
  private highest = 0;

  constructor(records: Iterable<RangeRecord> = []) {
    for (const record of records) this.set(record);
  }

  static load(documents: ReadonlyMap<string, string>): Keyspace {
    const records: RangeRecord[] = [];
    const wishes: WishChange[] = [];
    for (const [key, text] of documents) {
      if (key.startsWith(NODE_DOCUMENTS)) wishes.push(parseWish(key, text));
      else records.push(parseDocument(key, text));
    }
    const keyspace = new Keyspace(records);
    keyspace.applyWishes(wishes);
    const problem = coverageProblem(keyspace.leaves());
    if (records.length > 0 && problem !== undefined) {
      throw new AppError('DATA_LOSS', `the persisted ranges do not cover every key exactly once: ${problem}`);
    }
    return keyspace;
  }

  get(id: RangeId): RangeRecord | undefined {
    return this.records.get(id);
  }

  get size(): number {
    return this.records.size;
  }

  /**
   * No range ever had this id. The record of the highest id is never removed
   * (see {@link isPrunable}), so this holds after history was pruned too.
   */
  get nextId(): RangeId {
    return this.highest + 1;
  }

  /** The epoch of the log that this cluster began with, taken over from a static primary; 0 when it began empty. All ranges descend from the first one. */
  get adopted(): number {
    for (const { adopted } of this.records.values()) return adopted;
    return 0;
  }

  ids(): IterableIterator<RangeId> {
    return this.records.keys();
  }

  values(): IterableIterator<RangeRecord> {
    return this.records.values();
  }

  sorted(): RangeRecord[] {
    return [...this.records.values()].sort((a, b) => a.id - b.id);
  }

  /** The ranges that hold, or are to hold, the keys: by start. */
  leaves(): RangeRecord[] {
    return [...this.records.values()]
      .filter((r) => isLeaf(r, this))
      .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  }

  /** The ranges with a placement on the node, whatever its state. */
  on(node: NodeIdent): ReadonlySet<RangeId> {
    return this.nodes.get(node) ?? NOTHING;
  }

  /** Every node that ranges are placed on, with the ranges. */
  placed(): ReadonlyMap<NodeIdent, ReadonlySet<RangeId>> {
    return this.nodes;
  }

  /** The ranges without a placement, which wait for any node. */
  get unplaced(): ReadonlySet<RangeId> {
    return this.homeless;
  }

  /** The ranges of which a copy is being made, so that none is missing. */
  get repairing(): ReadonlySet<RangeId> {
    return this.repairs;
  }

  /** What operators want of a node. */
  wish(node: NodeIdent): NodeWish {
    return this.wishes.get(node) ?? NO_WISH;
  }

  /** The nodes of which operators want something. */
  wished(): ReadonlyMap<NodeIdent, NodeWish> {
    return this.wishes;
  }

  applyWishes(changes: readonly WishChange[]): void {
    for (const { node, wish } of changes) {
      if (isEmptyWish(wish)) this.wishes.delete(node);
      else this.wishes.set(node, wish);
    }
  }

  apply(changes: readonly RecordChange[]): void {
    for (const { id, record } of changes) {
      if (record) this.set(record);
      else this.remove(id);
    }
  }

  private set(record: RangeRecord): void {
    this.unindex(record.id);
    this.records.set(record.id, record);
    this.highest = Math.max(this.highest, record.id);
    if (record.state === 'Active' && record.placements.length === 0) this.homeless.add(record.id);
    if (record.placements.some((placement) => isRepair(record, placement))) this.repairs.add(record.id);
    for (const { node } of record.placements) {
      const ids = this.nodes.get(node);
      if (ids) ids.add(record.id);
      else this.nodes.set(node, new Set([record.id]));
    }
  }

  private remove(id: RangeId): void {
    this.unindex(id);
    this.records.delete(id);
  }

  private unindex(id: RangeId): void {
    this.homeless.delete(id);
    this.repairs.delete(id);
    for (const { node } of this.records.get(id)?.placements ?? []) {
      const ids = this.nodes.get(node);
      ids?.delete(id);
      if (ids?.size === 0) this.nodes.delete(node);
    }
  }
}

/**
 * A range that answers for its keys. While a split or join is under way these are
 * the parents: it may still be taken back.
 */
export function isLeaf(range: RangeRecord, keyspace: KeyspaceView): boolean {
  if (range.state === 'Obsolete') return false;
  return range.state === 'Subsuming' || !isUnderWay(range, keyspace);
}

/** A child whose parents have not given way yet. */
export function isUnderWay(range: RangeRecord, keyspace: KeyspaceView): boolean {
  return range.state === 'Active' && range.parents.some((id) => keyspace.get(id)?.state === 'Subsuming');
}

/** History that nothing needs any more. */
export function isPrunable(range: RangeRecord, nextId: RangeId): boolean {
  return range.state === 'Obsolete' && range.placements.length === 0 && range.id !== nextId - 1;
}

/** It is being copied, to be one more follower. */
function isRepair(range: RangeRecord, placement: PlacementRecord): boolean {
  return range.state === 'Active' && range.established && placement.state === 'Pending' && placement.replaces === undefined && placement.index !== range.primary && isWanted(placement);
}

export function firstRange(): RangeRecord {
  return newRange({ id: 1, ...EVERYTHING });
}

export function toPersisted(changes: readonly RecordChange[]): Change[] {
  return changes.map(({ id, record }) => ({
    key: documentKey({ id }),
    value: record ? printDocument(record) : undefined,
  }));
}

export function wishesToPersisted(changes: readonly WishChange[]): Change[] {
  return changes.map((change) => ({ key: wishKey(change.node), value: isEmptyWish(change.wish) ? undefined : printWish(change) }));
}

/** Why `ranges`, by start, do not hold every key exactly once; undefined when they do. */
export function coverageProblem(leaves: readonly RangeRecord[]): string | undefined {
  let reached: Interval = { start: NO_KEY, end: NO_KEY };
  let before: RangeRecord | undefined;
  for (const range of leaves) {
    if (!before) {
      if (range.start !== NO_KEY) return `nothing holds ${formatInterval({ start: NO_KEY, end: range.start })}`;
    } else if (reached.end === NO_KEY || reached.end > range.start) {
      return `${formatRange(before)} and ${formatRange(range)} overlap`;
    } else if (reached.end < range.start) {
      return `nothing holds ${formatInterval({ start: reached.end, end: range.start })}`;
    }
    reached = range;
    before = range;
  }
  if (!before) return 'there is no range';
  return compareEnds(before.end, NO_KEY) === 0 ? undefined : `nothing holds ${formatInterval({ start: before.end, end: NO_KEY })}`;
}
