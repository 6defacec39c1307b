import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { NodeIdent, RangeId } from '../../model/range.js';
import type { Deviation, KeyState } from './compare.js';

/** Which copy is asked, and by whom; see proto/kv/verify.proto. */
export interface VerifyContext {
  readonly range: RangeId;
  /** Of the asking primary's activation. */
  readonly epoch: number;
  /** The follower answers once it has the log up to here. */
  readonly offset: number;
}

export type DigestAnswer = { readonly alike: true } | { readonly alike: false; readonly states: ReadonlyMap<Key, KeyState>; /** There are keys behind the last one. */ readonly more: boolean };

/** A node that has a follower, as a primary asks it. */
export interface VerifyPeer {
  digest(context: VerifyContext, span: Interval, digest: Buffer, signal: AbortSignal): Promise<DigestAnswer>;
  /** In the order of the keys. */
  states(context: VerifyContext, keys: readonly Key[], signal: AbortSignal): Promise<KeyState[]>;
  condemn(context: VerifyContext, because: string, signal: AbortSignal): Promise<void>;
  close(): void;
}

export type VerifyTransport = (address: string) => VerifyPeer;

/** Keys of one question; a chunk of the primary's has no more. */
export const CHUNK_KEYS = 1_000;
export const CHUNK_BYTES = 1024 * 1024;
export const STATES_MAX = 500;
/** What a follower lists of a span; more than a chunk, for it may have keys that it should not have. */
export const LISTED_MAX = 2 * CHUNK_KEYS;

export interface VerifiedCopy {
  readonly node: NodeIdent;
  readonly differences: number;
  /** Why it was not compared, or not to the end; empty when it was. */
  readonly skipped: string;
  readonly condemned: boolean;
}

export interface VerifyReport {
  readonly range: RangeId;
  readonly keys: number;
  readonly bytes: number;
  readonly keysTotal: number;
  readonly elapsedMs: number;
  /** The primary's first. */
  readonly copies: readonly VerifiedCopy[];
  /** The first of them. */
  readonly differences: readonly (Deviation & { readonly key: Key })[];
  readonly unsettled: number;
  readonly done: boolean;
  /** Why it was not compared to its end; empty when it was. */
  readonly problem: string;
}
