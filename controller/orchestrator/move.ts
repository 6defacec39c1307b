import type { RangeId } from '../../model/range.js';
import { type PlacementRecord, type RangeRecord, freeIndex, isInSync, isWanted, newPlacement, placementAt, primaryOf, withPrimary } from '../keyspace/record.js';
import { chooseIn } from './choose.js';
import type { Draft } from './draft.js';
import { isReplicated } from './members.js';
import { failure, isServed, isServedAgain, mayHoldFirstData, prepareFailure } from './orders.js';
import { dropCopy } from './replicate.js';
import { isActive, isReady, look } from './sight.js';
import { beginTransfer } from './transfer.js';

/**
 * Move: Prepare(D) → Deactivate(S) → Activate(D) → Drop(S)
 *
 *   Prepare fails     → forget D; another node, unless this one was named
 *   Deactivate fails  → S stays active, D is dropped
 *   Activate fails    → Activate(S) at a newer epoch, then Drop(D)
 *   D missing         → as the failure of the step that it is in
 *   S missing         → wait for it: its data is on its disk
 *
 * The handover is one persisted change: which placement is the primary.
 */
export function move(draft: Draft, id: RangeId): void {
  for (const { index } of draft.range(id).placements) {
    const range = draft.range(id);
    const placement = placementAt(range, index);
    if (!placement || placement.state === 'Dropped') continue;
    if (placement.relieves !== undefined) continue;
    if (placement.failed !== undefined) finishRollback(draft, range, placement);
    else if (placement.replaces !== undefined) advance(draft, range, placement, placement.replaces);
  }
}

function advance(draft: Draft, range: RangeRecord, destination: PlacementRecord, replaces: number): void {
  const source = placementAt(range, replaces);
  if (!source || source.state === 'Dropped') {
    if (range.primary === destination.index) draft.mark(range.id, destination.index, { replaces: undefined });
    else if (isReplicated(draft.world, range)) draft.mark(range.id, destination.index, { replaces: undefined });
    else giveUp(draft, range, destination, 'what it was to replace is gone');
  } else if (isReplicated(draft.world, range)) {
    replaceCopy(draft, range, source, destination);
  } else if (range.primary === source.index) {
    prepare(draft, range, source, destination);
  } else if (range.primary === destination.index) {
    handOver(draft, range, source, destination);
  }
}

/** Before the handover: the source serves on, and the destination can be forgotten at any time. */
function prepare(draft: Draft, range: RangeRecord, source: PlacementRecord, destination: PlacementRecord): void {
  const { roster } = draft.world;
  const sight = look(roster, range, destination);
  const because = sight.kind === 'gone' ? sight.because : prepareFailure(draft, range, destination);
  if (because !== undefined) {
    giveUp(draft, range, destination, because);
    return;
  }
  if (!isReady(sight)) return;
  if (!isActive(look(roster, range, source))) {
    draft.wait(range.id, `waits for ${source.node}, which has its newest data`);
    return;
  }
  draft.decide({ ...withPrimary(range, destination.index), epoch: range.epoch + 1 });
}

/**
 * With replicas the destination is first brought in sync. A follower's place is then
 * taken at once, a primary's by a transfer. There is a copy more meanwhile, never one less.
 */
function replaceCopy(draft: Draft, range: RangeRecord, source: PlacementRecord, destination: PlacementRecord): void {
  const { id } = range;
  const sight = look(draft.world.roster, range, destination);
  if (isInSync(range, destination)) {
    if (range.primary !== source.index) retire(draft, range, source, destination);
    else if (range.placements.every((p) => p.failed === undefined)) beginTransfer(draft, id, destination.index);
    return;
  }
  if (range.primary === destination.index) return;
  const because = sight.kind === 'gone' ? sight.because : prepareFailure(draft, range, destination);
  if (because !== undefined) giveUp(draft, range, destination, because);
  else if (sight.kind === 'here' && sight.state === 'Inactive') draft.wait(id, `${destination.node} is catching up, to take the place of ${source.node}`);
}

