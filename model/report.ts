import type { Key } from './key.js';
import type { NodeIdent, RangeId, RangeMeta } from './range.js';
import type { PlacementState, RemoteState } from './states.js';

/** How big and how busy a range is; estimates, cheap to make. */
export interface LoadInfo {
  readonly keys: number;
  /** Keys and values together. */
  readonly bytes: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  /** Where a split would halve the range, best first; empty when there is no such key. */
  readonly splits: readonly Key[];
}

export const NO_LOAD: LoadInfo = { keys: 0, bytes: 0, readsPerSecond: 0, writesPerSecond: 0, splits: [] };

/** How far a copy has come with fetching its data. */
export interface TransferProgress {
  /** Copied so far, snapshot and live records together. */
  readonly keys: number;
  readonly bytes: number;
  /** The sources' own estimate; 0 when unknown. */
  readonly keysTotal: number;
  readonly caughtUp: boolean;
}

/** A node that has a copy of a range, and the disk it has it on. */
export interface Member {
  readonly node: NodeIdent;
  readonly incarnation: string;
  /** A dialable host:port. */
  readonly address: string;
}

/**
 * Who has to have a write before it is committed, as the controller decided
 * (PacificA's configuration). Changes come as an Activate at a newer epoch.
 */
export interface Membership {
  /** The primary among them; empty where there is no replication. */
  readonly members: readonly Member[];
  /** With fewer members writes are refused; reads go on. With 0 no follower is waited for that is no member already. */
  readonly minInSync: number;
  /** Rights to write of activations older than this epoch count for nothing: a fail-over went past them. */
  readonly fork: number;
  /** The right to write is made from the copy's own log. */
  readonly promote: boolean;
}

export const NO_MEMBERSHIP: Membership = { members: [], minInSync: 0, fork: 0, promote: false };

export interface FollowerInfo {
  readonly member: Member;
  /** Everything up to here is durable at the follower. */
  readonly ackedOffset: number;
  /** The primary waits for it with every write. */
  readonly inSync: boolean;
  readonly silentMs: number;
  readonly lagBytes: number;
}

/** What a copy says of its part in replication; see ReplicaInfo in proto/ranger/types.proto. */
export interface ReplicaInfo {
  readonly configEpoch: number;
  readonly logEpoch: number;
  readonly lastOffset: number;
  readonly committedOffset: number;
  /** The address it follows; empty when none. */
  readonly source: string;
  /** Nothing came from the source for as long as a lease lasts. */
  readonly sourceLost: boolean;
  readonly followers: readonly FollowerInfo[];
  /** It may answer consistent reads now. */
  readonly leased: boolean;
  /** It was found to differ from the others: it must not become, or stay, primary, and is to be made anew. */
  readonly damaged: boolean;
  /** A snapshot, or what was cut off, is not made good yet: it cannot become primary now. */
  readonly incomplete: boolean;
  /** Of a static node: no controller ever commanded it. */
  readonly static: boolean;
}

/** Everything a node says of one range. */
export interface RangeInfo {
  readonly meta: RangeMeta;
  readonly state: RemoteState;
  readonly load: LoadInfo;
  /** The newest epoch the node has seen for the range; 0 from a node that knows none. */
  readonly epoch: number;
  /** Set while the copy fetches or follows. */
  readonly progress: TransferProgress | undefined;
  /** Why the last command on this range failed; empty when it did not. */
  readonly lastError: string;
  /** The copy holds the write token for its whole range. */
  readonly serving: boolean;
  /** Undefined from a node that knows no replicas. */
  readonly replica?: ReplicaInfo | undefined;
}

/** A copy of a range, as told to a node that may fetch from it. */
export interface ParentPlacement {
  /** A dialable host:port. */
  readonly node: string;
  readonly state: PlacementState;
  /** The placement's number within its range: the P0 of "R1 P0@5200". */
  readonly index: number;
}

/** A range (itself or an ancestor) and where copies of it are. */
export interface Parent {
  readonly range: RangeMeta;
  /** The ranges this one descends from. */
  readonly parents: readonly RangeId[];
  readonly placements: readonly ParentPlacement[];
  /** As in {@link Membership}, of this range; 0 or nothing when there never was a fail-over. */
  readonly fork?: number;
}

/** One message of a node's stream of ranges: a range as it is now, or the end of the first listing. */
export type RangesEvent =
  | { readonly type: 'synced' }
  | {
      readonly type: 'range';
      readonly meta: RangeMeta;
      readonly state: RemoteState;
      readonly epoch: number;
      /** Undefined from a node that does not know this addition. */
      readonly info: RangeInfo | undefined;
    };
