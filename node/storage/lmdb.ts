import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, type RootDatabase, open } from 'lmdb';
import type { Interval } from '../../model/interval.js';
import { type Key, NO_KEY, keyFromBytes, keyToBytes, successor } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import { commitFailure, isDiskFull, lmdbFileProblem } from '../../runtime/lmdb-file.js';
import type { Random } from '../../runtime/random.js';
import { type CopyRecord, decodeCopy, encodeCopy } from './copy-record.js';
import {
  FORMAT_VERSION,
  FORMATS_BEFORE,
  decodeRecord,
  decodeValue,
  encodeRecord,
  encodeValue,
  logKey,
  logKeyOffset,
  logKeyRange,
} from './format.js';
import { type PackedPairs, PairPacker, forEachPair } from './packed.js';
import { type Commit, type LogRecord, type ScanLimits, type ScanResult, type Storage, type StoredPair, type StoredValue, writesNothing } from './storage.js';

type Bytes = Database<Buffer, Buffer>;

/** A value that is valid until the next is read: the first `length` bytes of a buffer that is used again. */
interface Passing {
  bytes: Uint8Array;
  length: number;
}

/** No stored key is longer, so this sorts behind all of them. */
const LAST_KEY = Buffer.alloc(1100, 0xff);

/** Room for a chunk is made at once. */
const PACKED_BYTES_EXPECTED = 64 * 1024;

export interface LmdbOptions {
  readonly dir: string;
  readonly random: Random;
  /** False trades the last moments before a power failure for speed; a crash of the process loses nothing. */
  readonly durable: boolean;
}

/**
 * Opens or creates the data directory. Throws FAILED_PRECONDITION for one that a
 * newer version wrote, DATA_LOSS for a damaged one, PERMISSION_DENIED for one that
 * cannot be written.
 */
export function openLmdb(options: LmdbOptions): Storage {
  const { dir } = options;
  const env = openEnvironment(options);
  try {
    return new LmdbStorage(env, dir, options.random);
  } catch (thrown) {
    void env.close();
    if (thrown instanceof AppError) throw new AppError(thrown.code, `data directory ${dir}: ${thrown.message}`, { cause: thrown });
    throw openError(dir, thrown);
  }
}

function openEnvironment({ dir, durable }: LmdbOptions): RootDatabase<Buffer, Buffer> {
  try {
    mkdirSync(dir, { recursive: true });
    const file = join(dir, 'data.mdb');
    const problem = lmdbFileProblem(file);
    if (problem !== undefined) throw new Error(problem);
    const fresh = !existsSync(file);
    return open<Buffer, Buffer>({
      path: file,
      noSubdir: true,
      overlappingSync: false,
      noSync: !durable,
      maxDbs: 8,
      // A restart sees the file as it was; a fresh one starts small.
      ...(fresh ? { mapSize: 16 * 1024 * 1024 } : {}),
      encoding: 'binary',
      keyEncoding: 'binary',
      cache: false,
      eventTurnBatching: false,
    });
  } catch (thrown) {
    throw openError(dir, thrown);
  }
}

function openError(dir: string, thrown: unknown): AppError {
  const text = messageOf(thrown);
  if (/EACCES|EROFS|Permission denied|Read-only/i.test(text)) {
    return new AppError('PERMISSION_DENIED', `data directory ${dir} cannot be written (${text}): give another with --data-dir, or mend its permissions`, { cause: thrown });
  }
  if (/ENOSPC|No space/i.test(text)) {
    return new AppError('RESOURCE_EXHAUSTED', `data directory ${dir}: the disk is full (${text}): free some space and start again`, { cause: thrown });
  }
  return new AppError('DATA_LOSS', `data directory ${dir} holds a damaged file (${text}): restore data.mdb from a copy, or start with another --data-dir`, { cause: thrown });
}

class LmdbStorage implements Storage {
  readonly incarnation: string;
  private readonly env: RootDatabase<Buffer, Buffer>;
  private readonly pairs: Bytes;
  /** The pairs again, for those who copy the values at once. */
  private readonly passing: Database<Passing, Buffer>;
  private readonly log: Bytes;
  private readonly meta: Database<Buffer, string>;

