import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import type { CopyRecord } from './copy-record.js';
import type { PackedPairs } from './packed.js';

/**
 * What a node keeps: the pairs of all its ranges in one ordered space (a stored key
 * carries no range id, so a split or join on one node moves nothing), the log of
 * each range, and one record a copy. Implemented by lmdb.ts and, for tests and the
 * simulator, memory.ts; both pass contract.ts.
 */
export interface Storage {
  /** The committed value of a key. */
  get(key: Buffer): StoredValue | undefined;

  /** Committed pairs of `span` in key order, from one snapshot, until a limit is reached. */
  scan(span: Interval, limits: ScanLimits): ScanResult;

  /** The same, packed: for those who only pass it on. */
  scanPacked(span: Interval, limits: ScanLimits): { readonly pairs: PackedPairs; readonly next: Key | undefined };

  /** Committed keys of `span` in order, at most `limit`. */
  keys(span: Interval, limit: number): Key[];

  /** As `scan`, from the last key to the first; `next` is the end of the span that is left, which it does not hold. */
  scanBack(span: Interval, limits: ScanLimits): ScanResult;

  /** As `keys`, from the last to the first. */
  keysBack(span: Interval, limit: number): Key[];

  /** The key `skip` places behind the start of `span`, and how many were really skipped. */
  stride(span: Interval, skip: number): { readonly key: Key | undefined; readonly skipped: number };

  /** Log records with offsets above `after`, oldest first, until `bytesMax` is exceeded. */
  readLog(range: RangeId, after: number, bytesMax: number): LogRecord[];

  /** The offsets of the first and last log record kept; undefined when there is none. */
  logBounds(range: RangeId): { readonly first: number; readonly last: number } | undefined;

  /** The ranges that have log records. */
  loggedRanges(): RangeId[];

  copies(): CopyRecord[];

  /** The newest epoch seen for each range, of present and of dropped copies. */
  fences(): Map<RangeId, number>;

  /** The newest term of a controller seen; 0 when none was. */
  term(): number;

  /**
   * Applies everything in the commit, or nothing; resolves once it is durable.
   * Commits apply in the order of the calls. Rejects with RESOURCE_EXHAUSTED when the
   * disk is full, in which case nothing of it was applied.
   */
  commit(commit: Commit): Promise<void>;

  /** Made once, with the data directory. */
  readonly incarnation: string;

  close(): Promise<void>;
}

export interface StoredValue {
  readonly epoch: number;
  readonly offset: number;
  readonly value: Buffer;
  /** What the writer said of the value; undefined when it said nothing. */
  readonly contentType?: string | undefined;
}

export interface StoredPair extends StoredValue {
  readonly key: Buffer;
}

/**
 * One write, as the log keeps it. No value means the key was deleted. One without a
 * key writes nothing: it tells of writes in other ranges' logs (range/write-ids.ts).
 */
export interface LogRecord {
  readonly epoch: number;
  readonly offset: number;
  readonly key: Buffer;
  readonly value: Buffer | undefined;
  readonly contentType?: string | undefined;
  /** What the client named the write, 16 bytes, so that a second try of it is known. */
  readonly writeId?: Buffer | undefined;
  /** By the wall clock of the primary that admitted it; undefined in records of older versions. */
  readonly timeMs?: number | undefined;
}

/** True for a record that writes no key. */
export function writesNothing(record: LogRecord): boolean {
  return record.key.length === 0;
}

export interface ScanLimits {
  readonly countMax: number;
  /** Soft: the pair that crosses it is included. */
  readonly bytesMax: number;
}

export interface ScanResult {
  readonly pairs: StoredPair[];
  /** Where to go on; undefined at the end of the span. */
  readonly next: Key | undefined;
}

export interface Commit {
  /** Writes that reach both the range's log and the pairs. */
  readonly appends?: readonly { readonly range: RangeId; readonly records: readonly LogRecord[] }[];
  /** Writes that reach the pairs alone: followed from another range's log. */
  readonly apply?: readonly LogRecord[];
  /** Pairs of a snapshot. */
  readonly pairs?: PackedPairs;
  readonly removeKeys?: readonly Key[];
  readonly copies?: readonly CopyRecord[];
  readonly removeCopies?: readonly RangeId[];
  readonly fences?: readonly { readonly range: RangeId; readonly epoch: number }[];
  readonly term?: number;
  /** Removes log records behind `after`; before anything else of the commit. */
  readonly cuts?: readonly { readonly range: RangeId; readonly after: number }[];
  /** Removes log records up to and including `through`, at most `countMax` of them. */
  readonly trims?: readonly { readonly range: RangeId; readonly through: number; readonly countMax: number }[];
}
