import { overlaps } from '../../model/interval.js';
import type { RangeId } from '../../model/range.js';
import {
  type PlacementRecord,
  type RangeRecord,
  freeIndex,
  isGivenUp,
  isWanted,
  newPlacement,
  placementAt,
  primaryOf,
  sortedIndexes,
  withPrimary,
} from '../keyspace/record.js';
import type { KeyspaceView } from '../keyspace/keyspace.js';
import { isReachable } from '../roster/roster.js';
import { chooseIn } from './choose.js';
import type { Draft } from './draft.js';
import { type Family, bumpTogether, nextEpoch } from './epochs.js';
import { failure, isServed, isServedAgain } from './orders.js';
import { isActive, isReady, look } from './sight.js';

/*
 * What split and join have in common. Both are a family: parents that are Subsuming
 * and children that are to have their keys. Who is to be active, the parents or the
 * children, is one persisted change over the whole family, so it can go over and be
 * taken back whatever is lost in between.
 */

export function kindOf(family: Family): 'split' | 'join' {
  return family.parents.length === 1 ? 'split' : 'join';
}

/** The one that is to be active first: on the named node, else beside the parent's primary, else any. */
export function leadOf(keyspace: KeyspaceView, child: RangeRecord): PlacementRecord | undefined {
  const wanted = child.placements.filter(isWanted);
  const parent = keyspace.get(child.parents[0] ?? 0);
  const beside = parent && placementAt(parent, parent.primary ?? parent.holder)?.node;
  return wanted.find((p) => p.named) ?? wanted.find((p) => p.node === beside) ?? wanted[0];
}

/** The children were told to take over. */
export function isHandedOver(draft: Draft, family: Family): boolean {
  return family.children.every((id) => draft.range(id).primary !== undefined);
}

export function isAborting(draft: Draft, family: Family): boolean {
  return family.parents.some((id) => draft.range(id).abort !== undefined);
}

/** When every child is prepared and every parent active, the children become the ones that are to be active. */
export function handOverWhenReady(draft: Draft, family: Family): void {
  const { roster } = draft.world;
  const leads = family.children.map((id) => ({ child: draft.range(id), lead: leadOf(draft, draft.range(id)) }));
  if (!leads.every(({ child, lead }) => lead && isReady(look(roster, child, lead)))) return;
  const waitingFor = family.parents.find((id) => !isServed(draft, id));
  if (waitingFor !== undefined) {
    draft.wait(waitingFor, 'is to be active before its children take over');
    return;
  }
  const unsettled = family.parents.find((id) => draft.range(id).since > 0);
  if (unsettled !== undefined) {
    // What is made from copies that lack something would lack it too.
    draft.wait(unsettled, 'its copies are to follow it again before its children take over');
    return;
  }
  const beside = family.children.map((id) => voidBeside(draft, draft.range(id))).find((because) => because !== undefined);
  if (beside !== undefined) {
    for (const id of family.parents) draft.wait(id, beside);
    return;
  }
  // Of one that went unnoticed, and comes back without its disk, nobody could tell what it took.
  // Who has not answered is asked by that: all at once.
  const unheard = leads.filter(({ lead }) => lead && !draft.answeredSince(lead.node, 0));
  if (unheard.length > 0) return;
  const epoch = nextEpoch(draft, family);
  for (const { child, lead } of leads) {
    if (!lead) continue;
    const members = sortedIndexes([lead.index, ...readyCopies(draft, child).map((p) => p.index)]);
    draft.decide({ ...withPrimary(child, lead.index, members), established: true, epoch, since: members.length > 1 ? epoch : 0, followed: false });
  }
  for (const id of family.parents) {
    const parent = draft.range(id);
    draft.decide({ ...parent, primary: undefined, holder: parent.primary, epoch });
  }
}

/**
 * A copy that a fail-over went past lies where the child is to begin, and was not dropped yet. A node takes the rights
 * that it finds beside a child for the child's: that one counts for nothing, though the node may not know it.
 */
function voidBeside(draft: Draft, child: RangeRecord): string | undefined {
  for (const { node } of child.placements.filter(isWanted)) {
    const seen = draft.world.roster.nodes.get(node);
    if (!seen || !isReachable(seen)) continue;
    for (const id of draft.world.keyspace.on(node)) {
      const other = draft.get(id);
      if (other && overlaps(other, child) && other.placements.some((p) => p.node === node && isGivenUp(p))) return `${node} has yet to drop R${id}, which a fail-over went past`;
    }
  }
  return undefined;
}

/** The child's copies that are prepared: with the first Activate they become members, so that the child never has fewer than its parents. */
export function readyCopies(draft: Draft, child: RangeRecord): PlacementRecord[] {
  return child.placements.filter((p) => isWanted(p) && isReady(look(draft.world.roster, child, p)));
}

