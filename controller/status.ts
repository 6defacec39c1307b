import { formatRange } from '../model/range.js';
import type { NodeIdent, RangeId } from '../model/range.js';
import type { Reason } from './findings.js';
import { type RangeRecord, isGivenUp, isWanted } from './keyspace/record.js';
import { availabilityOf } from './orchestrator/availability.js';
import { isDraining } from './orchestrator/choose.js';
import { copiesOf, formatCopies } from './orchestrator/copies.js';
import { drainReport } from './orchestrator/drain.js';
import { movingTo } from './orchestrator/move.js';
import { explain } from './orchestrator/progress.js';
import type { Problem, World } from './orchestrator/types.js';
import { look } from './orchestrator/sight.js';
import { isOutage } from './outages.js';
import { type RosterNode, attemptOf, isReachable } from './roster/roster.js';

/** Busy: every key is served, and something is being worked on. Degraded: keys, or an operator, are waited for. */
export type Health = 'healthy' | 'busy' | 'degraded';

export interface StatusItem {
  readonly health: 'busy' | 'degraded';
  readonly subject: string;
  readonly waiting: string;
  /** For how long; 0 when that is not known. */
  readonly forMs: number;
  readonly todo: string;
  readonly range?: RangeId | undefined;
  readonly node?: NodeIdent | undefined;
}

export interface Status {
  readonly health: Health;
  readonly ranges: number;
  readonly rangesUnavailable: number;
  readonly nodes: number;
  readonly nodesReachable: number;
  readonly items: readonly StatusItem[];
  readonly itemsLeftOut: number;
}

export interface StatusInput {
  readonly world: World;
  readonly waiting: (id: RangeId) => Reason | undefined;
  readonly outageSinceMs: (id: RangeId) => number | undefined;
  readonly problems: readonly Problem[];
  /** Why nothing can be decided; undefined when it can. */
  readonly broken: string | undefined;
  /** Why nobody decides; undefined when somebody does. */
  readonly leaderless: string | undefined;
}

const ITEMS_MAX = 40;
/** A Drop that failed so often is worth a line. */
const DROP_FAILURES_TO_SHOW = 3;

/** All that is not as it should be, the most serious first. */
export function statusOf(input: StatusInput): Status {
  const { world } = input;
  const items: StatusItem[] = [];
  if (input.broken !== undefined) items.push(brokenItem(input.broken));
  if (input.leaderless !== undefined) items.push(leaderlessItem(input.leaderless));
  let ranges = 0;
  let rangesUnavailable = 0;
  for (const range of world.keyspace.values()) {
    const now = availabilityOf(world, range);
    if (now) ranges += 1;
    const item = now && !now.available ? outageItem(input, range) : (underWayItem(input, range) ?? copiesItem(input, range));
    if (item?.health === 'degraded' && now && !now.available) rangesUnavailable += 1;
    if (item) items.push(item);
    items.push(...damagedItems(world, range));
  }
  const nodes = [...world.roster.nodes.values()];
  items.push(...nodes.flatMap((node) => nodeItems(input, node)), ...absentItems(world));
  for (const { because, node, range, todo } of input.problems) {
    items.push({ health: 'degraded', subject: `R${range} on ${node}`, waiting: because, forMs: 0, todo: todo ?? `compare \`rangerctl node ${node}\` with \`rangerctl ranges\``, range, node });
  }
  items.sort((a, b) => Number(a.health === 'busy') - Number(b.health === 'busy') || b.forMs - a.forMs);
  return {
    health: items[0]?.health ?? 'healthy',
    ranges,
    rangesUnavailable,
    nodes: nodes.length,
    nodesReachable: nodes.filter(isReachable).length,
    items: items.slice(0, ITEMS_MAX),
    itemsLeftOut: Math.max(0, items.length - ITEMS_MAX),
  };
}

function brokenItem(because: string): StatusItem {
  return { health: 'degraded', subject: 'controller', waiting: `nothing is decided: ${because}`, forMs: 0, todo: 'see whether what keeps the keyspace (Consul, or the data directory) is well' };
}

