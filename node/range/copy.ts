import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { RangeMeta } from '../../model/range.js';
import { type AppError, assert } from '../../runtime/errors.js';
import type { CopyRecord, LogOrigin } from '../storage/copy-record.js';
import type { Replication } from './replication.js';
import { coversSpan } from './span-set.js';
import type { WriteIds } from './write-ids.js';

interface Waiting {
  readonly offset: number;
  readonly done: (error: AppError | undefined) => void;
}

/**
 * One copy of a range on this node: what is durable of it (`record`), and what this
 * process adds. Changes to the record go through Copies.save, which makes them
 * durable first.
 */
export class Copy {
  record: CopyRecord;
  /** In memory alone, until the first copy of the data is complete. */
  fetching: boolean;
  /** A change of `record` is on its way to the disk. */
  saving = false;
  /** Takes new writes and consistent reads. */
  admitting: boolean;
  /** The last offset given to a write, and the last one that is durable: what a restart would find. */
  lastOffset: number;
  durableOffset: number;
  /** The epoch of the record at `lastOffset`, as far as it is known. */
  lastEpoch: number;
  /** Of a primary with replicas. */
  replication: Replication | undefined;
  /** Of one that was primary with replicas, and is no more: how far it knew the log to be committed. */
  committedAtEnd: number | undefined;
  /** Of a follower: how far its source said that the log is committed, and what it granted its source. */
  readonly follower = { committed: 0, grantedUntil: 0, heardAt: 0, sourceLost: false };
  /** Of a child that has no log of its own yet: how far it had followed the logs of parents that are elsewhere. */
  fetched: readonly LogOrigin[] = [];
  /** Keys whose newest write is not committed yet, with its offset: what is stored of them may still be taken back. */
  readonly uncommitted = new Map<Key, number>();
  /** The service forgot the copy: whatever still holds it must stop. */
  gone = false;
  reads = 0;
  writes = 0;
  /** Pairs that came from a source. */
  changes = 0;
  /** Records up to here may be trimmed, so nobody can follow from below. */
  trimmedThrough: number;
  private inFlight = 0;
  /** Writes that are durable here, and wait for the members; by offset. */
  private readonly waiting: Waiting[] = [];
  private readonly watchers = new Set<() => void>();

  /** The writes of late by their ids. */
  readonly writeIds: WriteIds;

  constructor(record: CopyRecord, options: { lastOffset: number; trimmedThrough: number; fetching: boolean; writeIds: WriteIds }) {
    this.writeIds = options.writeIds;
    this.trimmedThrough = options.trimmedThrough;
    this.record = record;
    this.fetching = options.fetching;
    this.admitting = record.state === 'Active';
    this.lastOffset = options.lastOffset;
    this.durableOffset = options.lastOffset;
    this.lastEpoch = Math.max(record.baseEpoch ?? 0, record.logEpoch);
  }

  get meta(): RangeMeta {
    return this.record.meta;
  }

  /** The offset for the next write of this copy. */
  admit(): number {
    assert(this.admitting, 'a copy that admits no writes was given one');
    this.inFlight++;
    return ++this.lastOffset;
  }

  /** `count` admitted writes are durable up to `offset`, or failed: undefined. */
  settle(count: number, offset: number | undefined): void {
    this.inFlight -= count;
    this.durableOffset = Math.max(this.durableOffset, offset ?? 0);
    if (this.inFlight === 0) this.giveBack();
    this.progress();
    this.notify();
  }

  /**
   * With nothing on its way, the log ends where the disk has its end: offsets of writes that
   * failed are given anew. They would be after a restart, and then nobody may count as
   * having passed them.
   */
  private giveBack(): void {
    if (this.lastOffset === this.durableOffset) return;
    this.lastOffset = this.durableOffset;
    // What is stored of these keys is that of a write before.
    for (const [key, offset] of this.uncommitted) if (offset > this.lastOffset) this.uncommitted.set(key, this.lastOffset);
  }

  /** Every write admitted up to `offset` is committed, or failed. */
  isDecided(offset: number): boolean {
    return this.committedOffset >= Math.min(offset, this.lastOffset);
  }

  /** Every write admitted up to `offset` is on the disk here, or failed. */
  isOnDisk(offset: number): boolean {
    return this.durableOffset >= Math.min(offset, this.lastOffset);
  }

  /** Every record up to here is on every member. */
  get committedOffset(): number {
    if (this.replication) return Math.min(this.replication.committed, this.durableOffset);
    return this.committedAtEnd === undefined ? this.durableOffset : Math.min(this.committedAtEnd, this.durableOffset);
  }

  /** Up to here nothing will be taken back, as far as this copy knows. */
  get settledOffset(): number {
    const follows = this.record.state === 'Inactive' && this.record.links.some(({ range }) => range === this.meta.id);
    return follows ? Math.min(this.follower.committed, this.durableOffset) : this.committedOffset;
  }

  /** Calls back once everything up to `offset`, which is durable here, is committed, or is given up. */
  whenCommitted(offset: number, done: (error: AppError | undefined) => void): void {
    if (offset <= this.committedOffset) done(undefined);
    else this.waiting.push({ offset, done });
  }

  /** Looks again how far the log is committed. */
  progress(): void {
    this.replication?.advance(this.durableOffset);
    const committed = this.committedOffset;
    while (this.waiting[0] && this.waiting[0].offset <= committed) this.waiting.shift()?.done(undefined);
    for (const [key, offset] of this.uncommitted) {
      // In the order of their offsets.
      if (offset > committed) break;
      this.uncommitted.delete(key);
    }
  }

  /** Nobody here will learn any more what became of the writes that wait. */
  giveUp(error: AppError): void {
    for (const { done } of this.waiting.splice(0)) done(error);
  }

  /** Takes note of a write of `key` that may yet be taken back. */
  begin(key: Key, offset: number): void {
    this.uncommitted.delete(key);
    this.uncommitted.set(key, offset);
  }

  /** True when what is stored of the key is sure to stay. */
  isSettled(key: Key): boolean {
    if (this.uncommitted.size === 0) return true;
    const offset = this.uncommitted.get(key);
    return offset === undefined || offset <= this.committedOffset;
  }

  /** Sets where the log ends, for a copy that follows or has just taken over. */
  advance(offset: number): void {
    this.lastOffset = Math.max(this.lastOffset, offset);
    this.durableOffset = Math.max(this.durableOffset, offset);
    this.progress();
    this.notify();
  }

  /** The log ends here from now on: what was behind parted from the primary's. */
  cut(offset: number, epoch: number): void {
    this.lastOffset = offset;
    this.durableOffset = offset;
    this.lastEpoch = epoch;
    this.uncommitted.clear();
    this.notify();
  }

  /** No write is on its way to the disk, and none will be admitted. */
  get quiet(): boolean {
    return !this.admitting && this.inFlight === 0 && this.waiting.length === 0;
  }

  owns(span: Interval): boolean {
    return coversSpan(this.record.owned, span);
  }

  /** Whether a read of what this copy has, new or not, may be answered: it was whole once, and still is. */
  get answersStale(): boolean {
    return this.isWhole && this.record.damaged !== true && !this.gone;
  }

  /** Everything up to the end of its log is there. */
  get isWhole(): boolean {
    const { wholeAt } = this.record;
    return !this.fetching && (wholeAt === undefined || this.durableOffset >= wholeAt);
  }

  /** Calls back at every change of offsets or state, until the result is called. */
  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  notify(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  /** Resolves once `condition` holds; checked at every change. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const stop = this.watch(() => {
        if (!condition()) return;
        stop();
        resolve();
      });
    });
  }
}
