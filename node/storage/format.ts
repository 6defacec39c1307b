import type { RangeId } from '../../model/range.js';
import { assert } from '../../runtime/errors.js';
import type { LogRecord, StoredValue } from './storage.js';

/**
 * The bytes on disk.
 *
 *   pair   key → epoch u48, offset u48, value
 *   log    range u64, offset u64 → flags u8, epoch u48, key length u16, key, value
 *
 * All integers are big endian, so log keys order by range, then offset.
 */
export const FORMAT_VERSION = 1;

const VALUE_HEADER = 12;
const RECORD_HEADER = 9;
const TOMBSTONE = 1;

export function encodeValue(epoch: number, offset: number, value: Buffer): Buffer {
  const out = Buffer.allocUnsafe(VALUE_HEADER + value.length);
  out.writeUIntBE(epoch, 0, 6);
  out.writeUIntBE(offset, 6, 6);
  value.copy(out, VALUE_HEADER);
  return out;
}

export function decodeValue(bytes: Buffer): StoredValue {
  assert(bytes.length >= VALUE_HEADER, 'a stored value has its header');
  return { epoch: bytes.readUIntBE(0, 6), offset: bytes.readUIntBE(6, 6), value: bytes.subarray(VALUE_HEADER) };
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
  const { key, value } = record;
  const out = Buffer.allocUnsafe(RECORD_HEADER + key.length + (value?.length ?? 0));
  out[0] = value === undefined ? TOMBSTONE : 0;
  out.writeUIntBE(record.epoch, 1, 6);
  out.writeUInt16BE(key.length, 7);
  key.copy(out, RECORD_HEADER);
  value?.copy(out, RECORD_HEADER + key.length);
  return out;
}

export function decodeRecord(offset: number, bytes: Buffer): LogRecord {
  assert(bytes.length >= RECORD_HEADER, 'a log record has its header');
  const keyEnd = RECORD_HEADER + bytes.readUInt16BE(7);
  return {
    epoch: bytes.readUIntBE(1, 6),
    offset,
    key: bytes.subarray(RECORD_HEADER, keyEnd),
    value: bytes[0] === TOMBSTONE ? undefined : bytes.subarray(keyEnd),
  };
}
