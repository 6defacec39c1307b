import type { Member, Membership } from '../../model/report.js';
import { type PlacementRecord, type RangeRecord, isWanted, placementAt, primaryOf, sortedIndexes } from '../keyspace/record.js';
import type { RemoteRange } from '../roster/roster.js';
import type { World } from './types.js';

/*
 * Who has to have a write before it is committed, as it is told to the primary: the
 * copies in sync, as they stand in the record. What is told never lacks one that is
 * persisted, so every copy in sync has every write that was acknowledged.
 */

/**
 * The range is to have more than one copy, or has, or had: its primary knows members.
 * Otherwise nothing is said or done about copies in sync, and a primary that knows no
 * members waits for nobody.
 */
export function isReplicated({ tuning, roster }: World, range: RangeRecord): boolean {
  if (tuning.replicas > 1 || range.insync.length > 1 || range.placements.filter((p) => isWanted(p) && p.replaces === undefined).length > 1) return true;
  const node = primaryOf(range)?.node;
  const report = node === undefined ? undefined : roster.nodes.get(node)?.ranges.get(range.id);
  return (report?.replica?.configEpoch ?? 0) > 0;
}

export type Told =
  | { readonly known: true; readonly membership: Membership | undefined }
  /** A member's address is not known, and one that is not told of would be left out. */
  | { readonly known: false; readonly because: string };

/** What a placement that is to be active is told of its members. A node that knows no incarnations knows no members either. */
export function membershipFor(world: World, range: RangeRecord, primary: PlacementRecord): Told {
  if (!isReplicated(world, range)) return { known: true, membership: undefined };
  const members: Member[] = [];
  const { minInSync } = world.tuning;
  for (const index of sortedIndexes([...range.insync, primary.index])) {
    const placement = placementAt(range, index);
    if (!placement) continue;
    const node = world.roster.nodes.get(placement.node);
    const incarnation = placement.incarnation ?? node?.incarnation;
    if (node && incarnation !== undefined) members.push({ node: placement.node, incarnation, address: node.address });
    else if (placement === primary) return { known: true, membership: undefined };
    else return { known: false, because: `waits to hear of ${placement.node}, which has a copy in sync` };
  }
  return { known: true, membership: { members, minInSync, fork: range.fork, promote: primary.promote } };
}

/** What a copy that is prepared is told: since when rights to write count. */
export function forkOf(world: World, range: RangeRecord): Membership | undefined {
  return range.fork === 0 ? undefined : { members: [], minInSync: world.tuning.minInSync, fork: range.fork, promote: false };
}

/** It became active by the fail-over, and not before it. */
export function isOfFork(range: RangeRecord, report: RemoteRange | undefined): boolean {
  return (report?.replica?.configEpoch ?? 0) >= range.fork;
}