  constructor(
    env: RootDatabase<Buffer, Buffer>,
    private readonly dir: string,
    random: Random,
  ) {
    this.env = env;
    this.meta = env.openDB<Buffer, string>({ name: 'meta', encoding: 'binary', keyEncoding: 'ordered-binary' });
    const format = this.meta.get('format')?.toString();
    if (format !== undefined && ![FORMAT_VERSION, ...FORMATS_BEFORE].includes(Number(format))) {
      throw new AppError('FAILED_PRECONDITION', `it is in format ${format}, and this version reads format ${FORMAT_VERSION}: run the version that wrote it, or a newer one`);
    }
    const incarnation = this.meta.get('incarnation')?.toString();
    this.incarnation = incarnation ?? random.hex(8);
    if (format !== String(FORMAT_VERSION) || incarnation === undefined) {
      this.env.transactionSync(() => {
        this.meta.putSync('format', Buffer.from(String(FORMAT_VERSION)));
        this.meta.putSync('incarnation', Buffer.from(this.incarnation));
      });
    }
    this.pairs = env.openDB<Buffer, Buffer>({ name: 'pairs', encoding: 'binary', keyEncoding: 'binary' });
    // An option that lmdb's own types leave out.
    const passing = { name: 'pairs', encoder: passingDecoder(), keyEncoding: 'binary' } as const;
    this.passing = env.openDB<Passing, Buffer>(passing);
    this.log = env.openDB<Buffer, Buffer>({ name: 'log', encoding: 'binary', keyEncoding: 'binary' });
  }

  get(key: Buffer): StoredValue | undefined {
    const bytes = this.pairs.get(key);
    return bytes && decodeValue(bytes);
  }

  scan(span: Interval, limits: ScanLimits): ScanResult {
    const pairs: StoredPair[] = [];
    let bytes = 0;
    let next: Key | undefined;
    for (const { key, value } of this.pairs.getRange({ ...bounds(span), limit: limits.countMax })) {
      pairs.push({ key, ...decodeValue(value) });
      bytes += key.length + value.length;
      if (pairs.length >= limits.countMax || bytes >= limits.bytesMax) {
        next = successor(keyFromBytes(key));
        break;
      }
    }
    return { pairs, next };
  }

  scanPacked(span: Interval, limits: ScanLimits): { pairs: PackedPairs; next: Key | undefined } {
    // The pair that crosses the limit is included, with the others' headers.
    const packer = new PairPacker(Math.min(limits.bytesMax, PACKED_BYTES_EXPECTED) * 2);
    let next: Key | undefined;
    for (const { key, value } of this.passing.getRange({ ...bounds(span), limit: limits.countMax })) {
      packer.add(key, value.bytes, value.length);
      if (packer.pairs >= limits.countMax || packer.length >= limits.bytesMax) {
        next = successor(keyFromBytes(key));
        break;
      }
    }
    return { pairs: packer.finish(), next };
  }

  keys(span: Interval, limit: number): Key[] {
    const keys: Key[] = [];
    for (const key of this.pairs.getKeys({ ...bounds(span), limit })) keys.push(keyFromBytes(key));
    return keys;
  }

  scanBack(span: Interval, limits: ScanLimits): ScanResult {
    const pairs: StoredPair[] = [];
    let bytes = 0;
    for (const { key, value } of this.pairs.getRange({ ...boundsBack(span), limit: limits.countMax })) {
      pairs.push({ key, ...decodeValue(value) });
      bytes += key.length + value.length;
      if (pairs.length >= limits.countMax || bytes >= limits.bytesMax) return { pairs, next: keyFromBytes(key) };
    }
    return { pairs, next: undefined };
  }

  keysBack(span: Interval, limit: number): Key[] {
    const keys: Key[] = [];
    for (const key of this.pairs.getKeys({ ...boundsBack(span), limit })) keys.push(keyFromBytes(key));
    return keys;
  }

  stride(span: Interval, skip: number): { key: Key | undefined; skipped: number } {
    for (const key of this.pairs.getKeys({ ...bounds(span), offset: skip, limit: 1 })) {
      return { key: keyFromBytes(key), skipped: skip };
    }
    return { key: undefined, skipped: this.pairs.getKeysCount(bounds(span)) };
  }

