import type { Operation, Step } from '../../model/notation.js';
import { adjacent, containsKey } from '../../model/interval.js';
import { type Key, NO_KEY, formatKey } from '../../model/key.js';
import { type NodeIdent, type RangeId, formatRange } from '../../model/range.js';
import type { ErrorCode } from '../../runtime/errors.js';
import { suggest } from '../../runtime/suggest.js';
import { type Keyspace, type KeyspaceView, type RecordChange, isUnderWay } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, freeIndex, newPlacement, isInSync, isWanted, newRange, placementOn, primaryOf, withPlacement, withPrimary } from '../keyspace/record.js';
import type { WishChange } from '../keyspace/wish.js';
import type { RosterNode } from '../roster/roster.js';
import { chooseNow, mayTake, mayTakeAny, nodesBeside } from './choose.js';
import { movingTo } from './move.js';
import { isActive, isReady, look } from './sight.js';
import type { World } from './types.js';

/*
 * What an operator asks for, judged before anything changes: a plan, or a refusal
 * that says why and what would work. A plan is the first change of the operation;
 * everything after it is reconcile's.
 */

export interface Refusal {
  readonly allowed: false;
  readonly code: ErrorCode;
  readonly because: string;
}

export interface Plan {
  readonly allowed: true;
  readonly operation: Operation;
  readonly changes: readonly RecordChange[];
  /** What the changes do, for people. */
  readonly steps: readonly Step[];
  /** How to recognize it from now on. */
  readonly tracked: Tracked;
}

/** A change that is done as soon as it is persisted: there is nothing to follow. */
export interface Adjustment {
  readonly allowed: true;
  readonly changes: readonly RecordChange[];
  readonly wishes: readonly WishChange[];
  readonly steps: readonly Step[];
  /** For people, and for the log; empty when all was so already. */
  readonly description: string;
}

/** What is left of an operation to follow it by. */
export type Tracked =
  | { readonly kind: 'move'; readonly range: RangeId; readonly source: number }
  | { readonly kind: 'transfer'; readonly range: RangeId; readonly to: number }
  | { readonly kind: 'split' | 'join'; readonly parents: readonly RangeId[]; readonly children: readonly RangeId[] };

export interface MoveRequest {
  readonly range: RangeId;
  readonly node: NodeIdent | undefined;
  /** Whose copy is to go; the primary's when undefined. */
  readonly from?: NodeIdent | undefined;
}

export interface TransferRequest {
  readonly range: RangeId;
  readonly node: NodeIdent;
}

export interface SplitRequest {
  readonly range: RangeId;
  readonly boundary: Key;
  readonly left: NodeIdent | undefined;
  readonly right: NodeIdent | undefined;
}

export interface JoinRequest {
  readonly left: RangeId;
  readonly right: RangeId;
  readonly node: NodeIdent | undefined;
}

export function refuse(because: string, code: ErrorCode = 'ABORTED'): Refusal {
  return { allowed: false, code, because };
}

export function planMove(world: World, request: MoveRequest): Plan | Refusal {
  const free = findFree(world, request.range);
  if (!free.allowed) return free;
  const { range } = free;
  const source = request.from === undefined ? free.primary : copyOn(range, request.from);
  if (!source) return refuse(`${String(request.from)} has no copy of R${range.id}; ${copiesOf(range)}`);
  const to = request.node === undefined ? chooseOther(world, range, source.index) : findTaker(world, range, request.node);
  if (!to.allowed) return to;
  const destination = newPlacement(freeIndex(range), to.node.ident, {
    replaces: source.index,
    named: request.node !== undefined,
    incarnation: to.node.incarnation,
  });
  const moved = withPlacement({ ...range, epoch: range.epoch + 1 }, destination);
  return {
    allowed: true,
    operation: { kind: 'move', range: range.id, from: source.node, to: to.node.ident },
    changes: [{ id: range.id, record: moved }],
    steps: [{ range: range.id, placement: destination, from: 'New', to: 'Pending' }],
    tracked: { kind: 'move', range: range.id, source: source.index },
  };
}

