import { type Key, keyFromBytes } from '../../model/key.js';
import { AppError } from '../../runtime/errors.js';
import { encodeValue } from './format.js';
import type { StoredPair } from './storage.js';

/**
 * Pairs of a snapshot packed end to end, as they are stored, so that one of them
 * costs two copies and a few integers between one disk and the other: no objects
 * and no buffers of its own, of which a large range would make garbage by the million.
 *
 *   key length u16, stored length u32, key, stored value (epoch u48, offset u48, value)
 *
 * All integers are big endian.
 */
export interface PackedPairs {
  readonly bytes: Buffer;
  readonly count: number;
}

const HEADER = 6;
/** What a stored value holds before the value itself. */
const STORED_HEADER = 12;
/** Up to here a loop is faster than a call into the runtime. */
const LOOP_MAX = 32;

export class PairPacker {
  private out: Buffer;
  private used = 0;
  private count = 0;

  /** `bytes`: how much is expected; more is taken when it is needed. */
  constructor(bytes: number) {
    this.out = Buffer.allocUnsafeSlow(bytes);
  }

  get length(): number {
    return this.used;
  }

  get pairs(): number {
    return this.count;
  }

  /** Copies both; of `stored` the first `length` bytes, as it may be a larger buffer that is used again. */
  add(key: Buffer, stored: Uint8Array, length: number): void {
    const end = this.used + HEADER + key.length + length;
    if (end > this.out.length) this.grow(end);
    const { out } = this;
    out.writeUInt16BE(key.length, this.used);
    out.writeUInt32BE(length, this.used + 2);
    copyBytes(key, key.length, out, this.used + HEADER);
    copyBytes(stored, length, out, end - length);
    this.used = end;
    this.count++;
  }

  finish(): PackedPairs {
    return { bytes: this.out.subarray(0, this.used), count: this.count };
  }

  private grow(wanted: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(wanted, this.out.length * 2));
    larger.set(this.out.subarray(0, this.used));
    this.out = larger;
  }
}

export function packPairs(pairs: readonly StoredPair[]): PackedPairs {
  const packer = new PairPacker(1024);
  for (const { key, epoch, offset, value, contentType } of pairs) {
    const stored = encodeValue(epoch, offset, value, contentType);
    packer.add(key, stored, stored.length);
  }
  return packer.finish();
}

function copyBytes(from: Uint8Array, length: number, to: Buffer, at: number): void {
  if (length <= LOOP_MAX) for (let i = 0; i < length; i++) to[at + i] = from[i] as number;
  else to.set(new Uint8Array(from.buffer, from.byteOffset, length), at);
}

/** Both point into the packed bytes. Throws DATA_LOSS when they are damaged. */
export function forEachPair({ bytes }: PackedPairs, use: (key: Buffer, stored: Buffer) => void): void {
  let at = 0;
  while (at < bytes.length) {
    const keyAt = at + HEADER;
    if (keyAt > bytes.length) throw damaged(at);
    const keyEnd = keyAt + bytes.readUInt16BE(at);
    const end = keyEnd + bytes.readUInt32BE(at + 2);
    if (keyEnd === keyAt || end - keyEnd < STORED_HEADER || end > bytes.length) throw damaged(at);
    use(bytes.subarray(keyAt, keyEnd), bytes.subarray(keyEnd, end));
    at = end;
  }
}

export function packedKeys(pairs: PackedPairs): Set<Key> {
  const keys = new Set<Key>();
  forEachPair(pairs, (key) => keys.add(keyFromBytes(key)));
  return keys;
}

/** What came from elsewhere is looked at as a whole before any of it is kept. */
export function checkPacked(pairs: PackedPairs): PackedPairs {
  let count = 0;
  forEachPair(pairs, () => count++);
  if (count !== pairs.count) throw new AppError('DATA_LOSS', `a snapshot was to have ${pairs.count} pairs and has ${count}`);
  return pairs;
}

function damaged(at: number): AppError {
  return new AppError('DATA_LOSS', `packed pairs are damaged at byte ${at}`);
}