/** A parent that will not stop serving; undefined when each does or did. */
export function deactivateFailure(draft: Draft, family: Family): string | undefined {
  for (const id of family.parents) {
    const parent = draft.range(id);
    for (const placement of parent.placements.filter(isWanted)) {
      if (!isActive(look(draft.world.roster, parent, placement))) continue;
      const because = failure(draft, parent, placement, 'Deactivate');
      if (because !== undefined) return because;
    }
  }
  return undefined;
}

export interface ChildFailure {
  readonly id: RangeId;
  readonly placement: PlacementRecord;
  readonly because: string;
}

/** A child that cannot be made active; one that is active already only waits for its node. */
export function activateFailure(draft: Draft, family: Family): ChildFailure | undefined {
  for (const id of family.children) {
    const child = draft.range(id);
    const placement = primaryOf(child);
    if (!placement) continue;
    const sight = look(draft.world.roster, child, placement);
    if (isActive(sight)) continue;
    const because =
      sight.kind === 'gone'
        ? sight.because
        : placement.state === 'Missing' && sight.kind === 'here'
          ? `${placement.node} no longer has R${id}`
          : failure(draft, child, placement, 'Activate');
    if (because !== undefined) return { id, placement, because };
  }
  return undefined;
}

/**
 * The parents are to be active again, at newer epochs. What the children took
 * meanwhile comes back with the write token, so nothing they acknowledged is lost.
 */
export function takeBack(draft: Draft, family: Family, abort: string | undefined, failed?: ChildFailure): void {
  const epoch = nextEpoch(draft, family);
  const tookWrites = family.children.some((id) => mayHaveAcknowledged(draft.range(id)));
  for (const id of family.parents) {
    const parent = draft.range(id);
    // Its other copies lack what the children took meanwhile, if they took anything.
    const since = parent.primary === undefined && parent.insync.length > 1 && tookWrites ? epoch : parent.since;
    draft.decide({
      ...parent,
      since,
      followed: false,
      primary: parent.primary ?? parent.holder ?? parent.placements.find(isWanted)?.index,
      holder: undefined,
      epoch,
      rounds: parent.rounds + 1,
      abort: parent.abort ?? abort,
    });
  }
  for (const id of family.children) {
    const child = draft.range(id);
    draft.decide({ ...child, primary: undefined, holder: child.primary, insync: [], since: 0, followed: false, epoch });
  }
  if (failed) {
    draft.avoid(failed.id, failed.placement.node);
    draft.mark(failed.id, failed.placement.index, { failed: failed.because });
  }
}

/** It was told to be active, and no follower was needed for what it acknowledged, or may be there. */
function mayHaveAcknowledged(child: RangeRecord): boolean {
  return child.primary !== undefined && (child.since === 0 || child.followed);
}

/** Once the parents are active again, what was given up holds nothing any more. */
export function dropGivenUp(draft: Draft, family: Family): void {
  if (!family.parents.every((id) => isServedAgain(draft, id))) return;
  for (const id of family.children) {
    for (const placement of draft.range(id).placements) {
      if (placement.failed !== undefined && placement.state !== 'Dropped') draft.drop(id, placement.index);
    }
  }
}

/** Ends an operation that is being taken back: the parents are plain ranges again, the children history. */
export function finishAbort(draft: Draft, family: Family): void {
  const because = family.parents.map((id) => draft.range(id).abort).find((reason) => reason !== undefined) ?? '';
  if (!family.parents.every((id) => isServedAgain(draft, id))) return;
  for (const id of family.children) {
    for (const placement of draft.range(id).placements) {
      if (placement.state !== 'Dropped') draft.drop(id, placement.index);
    }
    draft.bump(id);
    draft.becomeRange(id, 'Obsolete');
  }
  for (const id of family.parents) {
    draft.decide({ ...draft.range(id), children: [], abort: undefined, rounds: 0 });
    draft.becomeRange(id, 'Active');
  }
  draft.end({ kind: kindOf(family), ranges: family.parents, because });
}

/** Every child is active: the parents' copies hold nothing that is needed. True when that was so. */
export function finishWhenServed(draft: Draft, family: Family): boolean {
  if (!family.children.every((id) => isServed(draft, id))) return false;
  for (const id of family.parents) {
    for (const placement of draft.range(id).placements) {
      if (placement.state !== 'Dropped') draft.drop(id, placement.index);
    }
    draft.decide({ ...draft.range(id), primary: undefined, insync: [], abort: undefined, rounds: 0 });
    draft.becomeRange(id, 'Obsolete');
  }
  for (const id of family.children) {
    const child = draft.range(id);
    if (child.rounds > 0 || child.since > 0) draft.decide({ ...child, rounds: 0, since: 0, followed: false });
  }
  return true;
}

/** Gives a child without a wanted placement one on another node; the reason when there is none. */
export function placeChild(draft: Draft, id: RangeId): string | undefined {
  const child = draft.range(id);
  const choice = chooseIn(draft, child);
  if (!choice.allowed) return `no node can take R${id}: ${choice.because}`;
  bumpTogether(draft, id);
  draft.add(id, newPlacement(freeIndex(child), choice.node.ident, { incarnation: choice.node.incarnation }));
  return undefined;
}
