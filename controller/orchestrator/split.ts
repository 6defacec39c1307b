import type { RangeId } from '../../model/range.js';
import type { PlacementRecord } from '../keyspace/record.js';
import type { Draft } from './draft.js';
import { type Family, bumpTogether } from './epochs.js';
import {
  activateFailure,
  deactivateFailure,
  dropGivenUp,
  finishAbort,
  finishWhenServed,
  handOverWhenReady,
  isAborting,
  isHandedOver,
  leadOf,
  placeChild,
  takeBack,
} from './family.js';
import { prepareFailure } from './orders.js';
import { look } from './sight.js';

/**
 * Split: Prepare(C1), Prepare(C2) → Deactivate(P) → Activate(C1), Activate(C2) → Drop(P)
 *
 *   a Prepare fails    → again, elsewhere if the node was not named; at last the split is taken back
 *   Deactivate fails   → the split is taken back
 *   an Activate fails  → recall: P is active again with what the children took; the failed child
 *                        goes elsewhere, and the split goes on; if its node was named, or after
 *                        some rounds, the split is taken back
 */
export function split(draft: Draft, family: Family): void {
  if (isHandedOver(draft, family)) {
    advance(draft, family);
    return;
  }
  dropGivenUp(draft, family);
  if (!isAborting(draft, family)) for (const id of family.children) prepare(draft, family, id);
  if (isAborting(draft, family)) finishAbort(draft, family);
  else handOverWhenReady(draft, family);
}

function advance(draft: Draft, family: Family): void {
  if (finishWhenServed(draft, family)) return;
  const refused = deactivateFailure(draft, family);
  if (refused !== undefined) {
    takeBack(draft, family, refused);
    finishAbort(draft, family);
    return;
  }
  const failed = activateFailure(draft, family);
  if (!failed) return;
  const rounds = Math.max(...family.parents.map((id) => draft.range(id).rounds));
  const goOn = !failed.placement.named && rounds + 1 < draft.world.tuning.roundsMax;
  takeBack(draft, family, goOn ? undefined : failed.because, failed);
}

/** Sees to it that the child has a placement that is getting ready. */
function prepare(draft: Draft, family: Family, id: RangeId): void {
  const child = draft.range(id);
  const placement = leadOf(draft, child);
  if (placement) {
    const sight = look(draft.world.roster, child, placement);
    const because = sight.kind === 'gone' ? sight.because : prepareFailure(draft, child, placement);
    if (because === undefined) return;
    if (!tryAgain(draft, id, placement, because)) {
      takeBack(draft, family, because);
      return;
    }
    if (placement.named) return;
    dropGivenUp(draft, family);
  }
  // What it was given up on may have taken the write token in an earlier round: first the parent has it back.
  if (draft.range(id).placements.some((p) => p.state !== 'Dropped')) return;
  const nowhere = placeChild(draft, id);
  if (nowhere !== undefined) takeBack(draft, family, nowhere);
}

/** Begins another round with the child, unless there were enough. */
function tryAgain(draft: Draft, id: RangeId, placement: PlacementRecord, because: string): boolean {
  const child = draft.range(id);
  if (child.rounds + 1 >= draft.world.tuning.roundsMax) return false;
  draft.decide({ ...child, rounds: child.rounds + 1 });
  bumpTogether(draft, id);
  // The same node, since no other will do: the newer epoch begins its count of failures again.
  if (placement.named) return true;
  draft.avoid(id, placement.node);
  draft.mark(id, placement.index, { failed: because });
  return true;
}
