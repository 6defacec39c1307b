import type { RangeId } from '../../model/range.js';
import { type PlacementRecord, type RangeRecord, isInSync, isWanted, placementAt, placementOn, primaryOf, withPrimary } from '../keyspace/record.js';
import type { RemoteRange } from '../roster/roster.js';
import type { Draft } from './draft.js';
import { bumpTogether } from './epochs.js';
import { isOfFork } from './members.js';
import { failure } from './orders.js';
import { type Sight, isActive, look, unheardSinceMs } from './sight.js';

/**
 * Fail-over: the primary is lost, so the copy in sync with the longest log takes its
 * place. It makes the write token from its own log: every write that was acknowledged
 * is in it, since each was only acknowledged when all copies in sync had it. The new
 * epoch is a fork: rights to write from before it count for nothing.
 *
 * The last copy in sync is never passed by. If that is lost, the range waits for it.
 */
export function failOver(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const loss = findLoss(draft, range);
  if (!loss) {
    goOnWithoutParents(draft, range);
    return;
  }
  const successor = findSuccessor(draft, range, loss);
  if (!successor) return;
  const before = primaryOf(range);
  const insync = range.insync.filter((i) => i === successor.index || (i !== loss.lost.index && !isGone(draft, range, i)));
  bumpTogether(draft, id);
  const { epoch } = draft.range(id);
  if (before) draft.mark(id, before.index, { promote: false, relieves: undefined });
  // Whichever of them has the right to write: it counts for nothing from now on.
  const holders = [loss.lost.index, before?.index, before?.relieves];
  for (const placement of range.placements) {
    if (placement.index === successor.index) continue;
    if (placement.state === 'Active' || holders.includes(placement.index)) draft.mark(id, placement.index, { outdated: true });
    if (placement.state === 'Active') draft.become(id, placement.index, 'Inactive', 'decided');
  }
  draft.setInSync(id, insync);
  draft.decide({ ...withPrimary(draft.range(id), successor.index, insync), fork: epoch });
  draft.mark(id, successor.index, { promote: true, relieves: undefined, failed: undefined, outdated: false });
  if (range.since > 0) passByParents(draft, range);
  draft.notice(id, `R${id} fails over from ${loss.lost.node} to ${successor.node}: ${loss.because}`);
}

/**
 * A child is to take over from copies of its parents that are lost meanwhile. What it
 * was made from, where it is, was in sync with them: that is enough.
 */
function goOnWithoutParents(draft: Draft, child: RangeRecord): void {
  const primary = primaryOf(child);
  // One whose members follow it was active, and one without members is as long as nothing else was heard of it.
  const mayHaveServed = child.since === 0 && child.insync.length > 1;
  if (mayHaveServed || !primary || primary.promote || isActive(look(draft.world.roster, child, primary))) return;
  const loss = child.parents.map((id) => findHolderLoss(draft, id, primary)).find((found) => found !== undefined);
  if (!loss) return;
  const successor = [primary, ...others(child, primary)].find((placement) => {
    const report = followerReport(draft, child, placement);
    return report !== undefined && canTakeOver(placement, report) && isMadeFromMembers(draft, child, placement);
  });
  if (!successor || !draft.answeredSince(successor.node, loss.sinceMs)) return;
  bumpTogether(draft, child.id);
  const { epoch } = draft.range(child.id);
  if (successor !== primary) {
    draft.mark(child.id, primary.index, { outdated: true });
    if (primary.state === 'Active') draft.become(child.id, primary.index, 'Inactive', 'decided');
  }
  const insync = child.insync.filter((i) => i === successor.index || i !== primary.index);
  draft.decide({ ...withPrimary(draft.range(child.id), successor.index, insync), fork: epoch });
  draft.mark(child.id, successor.index, { promote: true, failed: undefined, outdated: false });
  passByParents(draft, child);
  draft.notice(child.id, `R${child.id} goes on from the copy on ${successor.node}: ${loss.because}`);
}

