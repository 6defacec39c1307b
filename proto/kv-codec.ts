import { AppError } from '../runtime/errors.js';

/**
 * The data path's messages, read and written by hand. The generated code makes a
 * writer, a fork and a bigint or two for each request, which costs more than the
 * rest of a request's way through a proxy; the bytes are the same, and a property
 * test holds both to each other.
 *
 * What is decoded points into the bytes it was decoded from: copy what is kept.
 */

export const GET = 1;
export const PUT = 2;
export const CANCEL = 3;

/** kv.WriteLevel; 0 is SAFE too. */
export const SAFE = 1;
export const ASYNC = 2;

/** A header of a pipe's answer, see pipe.proto. */
export const KNOWS_WRITE_IDS = 'write-ids';

/** What a request says besides key and value; what is left out is as proto3 has it. */
export interface RequestOptions {
  /** Of a get: any copy may answer. */
  readonly stale?: boolean | undefined;
  /** Of a put: when it is answered. */
  readonly level?: number | undefined;
  /** Of a put: 16 bytes that no other write has. */
  readonly writeId?: Buffer | undefined;
  /** Of a put: how long ago the first try of unknown outcome was sent; 0 when there was none. */
  readonly retryAgeMs?: number | undefined;
}

/** kv.PipeRequest. */
export interface PipeRequestFrame extends RequestOptions {
  readonly id: number;
  /** GET, PUT, CANCEL, or whatever a newer peer sent. */
  readonly action: number;
  readonly key: Buffer;
  /** Of a put; undefined deletes. */
  readonly value: Buffer | undefined;
}

/** kv.PipeResponse. */
export interface PipeResponseFrame {
  readonly id: number;
  /** A gRPC status code; 0 is OK. */
  readonly code: number;
  readonly message: string;
  readonly value: Buffer;
  readonly epoch: number;
  readonly offset: number;
  /** Of a stale read: the copy that answers has seen every write up to `atOffset`. */
  readonly stale?: boolean | undefined;
  readonly atOffset?: number | undefined;
}

/** What an answer to a get or put holds, whichever way it travels. */
export type ValueFrame = Pick<PipeResponseFrame, 'value' | 'epoch' | 'offset' | 'stale' | 'atOffset'>;

export const NO_BYTES: Buffer = Buffer.alloc(0);

export function encodePipeRequests(requests: readonly PipeRequestFrame[]): Buffer {
  let total = 0;
  for (const request of requests) total += fieldLength(requestLength(request));
  const out = Buffer.allocUnsafe(total);
  let at = 0;
  for (const request of requests) {
    at = writeTagged(out, at, BYTES_1, requestLength(request));
    if (request.id !== 0) at = writeTagged(out, at, VARINT_1, request.id);
    if (request.action !== 0) at = writeTagged(out, at, VARINT_2, request.action);
    if (request.key.length !== 0) at = writeBytes(out, at, BYTES_3, request.key);
    if (request.value !== undefined) at = writeBytes(out, at, BYTES_4, request.value);
    if (request.level) at = writeTagged(out, at, VARINT_5, request.level);
    if (request.writeId?.length) at = writeBytes(out, at, BYTES_6, request.writeId);
    if (request.retryAgeMs) at = writeTagged(out, at, VARINT_7, request.retryAgeMs);
    if (request.stale) at = writeTagged(out, at, VARINT_8, 1);
  }
  return out;
}

export function decodePipeRequests(bytes: Buffer): PipeRequestFrame[] {
  return decodeRepeated(bytes, decodePipeRequest);
}

export function encodePipeResponses(responses: readonly PipeResponseFrame[]): Buffer {
  let total = 0;
  for (const response of responses) total += fieldLength(responseLength(response));
  const out = Buffer.allocUnsafe(total);
  let at = 0;
  for (const response of responses) {
    at = writeTagged(out, at, BYTES_1, responseLength(response));
    if (response.id !== 0) at = writeTagged(out, at, VARINT_1, response.id);
    if (response.code !== 0) at = writeTagged(out, at, VARINT_2, response.code);
    if (response.message !== '') at = writeText(out, at, BYTES_3, response.message);
    if (response.value.length !== 0) at = writeBytes(out, at, BYTES_4, response.value);
    if (response.epoch !== 0) at = writeTagged(out, at, VARINT_5, response.epoch);
    if (response.offset !== 0) at = writeTagged(out, at, VARINT_6, response.offset);
    if (response.stale) at = writeTagged(out, at, VARINT_7, 1);
    if (response.atOffset) at = writeTagged(out, at, VARINT_8, response.atOffset);
  }
  return out;
}

