import type { RangeId } from '../../model/range.js';
import { type PlacementRecord, type RangeRecord, isInSync, placementAt, primaryOf, withPrimary } from '../keyspace/record.js';
import type { Draft } from './draft.js';
import { failure, isServed, isServedAgain } from './orders.js';
import { dropCopy } from './replicate.js';
import { isActive, isReady, look } from './sight.js';

/*
 * Transfer: Deactivate(S) → Activate(D), where D is in sync already. Nobody leaves those
 * in sync, so whoever dies meanwhile, another can be made primary.
 *
 *   Deactivate fails  → S stays active
 *   Activate fails    → Activate(S) at a newer epoch
 *   S or D missing    → fail-over
 */

/** One persisted change: who is the primary. Undefined when it was made, otherwise why it cannot be. */
export function beginTransfer(draft: Draft, id: RangeId, index: number): string | undefined {
  const range = draft.range(id);
  const to = placementAt(range, index);
  const from = primaryOf(range);
  if (!to || !from) return 'it is not placed';
  if (!isInSync(range, to) || !isReady(look(draft.world.roster, range, to))) return `the copy on ${to.node} is not in sync`;
  if (!isServed(draft, id)) return `${from.node} is not active`;
  draft.mark(id, index, { relieves: from.index });
  draft.decide({ ...withPrimary(draft.range(id), index, range.insync), epoch: range.epoch + 1 });
  return undefined;
}

export function transfer(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const failed = range.placements.find((p) => p.failed !== undefined && p.relieves !== undefined && p.state !== 'Dropped');
  if (failed) finishRollback(draft, range, failed);
  else advance(draft, range);
}

function advance(draft: Draft, range: RangeRecord): void {
  const { id } = range;
  const to = primaryOf(range);
  const from = placementAt(range, to?.relieves);
  if (to?.relieves === undefined) return;
  const { roster } = draft.world;
  if (!from || isActive(look(roster, range, to))) {
    draft.mark(id, to.index, { relieves: undefined });
    return;
  }
  // Going back to one that is not there would be no way out: it is either lost, or comes back.
  const source = look(roster, range, from);
  if (source.kind !== 'here' || !source.reachable) return;
  const refused = isActive(source) ? failure(draft, range, from, 'Deactivate') : undefined;
  const because = refused ?? failure(draft, range, to, 'Activate');
  if (because === undefined) return;
  draft.avoid(id, to.node);
  draft.mark(id, to.index, { failed: because });
  draft.decide({ ...withPrimary(draft.range(id), from.index, range.insync), epoch: range.epoch + 1 });
}

/** The one that was to be primary is a follower again, or is the primary after all when it turns out to be active. */
function finishRollback(draft: Draft, range: RangeRecord, failed: PlacementRecord): void {
  const { id } = range;
  if (isServedAgain(draft, id)) {
    draft.end({ kind: failed.replaces === undefined ? 'transfer' : 'move', ranges: [id], because: failed.failed ?? '' });
    draft.mark(id, failed.index, { failed: undefined, relieves: undefined });
    // It was to take another's place, which is not to be any more.
    if (failed.replaces !== undefined) dropCopy(draft, id, failed);
    return;
  }
  if (!isActive(look(draft.world.roster, range, failed)) || range.primary === undefined) return;
  draft.mark(id, failed.index, { failed: undefined, relieves: range.primary });
  draft.decide({ ...withPrimary(draft.range(id), failed.index, range.insync), epoch: range.epoch + 1 });
}
