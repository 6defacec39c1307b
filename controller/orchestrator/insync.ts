import type { RangeId } from '../../model/range.js';
import type { FollowerInfo } from '../../model/report.js';
import { type PlacementRecord, type RangeRecord, isInSync, isWanted, placementAt, primaryOf } from '../keyspace/record.js';
import type { Draft } from './draft.js';
import { bumpTogether } from './epochs.js';
import { type Sight, goneSinceMs, look } from './sight.js';

/*
 * Who is in sync. The primary begins to wait for a copy that has caught up, and says
 * so; only then is the copy let in. It is the other way round when one leaves: it is
 * taken out here first, and only then told to the primary. So what is persisted is
 * always a part of what the primary waits for.
 */

/** In a split or join nobody is let in: how many copies the children need is to stay as it was. */
export function adjustInSync(draft: Draft, id: RangeId, mayGrow = true): void {
  const range = draft.range(id);
  const primary = primaryOf(range);
  if (!range.established || !primary) return;
  const sight = look(draft.world.roster, range, primary);
  if (sight.kind !== 'here' || !sight.reachable || sight.state === 'NotFound') return;
  forgive(draft, range, primary);
  const leaving = range.insync.filter((index) => index !== primary.index && leaves(draft, range, index, sight));
  const joining = mayGrow && isToldOf(range, sight) ? range.placements.filter((p) => mayJoin(draft, range, p, sight)).map((p) => p.index) : [];
  if (leaving.length === 0 && joining.length === 0 && !isWaitedForInVain(draft, range, sight)) return;
  bumpTogether(draft, id);
  draft.setInSync(id, [...range.insync.filter((index) => !leaving.includes(index)), ...joining]);
  for (const index of joining) if (placementAt(range, index)?.outdated === true) draft.mark(id, index, { outdated: false });
}

/** A copy in sync that a fail-over went past has heard of that, and follows: nothing is left of its right to write. */
function forgive(draft: Draft, range: RangeRecord, primary: PlacementRecord): void {
  const address = draft.world.roster.nodes.get(primary.node)?.address;
  for (const placement of range.placements) {
    if (!placement.outdated || placement.index === primary.index || !isInSync(range, placement)) continue;
    const sight = look(draft.world.roster, range, placement);
    if (sight.kind !== 'here' || !sight.reachable || sight.state !== 'Inactive' || sight.report?.serving !== false) continue;
    if (address !== undefined && sight.report.replica?.source === address) draft.mark(range.id, placement.index, { outdated: false });
  }
}

/**
 * The primary began to wait for one that then fell silent, or went, before it was let
 * in: told who is in sync once more, it stops.
 */
function isWaitedForInVain(draft: Draft, range: RangeRecord, primary: Sight): boolean {
  if (primary.kind !== 'here' || !isToldOf(range, primary)) return false;
  const members = range.placements.filter((p) => isInSync(range, p));
  const strangers = (primary.report?.replica?.followers ?? []).filter(
    ({ member, inSync }) => inSync && !members.some((p) => p.node === member.node && p.incarnation === member.incarnation),
  );
  return strangers.some(({ silentMs }) => silentMs > draft.world.tuning.followerTimeoutMs);
}

/** The primary was well after the copy's node was gone: who is taken out is not the last one that has everything. */
export function mayPassBy(draft: Draft, range: RangeRecord, placement: PlacementRecord): boolean {
  const primary = primaryOf(range);
  return primary !== undefined && draft.answeredSince(primary.node, goneSinceMs(draft.world, range, placement) ?? 0);
}

/** The primary is active, and acts by the newest decision. */
export function isToldOf(range: RangeRecord, sight: Sight): boolean {
  return sight.kind === 'here' && sight.reachable && sight.state === 'Active' && sight.report?.replica?.configEpoch === range.epoch;
}

/** What the primary says of one that follows it; only of the disk that the placement is on. */
export function followerOf(placement: PlacementRecord, primary: Sight): FollowerInfo | undefined {
  if (primary.kind !== 'here') return undefined;
  return primary.report?.replica?.followers.find(({ member }) => member.node === placement.node && member.incarnation === placement.incarnation);
}

/** Writes are not to wait for it any more. */
function leaves(draft: Draft, range: RangeRecord, index: number, primary: Sight): boolean {
  const placement = placementAt(range, index);
  return !placement || (isLacking(draft, range, placement, primary) && mayPassBy(draft, range, placement));
}

/** Its node is gone or has it no more, it is damaged, or its primary has not heard it for too long. */
function isLacking(draft: Draft, range: RangeRecord, placement: PlacementRecord, primary: Sight): boolean {
  const sight = look(draft.world.roster, range, placement);
  if (sight.kind === 'gone') return true;
  if (sight.kind === 'here' && sight.reachable) {
    if (sight.state === 'NotFound' || sight.state === 'Dropping') return true;
    if (sight.report?.replica?.damaged === true) return true;
  }
  const silentMs = isToldOf(range, primary) ? (followerOf(placement, primary)?.silentMs ?? 0) : 0;
  return silentMs > draft.world.tuning.followerTimeoutMs;
}

/** The primary waits for it already. */
function mayJoin(draft: Draft, range: RangeRecord, placement: PlacementRecord, primary: Sight): boolean {
  if (isInSync(range, placement) || !isWanted(placement) || placement.incarnation === undefined) return false;
  const sight = look(draft.world.roster, range, placement);
  if (sight.kind !== 'here' || !sight.reachable || sight.state !== 'Inactive' || sight.report?.replica?.damaged === true) return false;
  const follower = followerOf(placement, primary);
  return follower?.inSync === true && follower.silentMs <= draft.world.tuning.followerTimeoutMs;
}
