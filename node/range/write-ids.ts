import { assert } from '../../runtime/errors.js';
import type { CopyRecord } from '../storage/copy-record.js';
import { WRITE_ID_BYTES } from '../storage/format.js';
import { type LogRecord, type Storage, writesNothing } from '../storage/storage.js';
import { restoreIds } from './restore-ids.js';

/** What is known of a write by its id. */
export interface KnownWrite {
  readonly epoch: number;
  readonly offset: number;
  readonly keyHash: number;
}

export interface WriteIdLimits {
  /** How long an id is remembered at least, unless there are too many. */
  readonly windowMs: number;
  /** Of all copies of the node together; beyond, the oldest ids go early. */
  readonly countMax: number;
}

export interface WriteIdWindowOptions extends WriteIdLimits {
  /** The node's monotonic clock. */
  readonly now: () => number;
  readonly wallMs: () => number;
}

export const DEFAULT_WRITE_ID_WINDOW: WriteIdLimits = { windowMs: 60_000, countMax: 500_000 };

/** A retry says how old it is when it is sent, and may travel for as long as connections stand still. */
export const TRAVEL_MS_MAX = 10_000;
/** When the limit is exceeded this share goes, so that looking for the largest copy is seldom. */
const RELIEF = 1 / 16;
/** Of a parent, its two children, and all others. */
const SHARES = 4;

/** What the ids of all copies on a node share: the window, and a bound on their number. */
export class WriteIdWindow {
  /** Second tries that were answered like the first. */
  repeated = 0;
  private count = 0;
  private readonly indexes = new Set<WriteIds>();

  constructor(readonly options: WriteIdWindowOptions) {}

  get size(): number {
    return this.count;
  }

  make(): WriteIds {
    const index = new WriteIds(this);
    this.indexes.add(index);
    return index;
  }

  /** Of a copy that was here before this process. */
  restore(record: CopyRecord, storage: Storage): WriteIds {
    const index = this.make();
    const { windowMs, now, wallMs } = this.options;
    restoreIds(index, storage, record, { windowMs, nowMs: now(), wallMs: wallMs() });
    return index;
  }

  forget(index: WriteIds): void {
    if (this.indexes.delete(index)) this.count -= index.size;
  }

  /** The number of ids has changed. */
  counted(by: number): void {
    this.count += by;
    if (by > 0 && this.count > this.options.countMax) this.relieve();
  }

  /**
   * Before one index becomes two. When both would be too much the newest go on in each: a parent's ids
   * are wanted by two children, and then by nobody.
   */
  makeRoomFor(index: WriteIds): void {
    const { countMax } = this.options;
    const share = Math.floor(countMax / SHARES);
    if (this.count + index.size > countMax && index.size > share) index.dropOldest(index.size - share);
  }

  private relieve(): void {
    const aim = this.options.countMax * (1 - RELIEF);
    for (const index of this.indexes) index.expire();
    while (this.count > aim) {
      let largest: WriteIds | undefined;
      for (const index of this.indexes) if (!largest || index.size > largest.size) largest = index;
      if (!largest || largest.size === 0) return;
      largest.dropOldest(Math.min(largest.size, Math.ceil(this.count - aim)));
    }
  }
}

const FIRST_CAPACITY = 16;
const NONE = -1;
/** Once so many are outdated they go, a few with each that comes. */
const EXPIRE_COUNT = 4;

/**
 * The ids of a copy's recent writes, so that a second try of one is known and answered
 * like the first. In order of learning, in arrays without an object an id, since there
 * may be some for each write of a minute.
 *
 * An id that is not here was either never admitted, or is older than what is known:
 * `vouchesFor` tells the two apart.
 */
export class WriteIds {
  /** The ids of all writes whose first try was sent after this moment are here; undefined before anything is known. */
  private knownSince: number | undefined;
  private hasForeign = false;
  /** Behind it, the log begins with a list of seen ids, which has all of those up to there. */
  private seenBase: number | undefined;
  private ids = Buffer.alloc(0);
  private epochs = new Float64Array(0);
  private offsets = new Float64Array(0);
  private learned = new Float64Array(0);
  private hashes = new Uint32Array(0);
  /** Chains of slots with one hash of the id. */
  private chains = new Int32Array(0);
  private heads = new Int32Array(0);
  private mask = 0;
  /** Positions since ever; a slot is a position modulo the capacity. Removed ones in between keep their place. */
  private first = 0;
  private next = 0;
  private live = 0;

  constructor(private readonly window: WriteIdWindow) {}

  get size(): number {
    return this.live;
  }

  /** Since when every id is known, on the node's clock; undefined before anybody told. */
  get since(): number | undefined {
    return this.knownSince;
  }

