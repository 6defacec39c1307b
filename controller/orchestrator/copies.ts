import { type PlacementRecord, type RangeRecord, isInSync, isWanted, primaryOf } from '../keyspace/record.js';
import { followerOf } from './insync.js';
import { isReplicated } from './members.js';
import { look } from './sight.js';
import type { World } from './types.js';

/** How many copies a range has, besides how many it is to have. */
export interface Copies {
  readonly wanted: number;
  /** On nodes that are there; the primary among them. */
  readonly inSync: number;
  /** They are there, and lack something. */
  readonly catchingUp: number;
  readonly missing: number;
}

/** Undefined for a range that has one copy, and is to have no more. */
export function copiesOf(world: World, range: RangeRecord): Copies | undefined {
  if (!isReplicated(world, range) || !range.established || range.primary === undefined || range.state === 'Obsolete') return undefined;
  const here = range.placements.filter((p) => isWanted(p) && look(world.roster, range, p).kind === 'here');
  const inSync = here.filter((p) => isInSync(range, p)).length;
  const wanted = world.tuning.replicas;
  const catchingUp = here.length - inSync;
  return { wanted, inSync, catchingUp, missing: Math.max(0, wanted - inSync - catchingUp) };
}

/** How many bytes the copy is behind, as the primary says; 0 when that says nothing. */
export function lagBytes(world: World, range: RangeRecord, placement: PlacementRecord): number {
  const primary = primaryOf(range);
  if (!primary || primary === placement) return 0;
  return followerOf(placement, look(world.roster, range, primary))?.lagBytes ?? 0;
}

/** `2 of 3 in sync, 1 catching up`. */
export function formatCopies({ wanted, inSync, catchingUp, missing }: Copies): string {
  const parts = [`${inSync} of ${wanted} in sync`];
  if (catchingUp > 0) parts.push(`${catchingUp} catching up`);
  if (missing > 0) parts.push(`${missing} missing`);
  return parts.join(', ');
}
