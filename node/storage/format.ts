import { CONTENT_TYPE_BYTES_MAX } from '../../model/limits.js';
import type { RangeId } from '../../model/range.js';
import { assert } from '../../runtime/errors.js';
import type { LogRecord, StoredValue } from './storage.js';

/**
 * The bytes on disk.
 *
 *   pair   key → epoch u48, offset u48, value
 *   log    range u64, offset u64 → flags u8, epoch u48, key length u16, time u48 and
 *          write id of 16 bytes where flagged, key, value
 *
 * All integers are big endian, so log keys order by range, then offset. A value whose
 * content type is known begins with its length u8 and the type; the highest bit of
 * the pair's epoch, and a flag of the record, say so. Nothing in format 1 has flags but for a deletion.
 */
export const FORMAT_VERSION = 2;
/** What this version reads besides its own, and writes on in its own. */
export const FORMATS_BEFORE: readonly number[] = [1];

export const WRITE_ID_BYTES = 16;
const TIME_BYTES = 6;
const VALUE_HEADER = 12;
const RECORD_HEADER = 9;
/** The flags of a record. */
const TOMBSTONE = 1;
const TYPED = 2;
const TIMED = 4;
const NAMED = 8;
/** Of the first byte of a pair. */
const TYPED_BIT = 0x80;

export function encodeValue(epoch: number, offset: number, value: Buffer, contentType?: string): Buffer {
  const out = Buffer.allocUnsafe(VALUE_HEADER + typeLength(contentType) + value.length);
  out.writeUIntBE(epoch, 0, 6);
  out.writeUIntBE(offset, 6, 6);
  let at = VALUE_HEADER;
  if (contentType !== undefined) {
    out[0] = (out[0] as number) | TYPED_BIT;
    at = writeType(out, at, contentType);
  }
  value.copy(out, at);
  return out;
}

export function decodeValue(bytes: Buffer): StoredValue {
  assert(bytes.length >= VALUE_HEADER, 'a stored value has its header');
  if ((bytes[0] as number) < TYPED_BIT) {
    return { epoch: bytes.readUIntBE(0, 6), offset: bytes.readUIntBE(6, 6), value: bytes.subarray(VALUE_HEADER) };
  }
  const { contentType, value } = readType(bytes.subarray(VALUE_HEADER));
  return { epoch: bytes.readUIntBE(0, 6) - 2 ** 47, offset: bytes.readUIntBE(6, 6), value, contentType };
}

/** How many bytes go before a value of this type. */
export function typeLength(contentType: string | undefined): number {
  return contentType === undefined ? 0 : 1 + contentType.length;
}

/** Writes what goes before a value of this type, and returns where the value goes. */
export function writeType(out: Buffer, at: number, contentType: string): number {
  assert(contentType.length <= CONTENT_TYPE_BYTES_MAX, 'a content type has been checked');
  out[at] = contentType.length;
  return at + 1 + out.write(contentType, at + 1, 'latin1');
}

export function readType(bytes: Buffer): { contentType: string; value: Buffer } {
  const end = 1 + (bytes[0] ?? 0);
  return { contentType: bytes.toString('latin1', 1, end), value: bytes.subarray(end) };
}

export function logKey(range: RangeId, offset: number): Buffer {
  const out = Buffer.allocUnsafe(16);
  out.writeUInt16BE(0, 0);
  out.writeUIntBE(range, 2, 6);
  out.writeUInt16BE(0, 8);
  out.writeUIntBE(offset, 10, 6);
  return out;
}

export function logKeyOffset(key: Buffer): number {
  return key.readUIntBE(10, 6);
}

export function logKeyRange(key: Buffer): RangeId {
  return key.readUIntBE(2, 6);
}

export function encodeRecord(record: LogRecord): Buffer {
  const { key, value, contentType, writeId, timeMs } = record;
  const timeBytes = timeMs === undefined ? 0 : TIME_BYTES;
  const idBytes = writeId === undefined ? 0 : WRITE_ID_BYTES;
  const keyAt = RECORD_HEADER + timeBytes + idBytes;
  const out = Buffer.allocUnsafe(keyAt + key.length + typeLength(contentType) + (value?.length ?? 0));
  out[0] = (value === undefined ? TOMBSTONE : 0) | (contentType === undefined ? 0 : TYPED) | (timeMs === undefined ? 0 : TIMED) | (writeId === undefined ? 0 : NAMED);
  out.writeUIntBE(record.epoch, 1, 6);
  out.writeUInt16BE(key.length, 7);
  if (timeMs !== undefined) out.writeUIntBE(timeMs, RECORD_HEADER, TIME_BYTES);
  writeId?.copy(out, RECORD_HEADER + timeBytes);
  key.copy(out, keyAt);
  let at = keyAt + key.length;
  if (contentType !== undefined) at = writeType(out, at, contentType);
  value?.copy(out, at);
  return out;
}

export function decodeRecord(offset: number, bytes: Buffer): LogRecord {
  assert(bytes.length >= RECORD_HEADER, 'a log record has its header');
  const flags = bytes[0] as number;
  const idAt = RECORD_HEADER + ((flags & TIMED) === 0 ? 0 : TIME_BYTES);
  const keyAt = idAt + ((flags & NAMED) === 0 ? 0 : WRITE_ID_BYTES);
  const keyEnd = keyAt + bytes.readUInt16BE(7);
  const rest = bytes.subarray(keyEnd);
  return {
    epoch: bytes.readUIntBE(1, 6),
    offset,
    key: bytes.subarray(keyAt, keyEnd),
    ...((flags & TYPED) !== 0 ? readType(rest) : { value: (flags & TOMBSTONE) !== 0 ? undefined : rest }),
    writeId: keyAt === idAt ? undefined : bytes.subarray(idAt, keyAt),
    timeMs: (flags & TIMED) === 0 ? undefined : bytes.readUIntBE(RECORD_HEADER, TIME_BYTES),
  };
}
