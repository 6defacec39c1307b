import type { NodeIdent, RangeId } from '../../model/range.js';
import { Draft } from './draft.js';
import { drain } from './drain.js';
import { forgetDropped, prune, strays, sweepStray } from './drop.js';
import { type Family, familyOf } from './epochs.js';
import { failOver, finishPromotion } from './failover.js';
import { kindOf } from './family.js';
import { adjustInSync } from './insync.js';
import { join } from './join.js';
import { move } from './move.js';
import { observe } from './observe.js';
import { order } from './orders.js';
import { place } from './place.js';
import { replicate } from './replicate.js';
import { isReplicatedFamily, reshape, settle } from './reshape.js';
import { split } from './split.js';
import { transfer } from './transfer.js';
import type { Decision, World } from './types.js';

/** Which part of the world to look at. */
export interface Scope {
  readonly ranges: Iterable<RangeId>;
  /** Nodes on which to look for copies that nobody placed there. */
  readonly nodes: Iterable<NodeIdent>;
}

/**
 * Decides, from what is wanted and what is seen, what is to be wanted next and which
 * commands to send for it. Looks at the ranges in `scope` and at those that share an
 * operation with them; without a scope, at everything. Pure: the same world gives the
 * same decision, and the caller persists its changes before it sends a command.
 */
export function reconcile(world: World, scope?: Scope): Decision {
  const draft = new Draft(world);
  const looked = new Set<RangeId>();
  const look = (id: RangeId): void => {
    if (looked.has(id)) return;
    for (const member of reconcileUnit(draft, id)) looked.add(member);
    draft.closeGroup();
  };
  for (const id of scope?.ranges ?? [...world.keyspace.ids()]) look(id);
  const nodes = scope ? [...scope.nodes].flatMap((ident) => world.roster.nodes.get(ident) ?? []) : world.roster.nodes.values();
  for (const node of nodes) {
    for (const report of strays(draft, node)) {
      // All that is wanted of a range is said at once, so its other copies are looked at too.
      look(report.meta.id);
      sweepStray(draft, node, report);
    }
    drain(draft, node);
    draft.closeGroup();
  }
  return draft.decision(looked);
}

/** Reconciles one range, or the family that it is in; the ids of what was reconciled. */
function reconcileUnit(draft: Draft, id: RangeId): readonly RangeId[] {
  if (!draft.get(id)) return [id];
  const family = familyOf(draft, id);
  const members = family ? [...family.parents, ...family.children] : [id];
  for (const member of members) {
    observe(draft, member);
    forgetDropped(draft, member);
  }
  if (family) reconcileFamily(draft, family);
  else reconcileAlone(draft, id);
  for (const member of members) order(draft, member);
  for (const member of members) prune(draft, member);
  return members;
}

function reconcileFamily(draft: Draft, family: Family): void {
  if (isReplicatedFamily(draft, family)) reshape(draft, family);
  else if (kindOf(family) === 'split') split(draft, family);
  else join(draft, family);
  // A decision may have made another placement the one that counts as active.
  for (const id of [...family.parents, ...family.children]) observe(draft, id);
}

function reconcileAlone(draft: Draft, id: RangeId): void {
  if (draft.range(id).state !== 'Active') return;
  place(draft, id);
  failOver(draft, id);
  finishPromotion(draft, id);
  settle(draft, id);
  adjustInSync(draft, id);
  transfer(draft, id);
  move(draft, id);
  replicate(draft, id);
  observe(draft, id);
}