/** What serves goes on serving; nothing is moved or repaired. */
function leaderlessItem(because: string): StatusItem {
  const waiting = `nothing is decided: ${because}; what is told here is what one that follows knows`;
  return { health: 'degraded', subject: 'controllers', waiting, forMs: 0, todo: 'ask again in a few seconds, which a change of leader takes; if it stays so, see whether the controllers run and reach Consul' };
}

function outageItem({ world, waiting, outageSinceMs }: StatusInput, range: RangeRecord): StatusItem | undefined {
  const now = availabilityOf(world, range);
  if (!now || now.available) return undefined;
  const forMs = world.nowMs - (outageSinceMs(range.id) ?? world.nowMs);
  const because = explain(range, waiting(range.id)?.because);
  const health = isOutage(now, forMs) ? 'degraded' : 'busy';
  return { health, subject: formatRange(range), waiting: because === '' ? now.because : because, forMs, todo: now.todo, range: range.id };
}

/** A range with too few copies. It goes on by itself as long as a node can take one, or is expected back. */
function copiesItem({ world, waiting }: StatusInput, range: RangeRecord): StatusItem | undefined {
  const copies = copiesOf(world, range);
  if (!copies || copies.inSync >= copies.wanted) return undefined;
  const reason = waiting(range.id);
  const { minInSync } = world.tuning;
  const refused = copies.inSync < minInSync ? `writes are refused, for --min-in-sync is ${minInSync}` : undefined;
  const away = range.placements.filter((p) => isWanted(p) && look(world.roster, range, p).kind === 'gone').map((p) => p.node);
  const isStuck = copies.missing > 0 && away.length === 0 && copies.catchingUp === 0;
  const start = away.length > 0 ? `start ${away.join(', ')} again` : 'start another node';
  return {
    health: refused !== undefined || isStuck ? 'degraded' : 'busy',
    subject: formatRange(range),
    waiting: [formatCopies(copies), refused, reason?.because].filter((part) => part !== undefined).join('; '),
    forMs: reason ? world.nowMs - reason.sinceMs : 0,
    todo: refused !== undefined || isStuck || away.length > 0 ? start : '',
    range: range.id,
  };
}

/** Every range on the node is served by another. */
function isCoveredElsewhere(world: World, node: NodeIdent): boolean {
  return [...world.keyspace.on(node)].every((id) => {
    const range = world.keyspace.get(id);
    const now = range && availabilityOf(world, range);
    return now === undefined || now.available;
  });
}

/** An operation that the range takes part in, or a copy of it that will not go. */
function underWayItem({ world, waiting }: StatusInput, range: RangeRecord): StatusItem | undefined {
  const reason = waiting(range.id);
  const forMs = reason ? world.nowMs - reason.sinceMs : 0;
  const why = explain(range, reason?.because);
  const busy = (doing: string): StatusItem => ({ health: 'busy', subject: formatRange(range), waiting: why === '' ? doing : `${doing}: ${why}`, forMs, todo: '', range: range.id });
  if (range.state === 'Subsuming') return busy(`becomes ${range.children.map((id) => `R${id}`).join(' and ')}`);
  const destination = movingTo(range);
  if (destination) return busy(`moves to ${destination.node}`);
  for (const placement of range.placements) {
    const attempt = placement.state === 'Dropped' && !isGivenUp(placement) ? attemptOf(world.roster, range.id, placement.node) : undefined;
    if (attempt?.command === 'Drop' && attempt.failures >= DROP_FAILURES_TO_SHOW) {
      return { ...busy(`${placement.node} does not drop its old copy (failed ${attempt.failures} times: ${attempt.lastError})`), node: placement.node };
    }
  }
  return undefined;
}

