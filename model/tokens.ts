import { type Interval, containsKey, intersection, isEmpty } from './interval.js';
import { KEY_BYTES_MAX, type Key, NO_KEY, keyFromBytes, keyToBytes } from './key.js';
import type { RangeId } from './range.js';

/*
 * Where a scan or a watch goes on, as bytes that clients keep and bring back. Both
 * begin with their kind and version, and end with a checksum, so that anything else
 * is told from them.
 */

const SCAN = 0x53;
const WATCH = 0x57;
const VERSION = 1;
const CHECKSUM_BYTES = 4;

/** The keys that a scan has still to see, given all that it was to see: from `key` on, or with `reverse` below it. */
export function encodeScanToken(reverse: boolean, key: Key): Buffer {
  return seal(Buffer.concat([Buffer.from([SCAN, VERSION, reverse ? 1 : 0]), keyToBytes(key)]));
}

/** What is left of `span`; undefined when the token is none, or of another scan. */
export function decodeScanToken(token: Buffer, span: Interval, reverse: boolean): Interval | undefined {
  const bytes = unseal(token);
  if (!bytes || bytes.length < 3 || bytes.length > 4 + KEY_BYTES_MAX || bytes[0] !== SCAN || bytes[1] !== VERSION) return undefined;
  if (bytes[2] !== (reverse ? 1 : 0)) return undefined;
  const key = keyFromBytes(bytes.subarray(3));
  const inside = containsKey(span, key) || (key === span.end && key !== NO_KEY);
  if (!inside) return undefined;
  return reverse ? { start: span.start, end: key } : { start: key, end: span.end };
}

/** A watcher has seen every change of these keys in the log of `range`, and of the ranges before it, up to `offset`. */
export interface WatchSegment extends Interval {
  readonly range: RangeId;
  readonly offset: number;
}

export const WATCH_SEGMENTS_MAX = 10_000;

export function encodeWatchToken(segments: readonly WatchSegment[]): Buffer {
  const parts: Buffer[] = [Buffer.from([WATCH, VERSION])];
  for (const { start, end, range, offset } of mergeSegments(segments)) {
    const head = Buffer.alloc(16);
    head.writeUInt16BE(start.length, 0);
    head.writeUInt16BE(end.length, 2);
    head.writeUIntBE(range, 4, 6);
    head.writeUIntBE(offset, 10, 6);
    parts.push(head, keyToBytes(start), keyToBytes(end));
  }
  return seal(Buffer.concat(parts));
}

/** In the order of their keys; undefined when the token is none. */
export function decodeWatchToken(token: Buffer): WatchSegment[] | undefined {
  const bytes = unseal(token);
  if (!bytes || bytes.length < 2 || bytes[0] !== WATCH || bytes[1] !== VERSION) return undefined;
  const segments: WatchSegment[] = [];
  for (let at = 2; at < bytes.length; ) {
    const keysAt = at + 16;
    if (keysAt > bytes.length || segments.length >= WATCH_SEGMENTS_MAX) return undefined;
    const endAt = keysAt + bytes.readUInt16BE(at);
    const next = endAt + bytes.readUInt16BE(at + 2);
    if (next > bytes.length) return undefined;
    const segment = {
      start: keyFromBytes(bytes.subarray(keysAt, endAt)),
      end: keyFromBytes(bytes.subarray(endAt, next)),
      range: bytes.readUIntBE(at + 4, 6),
      offset: bytes.readUIntBE(at + 10, 6),
    };
    const last = segments.at(-1);
    if (isEmpty(segment) || (last && (last.end === NO_KEY || last.end > segment.start))) return undefined;
    segments.push(segment);
    at = next;
  }
  return segments;
}

/** What of the segments lies in `span`; undefined when they leave some of it out. */
export function clipSegments(segments: readonly WatchSegment[], span: Interval): WatchSegment[] | undefined {
  const clipped: WatchSegment[] = [];
  let at: Key | undefined = span.start;
  for (const segment of segments) {
    const both = intersection(segment, span);
    if (!both) continue;
    if (both.start !== at) return undefined;
    clipped.push({ ...segment, ...both });
    at = both.end;
  }
  return at === span.end && clipped.length > 0 ? clipped : undefined;
}

/** Neighbours that stand at the same place of the same log become one. */
export function mergeSegments(segments: readonly WatchSegment[]): WatchSegment[] {
  const merged: WatchSegment[] = [];
  for (const segment of segments) {
    const last = merged.at(-1);
    if (last && last.end === segment.start && last.range === segment.range && last.offset === segment.offset) merged[merged.length - 1] = { ...last, end: segment.end };
    else merged.push(segment);
  }
  return merged;
}

function seal(bytes: Buffer): Buffer {
  const out = Buffer.allocUnsafe(bytes.length + CHECKSUM_BYTES);
  bytes.copy(out);
  out.writeUInt32BE(checksum(bytes), bytes.length);
  return out;
}

function unseal(token: Buffer): Buffer | undefined {
  if (token.length < CHECKSUM_BYTES) return undefined;
  const bytes = token.subarray(0, token.length - CHECKSUM_BYTES);
  return token.readUInt32BE(bytes.length) === checksum(bytes) ? bytes : undefined;
}

/** FNV-1a: against slips, not against forgers, who could only ask for other keys of theirs. */
function checksum(bytes: Buffer): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
