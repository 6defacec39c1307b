import type { RangeId } from '../../model/range.js';
import { type RangeRecord, freeIndex, isWanted, newPlacement, placementAt, placementOn, primaryOf } from '../keyspace/record.js';
import { isReachable } from '../roster/roster.js';
import { nodesBeside } from './choose.js';
import type { Draft } from './draft.js';
import { type Family, bumpTogether } from './epochs.js';
import { activateFailure, deactivateFailure, finishAbort, finishWhenServed, handOverWhenReady, isAborting, isHandedOver, leadOf, readyCopies, takeBack } from './family.js';
import { failOver, findLoss, finishPromotion } from './failover.js';
import { adjustInSync } from './insync.js';
import { isReplicated } from './members.js';
import { isServed, prepareFailure } from './orders.js';
import { isActive, look } from './sight.js';

/*
 * Split and join with several copies. A child is prepared on every node that has a copy
 * in sync of its parents, and begins with all of them as members, so it never has fewer
 * copies than its parents had. Whatever fails before the parents are given up, the
 * operation is taken back.
 *
 * A child that is active can acknowledge nothing before its members follow it, and they
 * are told to only once it is persisted that they are (`followed`). So when its primary
 * is lost before that, nothing is lost with the child, and the parents are active again,
 * by a fail-over of theirs. After that, one of its own copies takes over. The parents'
 * copies are given up when all members follow.
 */

export function isReplicatedFamily(draft: Draft, family: Family): boolean {
  return family.parents.some((id) => isReplicated(draft.world, draft.range(id)));
}

export function reshape(draft: Draft, family: Family): void {
  if (isHandedOver(draft, family)) advance(draft, family);
  else if (!isAborting(draft, family)) prepare(draft, family);
  for (const id of [...family.parents, ...family.children]) keepServing(draft, id);
  for (const id of family.parents) settle(draft, id);
  // Until its copies follow it again, what the children took may be only in the children's copies.
  if (!isHandedOver(draft, family) && isAborting(draft, family) && family.parents.every((id) => draft.range(id).since === 0)) finishAbort(draft, family);
}

/** What is done for any range that has a primary. */
function keepServing(draft: Draft, id: RangeId): void {
  const { state, primary } = draft.range(id);
  if (state === 'Obsolete' || primary === undefined) return;
  failOver(draft, id);
  finishPromotion(draft, id);
  adjustInSync(draft, id, false);
}

// --- before the children take over ---------------------------------------------------

function prepare(draft: Draft, family: Family): void {
  const because = family.parents.map((id) => findLoss(draft, draft.range(id))?.because).find((reason) => reason !== undefined) ?? childrenFailure(draft, family);
  if (because === undefined) for (const id of family.children) makeUp(draft, family, id);
  if (because !== undefined) takeBack(draft, family, because);
  else if (family.children.every((id) => hasEnoughCopies(draft, family, draft.range(id)))) handOverWhenReady(draft, family);
}

/** Why a child cannot be made; a copy besides the first is only given up when its node is gone. */
function childrenFailure(draft: Draft, family: Family): string | undefined {
  for (const id of family.children) {
    const lead = leadOf(draft, draft.range(id));
    if (!lead) return `R${id} has no place`;
    for (const placement of draft.range(id).placements.filter(isWanted)) {
      const child = draft.range(id);
      const sight = look(draft.world.roster, child, placement);
      const because = sight.kind === 'gone' ? sight.because : prepareFailure(draft, child, placement);
      if (because === undefined) continue;
      if (placement === lead || sight.kind !== 'gone') return because;
      bumpTogether(draft, id);
      draft.become(id, placement.index, 'Dropped', 'decided');
    }
  }
  return undefined;
}

/** A copy that was given up is made again, where a parent still has, or has again, one in sync on a node. */
function makeUp(draft: Draft, family: Family, id: RangeId): void {
  const parents = family.parents.map((parent) => draft.range(parent));
  for (const node of nodesBeside(draft.world, parents)) {
    const child = draft.range(id);
    if (child.placements.filter(isWanted).length >= copiesNeeded(draft, family)) return;
    if (!isReachable(node) || placementOn(child, node.ident) !== undefined) continue;
    bumpTogether(draft, id);
    draft.add(id, newPlacement(freeIndex(child), node.ident, { incarnation: node.incarnation }));
  }
}