function copyOn(range: RangeRecord, node: NodeIdent): PlacementRecord | undefined {
  const placement = placementOn(range, node);
  return placement && isWanted(placement) ? placement : undefined;
}

function copiesOf(range: RangeRecord): string {
  const [first = '', ...more] = range.placements.filter(isWanted).map((p) => p.node);
  return more.length === 0 ? `its only copy is on ${first}` : `its copies are on ${[first, ...more].join(', ')}`;
}

/** Makes a copy that is in sync the primary; nothing is copied. */
export function planTransfer(world: World, request: TransferRequest): Plan | Refusal {
  const { node } = request;
  if (node === '') return refuse("node: a node's name is missing", 'INVALID_ARGUMENT');
  const free = findFree(world, request.range);
  if (!free.allowed) return free;
  const { range, primary } = free;
  const to = copyOn(range, node);
  if (!to) return refuse(`${node} has no copy of R${range.id}; ${copiesOf(range)}; \`rangerctl move ${range.id} ${node}\` brings it there`);
  if (to === primary) return refuse(`${node} is the primary of R${range.id} already`);
  if (!isInSync(range, to)) return refuse(`the copy of R${range.id} on ${node} is not in sync: it lacks acknowledged writes; wait until \`rangerctl range ${range.id}\` shows it in sync`);
  if (!isReady(look(world.roster, range, to))) return refuse(`${node} is not reachable, or not ready to take R${range.id} over; wait until it is`);
  const relieving = withPlacement({ ...range, epoch: range.epoch + 1 }, { ...to, relieves: primary.index });
  return {
    allowed: true,
    operation: { kind: 'transfer', range: range.id, from: primary.node, to: node },
    changes: [{ id: range.id, record: withPrimary(relieving, to.index, range.insync) }],
    steps: [],
    tracked: { kind: 'transfer', range: range.id, to: to.index },
  };
}

export function planSplit(world: World, request: SplitRequest): Plan | Refusal {
  if (request.boundary === NO_KEY) return refuse('boundary: a key is missing; it is the first key of the right part', 'INVALID_ARGUMENT');
  const free = findFree(world, request.range);
  if (!free.allowed) return free;
  const { range, primary } = free;
  const { boundary } = request;
  if (!containsKey(range, boundary)) {
    return refuse(`boundary: ${formatKey(boundary)} is not in ${formatRange(range)}; give a key inside it`);
  }
  if (boundary === range.start) {
    return refuse(`boundary: ${formatKey(boundary)} is where ${formatRange(range)} starts, so nothing would be left of it; give a later key`);
  }
  const left = findChildNode(world, request.left, primary);
  if (!left.allowed) return left;
  const right = findChildNode(world, request.right, primary);
  if (!right.allowed) return right;
  return makeSplit(world, range, request, left.node, right.node);
}

function makeSplit(world: World, range: RangeRecord, request: SplitRequest, left: RosterNode, right: RosterNode): Plan {
  const { keyspace } = world;
  const leftId = keyspace.nextId;
  const rightId = leftId + 1;
  const children = [
    makeChild(world, { id: leftId, start: range.start, end: request.boundary }, [range], left, request.left !== undefined),
    makeChild(world, { id: rightId, start: request.boundary, end: range.end }, [range], right, request.right !== undefined),
  ];
  return {
    allowed: true,
    operation: {
      kind: 'split',
      range: range.id,
      at: request.boundary,
      left: { range: leftId, node: left.ident },
      right: { range: rightId, node: right.ident },
    },
    ...makeFamily('split', [range], children),
  };
}

