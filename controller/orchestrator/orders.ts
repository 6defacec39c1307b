import type { RangeId } from '../../model/range.js';
import type { Parent } from '../../model/report.js';
import { type Command, remoteTransition } from '../../model/states.js';
import { type PlacementRecord, type RangeRecord, primaryOf } from '../keyspace/record.js';
import { type Attempt, type RosterNode, attemptOf } from '../roster/roster.js';
import type { Draft } from './draft.js';
import { type Sight, isActive, look } from './sight.js';
import { fetchFrom, rivals, tokenHolders } from './sources.js';

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
  if (placement.state === 'Pending') orderPrepare(draft, range, placement, sight);
  else if (isPrimary && (sight.state === 'Inactive' || isUnderWay(draft, range, placement, sight, 'Activate'))) orderActivate(draft, range, placement, sight.node);
  else if (isPrimary && placement.state === 'Missing') draft.wait(range.id, `${placement.node} no longer has it`);
  else if (isPrimary && sight.state !== 'Active') draft.wait(range.id, `${placement.node} is ${sight.state}`);
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
  draft.wait(range.id, `${placement.node} is to prepare it`);
  if (sight.state !== 'NotFound' && !isUnderWay(draft, range, placement, sight, 'Prepare')) return;
  send(draft, range, placement, sight.node, 'Prepare', {
    parents: fetchFrom(draft, draft.world.roster, range, placement),
    initial: mayStartEmpty(range),
  });
}

/** Nobody ever held data for it: it has no ancestors, and no copy was ever activated. */
export function mayStartEmpty(range: RangeRecord): boolean {
  return range.parents.length === 0 && !range.established;
}

function orderActivate(draft: Draft, range: RangeRecord, placement: PlacementRecord, node: RosterNode): void {
  const obstacle = findObstacle(draft, range, placement);
  if (obstacle !== undefined) {
    draft.wait(range.id, obstacle);
    return;
  }
  send(draft, range, placement, node, 'Activate', {
    parents: tokenHolders(draft, draft.world.roster, range, placement),
    initial: placement.initial,
  });
}

/** Why the placement cannot be activated yet: another one is still active, or may hold what it needs. */
function findObstacle(draft: Draft, range: RangeRecord, placement: PlacementRecord): string | undefined {
  const { roster } = draft.world;
  const own = look(roster, range, placement);
  const hasToken = own.kind === 'here' && own.report?.serving === true;
  for (const rival of rivals(draft, range, placement)) {
    const sight = look(roster, rival.range, rival.placement);
    const name = `R${rival.range.id} P${rival.placement.index}@${rival.placement.node}`;
    if (sight.kind === 'here') {
      if (sight.state === 'Active' || sight.state === 'Activating' || sight.state === 'Deactivating') {
        return `${name} is still ${sight.state}${failureOf(draft, rival.range, rival.placement)}`;
      }
    } else if (sight.kind === 'unknown' || (rival.placement.failed === undefined && !hasToken && mayServe(rival.placement))) {
      return `waits for ${name}, which may hold its newest data: ${sight.because}`;
    }
  }
  return undefined;
}

/** A copy that never got as far as being prepared has nothing to wait for. */
function mayServe(placement: PlacementRecord): boolean {
  return placement.state !== 'Pending';
}

interface Payload {
  readonly parents: readonly Parent[];
  readonly initial: boolean;
}

const NO_PAYLOAD: Payload = { parents: [], initial: false };

function send(
  draft: Draft,
  range: RangeRecord,
  placement: PlacementRecord,
  node: RosterNode,
  command: Command,
  payload = NO_PAYLOAD,
): void {
  const attempt = attemptAt(draft, range, placement, command);
  if (command !== 'Drop') {
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
    ...payload,
  });
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

/** The range's copy that is to be active is active. */
export function isServed(draft: Draft, id: RangeId): boolean {
  const range = draft.range(id);
  const primary = primaryOf(range);
  return primary !== undefined && isActive(look(draft.world.roster, range, primary));
}