function hasEnoughCopies(draft: Draft, family: Family, child: RangeRecord): boolean {
  return readyCopies(draft, child).length >= copiesNeeded(draft, family);
}

/** As many as the parent has that has the fewest: those that are lost are taken out of its copies in sync. */
function copiesNeeded(draft: Draft, family: Family): number {
  return Math.min(...family.parents.map((id) => draft.range(id).insync.length));
}

// --- after that ------------------------------------------------------------------------

function advance(draft: Draft, family: Family): void {
  for (const id of family.children) noteServed(draft, id);
  if (family.children.every((id) => areMembersFollowing(draft, id)) && finishWhenServed(draft, family)) return;
  const refused = canBeTakenBack(draft, family) ? (deactivateFailure(draft, family) ?? activateRefusal(draft, family)) : undefined;
  if (refused !== undefined) {
    takeBack(draft, family, refused);
    return;
  }
  const lost = family.children.flatMap((id) => {
    const loss = findLoss(draft, draft.range(id));
    return loss ? [{ id, because: loss.because }] : [];
  });
  const [first] = lost;
  if (!first) return;
  if (family.children.every((id) => hasAcknowledgedNothing(draft.range(id)))) recallFromNothing(draft, family, first.because);
}

/**
 * The parents' primaries are there to have back what the children took. Of a child that
 * is failing over nobody can have it back: the right to write is yet to be made.
 */
function canBeTakenBack(draft: Draft, family: Family): boolean {
  if (family.children.some((id) => primaryOf(draft.range(id))?.promote === true)) return false;
  return family.parents.every((id) => {
    const parent = draft.range(id);
    const holder = placementAt(parent, parent.holder);
    const sight = holder && look(draft.world.roster, parent, holder);
    return sight?.kind === 'here' && sight.reachable;
  });
}

/** From here on its copies may be told to follow it, and it may acknowledge writes. */
function noteServed(draft: Draft, id: RangeId): void {
  const child = draft.range(id);
  if (child.since > 0 && !child.followed && isServed(draft, id)) draft.decide({ ...child, followed: true });
}

/** The primary holds a lease of everybody it waits for, so they follow it. */
function areMembersFollowing(draft: Draft, id: RangeId): boolean {
  const child = draft.range(id);
  const primary = primaryOf(child);
  if (!primary || child.insync.length < 2) return true;
  const sight = look(draft.world.roster, child, primary);
  const replica = sight.kind === 'here' && isActive(sight) ? sight.report?.replica : undefined;
  return child.followed && replica?.leased === true && replica.configEpoch === child.epoch;
}

/** A range that was taken back is one like any other once its members follow it. */
export function settle(draft: Draft, id: RangeId): void {
  noteServed(draft, id);
  const range = draft.range(id);
  if (range.since > 0 && isServed(draft, id) && areMembersFollowing(draft, id)) draft.decide({ ...range, since: 0, followed: false });
}

/** A child that is there, and does not become active. One that is lost is another matter. */
function activateRefusal(draft: Draft, family: Family): string | undefined {
  const failed = activateFailure(draft, family);
  if (!failed) return undefined;
  const child = draft.range(failed.id);
  const sight = look(draft.world.roster, child, failed.placement);
  const hasOthers = child.insync.length > 1;
  return hasOthers && (sight.kind !== 'here' || !sight.reachable) ? undefined : failed.because;
}

/** Its copies follow it only once it is persisted that they may. What they report is no proof: it may be older than what they acknowledged. */
function hasAcknowledgedNothing(child: RangeRecord): boolean {
  return child.since > 0 && child.insync.length > 1 && !child.followed;
}

/**
 * Nothing that the children wrote was acknowledged, so nobody has to be asked for it:
 * the parents go on from their own logs, past whatever the children may hold.
 */
function recallFromNothing(draft: Draft, family: Family, because: string): void {
  for (const id of family.children) for (const { index } of draft.range(id).placements.filter(isWanted)) draft.mark(id, index, { outdated: true });
  takeBack(draft, family, because);
  for (const id of family.parents) {
    const parent = draft.range(id);
    const primary = primaryOf(parent);
    if (primary) draft.mark(id, primary.index, { promote: true });
    draft.decide({ ...draft.range(id), fork: parent.epoch, since: 0 });
  }
}
