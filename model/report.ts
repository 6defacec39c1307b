import type { Key } from './key.js';
import type { RangeId, RangeMeta } from './range.js';
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
