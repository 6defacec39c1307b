import { type RangeId, formatRange } from '../../model/range.js';
import type { RangeRecord, PlacementRecord } from '../keyspace/record.js';
import { type Adjustment, type Refusal, busyWith, refuse, unknownRange } from './request.js';
import { isUnderWay } from '../keyspace/keyspace.js';
import { type Sight, look } from './sight.js';
import type { World } from './types.js';

export interface ResetRequest {
  readonly range: RangeId;
  readonly acceptDataLoss: boolean;
}

/**
 * Starts a range empty whose data is lost. The one way to do so, and only when no
 * node that can be heard has the data. Copies that cannot be heard are given up at
 * a newer epoch: should one come back, it is told to stop, and is dropped by force.
 */
export function planReset(world: World, request: ResetRequest): Adjustment | Refusal {
  const range = world.keyspace.get(request.range);
  if (!range) return refuse(unknownRange(world.keyspace, request.range));
  const unfit = range.state === 'Active' && !isUnderWay(range, world.keyspace) ? undefined : busyWith(world.keyspace, range);
  if (unfit !== undefined) return refuse(unfit);
  if (!range.established && range.parents.length === 0) return refuse(`R${range.id} never held data, so nothing is lost; it starts empty by itself as soon as a node can take it`);
  const kept = range.placements.filter((p) => p.state !== 'Dropped').map((p) => ({ placement: p, sight: look(world.roster, range, p) }));
  const obstacle = kept.map(({ placement, sight }) => whyKept(range, placement, sight)).find((why) => why !== undefined);
  if (obstacle !== undefined) return refuse(obstacle);
  const lost = kept.filter(({ sight }) => isLost(sight));
  if (lost.length === 0) return refuse(`no copy of R${range.id} is lost; \`rangerctl range ${range.id}\` shows what it waits for`);
  const told = lost.map(({ placement, sight }) => describe(placement, sight)).join('; ');
  if (!request.acceptDataLoss) {
    return refuse(`this would start ${formatRange(range)} empty and give up its data for good (${told}); if it is really lost, say so with --accept-data-loss`, 'FAILED_PRECONDITION');
  }
  return {
    allowed: true,
    changes: [{ id: range.id, record: restarted(range) }],
    wishes: [],
    steps: [],
    description: `${formatRange(range)} was reset by an operator: it starts empty, and what it held is given up (${told})`,
  };
}

/** As a range that never was: the next pass places it. What was given up stays listed until it is surely gone. */
function restarted(range: RangeRecord): RangeRecord {
  return {
    ...range,
    epoch: range.epoch + 1,
    established: false,
    parents: [],
    primary: undefined,
    holder: undefined,
    insync: [],
    placements: range.placements.map((p) => (p.state === 'Dropped' ? p : givenUp(p))),
  };
}

function givenUp(placement: PlacementRecord): PlacementRecord {
  return { ...placement, state: 'Dropped', replaces: undefined, initial: false, relieves: undefined, promote: false, outdated: false, lost: true, failed: 'an operator gave it up' };
}

/** Why the copy forbids the reset: it has the data, or may have. */
function whyKept(range: RangeRecord, placement: PlacementRecord, sight: Sight): string | undefined {
  const { node } = placement;
  if (sight.kind === 'gone') return undefined;
  if (sight.kind === 'unknown') return `${sight.because}: wait a few seconds until it is known whether it is gone`;
  if (!sight.reachable) return `${node} is silent only for a moment: wait a few seconds until it is known whether it is gone`;
  const holds = sight.report?.serving === true || sight.state === 'Active' || sight.state === 'Activating' || sight.state === 'Deactivating';
  return holds ? `${node} is up and has the data of R${range.id} (it says it is ${sight.state}); nothing is lost` : undefined;
}

function isLost(sight: Sight): boolean {
  return sight.kind === 'gone' || (sight.kind === 'here' && sight.state === 'NotFound');
}

function describe(placement: PlacementRecord, sight: Sight): string {
  return sight.kind === 'gone' ? sight.because : `${placement.node} no longer has it`;
}
