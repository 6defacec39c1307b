import { type Interval } from '../../model/interval.js';
import { type Key, keyFromBytes, keyToBytes } from '../../model/key.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import type { Member } from '../../model/report.js';
import { AppError } from '../../runtime/errors.js';

/**
 * What a node remembers of a range it has, durably.
 *
 * - Inactive: complete up to `links`, or up to the end of its own log.
 * - Active: takes writes; it owns the write token of its whole range.
 */
export type CopyState = 'Inactive' | 'Active';

export interface CopyRecord {
  readonly meta: RangeMeta;
  readonly state: CopyState;
  /** The epoch of the last activation, here or of whom the right to write came from: what the newest writes carry. */
  readonly logEpoch: number;
  /** The log holds nothing at or below this offset. */
  readonly baseOffset: number;
  /** The spans whose write token is here. */
  readonly owned: readonly Interval[];
  /** The spans whose token was given away, until it comes back. */
  readonly handed: readonly HandedSpan[];
  /** What the copy follows. */
  readonly links: readonly LinkRecord[];
  /**
   * Where other ranges' logs ended that this one's goes on behind: who read them to that
   * end reads on here from `baseOffset`.
   */
  readonly origins: readonly LogOrigin[];
  /** A peer that cannot follow took its data from here, and may have become active: no Activate since. */
  readonly dumped: boolean;
  /** Of the newest fail-over known of the range: what an older activation alone has counts for nothing. */
  readonly fork?: number;
  /** The epoch of the log at `baseOffset`. */
  readonly baseEpoch?: number;
  /** What is stored is not whole before the log is applied up to here: a snapshot, or keys that were restored, run ahead. */
  readonly wholeAt?: number | undefined;
  /** While the log begins behind `after`: all ids of writes first tried after `sinceMs`, by this node's wall clock, are in it. */
  readonly ids?: { readonly after: number; readonly sinceMs: number } | undefined;
  /** It was found to differ from the range's other copies, and waits to be made anew. */
  readonly damaged?: boolean;
  /** When it was last compared with all its followers, as a primary; by the wall clock. */
  readonly verifiedMs?: number;
  /** Of a primary with replicas. */
  readonly replica?: ReplicaRecord | undefined;
}

/** Whom a primary waits for with every write. */
export interface ReplicaRecord {
  /** Of the membership that the controller decided last. */
  readonly epoch: number;
  readonly minInSync: number;
  /** The others: the decided ones, and those that were found level since. */
  readonly members: readonly Member[];
}

export interface LogOrigin extends Interval {
  readonly range: RangeId;
  readonly offset: number;
}

export interface HandedSpan extends Interval {
  readonly range: RangeId;
  readonly node: string;
  readonly incarnation: string;
  /** Where it can be asked back. */
  readonly address: string;
  readonly epoch: number;
  /** The end of the log that went with it. */
  readonly offset: number;
}

export interface LinkRecord extends Interval {
  /** Whose log is followed, and where it is. */
  readonly range: RangeId;
  readonly address: string;
  /** Everything up to here is durable in this copy. */
  readonly offset: number;
  /** The source cannot be followed: its data is fetched when this copy becomes active. */
  readonly plain?: boolean;
}

/** Of `wholeAt`: nobody can say yet, since a snapshot has yet to come, or to end. */
export const NOT_YET = Number.MAX_SAFE_INTEGER;

interface SpanJson {
  start: string;
  end: string;
}

const encodeKey = (key: Key): string => keyToBytes(key).toString('base64');
const decodeKey = (text: string): Key => keyFromBytes(Buffer.from(text, 'base64'));
const encodeSpan = (span: Interval): SpanJson => ({ start: encodeKey(span.start), end: encodeKey(span.end) });
const decodeSpan = (span: SpanJson): Interval => ({ start: decodeKey(span.start), end: decodeKey(span.end) });

export function encodeCopy(copy: CopyRecord): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...copy,
      meta: { ...copy.meta, ...encodeSpan(copy.meta) },
      owned: copy.owned.map(encodeSpan),
      handed: copy.handed.map((span) => ({ ...span, ...encodeSpan(span) })),
      links: copy.links.map((span) => ({ ...span, ...encodeSpan(span) })),
      origins: copy.origins.map((span) => ({ ...span, ...encodeSpan(span) })),
    }),
  );
}

export function decodeCopy(bytes: Buffer): CopyRecord {
  try {
    const json = JSON.parse(bytes.toString()) as Omit<CopyRecord, 'origins'> & Partial<Pick<CopyRecord, 'origins'>>;
    return {
      ...json,
      meta: { ...json.meta, ...decodeSpan(json.meta) },
      owned: json.owned.map(decodeSpan),
      handed: json.handed.map((span) => ({ ...span, ...decodeSpan(span) })),
      links: json.links.map((span) => ({ ...span, ...decodeSpan(span) })),
      origins: (json.origins ?? []).map((span) => ({ ...span, ...decodeSpan(span) })),
    };
  } catch (cause) {
    throw new AppError('DATA_LOSS', `a range record in the data directory is damaged: ${bytes.toString('latin1').slice(0, 80)}`, { cause });
  }
}
