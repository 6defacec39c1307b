import type { RangeId, RangeMeta } from '../model/range.js';
import type { LoadInfo, Membership, Parent, ReplicaInfo, TransferProgress } from '../model/report.js';

/*
 * What a service implements to be sharded by ranges: four commands and a report.
 * The rangelet calls at most one command at a time for a range, only in the states
 * where it is legal, and calls for different ranges run side by side.
 */

export interface CommandContext {
  /** The range's epoch as the controller knows it; 0 from one that knows none. */
  readonly epoch: number;
  /** The operator accepts what the service would refuse, such as a loss of data. */
  readonly force: boolean;
  /** Aborted when the rangelet closes: stop soon, and reject. */
  readonly signal: AbortSignal;
}

export interface PrepareContext extends CommandContext {
  /** The range itself with its current copies, then its ancestors, nearest first. */
  readonly parents: readonly Parent[];
  /** The range never held data, so it may start empty. */
  readonly initial: boolean;
  /** As in {@link Membership}; 0 when there never was a fail-over. */
  readonly fork: number;
}

export interface ActivateContext extends CommandContext {
  /** Every other copy that may hold the right to write a part of this range. */
  readonly sources: readonly Parent[];
  /** The range never held data: the right to write may be made from nothing. */
  readonly initial: boolean;
  readonly membership: Membership;
}

export interface RangeService {
  /** Makes ready to activate: fetches what the range holds. Rejects → the range is forgotten. */
  prepare(range: RangeMeta, context: PrepareContext): Promise<void>;

  /** Starts to serve. Rejects → the range is Inactive again. */
  activate(range: RangeMeta, context: ActivateContext): Promise<void>;

  /** Stops serving, keeping the data. Rejects → the range is Active again. */
  deactivate(range: RangeMeta, context: CommandContext): Promise<void>;

  /** Throws the range's data away. Rejects → the range is Inactive again. */
  drop(range: RangeMeta, context: CommandContext): Promise<void>;

  /** Called often, so it has to be cheap. */
  loadInfo(range: RangeId): LoadInfo;

  /** How far the copy has come with fetching; undefined when it does not fetch. */
  progress?(range: RangeId): TransferProgress | undefined;

  /** True when the copy has the right to write its whole range. Without this method: when it is Active. */
  serving?(range: RangeId): boolean;

  /** A repeated Prepare told other copies to fetch from, or to follow. */
  updateSources?(range: RangeMeta, parents: readonly Parent[], context: { readonly epoch: number; readonly fork: number }): void;

  /** A repeated Activate told an active copy who its members are now. */
  updateMembership?(range: RangeMeta, membership: Membership, context: { readonly epoch: number }): void;

  /** The copy's part in replication; undefined when the service has none. */
  replica?(range: RangeId): ReplicaInfo | undefined;
}