export function planJoin(world: World, request: JoinRequest): Plan | Refusal {
  if (request.left === request.right) {
    return refuse(`range_right: R${request.right} cannot be joined with itself; name its neighbour`, 'INVALID_ARGUMENT');
  }
  const left = findFree(world, request.left);
  if (!left.allowed) return left;
  const right = findFree(world, request.right);
  if (!right.allowed) return right;
  if (!adjacent(left.range, right.range)) return refuse(notAdjacent(world.keyspace, left.range, right.range));
  const node = findChildNode(world, request.node, left.primary);
  if (!node.allowed) return node;
  const child = makeChild(
    world,
    { id: world.keyspace.nextId, start: left.range.start, end: right.range.end },
    [left.range, right.range],
    node.node,
    request.node !== undefined,
  );
  return {
    allowed: true,
    operation: {
      kind: 'join',
      left: left.range.id,
      right: right.range.id,
      child: { range: child.id, node: node.node.ident },
    },
    ...makeFamily('join', [left.range, right.range], [child]),
  };
}

function notAdjacent(keyspace: Keyspace, left: RangeRecord, right: RangeRecord): string {
  if (adjacent(right, left)) {
    return `${formatRange(left)} is right of ${formatRange(right)}; try: join ${right.id} ${left.id}`;
  }
  const neighbour = keyspace.leaves().find((r) => adjacent(left, r));
  const hint = neighbour ? `; right of it is ${formatRange(neighbour)}` : '; nothing is right of it';
  return `${formatRange(left)} and ${formatRange(right)} are not adjacent${hint}`;
}

function makeChild(
  world: World,
  meta: { id: RangeId; start: Key; end: Key },
  parents: readonly RangeRecord[],
  node: RosterNode,
  named: boolean,
): RangeRecord {
  // As many copies as its parents have.
  const needed = Math.max(...parents.map((p) => p.insync.length)) - 1;
  const others = nodesBeside(world, parents).filter(({ ident }) => ident !== node.ident).slice(0, needed);
  return newRange(meta, {
    epoch: 1 + Math.max(...parents.map((p) => p.epoch)),
    parents: parents.map((p) => p.id),
    adopted: Math.max(...parents.map((p) => p.adopted)),
    placements: [
      newPlacement(0, node.ident, { named, incarnation: node.incarnation }),
      ...others.map((other, i) => newPlacement(i + 1, other.ident, { incarnation: other.incarnation })),
    ],
  });
}

function makeFamily(
  kind: 'split' | 'join',
  parents: readonly RangeRecord[],
  children: readonly RangeRecord[],
): Pick<Plan, 'changes' | 'steps' | 'tracked'> {
  const childIds = children.map((c) => c.id);
  return {
    changes: [
      ...parents.map((p) => ({ id: p.id, record: { ...p, state: 'Subsuming' as const, children: childIds, rounds: 0 } })),
      ...children.map((c) => ({ id: c.id, record: c })),
    ],
    steps: [
      ...parents.map((p) => ({ range: p.id, placement: undefined, from: 'Active', to: 'Subsuming' })),
      ...children.flatMap((c) => c.placements.map((p) => ({ range: c.id, placement: p, from: 'New', to: p.state }))),
    ],
    tracked: { kind, parents: parents.map((p) => p.id), children: childIds },
  };
}

// --- what an operation may take part in --------------------------------------------

type Free = { readonly allowed: true; readonly range: RangeRecord; readonly primary: PlacementRecord };

/** A range that is active, and in no operation. */
function findFree(world: World, id: RangeId): Free | Refusal {
  const range = world.keyspace.get(id);
  if (!range) return refuse(unknownRange(world.keyspace, id));
  const busy = busyWith(world.keyspace, range);
  if (busy !== undefined) return refuse(busy);
  const primary = primaryOf(range);
  if (!primary) return refuse(`R${id} is not placed yet; wait until it is active`);
  const sight = look(world.roster, range, primary);
  if (!isActive(sight)) {
    const why = sight.kind === 'here' ? `${primary.node} says it is ${sight.state}` : sight.because;
    return refuse(`R${id} is not active now (${why}); wait until it is`);
  }
  return { allowed: true, range, primary };
}

