import type { RangeId } from '../../model/range.js';
import { type PlacementRecord, freeIndex, isWanted, newPlacement, primaryOf, withPrimary } from '../keyspace/record.js';
import { chooseIn, mayStartEmpty } from './choose.js';
import type { Draft } from './draft.js';
import { failure, isDropConfirmed, mayHoldFirstData } from './orders.js';
import { isActive, isReady, isStranger, look } from './sight.js';
import { awaitsAdoption, findStaticCopy, isStatic, whyAwaits } from './static.js';
import type { World } from './types.js';

/**
 * Place: Prepare(D) → Activate(D), for a range that no data is known of.
 *
 *   Prepare fails   → forget D, try another node; D is avoided for a minute
 *   Activate fails  → Drop(D); once that is confirmed, another node
 */
export function place(draft: Draft, id: RangeId): void {
  const before = draft.range(id);
  if (before.parents.length > 0) return;
  for (const { index } of before.placements) settleFirst(draft, id, index);
  if (awaitAdoption(draft, id)) return;
  const range = draft.range(id);
  if (!mayStartEmpty(range) || range.placements.some(isWanted)) {
    beginActivation(draft, id);
    return;
  }
  const stranger = strangeHolder(draft, id);
  if (stranger !== undefined) {
    draft.wait(id, stranger);
    return;
  }
  choosePlace(draft, id);
}

/**
 * Beside the keys of static nodes nothing begins before an operator has said what is to
 * become of them. That is kept, for these nodes may be away for a moment, as when they
 * are started again.
 */
function awaitAdoption(draft: Draft, id: RangeId): boolean {
  const range = draft.range(id);
  if (!awaitsAdoption(draft.world, range)) return false;
  const seen = findStaticCopy(draft.world, range.awaits)?.node.ident;
  if (seen !== undefined && seen !== range.awaits) draft.decide({ ...range, awaits: seen });
  const begun = primaryOf(range);
  if (begun && isWanted(begun)) forgetUnactivated(draft, id, begun, 'the keys of a static node are to be taken over instead');
  draft.wait(id, whyAwaits(draft.world, range).because);
  return true;
}

function choosePlace(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const unheard = [...draft.world.roster.nodes.values()].find(({ link }) => link.state === 'connecting');
  if (unheard) {
    draft.wait(id, `${unheard.ident} has not been heard from yet, and may have keys`);
    return;
  }
  const gatheredAtMs = gathered(draft.world);
  if (gatheredAtMs > draft.world.nowMs) {
    draft.wait(id, 'the nodes of a new cluster are given a moment to appear');
    draft.lookAgainAt(gatheredAtMs);
    return;
  }
  const choice = chooseIn(draft, range);
  if (!choice.allowed) {
    draft.wait(id, `no node can take it: ${choice.because}`);
    return;
  }
  const index = freeIndex(range);
  draft.decide({ ...range, epoch: range.epoch + 1, primary: index });
  draft.add(id, newPlacement(index, choice.node.ident, { incarnation: choice.node.incarnation }));
}

/** When the nodes that start together with the first one can be expected to be there. */
function gathered({ roster, tuning }: World): number {
  const live = [...roster.nodes.values()].flatMap(({ link }) => (link.state === 'live' ? [link.sinceMs] : []));
  return live.length === 0 ? -Infinity : Math.min(...live) + tuning.gatherMs;
}

/** Gives a first copy up, takes it back, or finishes with it. */
function settleFirst(draft: Draft, id: RangeId, index: number): void {
  const range = draft.range(id);
  const placement = range.placements.find((p) => p.index === index);
  if (!placement || placement.state === 'Dropped') return;
  const sight = look(draft.world.roster, range, placement);

  if (mayHoldFirstData(range, placement)) {
    if (isActive(sight)) {
      draft.mark(id, index, { failed: undefined });
      draft.decide({ ...withPrimary(draft.range(id), index), epoch: range.epoch + 1 });
    } else if (isDropConfirmed(draft, range, placement)) {
      draft.become(id, index, 'Dropped', 'decided');
      draft.removed(id, index);
      draft.decide({ ...draft.range(id), established: false, epoch: range.epoch + 1 });
    }
    return;
  }
  if (range.primary !== index) return;
  if (placement.initial && isActive(sight)) draft.mark(id, index, { initial: false });
  else if (!range.established) giveUpUnprepared(draft, id);
  else if (placement.initial) giveUpUnactivated(draft, id, index);
}

/** It was never told to activate, so it holds nothing and can be forgotten at once. */
function giveUpUnprepared(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const placement = primaryOf(range);
  if (!placement) return;
  const because = placement.state === 'Missing' ? `${placement.node} is gone` : failure(draft, range, placement, 'Prepare');
  if (because === undefined) return;
  draft.avoid(id, placement.node);
  forgetUnactivated(draft, id, placement, because);
}

function forgetUnactivated(draft: Draft, id: RangeId, { index }: PlacementRecord, because: string): void {
  const { epoch } = draft.range(id);
  draft.mark(id, index, { failed: because });
  draft.become(id, index, 'Dropped', 'decided');
  draft.decide({ ...draft.range(id), primary: undefined, insync: [], epoch: epoch + 1 });
}

/** It was told to make the write token and did not say that it did. */
function giveUpUnactivated(draft: Draft, id: RangeId, index: number): void {
  const range = draft.range(id);
  const placement = primaryOf(range);
  if (!placement) return;
  const sight = look(draft.world.roster, range, placement);
  const node = draft.world.roster.nodes.get(placement.node);
  const forgot = sight.kind === 'here' && sight.state === 'NotFound' && node !== undefined && !isStranger(node, placement);
  const because = forgot && placement.incarnation !== undefined
    ? `${placement.node} no longer has it`
    : failure(draft, range, placement, 'Activate');
  if (because === undefined) return;
  draft.avoid(id, placement.node);
  draft.mark(id, index, { failed: because });
  draft.decide({ ...draft.range(id), primary: undefined, insync: [], epoch: range.epoch + 1 });
}

/** From here on the range may hold data; that has to be on disk before the Activate goes out. */
function beginActivation(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const primary = primaryOf(range);
  if (!primary || !mayStartEmpty(range) || primary.state !== 'Inactive') return;
  if (!isReady(look(draft.world.roster, range, primary))) return;
  draft.mark(id, primary.index, { initial: true });
  draft.decide({ ...withPrimary(draft.range(id), primary.index), established: true });
}

/**
 * A controller that lost its memory must not begin anew beside nodes that still
 * hold data: their ranges are unknown here, and look like this one.
 */
function strangeHolder(draft: Draft, id: RangeId): string | undefined {
  const { roster, keyspace } = draft.world;
  const givenUp = new Set(draft.range(id).placements.flatMap((p) => (p.lost ? [p.node] : [])));
  for (const node of roster.nodes.values()) {
    for (const report of node.ranges.values()) {
      // What an operator gave up is known, and is dropped by force should it come back.
      if (report.meta.id === id && givenUp.has(node.ident)) continue;
      if (isStatic(report)) continue;
      const unknown = report.meta.id >= keyspace.nextId || (report.meta.id === id && (report.serving || report.state === 'Active'));
      if (unknown) {
        return `${node.ident} holds R${report.meta.id}, of which this controller knows nothing: its data directory may have been lost or belong to another cluster`;
      }
    }
  }
  return undefined;
}
