import type { Parent, ParentPlacement } from '../../model/report.js';
import type { PlacementState } from '../../model/states.js';
import type { KeyspaceView } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, isWanted, placementAt } from '../keyspace/record.js';
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
    ...(holder.fork === 0 ? {} : { fork: holder.fork }),
  }));
}

/**
 * Who may hold the write token: as {@link fetchFrom}, without ranges that have no copy,
 * and without copies that only ever followed, unless they are beside this one.
 */
export function tokenHolders(keyspace: KeyspaceView, roster: Roster, range: RangeRecord, placement: PlacementRecord): Parent[] {
  const holders = rivals(keyspace, range, placement).filter((c) => mayHoldToken(c.range, c.placement) || c.placement.node === placement.node);
  const addresses = new Set(holders.map((c) => `${c.range.id} ${c.placement.index}`));
  return fetchFrom(keyspace, roster, range, placement).flatMap((parent) => {
    const placements = parent.placements.filter((p) => addresses.has(`${parent.range.id} ${p.index}`));
    return placements.length > 0 ? [{ ...parent, placements }] : [];
  });
}

/** Whether a copy was told to be active, and may not have given the write token on. One that only follows never had it. */
export function mayHoldToken(range: RangeRecord, placement: PlacementRecord): boolean {
  const last = range.primary ?? range.holder;
  if (last === undefined || placement.index === last || !isWanted(placement)) return true;
  const taker = placementAt(range, last);
  return taker?.relieves === placement.index || taker?.replaces === placement.index;
}

/** A copy whose node's address is not known cannot be told; without it the receiver waits for its token. */
function told(roster: Roster, { range, placement }: Copy): ParentPlacement[] {
  const node = roster.nodes.get(placement.node);
  return node ? [{ node: node.address, state: stateToTell(range, placement), index: placement.index }] : [];
}

/** The one that is, or is being made, primary is the one to follow; another that still says it is active is not. */
function stateToTell(range: RangeRecord, placement: PlacementRecord): PlacementState {
  if (range.primary === undefined) return placement.state;
  if (placement.index === range.primary) return placement.promote ? 'Active' : placement.state;
  return placement.state === 'Active' ? 'Inactive' : placement.state;
}
