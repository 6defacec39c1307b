import type { Parent, ParentPlacement } from '../../model/report.js';
import type { KeyspaceView } from '../keyspace/keyspace.js';
import type { PlacementRecord, RangeRecord } from '../keyspace/record.js';
import type { Roster } from '../roster/roster.js';

/**
 * The ranges that hold, or may hold, keys of this one besides itself: its parents
 * while they have not given way for good, its children while they are to.
 */
export function relatives(keyspace: KeyspaceView, range: RangeRecord): RangeRecord[] {
  const under = range.state === 'Subsuming' ? range.children : range.parents;
  return under.flatMap((id) => {
    const relative = keyspace.get(id);
    if (!relative || relative.state === 'Obsolete') return [];
    return range.state === 'Subsuming' || relative.state === 'Subsuming' ? [relative] : [];
  });
}

export interface Copy {
  readonly range: RangeRecord;
  readonly placement: PlacementRecord;
}

/** Every other copy that may hold the write token for a part of the range. One that is being dropped does not. */
export function rivals(keyspace: KeyspaceView, range: RangeRecord, placement: PlacementRecord): Copy[] {
  return [range, ...relatives(keyspace, range)].flatMap((holder) =>
    holder.placements
      .filter((p) => p.state !== 'Dropped' && !(holder.id === range.id && p.index === placement.index))
      .map((p) => ({ range: holder, placement: p })),
  );
}

/** Where a copy can be fetched from: the range itself first, then its relatives. */
export function fetchFrom(keyspace: KeyspaceView, roster: Roster, range: RangeRecord, placement: PlacementRecord): Parent[] {
  const copies = rivals(keyspace, range, placement);
  return [range, ...relatives(keyspace, range)].map((holder) => ({
    range: { id: holder.id, start: holder.start, end: holder.end },
    parents: holder.parents,
    placements: copies.filter((c) => c.range.id === holder.id).flatMap((c) => told(roster, c)),
  }));
}

/** Who may hold the write token: as {@link fetchFrom}, without ranges that have no copy. */
export function tokenHolders(keyspace: KeyspaceView, roster: Roster, range: RangeRecord, placement: PlacementRecord): Parent[] {
  return fetchFrom(keyspace, roster, range, placement).filter((parent) => parent.placements.length > 0);
}

/** A copy whose node's address is not known cannot be told; without it the receiver waits for its token. */
function told(roster: Roster, { placement }: Copy): ParentPlacement[] {
  const node = roster.nodes.get(placement.node);
  return node ? [{ node: node.address, state: placement.state, index: placement.index }] : [];
}
