import type { Draft } from './draft.js';
import type { Family } from './epochs.js';
import {
  activateFailure,
  deactivateFailure,
  finishAbort,
  finishWhenServed,
  handOverWhenReady,
  isAborting,
  isHandedOver,
  leadOf,
  takeBack,
} from './family.js';
import { prepareFailure } from './orders.js';
import { look } from './sight.js';

/**
 * Join: Prepare(C) → Deactivate(P1), Deactivate(P2) → Activate(C) → Drop(P1), Drop(P2)
 *
 * Whatever fails before the Drops, the join is taken back: both parents are plain
 * active ranges again, at newer epochs, and C is dropped.
 */
export function join(draft: Draft, family: Family): void {
  if (isHandedOver(draft, family)) {
    if (finishWhenServed(draft, family)) return;
    const because = deactivateFailure(draft, family);
    const failed = because === undefined ? activateFailure(draft, family) : undefined;
    if (because === undefined && !failed) return;
    takeBack(draft, family, because ?? failed?.because, failed);
  } else if (!isAborting(draft, family)) {
    const because = childFailure(draft, family);
    if (because === undefined) {
      handOverWhenReady(draft, family);
      return;
    }
    takeBack(draft, family, because);
  }
  finishAbort(draft, family);
}

function childFailure(draft: Draft, family: Family): string | undefined {
  for (const id of family.children) {
    const child = draft.range(id);
    const placement = leadOf(draft, child);
    if (!placement) return `R${id} has no place`;
    const sight = look(draft.world.roster, child, placement);
    const because = sight.kind === 'gone' ? sight.because : prepareFailure(draft, child, placement);
    if (because !== undefined) return because;
  }
  return undefined;
}
