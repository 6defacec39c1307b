import { containsKey } from '../../model/interval.js';
import { formatKey, keyFromBytes } from '../../model/key.js';
import { formatRange } from '../../model/range.js';
import type { Change, WatchEvent, WatchRequest } from '../../model/store.js';
import { type WatchSegment, clipSegments, decodeWatchToken, encodeWatchToken } from '../../model/tokens.js';
import { AppError } from '../../runtime/errors.js';
import type { LogHold, LogRetention } from '../follow/source.js';
import { type LogRecord, type Storage, writesNothing } from '../storage/storage.js';
import { Bell } from './bell.js';
import type { Copy } from './copy.js';
import type { KeyValues } from './data.js';

export interface WatchDeps {
  readonly storage: Storage;
  readonly data: KeyValues;
  readonly log: LogRetention;
}

const READ_BYTES = 256 * 1024;
/** After so many records that were of no interest the watcher is told how far it is, lest it come back to a log that was trimmed. */
const QUIET_RECORDS = 1000;

/**
 * The changes of keys that one range here serves, from its log, as they are committed.
 * Ends with ABORTED once the range does not serve any more and all that it had was
 * told: whoever serves the keys then is asked to go on from the last token.
 */
export async function* watchRange(deps: WatchDeps, request: WatchRequest, signal: AbortSignal | undefined): AsyncGenerator<WatchEvent, void, undefined> {
  const segments = segmentsOf(request);
  const copy = deps.data.servingSpan(request.span);
  const starts = startingPoints(copy, request, segments);
  const hold = deps.log.hold(copy);
  const bell = new Bell(copy, signal);
  try {
    yield* follow(deps.storage, copy, starts, hold, bell);
  } finally {
    bell.close();
    hold.release();
  }
}

async function* follow(storage: Storage, copy: Copy, starts: readonly WatchSegment[], hold: LogHold, bell: Bell): AsyncGenerator<WatchEvent, void, undefined> {
  let at = Math.min(...starts.map(({ offset }) => offset));
  hold.offset = at;
  const token = (): Buffer => encodeWatchToken(starts.map((start) => ({ ...start, range: copy.meta.id, offset: Math.max(start.offset, at) })));
  yield { changes: [], token: token() };
  /** Records read since the watcher was last told how far it is. */
  let quiet = 0;
  let told = at;
  for (;;) {
    bell.throwIfOver();
    if (at >= copy.committedOffset) {
      // What is admitted may still be committed: it is told before the end.
      if (copy.quiet || copy.gone) break;
      await bell.next();
      continue;
    }
    if (copy.gone) break;
    if (at < copy.trimmedThrough) throw trimmed(copy, at);
    const records = storage.readLog(copy.meta.id, at, READ_BYTES).filter(({ offset }) => offset <= copy.committedOffset);
    const last = records.at(-1);
    // The offsets in between belong to writes that failed; nothing is missing.
    at = last?.offset ?? copy.committedOffset;
    hold.offset = at;
    const changes = records.filter((record) => isNews(starts, record)).map(changeOf);
    quiet += records.length;
    if (changes.length === 0 && quiet < QUIET_RECORDS) continue;
    quiet = 0;
    told = at;
    yield { changes, token: token() };
  }
  // Only who knows that the log was read to its end can go on in the one behind it.
  if (at > told) yield { changes: [], token: token() };
  throw new AppError('ABORTED', `${formatRange(copy.meta)} is not served here any more: go on where it is now`);
}

function isNews(starts: readonly WatchSegment[], record: LogRecord): boolean {
  if (writesNothing(record)) return false;
  const { key, offset } = record;
  const name = keyFromBytes(key);
  return starts.some((start) => offset > start.offset && containsKey(start, name));
}

function changeOf({ key, value, contentType, epoch, offset }: LogRecord): Change {
  return { key: keyFromBytes(key), value, contentType, epoch, offset };
}

/** From where on in the log of this copy the watcher has everything still to be told. */
function startingPoints(copy: Copy, { span, afterOffset }: WatchRequest, segments: readonly WatchSegment[] | undefined): WatchSegment[] {
  const range = copy.meta.id;
  if (!segments) {
    const offset = afterOffset ?? copy.committedOffset;
    if (offset > copy.lastOffset) throw new AppError('INVALID_ARGUMENT', `after_offset: ${offset} is beyond the end of the log of ${formatRange(copy.meta)}, ${copy.lastOffset}`);
    return [reached(copy, { ...span, range, offset })];
  }
  return segments.map((segment) => reached(copy, continued(copy, segment)));
}

function segmentsOf({ span, token }: WatchRequest): WatchSegment[] | undefined {
  if (!token) return undefined;
  const segments = decodeWatchToken(token);
  if (!segments) throw new AppError('INVALID_ARGUMENT', 'token: it is none that a watch has told');
  const clipped = clipSegments(segments, span);
  if (!clipped) throw new AppError('INVALID_ARGUMENT', 'token: it is of a watch of other keys');
  return clipped;
}

/** The same place in the log of this copy, which goes on behind that of another range. */
function continued(copy: Copy, segment: WatchSegment): WatchSegment {
  const { id } = copy.meta;
  if (segment.range === id) return segment;
  const origins = copy.record.origins.filter((origin) => origin.range === segment.range && segment.offset >= origin.offset);
  if (!origins.some((origin) => containsKey(origin, segment.start))) throw trimmed(copy, segment.offset, segment.range);
  return { ...segment, range: id, offset: copy.record.baseOffset };
}

function reached(copy: Copy, segment: WatchSegment): WatchSegment {
  const { offset } = segment;
  if (offset < copy.record.baseOffset || offset < copy.trimmedThrough || offset > copy.lastOffset) throw trimmed(copy, offset);
  return segment;
}

function trimmed(copy: Copy, offset: number, range = copy.meta.id): AppError {
  const start = copy.meta.start === '' ? '-inf' : formatKey(copy.meta.start);
  return new AppError('OUT_OF_RANGE', `the log of ${formatRange(copy.meta)} does not reach back to offset ${offset} of R${range} any more: scan the keys from ${start} again, and watch from then on`);
}
