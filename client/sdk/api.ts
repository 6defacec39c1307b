/*
 * The words of the SDK: all that an application sees. Nothing here comes from the rest
 * of the project, so that the published types stand alone.
 */

/** Which store to talk to, and how: through one or more proxies, or straight to the nodes. */
export type ConnectOptions = (
  | {
      /** `host:port` of a proxy, or of several, which take turns and stand in for each other. */
      readonly proxy: string | readonly string[];
      readonly coordination?: undefined;
    }
  | {
      /**
       * Where the nodes are found: `consul://host:8500`, or `embedded://host:5000`, which is the
       * controller. The client draws its own map of who has which keys, and asks the owners.
       */
      readonly coordination: string;
      readonly proxy?: undefined;
    }
) & {
  /** How long a call may take that says nothing else, in milliseconds. 10,000 when not given. */
  readonly timeoutMs?: number | undefined;
};

/** 1 to 1,024 bytes. A string stands for its UTF-8. */
export type KeyLike = string | Uint8Array;
/** Up to 8 MiB. A string stands for its UTF-8. */
export type ValueLike = string | Uint8Array;

/** Which write made a value: no two writes of a key have the same. */
export interface Version {
  readonly epoch: number;
  /** In the log of the key's range. */
  readonly offset: number;
}

/** What a call may be told. */
export interface CallOptions {
  /**
   * Gives the call up. It rejects at once: with `aborted` when nothing was done, with
   * `outcome_unknown` when it was a write that is on its way.
   */
  readonly signal?: AbortSignal | undefined;
  /** In milliseconds; of a scan: how long a page may take. As given to `connect` when not given. */
  readonly timeoutMs?: number | undefined;
}

export interface Value {
  readonly value: Uint8Array;
  readonly version: Version;
  /** As its writer gave it. */
  readonly contentType?: string | undefined;
  /** The value as UTF-8. */
  text(): string;
}

export interface Entry extends Value {
  /** The key as UTF-8; one that is not UTF-8 has to be taken from `keyBytes`. */
  readonly key: string;
  readonly keyBytes: Uint8Array;
}

/** A write that was made, or one whose condition did not hold: then nothing was, and `current` is what is there. */
export type WriteResult = { readonly applied: true; readonly version: Version } | { readonly applied: false; readonly current: Version | undefined };

/** What has to be there for a write to be made: a version, or nothing. */
export type Expected = Version | 'absent';

export interface SetSafeOptions extends CallOptions {
  /** Kept with the value; printable ASCII, up to 255 bytes, such as `text/plain`. */
  readonly contentType?: string | undefined;
}

export interface DeleteOptions extends CallOptions {
  /** Deletes only this version. */
  readonly expected?: Version | undefined;
}

export type BatchOperation =
  | { readonly op: 'get'; readonly key: KeyLike }
  | { readonly op: 'set'; readonly key: KeyLike; readonly value: ValueLike; readonly contentType?: string | undefined; readonly expected?: Expected | undefined }
  | { readonly op: 'delete'; readonly key: KeyLike; readonly expected?: Version | undefined };

export type BatchResult =
  | { readonly op: 'get'; readonly value: Value | undefined }
  | { readonly op: 'write'; readonly result: WriteResult }
  | { readonly op: 'failed'; readonly error: KeyrangerError };

/** Keys in [start, end) that begin with `prefix`; all of them when nothing is given. */
export interface Selection {
  readonly prefix?: KeyLike | undefined;
  readonly start?: KeyLike | undefined;
  readonly end?: KeyLike | undefined;
}

export interface ScanOptions extends Selection, CallOptions {
  /** From the last to the first. */
  readonly reverse?: boolean | undefined;
  /** Values come empty, and versions zero. */
  readonly keysOnly?: boolean | undefined;
  /** At most so many entries, from 1 on; all when not given. */
  readonly limit?: number | undefined;
}

export interface WatchOptions extends Selection {
  /** Ends the watch: the iteration throws `aborted`. */
  readonly signal?: AbortSignal | undefined;
  /** Goes on behind the event that told this token; from now on when not given. */
  readonly token?: string | undefined;
  /** Begins behind this offset, when all the keys lie in one range. */
  readonly afterOffset?: number | undefined;
}

