import { EVERYTHING } from '../../model/interval.js';
import { type NodeIdent, formatRange } from '../../model/range.js';
import type { Keyspace } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, freeIndex, newPlacement, placementOn, primaryOf as primaryPlacementOf, withPlacement, withPrimary } from '../keyspace/record.js';
import { type RemoteRange, type RosterNode, isReachable } from '../roster/roster.js';
import { mayStartEmpty } from './choose.js';
import { type Adjustment, type Refusal, refuse, unknownNode } from './request.js';
import { STATIC_RANGE, isStatic, isStaticPrimary, primaryOf } from './static.js';
import type { World } from './types.js';

/**
 * Takes over the keys of a static primary, where they are: the first range, which never
 * held anything, is from now on the copy on that node, with all that is in it. One change,
 * at an epoch above any that the static nodes know. The primary is told with the next
 * pass, as after any change of members; it serves before, meanwhile and after.
 */
export function planAdopt(world: World, ident: NodeIdent): Adjustment | Refusal {
  if (ident === '') return refuse("node: a node's name is missing", 'INVALID_ARGUMENT');
  const { keyspace, roster } = world;
  const node = roster.nodes.get(ident);
  if (!node) return refuse(unknownNode([...roster.nodes.keys()], ident), 'NOT_FOUND');
  const range = keyspace.get(STATIC_RANGE);
  if (range && isAdoptedFrom(range, node)) return { allowed: true, changes: [], wishes: [], steps: [], description: '' };
  const inUse = whyInUse(keyspace, range, ident);
  if (inUse !== undefined || !range) return refuse(inUse ?? 'this controller has no first range yet; try again in a moment');
  if (!isReachable(node) || !node.discovered) return refuse(`${ident} is not reachable now; wait until \`rangerctl nodes\` shows that it is`);
  const copy = findCopy(world, node);
  if (typeof copy === 'string') return refuse(copy);
  const obstacle = whyNotAlone(world, range, node);
  if (obstacle !== undefined) return refuse(obstacle);
  return { allowed: true, changes: [{ id: range.id, record: adopted(world, range, node, copy) }], wishes: [], steps: [], description: `an operator had ${formatRange(range)} taken over from the static primary ${ident}, with all that is in it` };
}

/** It was asked for before, and the answer may have been lost. */
function isAdoptedFrom(range: RangeRecord, node: RosterNode): boolean {
  const primary = primaryPlacementOf(range);
  return range.adopted > 0 && range.state === 'Active' && primary?.node === node.ident && primary.incarnation === node.incarnation;
}

/** Why nothing can be taken over any more: keys of this cluster's own may be there. */
function whyInUse(keyspace: Keyspace, range: RangeRecord | undefined, ident: NodeIdent): string | undefined {
  if (keyspace.adopted > 0) return `the keys of a static primary were taken over already; \`rangerctl ranges\` shows where they are`;
  if (range && keyspace.size === 1 && mayStartEmpty(range) && range.state === 'Active') return undefined;
  const where = range && primaryPlacementOf(range);
  return `this cluster is in use already${where ? `: R${STATIC_RANGE} is on ${where.node}` : ''}, and may have keys of its own. Either export from ${ident} and import here, or begin with a controller (and empty nodes) without data, and start no other node before this order`;
}

/** The copy to take over, or why there is none. */
function findCopy(world: World, node: RosterNode): RemoteRange | string {
  const { ident } = node;
  const copies = [...node.ranges.values()].filter(({ state }) => state !== 'NotFound');
  const copy = node.ranges.get(STATIC_RANGE);
  const other = copies.find(({ meta }) => meta.id !== STATIC_RANGE);
  if (other) return `${ident} holds ${formatRange(other.meta)}, which no static primary has: its data directory is of a cluster with a controller`;
  if (!copy) return `${ident} has no keys: name the node that was the static primary, started without a role with the data directory that it had`;
  if (!isStatic(copy) || copy.meta.start !== EVERYTHING.start || copy.meta.end !== EVERYTHING.end) {
    return `${formatRange(copy.meta)} on ${ident} is of a cluster with a controller: only that controller's data directory (or its Consul) says where its newest data are. Start the controller with that`;
  }
  if (copy.state === 'Inactive' && !copy.serving) return `${ident} was a static replica: have ${primaryOf(world, copy)} taken over; ${ident} is let in behind it by itself`;
  if (!isStaticPrimary(copy)) return `${ident} says it is ${copy.state}; wait until it serves`;
  if (copy.replica?.damaged === true) return `what ${ident} has is damaged`;
  return node.incarnation === undefined ? `${ident} does not say which disk it has` : copy;
}

/** Why the data on the node may not be all there is, or may not be put there. */
function whyNotAlone({ keyspace, roster }: World, range: RangeRecord, node: RosterNode): string | undefined {
  if (placementOn(range, node.ident)) return `what ${node.ident} had of R${range.id} was given up, and is being dropped`;
  for (const other of roster.nodes.values()) {
    if (other === node || other.link.state === 'lost') continue;
    const report = other.ranges.get(range.id);
    if (report && isStaticPrimary(report)) return `${other.ident} is a static primary too, and there can be one: stop the one whose keys are not wanted here`;
    const stranger = [...other.ranges.values()].find((r) => r.meta.id >= keyspace.nextId || (!isStatic(r) && (r.serving || r.state === 'Active')));
    if (stranger) return `${other.ident} holds ${formatRange(stranger.meta)}, which this controller never made: stop it first`;
  }
  return undefined;
}

function adopted({ roster }: World, range: RangeRecord, node: RosterNode, { epoch, replica }: RemoteRange): RangeRecord {
  const told = [...roster.nodes.values()].map(({ ranges }) => ranges.get(range.id)?.epoch ?? 0);
  const logEpoch = replica?.logEpoch ?? 0;
  const index = freeIndex(range);
  const placements = range.placements.map((p) => (p.state === 'Dropped' ? p : forgotten(p)));
  const placement = newPlacement(index, node.ident, { state: 'Active', incarnation: node.incarnation });
  const placed = withPlacement({ ...range, placements, established: true, awaits: undefined, adopted: logEpoch, epoch: 1 + Math.max(range.epoch, epoch, logEpoch, replica?.configEpoch ?? 0, ...told) }, placement);
  return withPrimary(placed, index);
}

/** It was to begin empty, and was never told to be active. */
function forgotten(placement: PlacementRecord): PlacementRecord {
  return { ...placement, state: 'Dropped', failed: 'the keys of a static primary were taken over instead' };
}