export function unknownRange(keyspace: Keyspace, id: RangeId): string {
  const near = suggest(String(id), [...keyspace.leaves().slice(0, 10_000)].map((r) => String(r.id)));
  const was = id < keyspace.nextId ? ' any more: it was split or joined' : '';
  return `there is no range ${id}${was}${near === undefined ? '' : `; did you mean ${near}?`}`;
}

/** Why the range cannot take part in another operation; undefined when it can. */
export function busyWith(keyspace: KeyspaceView, range: RangeRecord): string | undefined {
  if (range.state === 'Obsolete') {
    const into = range.children.map((id) => `R${id}`).join(' and ');
    return into === '' ? `R${range.id} came to nothing; it is no range any more` : `R${range.id} became ${into}; name one of those`;
  }
  if (range.state === 'Subsuming') {
    const into = range.children.map((id) => `R${id}`).join(' and ');
    return `R${range.id} is already being made into ${into}; wait until that is done`;
  }
  if (isUnderWay(range, keyspace)) {
    return `R${range.id} is still being made from ${range.parents.map((id) => `R${id}`).join(' and ')}; wait until that is done`;
  }
  const destination = movingTo(range);
  return destination ? `R${range.id} is already being moved to ${destination.node}; wait until that is done` : undefined;
}

type Taker = { readonly allowed: true; readonly node: RosterNode };

function chooseOther(world: World, range: RangeRecord, replacing: number): Taker | Refusal {
  const choice = chooseNow(world, range, replacing);
  return choice.allowed ? choice : refuse(`no node can take R${range.id}: ${choice.because}`);
}

function findTaker(world: World, range: RangeRecord, ident: NodeIdent): Taker | Refusal {
  const node = findNode(world, ident);
  if (!node.allowed) return node;
  if (placementOn(range, ident)?.state === 'Dropped') {
    return refuse(`${ident} is still dropping its old copy of R${range.id}; try again in a moment`);
  }
  const choice = mayTake(world, node.node, range);
  if (choice.allowed) return choice;
  const placement = placementOn(range, ident);
  const instead = placement && isInSync(range, placement) && placement.index !== range.primary ? `\`rangerctl transfer ${range.id} ${ident}\` makes it the primary` : alternatives(world, range);
  return refuse(`${choice.because}; ${instead}`);
}

/** In place is the default: a child begins where its parent is, however busy or draining that node may be. */
function findChildNode(world: World, ident: NodeIdent | undefined, parent: PlacementRecord): Taker | Refusal {
  const node = findNode(world, ident ?? parent.node);
  if (!node.allowed || node.node.ident === parent.node) return node;
  const choice = mayTakeAny(world, node.node);
  return choice.allowed ? choice : refuse(`${choice.because}; ${alternatives(world, undefined)}`);
}

function findNode(world: World, ident: NodeIdent): Taker | Refusal {
  const node = world.roster.nodes.get(ident);
  return node ? { allowed: true, node } : refuse(unknownNode([...world.roster.nodes.keys()], ident));
}

export function unknownNode(known: readonly NodeIdent[], ident: NodeIdent): string {
  const near = suggest(ident, known);
  if (near !== undefined) return `there is no node ${ident}; did you mean ${near}?`;
  const some = [...known].sort().slice(0, 10);
  return `there is no node ${ident}; ${some.length === 0 ? 'no node is registered' : `there are ${some.join(', ')}`}`;
}

function alternatives(world: World, range: RangeRecord | undefined): string {
  const able = [...world.roster.nodes.values()]
    .filter((node) => (range ? mayTake(world, node, range) : mayTakeAny(world, node)).allowed)
    .map((node) => node.ident)
    .sort();
  return able.length === 0 ? 'no other node could either' : `${able.slice(0, 10).join(', ')} could`;
}
