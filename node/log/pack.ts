import { AppError } from '../../runtime/errors.js';
import type { LogRecord, StoredPair } from '../storage/storage.js';

/**
 * Pairs and records packed end to end, so that one of them costs a copy and a few
 * integers on the way instead of a protobuf message. All integers are big endian.
 *
 *   pair    key length u16, value length u32, epoch u48, offset u48, key, value
 *   record  the same, with value length 0xffffffff for a delete
 */
const HEADER = 18;
const DELETED = 0xffffffff;

interface Packable {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
  readonly epoch: number;
  readonly offset: number;
}

export function pack(items: readonly Packable[]): Buffer {
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

export function unpackPairs(bytes: Buffer): StoredPair[] {
  return unpackRecords(bytes).map((record) => {
    if (record.value === undefined) throw new AppError('DATA_LOSS', 'a snapshot holds a delete');
    return { ...record, value: record.value };
  });
}

function damaged(at: number): AppError {
  return new AppError('DATA_LOSS', `packed records are damaged at byte ${at}`);
}