  readLog(range: RangeId, after: number, bytesMax: number): LogRecord[] {
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const { key, value } of this.log.getRange({ start: logKey(range, after + 1), end: logKey(range + 1, 0) })) {
      records.push(decodeRecord(logKeyOffset(key), value));
      bytes += value.length;
      if (bytes >= bytesMax) break;
    }
    return records;
  }

  logBounds(range: RangeId): { first: number; last: number } | undefined {
    const first = this.edge(logKey(range, 0), logKey(range + 1, 0), false);
    const last = this.edge(logKey(range + 1, 0), logKey(range, 0), true);
    return first === undefined || last === undefined ? undefined : { first, last };
  }

  private edge(start: Buffer, end: Buffer, reverse: boolean): number | undefined {
    for (const key of this.log.getKeys({ start, end, reverse, limit: 1 })) return logKeyOffset(key);
    return undefined;
  }

  loggedRanges(): RangeId[] {
    const ranges: RangeId[] = [];
    for (let from = 0; ; ) {
      const [key] = [...this.log.getKeys({ start: logKey(from, 0), limit: 1 })];
      if (!key) return ranges;
      ranges.push(logKeyRange(key));
      from = logKeyRange(key) + 1;
    }
  }

  copies(): CopyRecord[] {
    return this.metaValues('copy/').map(([, value]) => decodeCopy(value));
  }

  fences(): Map<RangeId, number> {
    return new Map(this.metaValues('fence/').map(([key, value]) => [Number(key.slice(6)), Number(value.toString())]));
  }

  term(): number {
    return Number(this.meta.get('term')?.toString() ?? 0);
  }

  private metaValues(prefix: string): [string, Buffer][] {
    const rows: [string, Buffer][] = [];
    for (const { key, value } of this.meta.getRange({ start: prefix, end: `${prefix}\uffff` })) rows.push([key, value]);
    return rows;
  }

  async commit(commit: Commit): Promise<void> {
    try {
      await this.env.batch(() => {
        this.queue(commit);
      });
    } catch (thrown) {
      throw commitError(await commitFailure(thrown), this.dir);
    }
  }

  private queue(commit: Commit): void {
    for (const { range, after } of commit.cuts ?? []) {
      for (const key of this.log.getKeys({ start: logKey(range, after + 1), end: logKey(range + 1, 0) })) void this.log.remove(key);
    }
    for (const { range, records } of commit.appends ?? []) {
      for (const record of records) void this.log.put(logKey(range, record.offset), encodeRecord(record));
      this.queueWrites(records);
    }
    if (commit.apply) this.queueWrites(commit.apply);
    if (commit.pairs) forEachPair(commit.pairs, (key, stored) => void this.pairs.put(key, stored));
    for (const key of commit.removeKeys ?? []) void this.pairs.remove(keyToBytes(key));
    for (const copy of commit.copies ?? []) void this.meta.put(`copy/${copy.meta.id}`, encodeCopy(copy));
    for (const id of commit.removeCopies ?? []) void this.meta.remove(`copy/${id}`);
    for (const { range, epoch } of commit.fences ?? []) void this.meta.put(`fence/${range}`, Buffer.from(String(epoch)));
    if (commit.term !== undefined) void this.meta.put('term', Buffer.from(String(commit.term)));
    for (const trim of commit.trims ?? []) {
      const span = { start: logKey(trim.range, 0), end: logKey(trim.range, trim.through + 1), limit: trim.countMax };
      for (const key of this.log.getKeys(span)) void this.log.remove(key);
    }
  }

  private queueWrites(records: readonly LogRecord[]): void {
    for (const record of records) {
      const { key, value, epoch, offset, contentType } = record;
      if (writesNothing(record)) continue;
      if (value === undefined) void this.pairs.remove(key);
      else void this.pairs.put(key, encodeValue(epoch, offset, value, contentType));
    }
  }

  async close(): Promise<void> {
    await this.env.close();
  }
}

/** One object and one buffer for every value there is: a buffer each is most of what a scan costs. */
function passingDecoder(): { encode: () => Buffer; decode: (bytes: Buffer, length: number) => Passing } {
  const passing: Passing = { bytes: Buffer.alloc(0), length: 0 };
  return {
    encode: () => {
      throw new Error('values are written through the other handle');
    },
    decode: (bytes, length) => {
      passing.bytes = bytes;
      passing.length = length;
      return passing;
    },
  };
}

function bounds(span: Interval): { start: Buffer; end: Buffer } {
  return { start: keyToBytes(span.start), end: span.end === NO_KEY ? LAST_KEY : keyToBytes(span.end) };
}

/** From the end, which the span does not hold, to the start, which it does. */
function boundsBack(span: Interval): { start: Buffer; exclusiveStart: true; end: Buffer; inclusiveEnd: true; reverse: true } {
  const { start, end } = bounds(span);
  return { start: end, exclusiveStart: true, end: start, inclusiveEnd: true, reverse: true };
}

function commitError(failure: unknown, dir: string): AppError {
  const text = messageOf(failure);
  if (isDiskFull(failure, dir)) {
    return new AppError('RESOURCE_EXHAUSTED', `the disk is full, so nothing was written (${text}): free some space`, { cause: failure });
  }
  return new AppError('DATA_LOSS', `the storage could not commit (${text})`, { cause: failure });
}
