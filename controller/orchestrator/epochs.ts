import type { RangeId } from '../../model/range.js';
import type { KeyspaceView } from '../keyspace/keyspace.js';
import type { Draft } from './draft.js';

/** Parents that are Subsuming, and the children that are to have their keys. */
export interface Family {
  readonly parents: readonly RangeId[];
  readonly children: readonly RangeId[];
}

/** The split or join under way that the range takes part in. */
export function familyOf(keyspace: KeyspaceView, id: RangeId): Family | undefined {
  const range = keyspace.get(id);
  if (!range || range.state === 'Obsolete') return undefined;
  const subsuming =
    range.state === 'Subsuming'
      ? range
      : range.parents.map((parent) => keyspace.get(parent)).find((parent) => parent?.state === 'Subsuming');
  if (!subsuming) return undefined;
  const child = keyspace.get(subsuming.children[0] ?? 0);
  return { parents: child?.parents ?? [subsuming.id], children: subsuming.children };
}

/**
 * The write token goes from parents to children and back, and the one who gives it
 * refuses who comes with an older epoch than it has seen: so a family's epochs move
 * together.
 */
export function nextEpoch(draft: Draft, family: Family): number {
  return 1 + Math.max(...[...family.parents, ...family.children].map((id) => draft.range(id).epoch));
}

/** A new epoch for the range, and for those that share an operation with it. */
export function bumpTogether(draft: Draft, id: RangeId): void {
  const family = familyOf(draft, id);
  if (!family) {
    draft.bump(id);
    return;
  }
  const epoch = nextEpoch(draft, family);
  for (const member of [...family.parents, ...family.children]) draft.decide({ ...draft.range(member), epoch });
}
