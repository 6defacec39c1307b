import { type Interval, compareEnds, containsKey, overlaps, subtract } from '../../model/interval.js';
import { type Key, NO_KEY } from '../../model/key.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import { assert } from '../../runtime/errors.js';
import type { CopyRecord } from '../storage/copy-record.js';
import type { Commit, Storage } from '../storage/storage.js';
import { Copy } from './copy.js';
import type { WriteIdWindow } from './write-ids.js';

export interface RecordChange {
  readonly copy: Copy;
  readonly record: CopyRecord;
}

/** The copies this node has, and the one place where their records change. */
export class Copies {
  private readonly byId = new Map<RangeId, Copy>();
  /** Copies that admit requests, by start key: they never overlap. */
  private serving: Copy[] = [];
  private readonly awaited = new Map<RangeId, Set<() => void>>();

  constructor(
    private readonly storage: Storage,
    private readonly window: WriteIdWindow,
  ) {
    for (const record of storage.copies()) {
      const { first = 0, last = 0 } = storage.logBounds(record.meta.id) ?? {};
      const copy = new Copy(record, { lastOffset: Math.max(last, record.baseOffset), trimmedThrough: Math.max(0, first - 1), fetching: false, writeIds: window.restore(record, storage) });
      copy.lastEpoch = storage.readLog(record.meta.id, last - 1, 1)[0]?.epoch ?? copy.lastEpoch;
      this.byId.set(record.meta.id, copy);
    }
    this.index();
  }

  /** On the clock of the ids of writes. */
  now(): number {
    return this.window.options.now();
  }

  get(id: RangeId): Copy | undefined {
    return this.byId.get(id);
  }

  all(): Copy[] {
    return [...this.byId.values()];
  }

  overlapping(span: Interval, except?: Copy): Copy[] {
    return this.all().filter((copy) => copy !== except && overlaps(copy.meta, span));
  }

  /** The copy that serves `key`. */
  servingKey(key: Key): Copy | undefined {
    let low = 0;
    let high = this.serving.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.serving[middle] as Copy).meta.start <= key) low = middle + 1;
      else high = middle;
    }
    const copy = this.serving[low - 1];
    return copy && containsKey(copy.meta, key) ? copy : undefined;
  }

  /** The copy that serves the keys right below `end`. */
  servingBelow(end: Key): Copy | undefined {
    const below = this.serving.filter(({ meta }) => end === NO_KEY || meta.start < end).at(-1);
    return below && compareEnds(end, below.meta.end) <= 0 ? below : undefined;
  }

  /** A copy, serving or not, whose range has `key`. */
  anyHolding(key: Key): Copy | undefined {
    return this.all().find((copy) => containsKey(copy.meta, key));
  }

  /** The copy to answer a stale read of `key`: of those that may, the one that is furthest. */
  staleKey(key: Key): Copy | undefined {
    let best: Copy | undefined;
    for (const copy of this.byId.values()) {
      if (copy.answersStale && containsKey(copy.meta, key) && !(best && best.committedOffset >= copy.committedOffset)) best = copy;
    }
    return best;
  }

  /** What of `span` no copy on this node covers. */
  uncovered(span: Interval): Interval[] {
    return subtract(span, this.overlapping(span).map((copy) => copy.meta));
  }

  /** A new copy, known to this process alone until it is saved. */
  addFetching(meta: RangeMeta): Copy {
    const record: CopyRecord = { meta, state: 'Inactive', logEpoch: 0, baseOffset: 0, owned: [], handed: [], links: [], origins: [], dumped: false };
    const copy = new Copy(record, { lastOffset: 0, trimmedThrough: 0, fetching: true, writeIds: this.window.make() });
    this.byId.set(meta.id, copy);
    for (const came of [...(this.awaited.get(meta.id) ?? [])]) came();
    return copy;
  }

  /** Calls back whenever a copy of the range comes to this node, until the result is called. */
  watchFor(id: RangeId, came: () => void): () => void {
    const watchers = this.awaited.get(id) ?? new Set();
    this.awaited.set(id, watchers.add(came));
    return () => {
      watchers.delete(came);
      if (watchers.size === 0 && this.awaited.get(id) === watchers) this.awaited.delete(id);
    };
  }

  /**
   * Checks and changes the records of `involved` in one step: calls `make`, which
   * saves before it awaits anything, as soon as no earlier change of theirs is on its
   * way to the disk. So none is built on one that may still fail.
   */
  async change<T>(involved: () => readonly Copy[], make: () => Promise<T>): Promise<T> {
    for (;;) {
      const busy = involved().find((copy) => copy.saving);
      if (!busy) return make();
      await busy.until(() => !busy.saving);
    }
  }

  /**
   * Changes records, together with the rest of `commit`. The new records hold in
   * memory at once, so that a check and its change are one step; they are durable
   * when the promise resolves, and nothing may be promised to others before. When
   * the disk is full the change is taken back. To be called within `change`, unless
   * nobody else can know the copies yet.
   */
  async save(changes: readonly RecordChange[], commit: Commit = {}): Promise<void> {
    const before = changes.map(({ copy }) => copy.record);
    for (const { copy, record } of changes) {
      assert(!copy.saving, 'a record changes only when its last change is durable');
      copy.saving = true;
      copy.record = record;
    }
    const durable = changes.filter(({ copy }) => !copy.fetching).map(({ record }) => record);
    try {
      await this.storage.commit({ ...commit, copies: [...(commit.copies ?? []), ...durable] });
    } catch (thrown) {
      changes.forEach(({ copy }, i) => {
        copy.record = before[i] as CopyRecord;
      });
      throw thrown;
    } finally {
      for (const { copy } of changes) copy.saving = false;
      for (const { copy } of changes) copy.notify();
    }
  }

  setAdmitting(copy: Copy, admitting: boolean): void {
    copy.admitting = admitting;
    this.index();
    copy.notify();
  }

  /** Forgets a copy in memory; its record is gone from the storage, or never was there. */
  forget(copy: Copy): void {
    copy.gone = true;
    copy.admitting = false;
    this.window.forget(copy.writeIds);
    this.byId.delete(copy.meta.id);
    this.index();
    copy.notify();
  }

  private index(): void {
    this.serving = this.all()
      .filter((copy) => copy.admitting)
      .sort((a, b) => (a.meta.start < b.meta.start ? -1 : 1));
  }
}