export function decodePipeResponses(bytes: Buffer): PipeResponseFrame[] {
  return decodeRepeated(bytes, decodePipeResponse);
}

/** How many bytes a frame adds to a message, near enough to bound one. */
export function pipeFrameLength(parts: { readonly key?: Buffer; readonly value?: Buffer | undefined; readonly message?: string }): number {
  return 40 + (parts.key?.length ?? 0) + (parts.value?.length ?? 0) + (parts.message?.length ?? 0);
}

/** kv.GetRequest. */
export function encodeGetRequest(key: Buffer, { stale }: RequestOptions = {}): Buffer {
  const keyLength = key.length === 0 ? 0 : fieldLength(key.length);
  const out = Buffer.allocUnsafe(keyLength + (stale ? 3 : 0));
  if (key.length !== 0) writeBytes(out, 0, BYTES_1, key);
  if (stale) writeVarint(out, writeVarint(out, keyLength, VARINT_100), 1);
  return out;
}

/** kv.PutRequest; an undefined value deletes. */
export function encodePutRequest(key: Buffer, value: Buffer | undefined, options: RequestOptions = {}): Buffer {
  const { level, writeId, retryAgeMs } = options;
  let length = key.length === 0 ? 0 : fieldLength(key.length);
  if (value !== undefined) length += fieldLength(value.length);
  if (level) length += 2 + varintLength(level);
  if (writeId?.length) length += 1 + fieldLength(writeId.length);
  if (retryAgeMs) length += 2 + varintLength(retryAgeMs);
  const out = Buffer.allocUnsafe(length);
  let at = key.length === 0 ? 0 : writeBytes(out, 0, BYTES_1, key);
  if (value !== undefined) at = writeBytes(out, at, BYTES_2, value);
  if (level) at = writeVarint(out, writeVarint(out, at, VARINT_100), level);
  if (writeId?.length) {
    at = writeVarint(out, writeVarint(out, at, BYTES_101), writeId.length);
    at += writeId.copy(out, at);
  }
  if (retryAgeMs) writeVarint(out, writeVarint(out, at, VARINT_102), retryAgeMs);
  return out;
}

/** kv.GetRequest, as a frame without an id. */
export function decodeGetRequest(bytes: Buffer): PipeRequestFrame {
  const cursor = new Cursor(bytes, 0, bytes.length);
  let key = NO_BYTES;
  let stale = false;
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === BYTES_1) key = cursor.bytes();
    else if (tag === VARINT_100) stale = cursor.varint() !== 0;
    else cursor.skip(tag);
  }
  return { id: 0, action: GET, key, value: undefined, stale };
}

/** kv.PutRequest, as a frame without an id. */
export function decodePutRequest(bytes: Buffer): PipeRequestFrame {
  const cursor = new Cursor(bytes, 0, bytes.length);
  let key = NO_BYTES;
  let value: Buffer | undefined;
  let level = 0;
  let writeId: Buffer | undefined;
  let retryAgeMs = 0;
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === BYTES_1) key = cursor.bytes();
    else if (tag === BYTES_2) value = cursor.bytes();
    else if (tag === VARINT_100) level = cursor.varint();
    else if (tag === BYTES_101) writeId = notEmpty(cursor.bytes());
    else if (tag === VARINT_102) retryAgeMs = cursor.varint();
    else cursor.skip(tag);
  }
  return { id: 0, action: PUT, key, value, level, writeId, retryAgeMs };
}

/** kv.GetResponse. */
export function encodeGetResponse(answer: ValueFrame): Buffer {
  const { value } = answer;
  const { stale, atOffset } = answer;
  const length = (value.length === 0 ? 0 : fieldLength(value.length)) + positionLength(answer) + (stale ? 3 : 0) + (atOffset ? 2 + varintLength(atOffset) : 0);
  const out = Buffer.allocUnsafe(length);
  let at = value.length === 0 ? 0 : writeBytes(out, 0, BYTES_1, value);
  at = writePosition(out, at, answer);
  if (stale) at = writeVarint(out, writeVarint(out, at, VARINT_102), 1);
  if (atOffset) writeVarint(out, writeVarint(out, at, VARINT_103), atOffset);
  return out;
}

/** kv.PutResponse. */
export function encodePutResponse(answer: Pick<ValueFrame, 'epoch' | 'offset'>): Buffer {
  const out = Buffer.allocUnsafe(positionLength(answer));
  writePosition(out, 0, answer);
  return out;
}