/** Copies that were found to differ from the others. */
function damagedItems(world: World, range: RangeRecord): StatusItem[] {
  const subject = formatRange(range);
  return range.placements.flatMap((placement): StatusItem[] => {
    const report = world.roster.nodes.get(placement.node)?.ranges.get(range.id);
    if (report?.replica?.damaged !== true) return [];
    const about = { subject, forMs: 0, range: range.id, node: placement.node };
    const todo = `see whether the disk of ${placement.node} is well`;
    if (placement.index !== range.primary) return [{ ...about, health: 'busy', waiting: `the copy on ${placement.node} is damaged, and is made anew`, todo }];
    if (range.insync.length > 1) return [{ ...about, health: 'busy', waiting: `its primary on ${placement.node} is damaged, and another copy takes its place`, todo }];
    return [{ ...about, health: 'degraded', waiting: `its only copy in sync, on ${placement.node}, is damaged`, todo: `start the nodes of its other copies; ${todo}` }];
  });
}

function nodeItems({ world }: StatusInput, node: RosterNode): StatusItem[] {
  const { ident, link } = node;
  const items: StatusItem[] = [];
  const trouble = troubleOf(node);
  const has = rangesThatCount(world, ident);
  const forMs = world.nowMs - link.sinceMs;
  if (trouble !== undefined && has > 0) {
    const isCovered = world.tuning.replicas > 1 && isCoveredElsewhere(world, ident);
    const health = link.state === 'lost' && !isCovered ? 'degraded' : 'busy';
    items.push({ health, subject: `node ${ident}`, waiting: `${trouble}; ${count(has)} there`, forMs, todo: health === 'busy' ? '' : `start ${ident} again`, node: ident });
  }
  if (trouble === undefined && isDraining(world, node) && has > 0) items.push(drainItem(world, ident));
  return items;
}

function drainItem(world: World, node: NodeIdent): StatusItem {
  const { left, items } = drainReport(world, node);
  const stuck = items.length > 0 && items.every(({ leaving }) => leaving.kind === 'waiting');
  const first = items.find(({ leaving }) => leaving.kind === 'waiting');
  const because = stuck && first?.leaving.kind === 'waiting' ? `: R${first.range} waits: ${first.leaving.because}` : '';
  return {
    health: stuck ? 'degraded' : 'busy',
    subject: `node ${node}`,
    waiting: `drains, ${count(left)} left${because}`,
    forMs: 0,
    todo: stuck ? `start another node, or rangerctl undrain ${node}; rangerctl drain ${node} shows each range` : '',
    node,
  };
}

/** Nodes that ranges are placed on, and that were not seen since this controller started. */
function absentItems(world: World): StatusItem[] {
  const items: StatusItem[] = [];
  for (const [ident, ids] of world.keyspace.placed()) {
    if (world.roster.nodes.has(ident)) continue;
    const has = rangesThatCount(world, ident, ids);
    if (has === 0) continue;
    const health = world.roster.settled ? 'degraded' : 'busy';
    items.push({ health, subject: `node ${ident}`, waiting: `is not registered; ${count(has)} there`, forMs: 0, todo: health === 'busy' ? '' : `start ${ident} again`, node: ident });
  }
  return items;
}

/** What is placed on the node, without what an operator gave up: nobody waits for that. */
function rangesThatCount({ keyspace }: World, ident: NodeIdent, ids: ReadonlySet<RangeId> = keyspace.on(ident)): number {
  return [...ids].filter((id) => keyspace.get(id)?.placements.some((p) => p.node === ident && !p.lost && !isGivenUp(p))).length;
}

/** Why the node cannot be reached; undefined when it can. */
export function troubleOf(node: RosterNode): string | undefined {
  switch (node.link.state) {
    case 'live':
      return undefined;
    case 'connecting':
      return 'has not been heard from yet';
    case 'silent':
      return `does not answer: ${node.link.why}`;
    case 'lost':
      return `is gone: ${node.link.why}`;
  }
}

function count(ranges: number): string {
  return ranges === 1 ? '1 range' : `${ranges.toLocaleString('en')} ranges`;
}