export interface Change {
  readonly key: string;
  readonly keyBytes: Uint8Array;
  /** Undefined when the key was deleted. */
  readonly value: Uint8Array | undefined;
  readonly version: Version;
  readonly contentType?: string | undefined;
  /** The value as UTF-8; undefined when the key was deleted. */
  text(): string | undefined;
}

export interface WatchEvent {
  /** In the order of their writes, as far as they are of one range. The first event has none: it says that the watch has begun. */
  readonly changes: readonly Change[];
  /** For `watch({ token })`. Of a watch over very many ranges only from time to time. */
  readonly token: string | undefined;
}

/**
 * A store, whichever way it is reached. Calls that meet a move, a fail-over, or a
 * connection that breaks wait and try again until their time is over; a write that is
 * sent again is made once. Whatever fails, fails with a {@link KeyrangerError}.
 */
export interface Client {
  /** Undefined when the key is absent. */
  get(key: KeyLike, options?: CallOptions): Promise<Value | undefined>;
  /** Resolves when the key's primary has the write on its disk. A fail-over may still lose it. */
  set(key: KeyLike, value: ValueLike, options?: CallOptions): Promise<Version>;
  /** Resolves when every copy in sync has the write on its disk: it outlives a fail-over. */
  setSafe(key: KeyLike, value: ValueLike, options?: SetSafeOptions): Promise<Version>;
  /** As safe as `setSafe`. Made only when the key is as `expected`, which is judged and done in one step. */
  compareAndSet(key: KeyLike, expected: Expected, value: ValueLike, options?: SetSafeOptions): Promise<WriteResult>;
  /** As safe as `setSafe`. Deleting what is absent is no error, unless a version was expected: then it is not applied. */
  delete(key: KeyLike, options?: DeleteOptions): Promise<WriteResult>;
  /**
   * Up to 10,000 operations, independent of each other: an answer for each, in their order. Values
   * in one answer hold at most 12 MiB; gets beyond fail with `overloaded`, to be asked again.
   */
  batch(operations: readonly BatchOperation[], options?: CallOptions): Promise<BatchResult[]>;
  /** Entries in order of their keys' bytes. Holds a page at a time; between two pages there may be writes. */
  scan(options?: ScanOptions): AsyncIterableIterator<Entry>;
  /**
   * The changes of keys, each once, without gap, over moves and failures, until it is left or
   * aborted. Throws `history_lost` when the logs do not reach back to where it was to begin.
   */
  watch(options?: WatchOptions): AsyncIterableIterator<WatchEvent>;
  /** Ends every call and connection. Calls on their way reject as if aborted. A second time does nothing. */
  close(): Promise<void>;
}

/** What may go wrong. The codes never change their meaning; messages are for people. */
export type KeyrangerErrorCode =
  /** The arguments can never do. */
  | 'invalid_argument'
  /** Nobody serves the key, or nobody can be reached. Nothing was done. */
  | 'unavailable'
  /** It took too long. Nothing was done. */
  | 'timeout'
  /** Too much is on its way, here or there. Nothing was done. */
  | 'overloaded'
  /** A write of which nobody could tell whether it was made. Look before making it again. */
  | 'outcome_unknown'
  /** The logs do not reach back to where the watch was to begin. */
  | 'history_lost'
  /** Whoever has the key is too old for this, or another program. */
  | 'not_supported'
  /** The caller's signal was aborted; its reason is the `cause`. Nothing was done. */
  | 'aborted'
  /** The client was closed. Nothing was done. */
  | 'closed'
  /** A defect, of this program or of the store. */
  | 'internal';

const RETRYABLE: ReadonlySet<KeyrangerErrorCode> = new Set<KeyrangerErrorCode>(['unavailable', 'timeout', 'overloaded']);

/** The one error of the SDK. */
export class KeyrangerError extends Error {
  override readonly name = 'KeyrangerError';

  constructor(
    readonly code: KeyrangerErrorCode,
    message: string,
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }

  /** Whether the same call may simply be made again, and can succeed then. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}
