import type { RangeId } from '../../model/range.js';
import type { Membership, Parent } from '../../model/report.js';
import { type Command, remoteTransition } from '../../model/states.js';
import { type PlacementRecord, type RangeRecord, isGivenUp, primaryOf } from '../keyspace/record.js';
import { type Attempt, type RemoteRange, type RosterNode, attemptOf } from '../roster/roster.js';
import { mayStartEmpty } from './choose.js';
import type { Draft } from './draft.js';
import { bumpTogether } from './epochs.js';
import { type Sight, isActive, look } from './sight.js';
import { forkOf, isOfFork, isReplicated, membershipFor } from './members.js';
import { fetchFrom, mayHoldToken, rivals, tokenHolders } from './sources.js';

/*
 * Commands follow from the records and the reports alone: the one placement that is
 * to be active is activated once no other is, every other one is kept from being
 * active, and what is given up is dropped. Strategies only change the records.
 */

export function order(draft: Draft, id: RangeId): void {
  const range = draft.range(id);
  for (const placement of range.placements) orderPlacement(draft, range, placement);
}

function orderPlacement(draft: Draft, range: RangeRecord, placement: PlacementRecord): void {
  const sight = look(draft.world.roster, range, placement);
  if (sight.kind !== 'here') {
    if (range.primary === placement.index) draft.wait(range.id, sight.because);
    return;
  }
  const isPrimary = range.primary === placement.index;
  if (!isPrimary && (isOrMayBecomeActive(sight) || isUnderWay(draft, range, placement, sight, 'Deactivate'))) {
    if (mayHoldFirstData(range, placement)) draft.wait(range.id, `${placement.node} turned out to be active`);
    else send(draft, range, placement, sight.node, 'Deactivate');
    return;
  }
  if (placement.state === 'Dropped' || mayHoldFirstData(range, placement)) {
    if (sight.state !== 'Dropping' || isUnderWay(draft, range, placement, sight, 'Drop')) send(draft, range, placement, sight.node, 'Drop');
    return;
  }
  if (placement.failed !== undefined) return;
  if (isPrimary && placement.promote && sight.state === 'Active' && !isOfFork(range, sight.report)) {
    send(draft, range, placement, sight.node, 'Deactivate');
    return;
  }
  if (placement.state === 'Pending') {
    orderPrepare(draft, range, placement, sight);
    if (sight.state === 'Preparing') orderFollow(draft, range, placement, sight);
  }
  else if (isPrimary && (sight.state === 'Inactive' || isUnderWay(draft, range, placement, sight, 'Activate'))) orderActivate(draft, range, placement, sight.node);
  else if (isPrimary && sight.state === 'Active' && isTakingBack(draft, range) && !isFenced(draft, range, placement, sight)) {
    orderActivate(draft, range, placement, sight.node);
  } else if (isPrimary && sight.state === 'Active') orderMembers(draft, range, placement, sight);
  else if (!isPrimary && isReplicated(draft.world, range)) orderFollow(draft, range, placement, sight);
  else if (isPrimary && placement.state === 'Missing') draft.wait(range.id, `${placement.node} no longer has it`);
  else if (isPrimary) draft.wait(range.id, `${placement.node} is ${sight.state}`);
}

/** It was sent and the node is at it: wanted on, so that its answer is waited for and counted. */
function isUnderWay(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight & { kind: 'here' }, command: Command): boolean {
  return sight.state === remoteTransition(command).via && attemptAt(draft, range, placement, command)?.inFlight === true;
}

/** Activating at an older epoch can be called back, by a node that knows epochs. */
function isOrMayBecomeActive(sight: Sight & { kind: 'here' }): boolean {
  return sight.state === 'Active' || (sight.state === 'Activating' && (sight.report?.epoch ?? 0) > 0);
}

/**
 * A first copy that was told to make the write token, and was then given up: only
 * its confirmed removal, at an epoch that fences the old command, proves that no
 * data came to be.
 */
export function mayHoldFirstData(range: RangeRecord, placement: PlacementRecord): boolean {
  return placement.initial && placement.failed !== undefined && range.primary !== placement.index;
}

function orderPrepare(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight & { kind: 'here' }): void {
  const absent = providersOf(draft, range, placement).find((id) => !isServed(draft, id));
  if (absent !== undefined) {
    draft.wait(range.id, `waits for R${absent} to be active, to fetch from it`);
    return;
  }
  draft.wait(range.id, `${placement.node} is to prepare it`);
  if (sight.state !== 'NotFound' && !isUnderWay(draft, range, placement, sight, 'Prepare')) return;
  send(draft, range, placement, sight.node, 'Prepare', {
    parents: fetchFrom(draft, draft.world.roster, range, placement),
    initial: mayStartEmpty(range),
    membership: forkOf(draft.world, range),
  });
}

