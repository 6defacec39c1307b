import type { RangeId } from '../../model/range.js';
import type { PlacementState } from '../../model/states.js';
import { type PlacementRecord, type RangeRecord, isInSync } from '../keyspace/record.js';
import type { Draft } from './draft.js';
import { type Sight, look } from './sight.js';

/** Brings the states of a range's placements to what the nodes say. */
export function observe(draft: Draft, id: RangeId): void {
  for (const { index } of draft.range(id).placements) observePlacement(draft, id, index);
}

function observePlacement(draft: Draft, id: RangeId, index: number): void {
  for (;;) {
    const range = draft.range(id);
    const placement = range.placements.find((p) => p.index === index);
    if (!placement || placement.state === 'Dropped') return;
    const sight = look(draft.world.roster, range, placement);
    const next = nextState(range, placement, sight);
    if (next === placement.state) return;
    if (next === 'Active') overtake(draft, range);
    draft.become(id, index, next, 'seen');
    if (placement.incarnation === undefined && sight.kind === 'here' && sight.node.incarnation !== undefined) {
      draft.mark(id, index, { incarnation: sight.node.incarnation });
    }
  }
}

/** Who served before stopped before another could serve, whether that was seen or not. */
function overtake(draft: Draft, range: RangeRecord): void {
  for (const { index, state } of range.placements) if (state === 'Active') draft.become(range.id, index, 'Inactive', 'seen');
}

/** One legal step towards what was seen. */
function nextState(range: RangeRecord, placement: PlacementRecord, sight: Sight): PlacementState {
  const { state } = placement;
  switch (sight.kind) {
    case 'unknown':
      return state;
    case 'gone':
      return 'Missing';
    case 'here':
      break;
  }
  switch (sight.state) {
    case 'NotFound':
    case 'Dropping':
      // What is given up is expected to go; its strategy says when it has.
      if (state === 'Pending' || placement.failed !== undefined) return state;
      if (state === 'Missing' && mayBeginAgain(range, placement)) return 'Pending';
      return 'Missing';
    case 'Preparing':
      return state === 'Missing' ? 'Pending' : state;
    case 'Inactive':
    case 'Activating':
      return 'Inactive';
    case 'Deactivating':
      return state === 'Active' ? 'Active' : 'Inactive';
    case 'Active':
      if (state === 'Active') return 'Active';
      // Only the one that is to be active counts as such; another is told to stop.
      if (range.primary !== placement.index) return 'Inactive';
      return state === 'Pending' ? 'Inactive' : 'Active';
  }
}

/** The copy was never the only one, so nothing is lost when it is prepared from the start. */
function mayBeginAgain(range: RangeRecord, placement: PlacementRecord): boolean {
  return placement.failed === undefined && (range.primary !== placement.index || !range.established) && (range.insync.length < 2 || !isInSync(range, placement));
}
