import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import type { LogOrigin } from '../storage/copy-record.js';
import type { PackedPairs } from '../storage/packed.js';
import type { LogRecord } from '../storage/storage.js';

/**
 * What travels between a source and a follower; see proto/kv/follow.proto for the
 * meaning of each field. The two ends know only these, so the simulator can carry
 * them as it likes.
 */
export interface FollowStart {
  readonly range: RangeId;
  readonly follower: Follower;
  readonly span: Interval;
  /** Go on behind this offset; undefined asks for a snapshot. */
  readonly resumeAfter: number | undefined;
  /** With `resumeAfter`: the snapshot as of then still lacks the keys from here on. */
  readonly snapshotFrom: Key | undefined;
  /** Of the newest fail-over it knows of: a source whose activation is older was left behind. */
  readonly fork: number;
  /** Of a copy of the same range: the epochs in its log, oldest first, and where each ends. */
  readonly log: readonly EpochEnd[];
  /** Of a child's copy: how far the copies here had come whose keys it adopted, and the logs elsewhere that it followed. */
  readonly basis: readonly LogOrigin[];
}

export interface EpochEnd {
  readonly epoch: number;
  readonly endOffset: number;
}

export interface Follower {
  readonly range: RangeId;
  readonly node: string;
  readonly incarnation: string;
  readonly address: string;
}

export type ToSource =
  | { readonly type: 'start'; readonly start: FollowStart }
  /** Everything up to `offset` is durable; with `lease`, the one asked for under that id is granted. */
  | { readonly type: 'ack'; readonly offset: number; readonly lease?: number | undefined }
  /** Asks what the source has now of keys whose records are to be cut off. */
  | { readonly type: 'restore'; readonly keys: readonly Key[] }
  | { readonly type: 'takeOver'; readonly epoch: number };

export type ToFollower =
  | {
      readonly type: 'begin';
      /** Where the snapshot begins; undefined when records come at once. */
      readonly snapshotFrom: Key | undefined;
      readonly offset: number;
      readonly epoch: number;
      readonly keys: number;
      /** With a snapshot: the log from `offset` on has the ids of all writes whose first try was sent within this time. */
      readonly knownForMs?: number | undefined;
      /** The follower's log parts from the source's here: it restores the keys of what is behind, and cuts that off. */
      readonly cutAt?: number | undefined;
      /** Of the source's record at `offset`. */
      readonly logEpoch: number;
      /** To one that adopted its keys where it is: which logs the source's goes on behind. */
      readonly origins?: readonly LogOrigin[] | undefined;
    }
  | {
      readonly type: 'chunk';
      readonly pairs: PackedPairs;
      /** Where the next chunk begins; undefined after the last. */
      readonly next: Key | undefined;
      readonly endOffset: number;
    }
  | {
      readonly type: 'records';
      readonly records: readonly LogRecord[];
      readonly endOffset: number;
      /** How far the source's log is committed; undefined without replication. */
      readonly committed?: number | undefined;
      /** Asks for a lease, to be granted with the next ack. */
      readonly lease?: { readonly id: number; readonly ms: number } | undefined;
    }
  /** The answer to the first `answered` keys of `restore`: what is not among `pairs` is not there. Consistent once the log is applied up to `endOffset`. */
  | { readonly type: 'restored'; readonly pairs: PackedPairs; readonly answered: number; readonly endOffset: number }
  | HandOver
  | { readonly type: 'refused'; readonly reason: string; readonly active: boolean };

export interface HandOver {
  readonly type: 'handOver';
  readonly epoch: number;
  readonly offset: number;
  readonly logEpoch: number;
  readonly void: boolean;
  readonly incarnation: string;
}

/** The follower's end of one connection to a source. */
export interface FollowConnection {
  send(message: ToSource): void;
  /** Ends when the connection does; throws AppError when it broke or was refused. */
  readonly messages: AsyncIterable<ToFollower>;
  close(): void;
}

export type FollowTransport = (address: string, start: FollowStart) => FollowConnection;

/** kv.KV/Dump of a peer that cannot be followed. */
export type PeerDump = (address: string, range: RangeId, signal: AbortSignal) => Promise<readonly { readonly key: Buffer; readonly value: Buffer }[]>;

/** The source's end. */
export interface SourceChannel {
  /** Resolves when the follower can take more; rejects once the connection is over. */
  send(message: ToFollower): Promise<void>;
  readonly signal: AbortSignal;
}
