import { type RangeId, formatRange } from '../../model/range.js';
import type { RecordChange } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, isInSync, placementOn } from '../keyspace/record.js';
import { isReachable } from '../roster/roster.js';
import { type Family, familyOf } from './epochs.js';
import { type Adjustment, type Refusal, busyWith, refuse, unknownRange } from './request.js';
import { type Sight, isOnDiskOf, look } from './sight.js';
import { awaitsAdoption, findStaticCopy } from './static.js';
import type { World } from './types.js';

export interface ResetRequest {
  readonly range: RangeId;
  readonly acceptDataLoss: boolean;
}

/**
 * Starts a range empty whose data is lost. The one way to do so, and only when no
 * node that can be heard serves it. Copies that cannot be heard are given up at
 * a newer epoch: should one come back, it is told to stop, and is dropped by force.
 * A split or join that the range is in is taken back with it: while its children were
 * never told to take over they hold nothing, and only the named parent is lost; after
 * that nobody can tell any more who has what, and the whole family begins anew.
 */
export function planReset(world: World, request: ResetRequest): Adjustment | Refusal {
  const range = world.keyspace.get(request.range);
  if (!range) return refuse(unknownRange(world.keyspace, request.range));
  if (range.state === 'Obsolete') return refuse(busyWith(world.keyspace, range) ?? '');
  if (awaitsAdoption(world, range)) return beginEmpty(world, range, request);
  const family = membersOf(world, range);
  if (!family.parents.includes(range)) {
    return refuse(`R${range.id} is still being made from ${list(family.parents)}, whose data these are; if they are lost, reset ${list(family.parents)}`);
  }
  if (!range.established && range.parents.length === 0) return refuse(`R${range.id} never held data, so nothing is lost; it starts empty by itself as soon as a node can take it`);
  const taken = family.children.some(({ established }) => established);
  const given = taken ? [...family.parents, ...family.children] : [range];
  const kept = given.flatMap((member) => member.placements.filter((p) => p.state !== 'Dropped').map((placement) => ({ range: member, placement, sight: look(world.roster, member, placement) })));
  const obstacle = kept.map(whyKept).find((why) => why !== undefined) ?? whyElsewhere(world, given);
  if (obstacle !== undefined) return refuse(obstacle);
  if (!kept.some(isLost)) return refuse(`no copy of ${list(given)} is lost; \`rangerctl range ${range.id}\` shows what it waits for`);
  const restarting = taken ? family.parents : [range];
  const what = restarting.map(formatRange).join(' and ');
  const told = [...new Set(kept.filter(({ placement }) => placement.state !== 'Pending').map(describe))].join('; ');
  if (!request.acceptDataLoss) {
    return refuse(`this would start ${what} empty and give up ${restarting.length === 1 ? 'its' : 'their'} data for good (${told}); if it is really lost, say so with --accept-data-loss`, 'FAILED_PRECONDITION');
  }
  const back = family.children.length === 0 ? '' : `; ${list(family.parents)} ${family.parents.length === 1 ? 'does' : 'do'} not become ${list(family.children)}`;
  return {
    allowed: true,
    changes: begunAnew(family, new Set(restarting), taken),
    wishes: [],
    steps: [],
    description: `${what} was reset by an operator: it starts empty, and what it held is given up (${told})${back}`,
  };
}

/** The keys of static nodes, which are not heard any more, are not waited for. */
function beginEmpty(world: World, range: RangeRecord, { acceptDataLoss }: ResetRequest): Adjustment | Refusal {
  const seen = findStaticCopy(world);
  if (seen) return refuse(`${seen.node.ident} is up and has keys of a static node; have them taken over (\`rangerctl adopt\`), or stop it first`);
  const nobody = `the static node ${range.awaits ?? ''}`;
  if (!acceptDataLoss) return refuse(`this would start ${formatRange(range)} empty, and ${nobody} could not be taken over any more; if that is wanted, say so with --accept-data-loss`, 'FAILED_PRECONDITION');
  return { allowed: true, changes: [{ id: range.id, record: { ...range, awaits: undefined } }], wishes: [], steps: [], description: `${formatRange(range)} was reset by an operator: it starts empty, and does not wait for ${nobody}` };
}