  /** What the time of day was at a moment of the node's clock. */
  wallTimeOf(moment: number): number {
    const { now, wallMs } = this.window.options;
    return Math.floor(wallMs() - (now() - moment));
  }

  find(id: Buffer): KnownWrite | undefined {
    const slot = this.slotOf(id);
    if (slot === NONE) return undefined;
    return { epoch: this.epochs[slot] as number, offset: this.offsets[slot] as number, keyHash: this.hashes[slot] as number };
  }

  /** Whether a write that is not here, and whose first try was sent at that moment, certainly was not admitted. */
  vouchesFor(firstSentAt: number): boolean {
    return this.knownSince !== undefined && firstSentAt - TRAVEL_MS_MAX > this.knownSince;
  }

  add(id: Buffer, write: KnownWrite, learnedAt = this.window.options.now()): void {
    assert(id.length === WRITE_ID_BYTES, 'a write id has 16 bytes');
    if (this.slotOf(id) !== NONE) return;
    this.expire(EXPIRE_COUNT);
    if (this.next - this.first > this.mask || this.mask === 0) this.grow();
    const slot = this.next++ & this.mask;
    this.ids.set(id, slot * WRITE_ID_BYTES);
    this.epochs[slot] = write.epoch;
    this.offsets[slot] = write.offset;
    this.hashes[slot] = write.keyHash;
    this.learned[slot] = learnedAt;
    this.link(slot);
    this.live++;
    this.window.counted(1);
  }

  /** The write turned out not to have been made. */
  remove(id: Buffer): void {
    const slot = this.slotOf(id);
    if (slot !== NONE) this.unlink(slot);
  }

  /** The log was cut off behind `after`. */
  cut(after: number): void {
    for (let at = this.first; at < this.next; at++) {
      const slot = at & this.mask;
      if (this.isLive(slot) && (this.offsets[slot] as number) > after) this.unlink(slot);
    }
    if (this.seenBase === undefined || this.seenBase < after) return;
    // The list went with it; what it told is true still.
    this.seenBase = undefined;
    this.hasForeign = true;
  }

  /** Takes note of what a record of this copy's own log says. `learnedAt`: when it was written at the latest. */
  learn(record: LogRecord, learnedAt?: number): void {
    if (record.writeId) this.add(record.writeId, { epoch: record.epoch, offset: record.offset, keyHash: hashOf(record.key) }, learnedAt);
    else if (writesNothing(record) && record.value) this.learnSeen(record.value, record.offset, learnedAt);
  }

  /** The same of a record in the log of another range, which this one's does not keep. */
  learnForeign(record: LogRecord): void {
    const { seenBase } = this;
    this.learn(record);
    this.seenBase = seenBase;
    this.hasForeign = true;
  }

  /** From now on what is here is complete for tries first sent after `since`. */
  cover(since: number): void {
    this.knownSince = since;
  }

  /** What comes to be known from one more place is complete since then only. */
  coverToo(since: number): void {
    this.knownSince = Math.max(this.knownSince ?? -Infinity, since);
  }

  /** Takes over what another copy on this node knows, because its keys are served here now. */
  adopt(other: WriteIds): void {
    if (this.live === 0) {
      this.window.makeRoomFor(other);
      this.copy(other);
    } else {
      for (let at = other.first; at < other.next; at++) {
        const slot = at & other.mask;
        if (other.isLive(slot)) this.add(other.idAt(slot), other.writeAt(slot), other.learned[slot]);
      }
    }
    this.hasForeign = true;
    this.coverToo(other.knownSince ?? this.window.options.now());
  }

  /**
   * Where a follower has to begin with the log to know what is known here, of the
   * offsets from `from` on, and for how long back it then is complete.
   */
  logStart(from: number): { readonly offset: number; readonly knownForMs: number } {
    this.expire();
    const now = this.window.options.now();
    let since = this.knownSince ?? now;
    if (this.seenBase !== undefined && this.seenBase >= from && this.live > 0) return { offset: this.seenBase, knownForMs: lasting(now, since) };
    for (let at = this.first; at < this.next; at++) {
      const slot = at & this.mask;
      if (!this.isLive(slot)) continue;
      const offset = this.offsets[slot] as number;
      if (offset > from) return { offset: Math.max(from, offset - 1), knownForMs: lasting(now, since) };
      since = Math.max(since, this.learned[slot] as number);
    }
    return { offset: Infinity, knownForMs: lasting(now, since) };
  }