/** A copy that follows somebody else than the primary, or nobody, or does not know that a fail-over was, or a controller is, is told whom to follow. */
function orderFollow(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight & { kind: 'here' }): void {
  const replica = sight.report?.replica;
  const primary = primaryOf(range);
  if (!replica || !primary || primary === placement || !(isServed(draft, range.id) || primary.promote)) return;
  if (sight.state !== 'Inactive' && sight.state !== 'Preparing') return;
  if (range.since > 0 && !range.followed) return;
  const address = draft.world.roster.nodes.get(primary.node)?.address;
  const knows = sight.report.epoch >= range.fork && !replica.static;
  if (!isReplicated(draft.world, range) || (replica.source === address && knows)) return;
  sendAgain(draft, range, placement, sight.node, 'Prepare', {
    parents: fetchFrom(draft, draft.world.roster, range, placement),
    initial: false,
    membership: forkOf(draft.world, range),
  });
}

/** A primary that acts by an older decision is told the newest. */
function orderMembers(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight & { kind: 'here' }): void {
  const replica = sight.report?.replica;
  if (!replica || replica.configEpoch >= range.epoch || !isReplicated(draft.world, range)) return;
  const told = membershipFor(draft.world, range, placement);
  if (!told.known) draft.wait(range.id, told.because);
  else sendAgain(draft, range, placement, sight.node, 'Activate', { parents: [], initial: false, membership: told.membership });
}

/** The ranges that a copy is fetched from, which have to be active for that. */
function providersOf(draft: Draft, range: RangeRecord, placement: PlacementRecord): RangeId[] {
  if (range.primary !== undefined && range.primary !== placement.index) return [range.id];
  return range.parents.filter((id) => draft.get(id)?.state === 'Subsuming');
}

/** Why the Prepare counts as failed. With nobody to fetch from it cannot succeed, so then its count begins anew. */
export function prepareFailure(draft: Draft, range: RangeRecord, placement: PlacementRecord): string | undefined {
  const because = failure(draft, range, placement, 'Prepare');
  if (because === undefined || providersOf(draft, range, placement).every((id) => isServed(draft, id))) return because;
  bumpTogether(draft, range.id);
  return undefined;
}

function orderActivate(draft: Draft, range: RangeRecord, placement: PlacementRecord, node: RosterNode): void {
  const told = membershipFor(draft.world, range, placement);
  const obstacle = told.known ? findObstacle(draft, range, placement) : { because: told.because, forbids: true };
  if (obstacle !== undefined) draft.wait(range.id, obstacle.because);
  if (obstacle?.forbids === true) return;
  send(draft, range, placement, node, 'Activate', {
    parents: tokenHolders(draft, draft.world.roster, range, placement),
    initial: placement.initial,
    membership: told.known ? told.membership : undefined,
  });
}

interface Obstacle {
  readonly because: string;
  /** Otherwise it may be tried: whether it works, the nodes know. */
  readonly forbids: boolean;
}

/** Why the placement cannot be activated yet: another one is still active, or may hold what it needs. */
function findObstacle(draft: Draft, range: RangeRecord, placement: PlacementRecord): Obstacle | undefined {
  // It makes the write token itself, and every other one counts for nothing.
  if (placement.promote) return undefined;
  const { roster } = draft.world;
  const own = look(roster, range, placement);
  const hasToken = own.kind === 'here' && own.report?.serving === true;
  let doubt: Obstacle | undefined;
  for (const given of range.placements.filter((p) => p.lost && p.index !== placement.index)) {
    const sight = look(roster, range, given);
    if (sight.kind === 'here' && isOrMayBecomeActive(sight)) {
      return { because: `R${range.id} P${given.index}@${given.node}, which was given up, came back and is still ${sight.state}`, forbids: true };
    }
  }
  for (const rival of rivals(draft, range, placement)) {
    const sight = look(roster, rival.range, rival.placement);
    const name = `R${rival.range.id} P${rival.placement.index}@${rival.placement.node}`;
    if (sight.kind === 'here') {
      if (sight.state === 'Active' || sight.state === 'Activating' || sight.state === 'Deactivating') {
        return { because: `${name} is still ${sight.state}${failureOf(draft, rival.range, rival.placement)}`, forbids: true };
      }
    } else if (!mayHoldToken(rival.range, rival.placement)) {
      continue;
    } else if (!hasToken && mayServe(rival.placement)) {
      const because = `waits for ${name}, which may hold its newest data: ${sight.because}`;
      if (sight.kind === 'unknown' || rival.placement.failed === undefined) return { because, forbids: true };
      doubt = { because, forbids: false };
    } else if (sight.kind === 'unknown') {
      return { because: `waits to hear of ${name}: ${sight.because}`, forbids: true };
    }
  }
  return doubt;
}

/** A copy that never got as far as being prepared has nothing to wait for. */
function mayServe(placement: PlacementRecord): boolean {
  return placement.state !== 'Pending';
}

interface Payload {
  readonly parents: readonly Parent[];
  readonly initial: boolean;
  readonly membership?: Membership | undefined;
}

const NO_PAYLOAD: Payload = { parents: [], initial: false };