interface Members {
  readonly parents: readonly RangeRecord[];
  readonly children: readonly RangeRecord[];
}

/** The range alone, or the split or join that it is in. */
function membersOf({ keyspace }: World, range: RangeRecord): Members {
  const family: Family | undefined = familyOf(keyspace, range.id);
  if (!family) return { parents: [range], children: [] };
  const records = (ids: readonly RangeId[]): RangeRecord[] => ids.flatMap((id) => keyspace.get(id) ?? []);
  return { parents: records(family.parents), children: records(family.children) };
}

function begunAnew({ parents, children }: Members, restarting: ReadonlySet<RangeRecord>, taken: boolean): RecordChange[] {
  const epoch = 1 + Math.max(...[...parents, ...children].map((member) => member.epoch));
  const alone = { state: 'Active', children: [], abort: undefined, rounds: 0, epoch } as const;
  const dropped = taken ? givenUp : forgotten;
  return [
    ...parents.map((range) => ({ id: range.id, record: restarting.has(range) ? { ...restarted(range), ...alone } : { ...range, ...alone } })),
    ...children.map((range) => ({
      id: range.id,
      record: { ...range, state: 'Obsolete' as const, primary: undefined, holder: undefined, insync: [], epoch, placements: range.placements.map((p) => (p.state === 'Dropped' ? p : dropped(p))) },
    })),
  ];
}

/** As a range that never was: the next pass places it. What was given up stays listed until it is surely gone. */
function restarted(range: RangeRecord): RangeRecord {
  return {
    ...range,
    established: false,
    adopted: 0,
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

/** It never held anything that counts, so nobody needs to wait for it. */
function forgotten(placement: PlacementRecord): PlacementRecord {
  return { ...placement, state: 'Dropped', failed: 'an operator reset what it was to be made from' };
}

interface Kept {
  readonly range: RangeRecord;
  readonly placement: PlacementRecord;
  readonly sight: Sight;
}

/** Why the copy forbids the reset: it has the data, or may have. */
function whyKept({ range, placement, sight }: Kept): string | undefined {
  const { node } = placement;
  if (sight.kind === 'gone') return undefined;
  if (sight.kind === 'unknown') return `${sight.because}: wait a few seconds until it is known whether it is gone`;
  if (!sight.reachable) return `${node} is silent only for a moment: wait a few seconds until it is known whether it is gone`;
  const isMember = range.insync.length > 1 && isInSync(range, placement) && sight.state !== 'NotFound';
  const holds = isMember || sight.report?.serving === true || sight.state === 'Active' || sight.state === 'Activating' || sight.state === 'Deactivating';
  return holds ? `${node} is up and has the data of R${range.id} (it says it is ${sight.state}); nothing is lost` : undefined;
}

/** A node on which no copy was placed has the data all the same: a disk that came back under another name. */
function whyElsewhere({ roster }: World, given: readonly RangeRecord[]): string | undefined {
  for (const range of given) {
    for (const node of roster.nodes.values()) {
      const report = isReachable(node) && !placementOn(range, node.ident) ? node.ranges.get(range.id) : undefined;
      if (report?.serving !== true && report?.state !== 'Active') continue;
      const was = range.placements.find((placement) => isOnDiskOf(node, placement));
      const todo = was ? `its disk was ${was.node}'s: start it as ${was.node} again` : 'it was not placed there';
      return `${node.ident} is up and has the data of R${range.id} (it says it is ${report.state}); ${todo}`;
    }
  }
  return undefined;
}

/** One that never was prepared was not there to be lost. */
function isLost({ placement, sight }: Kept): boolean {
  return placement.state !== 'Pending' && (sight.kind === 'gone' || (sight.kind === 'here' && sight.state === 'NotFound'));
}

function describe(kept: Kept): string {
  const { range, placement, sight } = kept;
  if (sight.kind === 'gone') return sight.because;
  return isLost(kept) ? `${placement.node} no longer has it` : `${placement.node} has a part of R${range.id}, or an older state`;
}

function list(ranges: readonly RangeRecord[]): string {
  return ranges.map(({ id }) => `R${id}`).join(' and ');
}