function findHolderLoss(draft: Draft, parent: RangeId, child: PlacementRecord): Loss | undefined {
  const range = draft.get(parent);
  const holder = range?.state === 'Subsuming' ? placementAt(range, range.holder) : undefined;
  if (!range || !holder || holder.node === child.node) return undefined;
  const sight = look(draft.world.roster, range, holder);
  return sight.kind === 'gone' ? { lost: holder, because: sight.because, sinceMs: unheardSinceMs(draft.world, range, holder) } : undefined;
}

/** A child's copy makes the write token, so what is left of it with the parents counts for nothing. */
function passByParents(draft: Draft, child: RangeRecord): void {
  for (const id of child.parents) {
    const parent = draft.get(id);
    const holder = parent && parent.state === 'Subsuming' ? placementAt(parent, parent.holder) : undefined;
    if (holder) draft.mark(id, holder.index, { outdated: true });
  }
}

/** Once it is active, its token is one like any other. */
export function finishPromotion(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  const primary = primaryOf(range);
  if (primary?.promote !== true) return;
  const sight = look(draft.world.roster, range, primary);
  if (isActive(sight) && sight.kind === 'here' && isOfFork(range, sight.report)) draft.mark(id, primary.index, { promote: false });
}

interface Loss {
  readonly lost: PlacementRecord;
  readonly because: string;
  /** When it was noticed that the node is gone, or silent; 0 when it is there. */
  readonly sinceMs: number;
}

/** The copy that keeps the range from being active, when that copy is lost. */
export function findLoss(draft: Draft, range: RangeRecord): Loss | undefined {
  const primary = primaryOf(range);
  if (!range.established || !primary || range.insync.length < 2) return undefined;
  const because = whyLost(draft, range, primary);
  if (because !== undefined) return { lost: primary, because, sinceMs: unheardSinceMs(draft.world, range, primary) };
  // The one that it takes over from has the token, as long as it has not.
  const giver = placementAt(range, primary.relieves);
  const sight = look(draft.world.roster, range, primary);
  if (!giver || isActive(sight) || (sight.kind === 'here' && sight.report?.serving === true)) return undefined;
  const why = whyLost(draft, range, giver);
  return why === undefined ? undefined : { lost: giver, because: why, sinceMs: unheardSinceMs(draft.world, range, giver) };
}

function whyLost(draft: Draft, range: RangeRecord, placement: PlacementRecord): string | undefined {
  const sight = look(draft.world.roster, range, placement);
  if (sight.kind === 'gone') return sight.because;
  if (sight.kind === 'here' && sight.reachable) return whyUseless(draft, range, placement, sight);
  if (isLostToFollowers(draft, range, placement)) return `${placement.node} is not heard by the controller, nor by the range's other copies`;
  return isLostOnTheWay(draft, range, placement) ? `${placement.node} is not heard any more, and was not active yet` : undefined;
}

/** Its node is well, and it is no primary all the same. */
function whyUseless(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight & { kind: 'here' }): string | undefined {
  if (sight.state === 'NotFound') return `${placement.node} no longer has it`;
  if (sight.report?.replica?.damaged === true) return `the copy on ${placement.node} is damaged`;
  return sight.state === 'Inactive' && placement.relieves === undefined ? failure(draft, range, placement, 'Activate') : undefined;
}

/** Every live copy in sync follows it, and hears nothing of it; and there is one. */
function isLostToFollowers(draft: Draft, range: RangeRecord, placement: PlacementRecord): boolean {
  const address = draft.world.roster.nodes.get(placement.node)?.address;
  const witnesses = others(range, placement).flatMap((p) => followerReport(draft, range, p) ?? []);
  return witnesses.length > 0 && witnesses.every(({ replica }) => replica?.sourceLost === true && (address === undefined || replica.source === address));
}

