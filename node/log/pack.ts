import { AppError } from '../../runtime/errors.js';
import type { LogRecord } from '../storage/storage.js';

/**
 * Records packed end to end, so that one of them costs a copy and a few integers on
 * the way instead of a protobuf message. All integers are big endian.
 *
 *   key length u16, value length u32 (0xffffffff for a delete), epoch u48, offset u48, key, value
 */
const HEADER = 18;
const DELETED = 0xffffffff;

export function pack(items: readonly LogRecord[]): Buffer {
  let size = 0;
  for (const { key, value } of items) size += HEADER + key.length + (value?.length ?? 0);
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, value, epoch, offset } of items) {
    out.writeUInt16BE(key.length, at);
    out.writeUInt32BE(value === undefined ? DELETED : value.length, at + 2);
    out.writeUIntBE(epoch, at + 6, 6);
    out.writeUIntBE(offset, at + 12, 6);
    at += HEADER;
    at += key.copy(out, at);
    if (value) at += value.copy(out, at);
  }
  return out;
}

export function unpackRecords(bytes: Buffer): LogRecord[] {
  const items: LogRecord[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + HEADER > bytes.length) throw damaged(at);
    const keyLength = bytes.readUInt16BE(at);
    const valueLength = bytes.readUInt32BE(at + 2);
    const epoch = bytes.readUIntBE(at + 6, 6);
    const offset = bytes.readUIntBE(at + 12, 6);
    const keyEnd = at + HEADER + keyLength;
    const end = valueLength === DELETED ? keyEnd : keyEnd + valueLength;
    if (keyLength === 0 || end > bytes.length) throw damaged(at);
    const key = bytes.subarray(at + HEADER, keyEnd);
    items.push({ epoch, offset, key, value: valueLength === DELETED ? undefined : bytes.subarray(keyEnd, end) });
    at = end;
  }
  return items;
}

function damaged(at: number): AppError {
  return new AppError('DATA_LOSS', `packed records are damaged at byte ${at}`);
}