/** kv.GetResponse and kv.PutResponse alike. */
export function decodeValue(bytes: Buffer): ValueFrame {
  const cursor = new Cursor(bytes, 0, bytes.length);
  let value = NO_BYTES;
  let epoch = 0;
  let offset = 0;
  let stale = false;
  let atOffset = 0;
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === BYTES_1) value = cursor.bytes();
    else if (tag === VARINT_100) epoch = cursor.varint();
    else if (tag === VARINT_101) offset = cursor.varint();
    else if (tag === VARINT_102) stale = cursor.varint() !== 0;
    else if (tag === VARINT_103) atOffset = cursor.varint();
    else cursor.skip(tag);
  }
  return { value, epoch, offset, stale, atOffset };
}

// A tag is a field's number and its wire type: 0 a varint, 2 bytes.
const VARINT_1 = 0x08;
const VARINT_2 = 0x10;
const VARINT_5 = 0x28;
const VARINT_6 = 0x30;
const VARINT_7 = 0x38;
const VARINT_8 = 0x40;
const VARINT_100 = 800;
const VARINT_101 = 808;
const VARINT_102 = 816;
const VARINT_103 = 824;
const BYTES_1 = 0x0a;
const BYTES_2 = 0x12;
const BYTES_3 = 0x1a;
const BYTES_4 = 0x22;
const BYTES_6 = 0x32;
const BYTES_101 = 810;

function decodePipeRequest(cursor: Cursor): PipeRequestFrame {
  let id = 0;
  let action = 0;
  let key = NO_BYTES;
  let value: Buffer | undefined;
  let level = 0;
  let writeId: Buffer | undefined;
  let retryAgeMs = 0;
  let stale = false;
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === VARINT_1) id = cursor.varint() >>> 0;
    else if (tag === VARINT_2) action = cursor.varint();
    else if (tag === BYTES_3) key = cursor.bytes();
    else if (tag === BYTES_4) value = cursor.bytes();
    else if (tag === VARINT_5) level = cursor.varint();
    else if (tag === BYTES_6) writeId = notEmpty(cursor.bytes());
    else if (tag === VARINT_7) retryAgeMs = cursor.varint();
    else if (tag === VARINT_8) stale = cursor.varint() !== 0;
    else cursor.skip(tag);
  }
  return { id, action, key, value, level, writeId, retryAgeMs, stale };
}

function decodePipeResponse(cursor: Cursor): PipeResponseFrame {
  let id = 0;
  let code = 0;
  let message = '';
  let value = NO_BYTES;
  let epoch = 0;
  let offset = 0;
  let stale = false;
  let atOffset = 0;
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === VARINT_1) id = cursor.varint() >>> 0;
    else if (tag === VARINT_2) code = cursor.varint() >>> 0;
    else if (tag === BYTES_3) message = cursor.bytes().toString('utf8');
    else if (tag === BYTES_4) value = cursor.bytes();
    else if (tag === VARINT_5) epoch = cursor.varint();
    else if (tag === VARINT_6) offset = cursor.varint();
    else if (tag === VARINT_7) stale = cursor.varint() !== 0;
    else if (tag === VARINT_8) atOffset = cursor.varint();
    else cursor.skip(tag);
  }
  return { id, code, message, value, epoch, offset, stale, atOffset };
}

/** Messages whose only field is a list of others, field 1. */
function decodeRepeated<T>(bytes: Buffer, decodeOne: (cursor: Cursor) => T): T[] {
  const cursor = new Cursor(bytes, 0, bytes.length);
  const items: T[] = [];
  while (cursor.at < bytes.length) {
    const tag = cursor.varint();
    if (tag !== BYTES_1) {
      cursor.skip(tag);
      continue;
    }
    const length = cursor.length();
    cursor.end = cursor.at + length;
    items.push(decodeOne(cursor));
    cursor.end = bytes.length;
  }
  return items;
}

class Cursor {
  constructor(
    private readonly source: Buffer,
    public at: number,
    /** No field of the message being read reaches beyond it. */
    public end: number,
  ) {}

