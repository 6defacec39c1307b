import { type Interval, intersection, isEmpty } from './interval.js';
import { type Key, NO_KEY } from './key.js';

/*
 * What the store can be asked, whatever door the question comes through: the words
 * of kv.Store, of the HTTP API, and of those who answer them.
 */

/** Where a write stands in its range's log: no two writes of a key have the same. */
export interface Position {
  readonly epoch: number;
  readonly offset: number;
}

/** What must be true of a key for a write to be made. */
export type Condition =
  | { readonly is: 'absent' }
  | { readonly is: 'present' }
  /** What is there was made by one of these writes. */
  | { readonly is: 'at'; readonly positions: readonly Position[] }
  /** What is there, if anything, was made by none of these. */
  | { readonly is: 'notAt'; readonly positions: readonly Position[] };

/** Alternatives in one condition; more are refused. */
export const POSITIONS_MAX = 64;

export function holds(condition: Condition, current: Position | undefined): boolean {
  switch (condition.is) {
    case 'absent':
      return current === undefined;
    case 'present':
      return current !== undefined;
    case 'at':
      return current !== undefined && condition.positions.some((position) => samePosition(position, current));
    case 'notAt':
      return current === undefined || !condition.positions.some((position) => samePosition(position, current));
  }
}

function samePosition(a: Position, b: Position): boolean {
  return a.epoch === b.epoch && a.offset === b.offset;
}

export interface Value extends Position {
  readonly value: Buffer;
  /** As its writer gave it. */
  readonly contentType?: string | undefined;
}

/** A write that was made, or one whose condition did not hold: then nothing was. */
export type WriteOutcome = { readonly applied: true; readonly position: Position } | { readonly applied: false; readonly current: Position | undefined };

export interface WriteOptions extends WriteTry {
  readonly contentType?: string | undefined;
  readonly condition?: Condition | undefined;
}

/** What makes a write that is sent twice one write. */
export interface WriteTry {
  /** 16 bytes that no other write has. */
  readonly writeId?: Buffer | undefined;
  /** How long ago the first try of unknown outcome was sent; 0 when there was none. */
  readonly retryAgeMs?: number | undefined;
}

export type Operation =
  | { readonly is: 'get'; readonly key: Key }
  | ({ readonly is: 'put'; readonly key: Key; readonly value: Buffer } & WriteOptions)
  | ({ readonly is: 'delete'; readonly key: Key; readonly condition?: Condition | undefined } & WriteTry);

export type OperationAnswer =
  | { readonly is: 'value'; readonly value: Value }
  | { readonly is: 'absent' }
  | { readonly is: 'written'; readonly outcome: WriteOutcome }
  | { readonly is: 'failed'; readonly error: Error };

export const OPERATIONS_MAX = 10_000;

/** The values that the answers of a batch may hold together: what goes beyond has to be asked for again. */
export const BATCH_ANSWER_BYTES_MAX = 12 * 1024 * 1024;

/** Keys of a scan or watch: those in [start, end) that begin with `prefix`. */
export interface Selection {
  readonly prefix?: Key | undefined;
  readonly start?: Key | undefined;
  readonly end?: Key | undefined;
}

/** The keys that begin with `prefix`. */
export function prefixSpan(prefix: Key): Interval {
  let end = prefix as string;
  while (end.endsWith('\xff')) end = end.slice(0, -1);
  if (end === '') return { start: prefix, end: NO_KEY };
  const last = end.charCodeAt(end.length - 1);
  return { start: prefix, end: (end.slice(0, -1) + String.fromCharCode(last + 1)) as Key };
}

/** One interval of keys; undefined when `start` is not below `end`. One that only misses the prefix is empty, and no mistake. */
export function selectedSpan({ prefix = NO_KEY, start = NO_KEY, end = NO_KEY }: Selection): Interval | undefined {
  const span = { start, end };
  if (isEmpty(span)) return undefined;
  const both = intersection(prefixSpan(prefix), span);
  return both ?? { start: prefix, end: prefix };
}

export interface ScanRequest {
  readonly span: Interval;
  readonly reverse?: boolean;
  readonly keysOnly?: boolean;
  /** At most so many entries; all when not given. */
  readonly limit?: number | undefined;
  /** Goes on where an earlier scan of the same keys ended. */
  readonly token?: Buffer | undefined;
}

export interface ScanEntry extends Position {
  readonly key: Key;
  readonly value: Buffer;
  readonly contentType?: string | undefined;
}

/** Entries in order. A page is consistent; between two pages there may be writes. */
export interface ScanPage {
  /** With `keysOnly`, values are empty and positions 0. */
  readonly entries: readonly ScanEntry[];
  /** Where to go on; undefined when all has been seen. */
  readonly next: Buffer | undefined;
}

export interface WatchRequest {
  readonly span: Interval;
  /** Goes on where an earlier watch was; from now on when neither is given. */
  readonly token?: Buffer | undefined;
  /** Begins behind this offset, when all the keys lie in one range. */
  readonly afterOffset?: number | undefined;
}

export interface Change extends Position {
  readonly key: Key;
  /** Undefined when the key was deleted. */
  readonly value: Buffer | undefined;
  readonly contentType?: string | undefined;
}

export interface WatchEvent {
  /** In the order of their writes, as far as they are of one range. */
  readonly changes: readonly Change[];
  /** Where to go on behind these changes. Of a watch over very many ranges only from time to time. */
  readonly token: Buffer | undefined;
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** Of a scan: how long a page may take. Of a watch: nothing. */
  readonly timeoutMs?: number | undefined;
}

/** The store, as everything that answers clients sees it. Errors are AppErrors. */
export interface Store {
  /** Undefined when the key is absent. */
  get(key: Key, options?: AskOptions): Promise<Value | undefined>;
  put(key: Key, value: Buffer, write?: WriteOptions, options?: AskOptions): Promise<WriteOutcome>;
  /** Deleting what is absent is no error. */
  delete(key: Key, condition?: Condition, options?: AskOptions): Promise<WriteOutcome>;
  /** An answer for each operation, in their order. They are independent of each other. */
  batch(operations: readonly Operation[], options?: AskOptions): Promise<OperationAnswer[]>;
  scan(request: ScanRequest, options?: AskOptions): AsyncIterable<ScanPage>;
  /** Goes on until it is aborted. */
  watch(request: WatchRequest, options?: AskOptions): AsyncIterable<WatchEvent>;
}
