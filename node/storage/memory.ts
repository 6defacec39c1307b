import { type Interval, containsKey } from '../../model/interval.js';
import { type Key, keyFromBytes, keyToBytes, successor } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import type { CopyRecord } from './copy-record.js';
import { decodeValue } from './format.js';
import { type PackedPairs, forEachPair, packPairs } from './packed.js';
import { type Commit, type LogRecord, type ScanLimits, type ScanResult, type Storage, type StoredPair, type StoredValue, writesNothing } from './storage.js';

/** A storage without a disk, for tests and the simulator. */
export class MemoryStorage implements Storage {
  readonly incarnation: string;
  private readonly pairs = new Map<Key, StoredPair>();
  private readonly logs = new Map<RangeId, LogRecord[]>();
  private readonly copyRecords = new Map<RangeId, CopyRecord>();
  private readonly fenceEpochs = new Map<RangeId, number>();
  private newestTerm = 0;

  /** `sync` is the disk's delay: a commit is applied, and durable, when it resolves. */
  constructor(
    incarnation: string,
    private readonly sync: () => Promise<void> = () => Promise.resolve(),
  ) {
    this.incarnation = incarnation;
  }

  get(key: Buffer): StoredValue | undefined {
    return this.pairs.get(keyFromBytes(key));
  }

  scan(span: Interval, limits: ScanLimits): ScanResult {
    const pairs: StoredPair[] = [];
    let bytes = 0;
    for (const key of this.sorted(span)) {
      const pair = this.pairs.get(key);
      if (!pair) continue;
      pairs.push(pair);
      bytes += pair.key.length + pair.value.length;
      if (pairs.length >= limits.countMax || bytes >= limits.bytesMax) return { pairs, next: successor(key) };
    }
    return { pairs, next: undefined };
  }

  scanPacked(span: Interval, limits: ScanLimits): { pairs: PackedPairs; next: Key | undefined } {
    const { pairs, next } = this.scan(span, limits);
    return { pairs: packPairs(pairs), next };
  }

  keys(span: Interval, limit: number): Key[] {
    return this.sorted(span).slice(0, limit);
  }

  scanBack(span: Interval, limits: ScanLimits): ScanResult {
    const pairs: StoredPair[] = [];
    let bytes = 0;
    for (const key of this.sorted(span).reverse()) {
      const pair = this.pairs.get(key);
      if (!pair) continue;
      pairs.push(pair);
      bytes += pair.key.length + pair.value.length;
      if (pairs.length >= limits.countMax || bytes >= limits.bytesMax) return { pairs, next: key };
    }
    return { pairs, next: undefined };
  }

  keysBack(span: Interval, limit: number): Key[] {
    return this.sorted(span).reverse().slice(0, limit);
  }

  stride(span: Interval, skip: number): { key: Key | undefined; skipped: number } {
    const keys = this.sorted(span);
    const key = keys[skip];
    return { key, skipped: key === undefined ? keys.length : skip };
  }

  readLog(range: RangeId, after: number, bytesMax: number): LogRecord[] {
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const record of this.logs.get(range) ?? []) {
      if (record.offset <= after) continue;
      records.push(record);
      bytes += record.key.length + (record.value?.length ?? 0);
      if (bytes >= bytesMax) break;
    }
    return records;
  }

  logBounds(range: RangeId): { first: number; last: number } | undefined {
    const log = this.logs.get(range) ?? [];
    const first = log[0];
    const last = log[log.length - 1];
    return first && last ? { first: first.offset, last: last.offset } : undefined;
  }

  loggedRanges(): RangeId[] {
    return [...this.logs].filter(([, records]) => records.length > 0).map(([range]) => range);
  }

  copies(): CopyRecord[] {
    return [...this.copyRecords.values()];
  }

  fences(): Map<RangeId, number> {
    return new Map(this.fenceEpochs);
  }

  term(): number {
    return this.newestTerm;
  }

  async commit(commit: Commit): Promise<void> {
    await this.sync();
    for (const { range, after } of commit.cuts ?? []) {
      this.logs.set(range, (this.logs.get(range) ?? []).filter(({ offset }) => offset <= after));
    }
    for (const { range, records } of commit.appends ?? []) {
      const log = this.logs.get(range) ?? [];
      this.logs.set(range, log);
      const known = new Set(records.map(({ offset }) => offset));
      if (log.some(({ offset }) => known.has(offset))) log.splice(0, log.length, ...log.filter(({ offset }) => !known.has(offset)));
      log.push(...records);
      log.sort((a, b) => a.offset - b.offset);
      this.write(records);
    }
    if (commit.apply) this.write(commit.apply);
    if (commit.pairs) forEachPair(commit.pairs, (key, stored) => this.pairs.set(keyFromBytes(key), { key, ...decodeValue(stored) }));
    for (const key of commit.removeKeys ?? []) this.pairs.delete(key);
    for (const copy of commit.copies ?? []) this.copyRecords.set(copy.meta.id, copy);
    for (const id of commit.removeCopies ?? []) this.copyRecords.delete(id);
    for (const { range, epoch } of commit.fences ?? []) this.fenceEpochs.set(range, epoch);
    if (commit.term !== undefined) this.newestTerm = commit.term;
    for (const { range, through, countMax } of commit.trims ?? []) {
      const log = this.logs.get(range) ?? [];
      const doomed = Math.min(countMax, log.filter((record) => record.offset <= through).length);
      log.splice(0, doomed);
    }
  }

  private write(records: readonly LogRecord[]): void {
    for (const record of records) {
      const { key, value, epoch, offset, contentType } = record;
      if (writesNothing(record)) continue;
      if (value === undefined) this.pairs.delete(keyFromBytes(key));
      else this.pairs.set(keyFromBytes(key), { key: keyToBytes(keyFromBytes(key)), epoch, offset, value, contentType });
    }
  }

  private sorted(span: Interval): Key[] {
    return [...this.pairs.keys()].filter((key) => containsKey(span, key)).sort((a, b) => (a < b ? -1 : 1));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
