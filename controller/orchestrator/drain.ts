import type { NodeIdent, RangeId } from '../../model/range.js';
import type { KeyspaceView } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, freeIndex, isInSync, isWanted, newPlacement, placementOn, primaryOf } from '../keyspace/record.js';
import { type Roster, type RosterNode, copyKey } from '../roster/roster.js';
import { chooseIn, chooseNow, isDraining } from './choose.js';
import type { Draft } from './draft.js';
import { movingTo } from './move.js';
import { busyWith } from './request.js';
import { isActive, isReady, look } from './sight.js';
import { beginTransfer } from './transfer.js';
import type { World } from './types.js';

/*
 * Drain: a node's ranges leave one by one, the busiest first, each as a move. One
 * that cannot leave lets the next go first, and is tried again. That they are to
 * leave stands in the keyspace, or the node says it; nothing else is kept.
 */

/** How one range of a draining node stands. */
export type Leaving =
  /** It is on its way. */
  | { readonly kind: 'moving'; readonly to: NodeIdent }
  | { readonly kind: 'waiting'; readonly because: string }
  | { readonly kind: 'ready' };

export function drain(draft: Draft, node: RosterNode): void {
  const { world } = draft;
  if (!isDraining(world, node)) return;
  const ids = drainOrder(world, node.ident);
  if (ids.some((id) => leavingOf(draft, world.roster, id, node.ident).kind === 'moving')) return;
  for (const id of ids) {
    if (leavingOf(draft, world.roster, id, node.ident).kind !== 'ready') continue;
    if (beginToLeave(draft, id, node.ident)) {
      draft.lookAgain(id);
      return;
    }
  }
  lookAgainWhenAllowed(draft, ids);
}

/** A primary becomes a follower first, where another copy can take over at once; then the copy moves. */
function beginToLeave(draft: Draft, id: RangeId, node: NodeIdent): boolean {
  const range = draft.range(id);
  const placement = placementOn(range, node);
  if (!placement) return false;
  const heir = heirOf(draft.world, range, placement);
  if (heir) return beginTransfer(draft, id, heir.index) === undefined;
  const choice = chooseIn(draft, range, placement.index);
  if (!choice.allowed) return false;
  draft.bump(id);
  draft.add(id, newPlacement(freeIndex(range), choice.node.ident, { replaces: placement.index, incarnation: choice.node.incarnation }));
  return true;
}

/** Which copy in sync takes over from a primary. By the range's id, so that the ranges of a node come to be spread. */
function heirOf(world: World, range: RangeRecord, placement: PlacementRecord): PlacementRecord | undefined {
  if (range.primary !== placement.index) return undefined;
  const able = range.placements.filter((p) => {
    const node = world.roster.nodes.get(p.node);
    return p !== placement && isInSync(range, p) && isWanted(p) && node !== undefined && !isDraining(world, node) && isReady(look(world.roster, range, p));
  });
  return able[range.id % Math.max(1, able.length)];
}

/** A node that failed to take a range may be asked again later. */
function lookAgainWhenAllowed(draft: Draft, ids: readonly RangeId[]): void {
  const { roster, nowMs } = draft.world;
  if (roster.avoidedUntilMs.size === 0) return;
  for (const id of ids) {
    for (const node of roster.nodes.keys()) {
      const untilMs = roster.avoidedUntilMs.get(copyKey(id, node)) ?? 0;
      if (untilMs > nowMs) draft.lookAgainAt(untilMs);
    }
  }
}

/** The ranges on the node, the busiest first: by requests a second, then by keys. */
export function drainOrder(world: World, node: NodeIdent): RangeId[] {
  const reports = world.roster.nodes.get(node)?.ranges;
  const weighed = [...world.keyspace.on(node)].map((id) => {
    const load = reports?.get(id)?.load;
    return { id, requests: load ? load.readsPerSecond + load.writesPerSecond : 0, keys: load?.keys ?? 0 };
  });
  weighed.sort((a, b) => b.requests - a.requests || b.keys - a.keys || a.id - b.id);
  return weighed.map(({ id }) => id);
}

/** Whether a range of the node is leaving, could leave, or what it waits for. */
export function leavingOf(keyspace: KeyspaceView, roster: Roster, id: RangeId, node: NodeIdent): Leaving {
  const range = keyspace.get(id);
  const placement = range && placementOn(range, node);
  if (!range || !placement) return waiting('it is gone already');
  if (placement.state === 'Dropped') return waiting(`${node} is still dropping its copy`);
  const destination = movingTo(range);
  if (destination) return leavingByMove(destination.node, node, destination.failed);
  const busy = busyWith(keyspace, range);
  if (busy !== undefined) return waiting(busy);
  const primary = primaryOf(range);
  if (!primary || !range.established) return waiting(`R${id} is not placed yet`);
  const sight = look(roster, range, primary);
  if (isActive(sight)) return { kind: 'ready' };
  return waiting(sight.kind === 'here' ? `${primary.node} says it is ${sight.state}` : sight.because);
}

function leavingByMove(to: NodeIdent, from: NodeIdent, failed: string | undefined): Leaving {
  if (failed !== undefined) return waiting(`its move to ${to} is being taken back: ${failed}`);
  return to === from ? waiting('it is just arriving') : { kind: 'moving', to };
}

function waiting(because: string): Leaving {
  return { kind: 'waiting', because };
}

export interface DrainItem {
  readonly range: RangeId;
  readonly leaving: Leaving;
  readonly requestsPerSecond: number;
  readonly keys: number;
}

export interface DrainReport {
  /** How many ranges are still there. */
  readonly left: number;
  /** The first of them. */
  readonly items: readonly DrainItem[];
}

/** More than fits a screen helps nobody, and costs a choice of a node each. */
const ITEMS_MAX = 50;

/** What is left to leave, for people: each range with why it waits. */
export function drainReport(world: World, node: NodeIdent): DrainReport {
  const order = drainOrder(world, node);
  const items = order.slice(0, ITEMS_MAX).map((range) => {
    const load = world.roster.nodes.get(node)?.ranges.get(range)?.load;
    const requestsPerSecond = load ? load.readsPerSecond + load.writesPerSecond : 0;
    return { range, leaving: explained(world, range, node), requestsPerSecond, keys: load?.keys ?? 0 };
  });
  return { left: order.length, items };
}

/** A range that could leave waits all the same, when nobody takes it. */
function explained(world: World, id: RangeId, node: NodeIdent): Leaving {
  const leaving = leavingOf(world.keyspace, world.roster, id, node);
  const range = world.keyspace.get(id);
  if (leaving.kind !== 'ready' || !range) return leaving;
  const placement = placementOn(range, node);
  if (placement && heirOf(world, range, placement)) return leaving;
  const choice = chooseNow(world, range, placement?.index);
  return choice.allowed ? leaving : waiting(`no node can take it: ${choice.because}`);
}
