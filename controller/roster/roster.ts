import type { NodeIdent, RangeId } from '../../model/range.js';
import type { RangeInfo } from '../../model/report.js';
import type { RemoteState } from '../../model/states.js';

/*
 * The observed world as a value: who is there, what each node says of its ranges,
 * and how the commands sent so far went. Functions in updates.ts make the next
 * value from one; nothing here is persisted, since a controller that starts can
 * see all of it again.
 */

export type Link =
  /** Discovered, and not heard from yet. */
  | { readonly state: 'connecting'; readonly sinceMs: number }
  | { readonly state: 'live'; readonly sinceMs: number }
  /** Was heard from; the connection is broken, but not for long enough to call it lost. */
  | { readonly state: 'silent'; readonly sinceMs: number; readonly why: string }
  | { readonly state: 'lost'; readonly sinceMs: number; readonly why: string };

/** A node's word on one of its ranges, and since when it says so. */
export interface RemoteRange extends RangeInfo {
  readonly sinceMs: number;
  /** When this was last told; an answer asked for before that does not override it. */
  readonly toldMs: number;
}

export interface RosterNode {
  readonly ident: NodeIdent;
  readonly address: string;
  /** Made when its data directory was; undefined until told, and from nodes that know none. */
  readonly incarnation: string | undefined;
  /** What fails together with it, such as a rack; undefined when it does not say. */
  readonly zone: string | undefined;
  /** Discovery lists it. */
  readonly discovered: boolean;
  readonly link: Link;
  /** When it was asked what it answered last: then at the earliest it was well. */
  readonly askedMs: number;
  readonly wantDrain: boolean;
  readonly ranges: ReadonlyMap<RangeId, RemoteRange>;
}

/** How the command that a range's copy on a node was last sent went so far. */
export interface Attempt {
  readonly command: 'Prepare' | 'Activate' | 'Deactivate' | 'Drop';
  readonly epoch: number;
  readonly failures: number;
  readonly lastError: string;
  /** Not to be sent again before. */
  readonly nextTryMs: number;
  readonly inFlight: boolean;
  /** The state that the newest answer gave; undefined before one came. */
  readonly answered: RemoteState | undefined;
  readonly answeredMs: number;
}

export interface Roster {
  readonly nodes: ReadonlyMap<NodeIdent, RosterNode>;
  readonly attempts: ReadonlyMap<string, Attempt>;
  /** Until when a range is not to be given to a node, after it failed to take it. */
  readonly avoidedUntilMs: ReadonlyMap<string, number>;
  /** False while a controller that just started may not have seen every node yet. */
  readonly settled: boolean;
  /** Since when that is so. */
  readonly settledMs: number;
  /** What a node was asked before counts for nothing: the keyspace that it would be compared with is newer. */
  readonly trustedFromMs: number;
}

export const EMPTY_ROSTER: Roster = {
  nodes: new Map(),
  attempts: new Map(),
  avoidedUntilMs: new Map(),
  settled: false,
  settledMs: 0,
  trustedFromMs: 0,
};

/** A range has at most one copy on a node, so this names a copy. */
export function copyKey(range: RangeId, node: NodeIdent): string {
  return `${range}@${node}`;
}

export function attemptOf(roster: Roster, range: RangeId, node: NodeIdent): Attempt | undefined {
  return roster.attempts.get(copyKey(range, node));
}

export function isReachable(node: RosterNode): boolean {
  return node.link.state === 'live';
}

/** What it said last is news to the keyspace. */
export function isTrusted(roster: Roster, node: RosterNode): boolean {
  return node.askedMs >= roster.trustedFromMs;
}

/** Whether every node that answers has done so since. One that does not is found to be silent soon. */
export function isInformed(roster: Roster): boolean {
  return [...roster.nodes.values()].every((node) => !isReachable(node) || isTrusted(roster, node));
}
