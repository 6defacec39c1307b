import type { RangeId } from '../../model/range.js';
import type { Command } from '../../model/states.js';
import type { RemoteRange, RosterNode } from '../roster/roster.js';
import { attemptOf, isReachable } from '../roster/roster.js';
import { isPrunable } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, isGivenUp, isInSync, placementOn, primaryOf } from '../keyspace/record.js';
import type { Draft } from './draft.js';
import { isDropConfirmed } from './orders.js';
import { isActive, isOnDiskOf, isStranger, look } from './sight.js';
import { awaitsAdoption, isOfAdoptedStore, isStatic, isStaticPrimary } from './static.js';

/**
 * Drop: what is no longer wanted is forgotten once its node has confirmed that it
 * is gone, or once the node itself is: should it come back with the copy, that is a
 * stray. A placement is only ever Dropped while another copy is known to be active,
 * or when it never held anything.
 */
export function forgetDropped(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  for (const placement of range.placements) {
    if (placement.state !== 'Dropped') continue;
    const sight = look(draft.world.roster, range, placement);
    const isGone = sight.kind === 'gone' && (!isGivenUp(placement) || isDiskGone(draft, placement));
    if (isGone || (sight.kind === 'here' && isDropConfirmed(draft, range, placement))) {
      draft.removed(id, placement.index);
    }
  }
}

/** What was given up may come back with its node, unless the node came back without it. */
function isDiskGone(draft: Draft, placement: PlacementRecord): boolean {
  const node = draft.world.roster.nodes.get(placement.node);
  return node !== undefined && isStranger(node, placement);
}

/** History goes once nothing needs it. */
export function prune(draft: Draft, id: RangeId): void {
  if (isPrunable(draft.range(id), draft.world.keyspace.nextId)) draft.prune(id);
}

/** The copies on a node that the keyspace has no placement for. */
export function* strays(draft: Draft, node: RosterNode): Iterable<RemoteRange> {
  if (!isReachable(node)) return;
  for (const report of node.ranges.values()) {
    const range = draft.get(report.meta.id);
    if (!range || !placementOn(range, node.ident)) yield report;
  }
}

/**
 * A stray is dropped when nothing can depend on it, and otherwise only shown. A range
 * that the keyspace cannot know, because its id was never given out, is nobody's to
 * drop.
 */
export function sweepStray(draft: Draft, node: RosterNode, report: RemoteRange): void {
  const { id } = report.meta;
  if (isStatic(report)) {
    sweepStatic(draft, node, report);
    return;
  }
  if (id >= draft.world.keyspace.nextId) {
    draft.problem({ range: id, node: node.ident, because: `${node.ident} holds R${id}, which this controller never made; it is left alone` });
    return;
  }
  const range = draft.get(id);
  if (range?.placements.some((placement) => isGivenUp(placement) && isOnDiskOf(node, placement))) {
    // What was given up came back under another name. Like its namesake it is told to stop, and goes.
    if (report.state === 'Active') orderStray(draft, node, report, 'Deactivate', range.epoch);
    else if (report.state === 'Inactive') orderStray(draft, node, report, 'Drop', range.epoch, { force: true });
    return;
  }
  if (report.serving || report.state === 'Active') {
    draft.problem({ range: id, node: node.ident, because: `${node.ident} still serves R${id}, which is not placed there; it is left alone` });
    return;
  }
  if (report.state === 'Inactive') orderStray(draft, node, report, 'Drop', range?.epoch ?? 0);
}

/** A static node's copy goes when it is of the store that was taken over, and the cluster has as many copies of that as it is to have. */
function sweepStatic(draft: Draft, node: RosterNode, report: RemoteRange): void {
  const { id } = report.meta;
  const range = draft.get(id);
  const { ident } = node;
  // The range itself says what it waits for.
  if (range && awaitsAdoption(draft.world, range)) return;
  if (!isOfAdoptedStore(draft.world.keyspace.adopted, report)) {
    const what = isStaticPrimary(report) ? 'the keys of a static primary' : 'a copy of a static primary\'s keys';
    const todo = `stop ${ident}, and start it with its role again: its keys can be brought here with export and import. If they are not needed, empty its data directory`;
    draft.problem({ range: id, node: ident, because: `${ident} has ${what}, which are not those of this cluster; it is left alone`, todo });
  } else if (!range || range.state === 'Obsolete' || isSpare(draft, range)) {
    orderStray(draft, node, report, 'Drop', range?.epoch ?? 0);
  }
}

/** The range is served, and has as many copies in sync as it is to have. */
function isSpare({ world }: Draft, range: RangeRecord): boolean {
  const here = range.placements.filter((placement) => isInSync(range, placement) && look(world.roster, range, placement).kind === 'here');
  const primary = primaryOf(range);
  return primary !== undefined && isActive(look(world.roster, range, primary)) && here.length >= world.tuning.replicas;
}

function orderStray(draft: Draft, node: RosterNode, report: RemoteRange, command: Command, epoch: number, how: { readonly force?: true } = {}): void {
  const attempt = attemptOf(draft.world.roster, report.meta.id, node.ident);
  if (attempt?.command === command && !attempt.inFlight && attempt.nextTryMs > draft.world.nowMs) {
    draft.lookAgainAt(attempt.nextTryMs);
    return;
  }
  const { id, start, end } = report.meta;
  draft.command({
    command,
    node: node.ident,
    address: node.address,
    index: undefined,
    range: { id, start, end },
    epoch: Math.max(epoch, report.epoch),
    parents: [],
    initial: false,
    ...how,
  });
}
