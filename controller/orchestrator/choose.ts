import { overlaps } from '../../model/interval.js';
import type { NodeIdent, RangeId } from '../../model/range.js';
import { type RangeRecord, isInSync, isWanted, placementOn } from '../keyspace/record.js';
import { type RosterNode, copyKey, isReachable } from '../roster/roster.js';
import type { Draft } from './draft.js';
import { staticCopyOn } from './static.js';
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
  const remains = mayStartEmpty(range) ? overlapping(node, range) : undefined;
  if (remains !== undefined) return { allowed: false, because: `${node.ident} still has R${remains} with keys of R${range.id}` };
  return mayTakeAny(world, node);
}

/** Nobody ever held data for it: it has no ancestors, and no copy was ever activated. */
export function mayStartEmpty(range: RangeRecord): boolean {
  return range.parents.length === 0 && !range.established;
}

/** Beside another range's copy a range would not start empty: what that copy holds of its keys is still there. */
function overlapping(node: RosterNode, range: RangeRecord): RangeId | undefined {
  for (const { meta, state } of node.ranges.values()) if (meta.id !== range.id && state !== 'NotFound' && overlaps(meta, range)) return meta.id;
  return undefined;
}

export function mayTakeAny(world: World, node: RosterNode): Choice {
  return staticCopyOn(node) ? { allowed: false, because: `${node.ident} has keys of a static node` } : mayTakeMore(world, node);
}

/** Whether a node is there, and wanted for more than it has. */
export function mayTakeMore(world: World, node: RosterNode): Choice {
  if (!node.discovered || !isReachable(node)) return { allowed: false, because: `${node.ident} is not reachable` };
  if (isDraining(world, node)) return { allowed: false, because: `${node.ident} is draining` };
  if (world.keyspace.wish(node.ident).cordon) return { allowed: false, because: `${node.ident} is cordoned` };
  return { allowed: true, node };
}

/** Its ranges are to leave: it asks for that itself, as when it is told to stop, or an operator did. */
export function isDraining(world: World, node: RosterNode): boolean {
  return node.wantDrain || world.keyspace.wish(node.ident).drain;
}

export interface Wishes {
  readonly isAvoided: (range: RangeId, node: NodeIdent) => boolean;
  /** How many placements a node has or is to have. */
  readonly countOn: (node: NodeIdent) => number;
  /** The placement whose place it is to take, which therefore does not count. */
  readonly replacing?: number | undefined;
}

/** The choice as a strategy makes it, which knows what else was decided in this pass. */
export function chooseIn(draft: Draft, range: RangeRecord, replacing?: number): Choice {
  return choose(draft.world, range, {
    isAvoided: (id, node) => draft.isAvoided(id, node),
    countOn: (node) => draft.countOn(node),
    replacing,
  });
}

/** The choice as it would be made now. */
export function chooseNow(world: World, range: RangeRecord, replacing?: number): Choice {
  return choose(world, range, { isAvoided: () => false, countOn: (node) => world.keyspace.on(node).size, replacing });
}

/**
 * The node in the zone with the fewest other copies of the range, then with the
 * fewest placements, then with the fewest keys, then the first by name.
 */
function choose(world: World, range: RangeRecord, { isAvoided, countOn, replacing }: Wishes): Choice {
  const zones = zonesOf(world, range, replacing);
  const refusals: string[] = [];
  let best: RosterNode | undefined;
  for (const node of world.roster.nodes.values()) {
    const choice = mayTake(world, node, range);
    const avoidedUntil = world.roster.avoidedUntilMs.get(copyKey(range.id, node.ident)) ?? 0;
    if (!choice.allowed) refusals.push(choice.because);
    else if (avoidedUntil > world.nowMs || isAvoided(range.id, node.ident)) refusals.push(`${node.ident} failed to take it a moment ago`);
    else if (!best || isBetter(node, best, zones, countOn)) best = node;
  }
  if (best) return { allowed: true, node: best };
  return { allowed: false, because: refusals.length === 0 ? 'there are no nodes' : refusals.sort().slice(0, 5).join(', ') };
}

/** How many copies of the range are in each zone. Nodes that name none share one. */
export function zonesOf(world: World, range: RangeRecord, except?: number): ReadonlyMap<string, number> {
  const zones = new Map<string, number>();
  for (const placement of range.placements) {
    if (placement.index === except || !isWanted(placement)) continue;
    const zone = world.roster.nodes.get(placement.node)?.zone ?? '';
    zones.set(zone, (zones.get(zone) ?? 0) + 1);
  }
  return zones;
}

function isBetter(a: RosterNode, b: RosterNode, zones: ReadonlyMap<string, number>, countOn: (node: NodeIdent) => number): boolean {
  const byZone = (zones.get(a.zone ?? '') ?? 0) - (zones.get(b.zone ?? '') ?? 0);
  if (byZone !== 0) return byZone < 0;
  const byCount = countOn(a.ident) - countOn(b.ident);
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

/** Nodes for the copies of a range that is made from these: the ones with copies in sync of most of them, which have most of its keys, first. */
export function nodesBeside(world: World, parents: readonly RangeRecord[]): RosterNode[] {
  const counts = new Map<NodeIdent, number>();
  for (const parent of parents) {
    for (const placement of parent.placements.filter((p) => isInSync(parent, p))) counts.set(placement.node, (counts.get(placement.node) ?? 0) + 1);
  }
  const nodes = [...counts].sort((a, b) => b[1] - a[1]).flatMap(([ident]) => world.roster.nodes.get(ident) ?? []);
  return nodes.filter((node) => node.link.state !== 'lost');
}