/** Nobody follows it yet who could say so: it is to be active, and was not seen to be. */
function isLostOnTheWay(draft: Draft, range: RangeRecord, placement: PlacementRecord): boolean {
  const { roster, tuning, nowMs } = draft.world;
  const link = roster.nodes.get(placement.node)?.link;
  if (link?.state !== 'silent' || range.primary !== placement.index || (placement.relieves === undefined && !placement.promote && (range.since === 0 || range.followed))) return false;
  const atMs = link.sinceMs + tuning.followerTimeoutMs;
  if (atMs > nowMs) draft.lookAgainAt(atMs);
  return atMs <= nowMs;
}

/** The one that is primary already comes first: of equal logs its is taken. */
function others(range: RangeRecord, placement: PlacementRecord): PlacementRecord[] {
  const members = range.placements.filter((p) => p.index !== placement.index && isInSync(range, p));
  return members.sort((a, b) => Number(b.index === range.primary) - Number(a.index === range.primary));
}

/** What a live copy of this very disk says of itself. */
function followerReport(draft: Draft, range: RangeRecord, placement: PlacementRecord): RemoteRange | undefined {
  const sight = look(draft.world.roster, range, placement);
  return sight.kind === 'here' && sight.reachable && placement.incarnation !== undefined ? sight.report : undefined;
}

/** The copy in sync with the longest log; one that a move gave up only when there is no other. */
function findSuccessor(draft: Draft, range: RangeRecord, { lost, sinceMs }: Loss): PlacementRecord | undefined {
  const members = others(range, lost);
  const isSpare = (p: PlacementRecord): boolean => !isWanted(p) && p.replaces !== undefined;
  const best = findLongest(draft, range, members.filter((p) => !isSpare(p))) ?? findLongest(draft, range, members.filter(isSpare));
  // If it does not answer it is found to be silent soon, and the next one is the best.
  return best && draft.answeredSince(best.node, sinceMs) ? best : undefined;
}

function findLongest(draft: Draft, range: RangeRecord, members: readonly PlacementRecord[]): PlacementRecord | undefined {
  let best: { placement: PlacementRecord; report: RemoteRange } | undefined;
  for (const placement of members) {
    const report = followerReport(draft, range, placement);
    if (!report || !canTakeOver(placement, report) || !hasItAll(draft, range, placement, report)) continue;
    if (!best || isLonger(report, best.report)) best = { placement, report };
  }
  return best?.placement;
}

/** A copy of a child that did not follow it yet has what it was made from, and is as good as that. */
function hasItAll(draft: Draft, range: RangeRecord, placement: PlacementRecord, { replica }: RemoteRange): boolean {
  return range.since === 0 || (replica?.logEpoch ?? 0) >= range.since || isMadeFromMembers(draft, range, placement);
}

function canTakeOver(placement: PlacementRecord, report: RemoteRange): boolean {
  const prepared = report.state === 'Inactive' || report.state === 'Activating' || report.state === 'Active';
  return placement.state !== 'Dropped' && prepared && report.replica !== undefined && !report.replica.damaged && !report.replica.incomplete;
}

function isLonger(a: RemoteRange, b: RemoteRange): boolean {
  const [x, y] = [a.replica, b.replica];
  if (!x || !y) return false;
  return x.logEpoch !== y.logEpoch ? x.logEpoch > y.logEpoch : x.lastOffset > y.lastOffset;
}

function isGone(draft: Draft, range: RangeRecord, index: number): boolean {
  const placement = placementAt(range, index);
  return !placement || look(draft.world.roster, range, placement).kind === 'gone';
}

/** The parents' copies on the node had every acknowledged write, and so has what was made from them there. */
function isMadeFromMembers(draft: Draft, child: RangeRecord, placement: PlacementRecord): boolean {
  return child.parents.length > 0 && child.parents.every((id) => {
    const parent = draft.get(id);
    const beside = parent && placementOn(parent, placement.node);
    return parent !== undefined && beside !== undefined && isInSync(parent, beside) && beside.incarnation === placement.incarnation;
  });
}
