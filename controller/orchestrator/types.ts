import type { NodeIdent, RangeId, RangeMeta } from '../../model/range.js';
import type { Membership, Parent } from '../../model/report.js';
import type { Command } from '../../model/states.js';
import type { Step } from '../../model/notation.js';
import type { ChangeGroup, Keyspace } from '../keyspace/keyspace.js';
import type { Roster } from '../roster/roster.js';

/** Everything that decisions are made from. */
export interface World {
  readonly keyspace: Keyspace;
  readonly roster: Roster;
  readonly nowMs: number;
  readonly tuning: Tuning;
}

export interface Tuning {
  /** So many refusals or silences, and a Prepare, Activate or Deactivate counts as failed. */
  readonly failuresMax: number;
  /** So often a part of a split or join is begun again before it is taken back. */
  readonly roundsMax: number;
  /** How long a node is passed over for a range that it failed to take. */
  readonly avoidMs: number;
  /** The first range of all waits this long after the first node, so that a cluster that starts as one does not depend on which node is quickest. */
  readonly gatherMs: number;
  /** How many copies each range is to have. */
  readonly replicas: number;
  /** With fewer copies in sync a primary refuses writes. */
  readonly minInSync: number;
  /** A copy in sync that was not heard by its primary for so long is taken out, so that writes go on. */
  readonly followerTimeoutMs: number;
  /** A node that is away for less keeps its place: when it is back it is caught up, instead of copied. */
  readonly nodeGraceMs: number;
  /** Of so many ranges copies that are missing are made at once. */
  readonly repairsMax: number;
  /** A command that was obeyed, and whose effect does not show, is sent again after this. */
  readonly repeatMs: number;
}

export const DEFAULT_TUNING: Tuning = {
  failuresMax: 3,
  roundsMax: 3,
  avoidMs: 60_000,
  gatherMs: 1_000,
  replicas: 1,
  minInSync: 1,
  followerTimeoutMs: 2_000,
  nodeGraceMs: 300_000,
  repairsMax: 8,
  repeatMs: 1_000,
};

/** A command that is to be sent now, and again until its effect is seen. */
export interface WantedCommand {
  readonly command: Command;
  readonly node: NodeIdent;
  readonly address: string;
  /** Undefined for a stray, which has no placement. */
  readonly index: number | undefined;
  readonly range: RangeMeta;
  readonly epoch: number;
  /** With Prepare where to fetch from; with Activate who may hold the write token. */
  readonly parents: readonly Parent[];
  readonly initial: boolean;
  /** With Activate; its `fork` with Prepare too. Undefined for {@link NO_MEMBERSHIP}. */
  readonly membership?: Membership;
  /** With Drop: although the copy alone may hold data. Only ever of what an operator gave up. */
  readonly force?: boolean;
}

/** An operation that ended without its effect, told once. */
export interface Ended {
  readonly kind: 'move' | 'transfer' | 'split' | 'join';
  /** The moved range, or the parents. */
  readonly ranges: readonly RangeId[];
  readonly because: string;
}

/** Something that no decision here can put right, or a copy that nobody asked for and nobody dares to drop. */
export interface Problem {
  readonly range: RangeId;
  readonly node: NodeIdent;
  readonly because: string;
  /** What an operator can do; undefined where that has to be found out. */
  readonly todo?: string;
}

/** Something that was decided without anybody asking for it, for people. */
export interface Notice {
  readonly range: RangeId;
  readonly text: string;
}

/** A node that is not to be given a range for a while. */
export interface Avoidance {
  readonly range: RangeId;
  readonly node: NodeIdent;
  readonly untilMs: number;
}

export interface Decision {
  /** Every range that was looked at: the rest of the decision says all there is to say of these. */
  readonly looked: ReadonlySet<RangeId>;
  readonly groups: readonly ChangeGroup[];
  readonly commands: readonly WantedCommand[];
  readonly steps: readonly Step[];
  /** Of the ranges looked at: why one that should come on does not. */
  readonly waiting: ReadonlyMap<RangeId, string>;
  readonly ended: readonly Ended[];
  readonly avoid: readonly Avoidance[];
  readonly problems: readonly Problem[];
  readonly notices: readonly Notice[];
  /** When to look again although nothing may have happened by then. */
  readonly wakeAtMs: number | undefined;
  /** Nodes whose word is too old to decide by: to be asked now. */
  readonly ask: readonly NodeIdent[];
  /** Ranges that were changed after they were looked at: to be looked at in the next pass. */
  readonly again: readonly RangeId[];
}
