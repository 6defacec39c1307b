import type { NodeIdent, RangeId } from '../../model/range.js';
import { type RangeRecord, placementOn } from '../keyspace/record.js';
import { type RosterNode, copyKey, isReachable } from '../roster/roster.js';
import type { World } from './types.js';

export type Choice =
  | { readonly allowed: true; readonly node: RosterNode }
  | { readonly allowed: false; readonly because: string };

/** Whether a node may be given the range, whoever asks. */
export function mayTake(world: World, node: RosterNode, range: RangeRecord): Choice {
  const placement = placementOn(range, node.ident);
  if (placement) {
    const because = placement.state === 'Dropped' ? `is still dropping R${range.id}` : `already has R${range.id}`;
    return { allowed: false, because: `${node.ident} ${because}` };
  }
  return mayTakeAny(world, node);
}

export function mayTakeAny(world: World, node: RosterNode): Choice {
  if (!node.discovered || !isReachable(node)) return { allowed: false, because: `${node.ident} is not reachable` };
  if (isDraining(world, node)) return { allowed: false, because: `${node.ident} is draining` };
  if (world.keyspace.wish(node.ident).cordon) return { allowed: false, because: `${node.ident} is cordoned` };
  return { allowed: true, node };
}

/** Its ranges are to leave: it asks for that itself, as when it is told to stop, or an operator did. */
export function isDraining(world: World, node: RosterNode): boolean {
  return node.wantDrain || world.keyspace.wish(node.ident).drain;
}

/** The node with the fewest placements, then the fewest keys, then the first by name. */
export function choose(world: World, range: RangeRecord, isAvoided: (range: RangeId, node: NodeIdent) => boolean): Choice {
  const refusals: string[] = [];
  let best: RosterNode | undefined;
  for (const node of world.roster.nodes.values()) {
    const choice = mayTake(world, node, range);
    const avoidedUntil = world.roster.avoidedUntilMs.get(copyKey(range.id, node.ident)) ?? 0;
    if (!choice.allowed) refusals.push(choice.because);
    else if (avoidedUntil > world.nowMs || isAvoided(range.id, node.ident)) refusals.push(`${node.ident} failed to take it a moment ago`);
    else if (!best || isBetter(world, node, best)) best = node;
  }
  if (best) return { allowed: true, node: best };
  return { allowed: false, because: refusals.length === 0 ? 'there are no nodes' : refusals.sort().slice(0, 5).join(', ') };
}

function isBetter(world: World, a: RosterNode, b: RosterNode): boolean {
  const byCount = world.keyspace.on(a.ident).size - world.keyspace.on(b.ident).size;
  if (byCount !== 0) return byCount < 0;
  const byKeys = keysOf(a) - keysOf(b);
  return byKeys !== 0 ? byKeys < 0 : a.ident < b.ident;
}

/** A node's view is a value, so its sum can be kept with it. */
const sums = new WeakMap<RosterNode, number>();

function keysOf(node: RosterNode): number {
  const known = sums.get(node);
  if (known !== undefined) return known;
  let keys = 0;
  for (const range of node.ranges.values()) keys += range.load.keys;
  sums.set(node, keys);
  return keys;
}