function retire(draft: Draft, range: RangeRecord, source: PlacementRecord, destination: PlacementRecord): void {
  if (!isServed(draft, range.id)) return;
  draft.mark(range.id, destination.index, { replaces: undefined });
  dropCopy(draft, range.id, source);
}

function giveUp(draft: Draft, range: RangeRecord, destination: PlacementRecord, because: string): void {
  const { id } = range;
  draft.avoid(id, destination.node);
  draft.mark(id, destination.index, { failed: because });
  draft.become(id, destination.index, 'Dropped', 'decided');
  draft.bump(id);
  if (destination.named) {
    draft.end({ kind: 'move', ranges: [id], because });
    return;
  }
  const choice = chooseIn(draft, draft.range(id), destination.replaces);
  if (!choice.allowed) {
    draft.end({ kind: 'move', ranges: [id], because: `${because}; no other node can take it: ${choice.because}` });
    return;
  }
  draft.add(
    id,
    newPlacement(freeIndex(draft.range(id)), choice.node.ident, {
      replaces: destination.replaces,
      incarnation: choice.node.incarnation,
    }),
  );
}

/** After it: the destination is to be active, unless that turns out not to work. */
function handOver(draft: Draft, range: RangeRecord, source: PlacementRecord, destination: PlacementRecord): void {
  const { id } = range;
  const { roster } = draft.world;
  const sight = look(roster, range, destination);
  if (isActive(sight)) {
    draft.mark(id, destination.index, { replaces: undefined });
    draft.become(id, source.index, 'Dropped', 'decided');
    return;
  }
  const because = handOverFailure(draft, range, source, destination);
  if (because === undefined) return;
  draft.avoid(id, destination.node);
  draft.mark(id, destination.index, { failed: because, replaces: undefined });
  draft.decide({ ...withPrimary(draft.range(id), source.index), epoch: range.epoch + 1 });
  finishRollback(draft, draft.range(id), { ...destination, failed: because });
}

function handOverFailure(draft: Draft, range: RangeRecord, source: PlacementRecord, destination: PlacementRecord): string | undefined {
  const { roster } = draft.world;
  const sight = look(roster, range, destination);
  if (sight.kind === 'gone') return sight.because;
  if (destination.state === 'Missing') return `${destination.node} no longer has it`;
  const refused = isActive(look(roster, range, source)) ? failure(draft, range, source, 'Deactivate') : undefined;
  return refused ?? failure(draft, range, destination, 'Activate');
}

/**
 * A destination that was given up is dropped once the source is active again. Should
 * it turn out to be active itself, as when only its answers were lost, it is the one
 * that has the newest data, and is kept.
 */
function finishRollback(draft: Draft, range: RangeRecord, destination: PlacementRecord): void {
  const { id } = range;
  if (mayHoldFirstData(range, destination)) return;
  const because = destination.failed ?? '';
  if (isServedAgain(draft, id)) {
    draft.become(id, destination.index, 'Dropped', 'decided');
    draft.end({ kind: 'move', ranges: [id], because });
    return;
  }
  const source = primaryOf(range);
  if (!source || !isActive(look(draft.world.roster, range, destination))) return;
  const kept = { ...destination, failed: undefined, replaces: source.index };
  draft.mark(id, destination.index, { failed: undefined, replaces: source.index });
  draft.decide({ ...withPrimary(draft.range(id), destination.index), epoch: range.epoch + 1 });
  handOver(draft, draft.range(id), source, kept);
}

/** The destination of a move under way, if there is one. */
export function movingTo(range: RangeRecord): PlacementRecord | undefined {
  return range.placements.find((p) => (isWanted(p) && (p.replaces !== undefined || p.relieves !== undefined)) || (p.failed !== undefined && p.state !== 'Dropped'));
}
