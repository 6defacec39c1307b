import { AppError } from '../../runtime/errors.js';
import { WRITE_ID_BYTES, readType, typeLength, writeType } from '../storage/format.js';
import type { LogRecord } from '../storage/storage.js';

/**
 * Records packed end to end, so that one of them costs a copy and a few integers on
 * the way instead of a protobuf message. All integers are big endian.
 *
 *   key length u16, value length u32 (0xffffffff for a delete), epoch u48, offset u48, key, value
 *
 * With the highest bit of the value's length the value begins with its content type. The
 * two highest bits of the key's length say that a time (u48) and a write id (16 bytes)
 * come before the key.
 */
const HEADER = 18;
const DELETED = 0xffffffff;
const TYPED = 0x80000000;
const TIMED = 0x8000;
const NAMED = 0x4000;
const KEY_LENGTH = 0x3fff;
const TIME_BYTES = 6;

export function pack(items: readonly LogRecord[]): Buffer {
  let size = 0;
  for (const { key, value, contentType, writeId, timeMs } of items) {
    size += HEADER + (timeMs === undefined ? 0 : TIME_BYTES) + (writeId?.length ?? 0) + key.length + typeLength(contentType) + (value?.length ?? 0);
  }
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, value, epoch, offset, contentType, writeId, timeMs } of items) {
    out.writeUInt16BE(key.length | (timeMs === undefined ? 0 : TIMED) | (writeId === undefined ? 0 : NAMED), at);
    out.writeUInt32BE(value === undefined ? DELETED : value.length + typeLength(contentType) + (contentType === undefined ? 0 : TYPED), at + 2);
    out.writeUIntBE(epoch, at + 6, 6);
    out.writeUIntBE(offset, at + 12, 6);
    at += HEADER;
    if (timeMs !== undefined) at = out.writeUIntBE(timeMs, at, TIME_BYTES);
    if (writeId) at += writeId.copy(out, at);
    at += key.copy(out, at);
    if (!value) continue;
    if (contentType !== undefined) at = writeType(out, at, contentType);
    at += value.copy(out, at);
  }
  return out;
}

export function unpackRecords(bytes: Buffer): LogRecord[] {
  const items: LogRecord[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + HEADER > bytes.length) throw damaged(at);
    const keyLength = bytes.readUInt16BE(at);
    const idAt = at + HEADER + ((keyLength & TIMED) === 0 ? 0 : TIME_BYTES);
    const keyAt = idAt + ((keyLength & NAMED) === 0 ? 0 : WRITE_ID_BYTES);
    const length = bytes.readUInt32BE(at + 2);
    const epoch = bytes.readUIntBE(at + 6, 6);
    const offset = bytes.readUIntBE(at + 12, 6);
    const keyEnd = keyAt + (keyLength & KEY_LENGTH);
    const typed = length !== DELETED && length >= TYPED;
    const end = length === DELETED ? keyEnd : keyEnd + (typed ? length - TYPED : length);
    if (end > bytes.length) throw damaged(at);
    const rest = bytes.subarray(keyEnd, end);
    items.push({
      epoch,
      offset,
      key: bytes.subarray(keyAt, keyEnd),
      ...(typed ? readType(rest) : { value: length === DELETED ? undefined : rest }),
      writeId: keyAt === idAt ? undefined : bytes.subarray(idAt, keyAt),
      timeMs: (keyLength & TIMED) === 0 ? undefined : bytes.readUIntBE(at + HEADER, TIME_BYTES),
    });
    at = end;
  }
  return items;
}

function damaged(at: number): AppError {
  return new AppError('DATA_LOSS', `packed records are damaged at byte ${at}`);
}
