import type { RangeId } from '../../model/range.js';
import { type PlacementRecord, type RangeRecord, freeIndex, isInSync, isWanted, newPlacement, placementAt, placementOn } from '../keyspace/record.js';
import { type Choice, chooseIn, isDraining, mayTakeMore, zonesOf } from './choose.js';
import type { Draft } from './draft.js';
import { mayPassBy } from './insync.js';
import { isReplicated } from './members.js';
import { isServed, prepareFailure } from './orders.js';
import { goneSinceMs, isStranger, look } from './sight.js';
import { isOfAdoptedStore, staticCopyOn } from './static.js';

/**
 * How many copies there are, and where. A copy that is missing is made anew, a few of
 * all ranges at once. One whose node is away keeps its place for a while, since to
 * catch up is less work than to copy. What is too much is dropped, once enough others
 * are in sync.
 */
export function replicate(draft: Draft, id: RangeId): void {
  if (!isReplicated(draft.world, draft.range(id)) || !isServed(draft, id)) return;
  if (draft.range(id).placements.some((p) => p.failed !== undefined && p.state !== 'Dropped')) return;
  for (const placement of followers(draft.range(id))) giveUpUseless(draft, id, placement);
  dropSurplus(draft, id);
  makeMissing(draft, id);
}

/** Copies beside the primary that count: what is to take another's place does not, as long as that is there. */
function followers(range: RangeRecord): PlacementRecord[] {
  return range.placements.filter((p) => isWanted(p) && p.index !== range.primary && !isDestination(range, p));
}

function isDestination(range: RangeRecord, placement: PlacementRecord): boolean {
  const source = placementAt(range, placement.replaces);
  return source !== undefined && isWanted(source);
}

function giveUpUseless(draft: Draft, id: RangeId, placement: PlacementRecord): void {
  const range = draft.range(id);
  const because = whyUseless(draft, range, placement);
  if (because === undefined || (isInSync(range, placement) && !mayPassBy(draft, range, placement))) return;
  if (placement.state === 'Pending') draft.avoid(id, placement.node);
  else draft.notice(id, `R${id} is to have a new copy: ${because}`);
  dropCopy(draft, id, placement);
}

/** Why nothing of the copy can be used; undefined when it is, or may come to be, a follower. */
function whyUseless(draft: Draft, range: RangeRecord, placement: PlacementRecord): string | undefined {
  const { roster } = draft.world;
  const sight = look(roster, range, placement);
  const node = roster.nodes.get(placement.node);
  if (sight.kind === 'gone') return placement.state === 'Pending' || (node && isStranger(node, placement)) ? sight.because : undefined;
  if (sight.kind === 'here' && sight.report?.replica?.damaged === true) return `the copy on ${placement.node} is damaged`;
  return placement.state === 'Pending' ? prepareFailure(draft, range, placement) : undefined;
}

/** It is taken out of those in sync with the same change, so no write waits for it any longer than until the primary knows. */
export function dropCopy(draft: Draft, id: RangeId, placement: PlacementRecord): void {
  draft.bump(id);
  if (isInSync(draft.range(id), placement)) draft.setInSync(id, draft.range(id).insync.filter((i) => i !== placement.index));
  draft.drop(id, placement.index);
}

/** With enough copies in sync and alive, the others are not needed. */
function dropSurplus(draft: Draft, id: RangeId): void {
  const { roster, tuning } = draft.world;
  const range = draft.range(id);
  const good = followers(range).filter((p) => isInSync(range, p) && look(roster, range, p).kind === 'here');
  if (1 + good.length < tuning.replicas) return;
  for (const placement of followers(range)) if (!good.includes(placement)) dropCopy(draft, id, placement);
  const [first] = good.sort((a, b) => compareNeed(draft, range, a, b));
  if (first && 1 + good.length > tuning.replicas) dropCopy(draft, id, first);
}

/** Which of two copies is needed less: the one that is to leave its node anyway, shares its zone with more, or is on the fuller node. */
function compareNeed(draft: Draft, range: RangeRecord, a: PlacementRecord, b: PlacementRecord): number {
  const zones = zonesOf(draft.world, range);
  const weigh = ({ node, index }: PlacementRecord): number[] => {
    const seen = draft.world.roster.nodes.get(node);
    return [seen && isDraining(draft.world, seen) ? 1 : 0, zones.get(seen?.zone ?? '') ?? 0, draft.countOn(node), index];
  };
  const [x, y] = [weigh(a), weigh(b)];
  return y.map((weight, i) => weight - (x[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

function makeMissing(draft: Draft, id: RangeId): void {
  const { tuning } = draft.world;
  const range = draft.range(id);
  const present = 1 + followers(range).filter((p) => keepsItsPlace(draft, range, p)).length;
  for (let missing = tuning.replicas - present; missing > 0; missing -= 1) {
    if (!draft.mayRepair(id)) {
      draft.wait(id, `${copies(missing)} missing, to be made in turn (--repair-concurrency ${tuning.repairsMax})`);
      return;
    }
    const choice = chooseFollower(draft, draft.range(id));
    if (!choice.allowed) {
      draft.wait(id, `${copies(missing)} missing, and no node can take one: ${choice.because}`);
      return;
    }
    draft.bump(id);
    draft.addRepair(id, newPlacement(freeIndex(draft.range(id)), choice.node.ident, { incarnation: choice.node.incarnation }));
  }
}

/** A replica of the static primary whose keys the range has is only to go on following; any other node has to copy. */
function chooseFollower(draft: Draft, range: RangeRecord): Choice {
  const { world } = draft;
  for (const node of world.roster.nodes.values()) {
    const report = staticCopyOn(node);
    const isWhole = report?.meta.start === range.start && report.meta.end === range.end;
    if (!report || range.id !== report.meta.id || !isWhole || !isOfAdoptedStore(range.adopted, report) || report.replica?.damaged === true) continue;
    if (placementOn(range, node.ident) === undefined && mayTakeMore(world, node).allowed) return { allowed: true, node };
  }
  return chooseIn(draft, range);
}

/** It is there, or not away for so long that another is to take its place. */
function keepsItsPlace(draft: Draft, range: RangeRecord, placement: PlacementRecord): boolean {
  const sinceMs = goneSinceMs(draft.world, range, placement);
  if (sinceMs === undefined) return true;
  const untilMs = sinceMs + draft.world.tuning.nodeGraceMs;
  if (untilMs <= draft.world.nowMs) return false;
  draft.lookAgainAt(untilMs);
  draft.wait(range.id, `${placement.node} is away, and keeps its place for ${Math.ceil((untilMs - draft.world.nowMs) / 1000)} s`);
  return true;
}

function copies(count: number): string {
  return count === 1 ? '1 copy is' : `${count} copies are`;
}
