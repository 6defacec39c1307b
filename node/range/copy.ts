import type { Interval } from '../../model/interval.js';
import type { RangeMeta } from '../../model/range.js';
import { assert } from '../../runtime/errors.js';
import type { CopyRecord } from '../storage/copy-record.js';
import { coversSpan } from './span-set.js';
import type { WriteIds } from './write-ids.js';

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
  /** The last offset given to a write, and the last one that is durable. */
  lastOffset: number;
  committedOffset: number;
  /** The service forgot the copy: whatever still holds it must stop. */
  gone = false;
  reads = 0;
  writes = 0;
  /** Pairs that came from a source. */
  changes = 0;
  /** Records up to here may be trimmed, so nobody can follow from below. */
  trimmedThrough = 0;
  private inFlight = 0;
  private readonly watchers = new Set<() => void>();

  /** The writes of late by their ids. */
  readonly writeIds: WriteIds;

  constructor(record: CopyRecord, options: { lastOffset: number; fetching: boolean; writeIds: WriteIds }) {
    this.writeIds = options.writeIds;
    this.record = record;
    this.fetching = options.fetching;
    this.admitting = record.state === 'Active';
    this.lastOffset = options.lastOffset;
    this.committedOffset = options.lastOffset;
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

  /** `count` admitted writes up to `offset` are durable, or failed. */
  settle(count: number, offset: number): void {
    this.inFlight -= count;
    // With nothing on its way, the offsets that failed writes had are decided too.
    this.committedOffset = this.inFlight === 0 ? this.lastOffset : Math.max(this.committedOffset, offset);
    this.notify();
  }

  /** Sets where the log ends, for a copy that follows or has just taken over. */
  advance(offset: number): void {
    this.lastOffset = Math.max(this.lastOffset, offset);
    this.committedOffset = Math.max(this.committedOffset, offset);
    this.notify();
  }

  /** No write is on its way to the disk, and none will be admitted. */
  get quiet(): boolean {
    return !this.admitting && this.inFlight === 0;
  }

  owns(span: Interval): boolean {
    return coversSpan(this.record.owned, span);
  }

  /** Whether a read of what this copy has, new or not, may be answered: it was whole once, and still is. */
  get answersStale(): boolean {
    return !this.fetching && !this.gone;
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