/** Sends a command to a copy that is where the command leads already. Until its effect shows it is repeated, slowly. */
function sendAgain(draft: Draft, range: RangeRecord, placement: PlacementRecord, node: RosterNode, command: Command, payload: Payload): void {
  const attempt = attemptAt(draft, range, placement, command);
  const againMs = (attempt?.answeredMs ?? 0) + draft.world.tuning.repeatMs;
  if (attempt?.answered !== undefined && !attempt.inFlight && againMs > draft.world.nowMs) draft.lookAgainAt(againMs);
  else send(draft, range, placement, node, command, payload, 'quietly');
}

function send(
  draft: Draft,
  range: RangeRecord,
  placement: PlacementRecord,
  node: RosterNode,
  command: Command,
  { parents, initial, membership }: Payload = NO_PAYLOAD,
  how: 'aloud' | 'quietly' = 'aloud',
): void {
  const attempt = attemptAt(draft, range, placement, command);
  if (command !== 'Drop' && how === 'aloud') {
    draft.wait(range.id, `${placement.node} is to ${command.toLowerCase()} it${failureOf(draft, range, placement)}`);
  }
  if (node.link.state !== 'live') return;
  if (attempt && !attempt.inFlight && attempt.nextTryMs > draft.world.nowMs) {
    draft.lookAgainAt(attempt.nextTryMs);
    return;
  }
  draft.command({
    command,
    node: placement.node,
    address: node.address,
    index: placement.index,
    range: { id: range.id, start: range.start, end: range.end },
    epoch: range.epoch,
    parents,
    initial,
    ...(membership ? { membership } : {}),
    ...(command === 'Drop' && (isGivenUp(placement) || isPassedBy(draft, range, node.ranges.get(range.id))) ? { force: true } : {}),
  });
}

/**
 * A fail-over of the range, or of what it was made from or into, went past the copy, which was
 * never told: a right to write that it may still have counts for nothing.
 */
function isPassedBy(draft: Draft, range: RangeRecord, report: RemoteRange | undefined): boolean {
  const logEpoch = report?.replica?.logEpoch;
  if (logEpoch === undefined) return false;
  const family = [range, ...[...range.parents, ...range.children].flatMap((id) => draft.get(id) ?? [])];
  return family.some(({ fork }) => fork > logEpoch);
}

// --- how commands went -------------------------------------------------------------

/** The attempts at this very command, at the range's present epoch. */
export function attemptAt(draft: Draft, range: RangeRecord, placement: PlacementRecord, command: Command): Attempt | undefined {
  const attempt = attemptOf(draft.world.roster, range.id, placement.node);
  return attempt?.command === command && attempt.epoch === range.epoch ? attempt : undefined;
}

/** Why the command counts as failed; undefined while it does not. */
export function failure(draft: Draft, range: RangeRecord, placement: PlacementRecord, command: Command): string | undefined {
  const attempt = attemptAt(draft, range, placement, command);
  if (!attempt || attempt.inFlight || attempt.failures < draft.world.tuning.failuresMax) return undefined;
  return `${placement.node} did not ${command.toLowerCase()} R${range.id}: ${attempt.lastError}`;
}

function failureOf(draft: Draft, range: RangeRecord, placement: PlacementRecord): string {
  const attempt = attemptOf(draft.world.roster, range.id, placement.node);
  return attempt && attempt.failures > 0 && attempt.epoch === range.epoch
    ? ` (failed ${attempt.failures} times: ${attempt.lastError})`
    : '';
}

/** The node said, to a Drop at the range's present epoch, that it does not have it: no older command can bring it back. */
export function isDropConfirmed(draft: Draft, range: RangeRecord, placement: PlacementRecord): boolean {
  return attemptAt(draft, range, placement, 'Drop')?.answered === 'NotFound';
}

/** An operation is being taken back, so that the range's copy that is active is to stay so. */
function isTakingBack(draft: Draft, range: RangeRecord): boolean {
  const given = [range, ...range.children.flatMap((id) => draft.get(id) ?? [])];
  return range.abort !== undefined || given.some((r) => r.placements.some((p) => p.failed !== undefined && p.state !== 'Dropped'));
}

/**
 * The copy knows of the range's present epoch, so nothing that was sent before can
 * stop it any more. Nodes that know no epochs cannot be told.
 */
function isFenced(draft: Draft, range: RangeRecord, placement: PlacementRecord, sight: Sight): boolean {
  if (sight.kind !== 'here') return false;
  const epoch = sight.report?.epoch ?? 0;
  return epoch === 0 || epoch >= range.epoch || attemptAt(draft, range, placement, 'Activate')?.answered === 'Active';
}

/** Active, whatever of the operation that is taken back may still arrive. */
export function isServedAgain(draft: Draft, id: RangeId): boolean {
  const range = draft.range(id);
  const primary = primaryOf(range);
  if (!primary) return false;
  const sight = look(draft.world.roster, range, primary);
  return isActive(sight) && isFenced(draft, range, primary, sight);
}

/** The range's copy that is to be active is active. */
export function isServed(draft: Draft, id: RangeId): boolean {
  const range = draft.range(id);
  const primary = primaryOf(range);
  return primary !== undefined && isActive(look(draft.world.roster, range, primary));
}
