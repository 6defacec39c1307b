import type { NodeIdent, RangeId, RangeMeta } from '../../model/range.js';
import type { PlacementState, RangeState } from '../../model/states.js';

/**
 * What the controller wants of one range on one node. Everything that a controller
 * started in the middle of an operation has to know stands here; nothing is kept
 * beside it.
 */
export interface PlacementRecord {
  /** The smallest number that no other placement of the range has. */
  readonly index: number;
  readonly node: NodeIdent;
  readonly state: PlacementState;
  /** The placement whose place this one is to take, in a move. */
  readonly replaces: number | undefined;
  /** An operator asked for this very node, so no other will do. */
  readonly named: boolean;
  /** It may make the write token from nothing: set before its first Activate is sent, cleared once it is active. */
  readonly initial: boolean;
  /** Which disk the node had when it prepared the range; a node with another one is a stranger. */
  readonly incarnation: string | undefined;
  /** Why it was given up. It is dropped as soon as another copy is known to be active. */
  readonly failed: string | undefined;
  /** The placement it takes over from as primary, which stays as a follower; until it is active, that one may hold the write token. */
  readonly relieves: number | undefined;
  /** Made primary by a fail-over: it makes the write token from its own log. Cleared once it is active. */
  readonly promote: boolean;
  /**
   * It was lost as primary, and a fail-over went past it: what it has counts only as far
   * as the new primary has it too. Cleared once it is in sync. Dropped by force, and
   * remembered until its node confirmed that or lost its disk.
   */
  readonly outdated: boolean;
  /** An operator gave up what it holds: dropped by force, and remembered until its node confirmed that or lost its disk. */
  readonly lost: boolean;
}

export interface RangeRecord extends RangeMeta {
  readonly state: RangeState;
  /** Grows with every new placement, handover, rollback and abandonment; every command carries it. */
  readonly epoch: number;
  /** An Activate was, or is about to be, sent for the first time: the range may hold data. */
  readonly established: boolean;
  readonly parents: readonly RangeId[];
  readonly children: readonly RangeId[];
  /** By index. */
  readonly placements: readonly PlacementRecord[];
  /** The index of the one placement that is to be active; undefined while nobody is to be. */
  readonly primary: number | undefined;
  /** The index of the one that was last to be active, while nobody is to be. */
  readonly holder: number | undefined;
  /**
   * The indexes of the copies in sync, the primary always among them: each has every
   * write that was acknowledged. Always a part of those that the primary waits for.
   */
  readonly insync: readonly number[];
  /** The epoch of the last fail-over: what activations older than it wrote, and their rights to write, count for nothing. 0 when there was none. */
  readonly fork: number;
  /**
   * With several copies, in a split or join: the epoch at which the range was to begin with
   * data of others, until all members follow its primary. A copy that did not, may lack some
   * of these. 0 otherwise.
   */
  readonly since: number;
  /** Meanwhile: the primary was seen active, and its members may be told to follow it. Before that a child cannot acknowledge writes. */
  readonly followed: boolean;
  /** On parents: why the split or join under way is being taken back. */
  readonly abort: string | undefined;
  /** How often a part of the operation under way was begun again. */
  readonly rounds: number;
  /** The static node whose keys the first range waits to be taken over with: until then it does not begin empty. */
  readonly awaits: NodeIdent | undefined;
  /** The epoch of the log of the static primary that the keys were taken over from; its replicas have the same. 0 when there was none. Children have their parents'. */
  readonly adopted: number;
}

export function newRange(meta: RangeMeta, more: Partial<RangeRecord> = {}): RangeRecord {
  return {
    id: meta.id,
    start: meta.start,
    end: meta.end,
    state: 'Active',
    epoch: 1,
    established: false,
    parents: [],
    children: [],
    placements: [],
    primary: undefined,
    holder: undefined,
    insync: [],
    fork: 0,
    since: 0,
    followed: false,
    abort: undefined,
    rounds: 0,
    awaits: undefined,
    adopted: 0,
    ...more,
  };
}

export function newPlacement(index: number, node: NodeIdent, more: Partial<PlacementRecord> = {}): PlacementRecord {
  return {
    index,
    node,
    state: 'Pending',
    replaces: undefined,
    named: false,
    initial: false,
    incarnation: undefined,
    failed: undefined,
    relieves: undefined,
    promote: false,
    outdated: false,
    lost: false,
    ...more,
  };
}

export function placementAt(range: RangeRecord, index: number | undefined): PlacementRecord | undefined {
  return index === undefined ? undefined : range.placements.find((p) => p.index === index);
}

export function placementOn(range: RangeRecord, node: NodeIdent): PlacementRecord | undefined {
  return range.placements.find((p) => p.node === node);
}

export function primaryOf(range: RangeRecord): PlacementRecord | undefined {
  return placementAt(range, range.primary);
}

/** With another primary, and no other copy in sync than `insync`. */
export function withPrimary(range: RangeRecord, primary: number, insync: readonly number[] = [primary]): RangeRecord {
  return { ...range, primary, holder: undefined, insync: sortedIndexes([...insync, primary]) };
}

export function sortedIndexes(indexes: readonly number[]): number[] {
  return [...new Set(indexes)].sort((a, b) => a - b);
}

export function isInSync(range: RangeRecord, placement: PlacementRecord): boolean {
  return range.insync.includes(placement.index);
}

/** What it holds was given up: nobody waits for it, and nothing that it says of it counts. */
export function isGivenUp(placement: PlacementRecord): boolean {
  return placement.state === 'Dropped' && (placement.lost || placement.outdated);
}

/** Neither given up nor being dropped. */
export function isWanted(placement: PlacementRecord): boolean {
  return placement.failed === undefined && placement.state !== 'Dropped';
}

export function freeIndex(range: RangeRecord): number {
  let index = 0;
  while (range.placements.some((p) => p.index === index)) index += 1;
  return index;
}

export function withPlacement(range: RangeRecord, placement: PlacementRecord): RangeRecord {
  const others = range.placements.filter((p) => p.index !== placement.index);
  return { ...range, placements: [...others, placement].sort((a, b) => a.index - b.index) };
}

export function withoutPlacement(range: RangeRecord, index: number): RangeRecord {
  return {
    ...range,
    placements: range.placements.filter((p) => p.index !== index),
    insync: range.insync.filter((i) => i !== index),
    holder: range.holder === index ? undefined : range.holder,
  };
}