  /**
   * Records for the begin of a log, behind `after`, with the ids that came from other
   * ranges' logs, so that they last, and followers learn them. Empty when there are none.
   */
  seenRecords({ after, epoch, timeMs }: { readonly after: number; readonly epoch: number; readonly timeMs: number }): LogRecord[] {
    if (!this.hasForeign) return [];
    this.expire();
    const now = this.window.options.now();
    const knownForMs = lasting(now, this.knownSince ?? now);
    const records: LogRecord[] = [];
    let position = this.first;
    for (let left = this.live; records.length === 0 || left > 0; left -= SEEN_MAX) {
      const value = Buffer.allocUnsafe(SEEN_HEADER + Math.min(left, SEEN_MAX) * SEEN_BYTES);
      position = this.encodeSeen(value, position, { first: records.length === 0, last: left <= SEEN_MAX, knownForMs });
      records.push({ epoch, offset: after + records.length + 1, key: NO_KEY_BYTES, value, timeMs });
    }
    return records;
  }

  /**
   * Fills `out` with the writes from a position on, and returns the next: flags u8 (1: the last of a list, 2: the first),
   * known for u48; then of each write id, epoch u48, offset u48, hash of the key u32. Big endian. Without an
   * object a write, since requests wait meanwhile.
   */
  private encodeSeen(out: Buffer, position: number, { first, last, knownForMs }: Omit<Seen, 'writes'>): number {
    out[0] = (last ? 1 : 0) | (first ? 2 : 0);
    let at = out.writeUIntBE(knownForMs, 1, 6);
    let next = position;
    for (; at < out.length; next++) {
      const slot = next & this.mask;
      if (!this.isLive(slot)) continue;
      // Byte by byte is faster than a call for so few.
      for (let i = 0, from = slot * WRITE_ID_BYTES; i < WRITE_ID_BYTES; i++) out[at++] = this.ids[from + i] as number;
      at = writeUint48(out, at, this.epochs[slot] as number);
      at = writeUint48(out, at, this.offsets[slot] as number);
      at = writeUint32(out, at, this.hashes[slot] as number);
    }
    return next;
  }

  /** The log behind `after` now begins with what `seenRecords` gave. */
  seenWritten(after: number): void {
    this.hasForeign = false;
    this.seenBase = after;
  }

  /** Lets go of what is older than the window, `countMax` of them at most. */
  expire(countMax = Infinity): void {
    const { windowMs, now } = this.window.options;
    const before = now() - windowMs;
    for (let count = 0; count < countMax && this.first < this.next; count++) {
      const slot = this.first & this.mask;
      if (this.isLive(slot) && (this.learned[slot] as number) > before) return;
      this.dropFirst();
    }
  }

  dropOldest(count: number): void {
    for (let dropped = 0; dropped < count && this.first < this.next; ) {
      if (this.isLive(this.first & this.mask)) dropped++;
      this.dropFirst();
    }
  }

  /** All of another's at once: requests wait meanwhile, and there may be hundreds of thousands. */
  private copy(other: WriteIds): void {
    this.ids = Buffer.from(other.ids);
    this.epochs = other.epochs.slice();
    this.offsets = other.offsets.slice();
    this.learned = other.learned.slice();
    this.hashes = other.hashes.slice();
    this.chains = other.chains.slice();
    this.heads = other.heads.slice();
    this.mask = other.mask;
    this.first = other.first;
    this.next = other.next;
    this.live = other.live;
    this.window.counted(other.live);
  }

  private learnSeen(value: Buffer, offset: number, learnedAt: number | undefined): void {
    const { writes, first, last, knownForMs } = decodeSeen(value);
    for (const { id, ...write } of writes) this.add(id, write, learnedAt);
    if (first) this.seenBase = offset - 1;
    // Only the whole list tells that nothing is missing.
    if (last && this.seenBase !== undefined) this.knownSince ??= (learnedAt ?? this.window.options.now()) - knownForMs;
  }

  private dropFirst(): void {
    const slot = this.first & this.mask;
    if (this.isLive(slot)) {
      if (this.knownSince !== undefined) this.coverToo(this.learned[slot] as number);
      this.unlink(slot);
    }
    this.first++;
  }

  // --- slots -----------------------------------------------------------------------

  private isLive(slot: number): boolean {
    return this.chains[slot] !== FREE;
  }

  private idAt(slot: number): Buffer {
    return this.ids.subarray(slot * WRITE_ID_BYTES, (slot + 1) * WRITE_ID_BYTES);
  }

  private writeAt(slot: number): KnownWrite {
    return { epoch: this.epochs[slot] as number, offset: this.offsets[slot] as number, keyHash: this.hashes[slot] as number };
  }

  private slotOf(id: Buffer): number {
    if (this.live === 0) return NONE;
    for (let slot = this.heads[bucketOf(id, 0) & this.mask] as number; slot !== NONE; slot = this.chains[slot] as number) {
      if (sameId(this.ids, slot * WRITE_ID_BYTES, id)) return slot;
    }
    return NONE;
  }