  /** Numbers beyond 2^53 - 1 are refused: nothing here counts that far. */
  varint(): number {
    const { source } = this;
    let result = 0;
    let scale = 1;
    for (let count = 0; count < 10; count++) {
      if (this.at >= this.end) throw malformed('a number is cut off');
      const byte = source[this.at++] as number;
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (result > Number.MAX_SAFE_INTEGER) throw malformed('a number is beyond 2^53 - 1');
        return result;
      }
      scale *= 128;
    }
    throw malformed('a number has more than 10 bytes');
  }

  length(): number {
    const length = this.varint();
    if (length > this.end - this.at) throw malformed(`a field of ${length} bytes reaches beyond its message`);
    return length;
  }

  bytes(): Buffer {
    const length = this.length();
    const from = this.at;
    this.at += length;
    return this.source.subarray(from, this.at);
  }

  /** Passes over a field that this version does not know. */
  skip(tag: number): void {
    if (tag < 8) throw malformed('a field has the number 0');
    const type = tag % 8;
    if (type === 0) this.varint();
    else if (type === 2) this.bytes();
    else if (type === 1) this.advance(8);
    else if (type === 5) this.advance(4);
    else throw malformed(`a field has the wire type ${type}`);
  }

  private advance(count: number): void {
    if (count > this.end - this.at) throw malformed('a field is cut off');
    this.at += count;
  }
}

function notEmpty(bytes: Buffer): Buffer | undefined {
  return bytes.length === 0 ? undefined : bytes;
}

function malformed(why: string): AppError {
  return new AppError('INVALID_ARGUMENT', `the message cannot be decoded: ${why}`);
}

function requestLength(request: PipeRequestFrame): number {
  let length = 0;
  if (request.id !== 0) length += 1 + varintLength(request.id);
  if (request.action !== 0) length += 1 + varintLength(request.action);
  if (request.key.length !== 0) length += fieldLength(request.key.length);
  if (request.value !== undefined) length += fieldLength(request.value.length);
  if (request.level) length += 1 + varintLength(request.level);
  if (request.writeId?.length) length += fieldLength(request.writeId.length);
  if (request.retryAgeMs) length += 1 + varintLength(request.retryAgeMs);
  if (request.stale) length += 2;
  return length;
}

function responseLength(response: PipeResponseFrame): number {
  let length = 0;
  if (response.id !== 0) length += 1 + varintLength(response.id);
  if (response.code !== 0) length += 1 + varintLength(response.code);
  if (response.message !== '') length += fieldLength(Buffer.byteLength(response.message, 'utf8'));
  if (response.value.length !== 0) length += fieldLength(response.value.length);
  if (response.epoch !== 0) length += 1 + varintLength(response.epoch);
  if (response.offset !== 0) length += 1 + varintLength(response.offset);
  if (response.stale) length += 2;
  if (response.atOffset) length += 1 + varintLength(response.atOffset);
  return length;
}

function positionLength(answer: Pick<ValueFrame, 'epoch' | 'offset'>): number {
  const epoch = answer.epoch === 0 ? 0 : 2 + varintLength(answer.epoch);
  return epoch + (answer.offset === 0 ? 0 : 2 + varintLength(answer.offset));
}

function writePosition(out: Buffer, from: number, answer: Pick<ValueFrame, 'epoch' | 'offset'>): number {
  let at = from;
  if (answer.epoch !== 0) at = writeVarint(out, writeVarint(out, at, VARINT_100), answer.epoch);
  if (answer.offset !== 0) at = writeVarint(out, writeVarint(out, at, VARINT_101), answer.offset);
  return at;
}

/** Of a field with a number below 16 that holds `length` bytes. */
function fieldLength(length: number): number {
  return 1 + varintLength(length) + length;
}

function varintLength(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let length = 4;
  for (let rest = Math.floor(value / 0x10000000); rest > 0; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeVarint(out: Buffer, from: number, value: number): number {
  let at = from;
  let rest = value;
  while (rest >= 0x10000000) {
    out[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 0x80) {
    out[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}

function writeTagged(out: Buffer, at: number, tag: number, value: number): number {
  out[at] = tag;
  return writeVarint(out, at + 1, value);
}

function writeBytes(out: Buffer, at: number, tag: number, bytes: Buffer): number {
  const start = writeTagged(out, at, tag, bytes.length);
  // Keys are short, and a call into the runtime costs more than a few assignments.
  if (bytes.length > 24) out.set(bytes, start);
  else for (let i = 0; i < bytes.length; i++) out[start + i] = bytes[i] as number;
  return start + bytes.length;
}

function writeText(out: Buffer, at: number, tag: number, text: string): number {
  const start = writeTagged(out, at, tag, Buffer.byteLength(text, 'utf8'));
  return start + out.write(text, start, 'utf8');
}