  private link(slot: number): void {
    const bucket = bucketOf(this.ids, slot * WRITE_ID_BYTES) & this.mask;
    this.chains[slot] = this.heads[bucket] as number;
    this.heads[bucket] = slot;
  }

  private unlink(slot: number): void {
    const bucket = bucketOf(this.ids, slot * WRITE_ID_BYTES) & this.mask;
    if (this.heads[bucket] === slot) {
      this.heads[bucket] = this.chains[slot] as number;
    } else {
      let before = this.heads[bucket] as number;
      while (this.chains[before] !== slot) before = this.chains[before] as number;
      this.chains[before] = this.chains[slot] as number;
    }
    this.chains[slot] = FREE;
    this.live--;
    this.window.counted(-1);
  }

  /** Twice the room, and no places of removed ones. */
  private grow(): void {
    const { ids, epochs, offsets, learned, hashes, mask, first, next } = this;
    const kept: number[] = [];
    for (let at = first; at < next; at++) if (this.isLive(at & mask)) kept.push(at & mask);
    const capacity = kept.length * 2 <= mask ? mask + 1 : Math.max(FIRST_CAPACITY, (mask + 1) * 2);
    this.mask = capacity - 1;
    this.ids = Buffer.alloc(capacity * WRITE_ID_BYTES);
    this.epochs = new Float64Array(capacity);
    this.offsets = new Float64Array(capacity);
    this.learned = new Float64Array(capacity);
    this.hashes = new Uint32Array(capacity);
    this.chains = new Int32Array(capacity).fill(FREE);
    this.heads = new Int32Array(capacity).fill(NONE);
    kept.forEach((slot, i) => {
      ids.copy(this.ids, i * WRITE_ID_BYTES, slot * WRITE_ID_BYTES, (slot + 1) * WRITE_ID_BYTES);
      this.epochs[i] = epochs[slot] as number;
      this.offsets[i] = offsets[slot] as number;
      this.learned[i] = learned[slot] as number;
      this.hashes[i] = hashes[slot] as number;
      this.link(i);
    });
    this.first = 0;
    this.next = kept.length;
  }
}

/** In the place of a slot's chain: nothing is there. */
const FREE = -2;
const NO_KEY_BYTES = Buffer.alloc(0);
const TIME_MAX = 2 ** 47;

function lasting(now: number, since: number): number {
  return Math.min(TIME_MAX, Math.max(0, Math.floor(now - since)));
}

/** Ids are random as a rule; those that are not must not all meet. */
function bucketOf(ids: Buffer, at: number): number {
  let hash = ids.readUInt32LE(at) ^ Math.imul(ids.readUInt32LE(at + 4), 0x9e3779b1);
  hash ^= Math.imul(ids.readUInt32LE(at + 8), 0x85ebca6b) ^ Math.imul(ids.readUInt32LE(at + 12), 0xc2b2ae35);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function sameId(ids: Buffer, at: number, id: Buffer): boolean {
  for (let i = 0; i < WRITE_ID_BYTES; i++) if (ids[at + i] !== id[i]) return false;
  return true;
}

/** Tells keys apart well enough to notice an id that is used for another key (FNV-1a). */
export function hashOf(key: Buffer): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ (key[i] as number), 0x01000193);
  return hash >>> 0;
}

// --- what a record of seen ids holds -------------------------------------------------------

interface Seen {
  readonly writes: readonly (KnownWrite & { readonly id: Buffer })[];
  /** Of the records of one list. */
  readonly first: boolean;
  readonly last: boolean;
  readonly knownForMs: number;
}

/** Ids in one record; a range that was written much has several. */
const SEEN_MAX = 16_384;
const SEEN_HEADER = 7;
const SEEN_BYTES = WRITE_ID_BYTES + 16;

function writeUint48(out: Buffer, at: number, value: number): number {
  const high = Math.floor(value / 2 ** 32);
  out[at] = high >>> 8;
  out[at + 1] = high;
  return writeUint32(out, at + 2, value % 2 ** 32);
}

function writeUint32(out: Buffer, at: number, value: number): number {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
  return at + 4;
}

function decodeSeen(bytes: Buffer): Seen {
  const writes: Seen['writes'][number][] = [];
  for (let at = SEEN_HEADER; at + SEEN_BYTES <= bytes.length; at += SEEN_BYTES) {
    const rest = at + WRITE_ID_BYTES;
    writes.push({ id: bytes.subarray(at, rest), epoch: bytes.readUIntBE(rest, 6), offset: bytes.readUIntBE(rest + 6, 6), keyHash: bytes.readUInt32BE(rest + 12) });
  }
  const flags = bytes[0] ?? 0;
  return { writes, first: (flags & 2) !== 0, last: (flags & 1) !== 0, knownForMs: bytes.readUIntBE(1, 6) };
}
