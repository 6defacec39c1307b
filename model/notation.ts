import type { Interval } from './interval.js';
import { formatInterval, isEmpty } from './interval.js';
import { type Key, NO_KEY, formatKey, parseKey } from './key.js';
import { type NodeIdent, type RangeId, type RangeMeta, formatPlacement } from './range.js';

/*
 * One notation for ranges, placements, steps and operations, printed and parsed
 * here: the same line stands in logs, in the CLI, in scenarios and in the docs.
 *
 *   [a, m)                                  an interval
 *   R1 [-inf, m)                            a range
 *   R1 P0@5200                              a placement: range, index, node
 *   R1 P0@5200: Active -> Inactive          a step of a placement
 *   R1: Active -> Subsuming                 a step of a range
 *   move R1 5200 -> 5201                    operations
 *   transfer R1 5200 -> 5201
 *   split R1 at m -> R2@5200 R3@5202
 *   join R1 R2 -> R3@5201
 *
 * Parsers answer undefined for a text that their printer cannot have printed.
 */

export interface PlacementRef {
  readonly range: RangeId;
  readonly index: number;
  readonly node: NodeIdent;
}

/** One change of one placement, or of a range when `placement` is undefined. */
export interface Step {
  readonly range: RangeId;
  readonly placement: { readonly index: number; readonly node: NodeIdent } | undefined;
  /** A state, or `New` and `Gone` at either end of a life; `Learner` and `InSync` for a copy that is let in, or taken out. */
  readonly from: string;
  readonly to: string;
}

export interface ChildRef {
  readonly range: RangeId;
  readonly node: NodeIdent;
}

export type Operation =
  | { readonly kind: 'move' | 'transfer'; readonly range: RangeId; readonly from: NodeIdent; readonly to: NodeIdent }
  | { readonly kind: 'split'; readonly range: RangeId; readonly at: Key; readonly left: ChildRef; readonly right: ChildRef }
  | { readonly kind: 'join'; readonly left: RangeId; readonly right: RangeId; readonly child: ChildRef };

export function formatStep(step: Step): string {
  const subject = step.placement ? formatPlacement(step.range, step.placement.index, step.placement.node) : `R${step.range}`;
  return `${subject}: ${step.from} -> ${step.to}`;
}

export function formatOperation(operation: Operation): string {
  switch (operation.kind) {
    case 'move':
    case 'transfer':
      return `${operation.kind} R${operation.range} ${operation.from} -> ${operation.to}`;
    case 'split':
      return `split R${operation.range} at ${formatKey(operation.at)} -> ${formatChild(operation.left)} ${formatChild(operation.right)}`;
    case 'join':
      return `join R${operation.left} R${operation.right} -> ${formatChild(operation.child)}`;
  }
}

function formatChild(child: ChildRef): string {
  return `R${child.range}@${child.node}`;
}

const ID = '(\\d{1,16})';
const NODE = '(\\S+)';

function parseNumber(text: string | undefined): number | undefined {
  const value = Number(text);
  return text !== undefined && /^(0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(value) ? value : undefined;
}

function parseId(text: string | undefined): RangeId | undefined {
  const id = parseNumber(text);
  return id === 0 ? undefined : id;
}

export function parseInterval(text: string): Interval | undefined {
  const [, from, to] = /^\[([^\s,]+), ([^\s,]+)\)$/.exec(text) ?? [];
  const start = from === '-inf' ? NO_KEY : parseBound(from);
  const end = to === '+inf' ? NO_KEY : parseBound(to);
  if (start === undefined || end === undefined) return undefined;
  const interval = { start, end };
  return !isEmpty(interval) && formatInterval(interval) === text ? interval : undefined;
}

function parseBound(text: string | undefined): Key | undefined {
  const key = text === undefined ? undefined : parseKey(text);
  return key === NO_KEY ? undefined : key;
}

export function parseRange(text: string): RangeMeta | undefined {
  const [, id, interval] = new RegExp(`^R${ID} (.*)$`).exec(text) ?? [];
  const parsedId = parseId(id);
  const parsed = interval === undefined ? undefined : parseInterval(interval);
  return parsedId !== undefined && parsed ? { id: parsedId, ...parsed } : undefined;
}

export function parsePlacement(text: string): PlacementRef | undefined {
  const [, id, index, node] = new RegExp(`^R${ID} P(\\d+)@${NODE}$`).exec(text) ?? [];
  const range = parseId(id);
  const parsedIndex = parseNumber(index);
  return range !== undefined && parsedIndex !== undefined && node !== undefined ? { range, index: parsedIndex, node } : undefined;
}

export function parseStep(text: string): Step | undefined {
  const [, subject, from, to] = /^(.+): ([A-Z][A-Za-z]*) -> ([A-Z][A-Za-z]*)$/.exec(text) ?? [];
  if (subject === undefined || from === undefined || to === undefined) return undefined;
  const placement = parsePlacement(subject);
  if (placement) {
    return { range: placement.range, placement: { index: placement.index, node: placement.node }, from, to };
  }
  const range = parseId(new RegExp(`^R${ID}$`).exec(subject)?.[1]);
  return range === undefined ? undefined : { range, placement: undefined, from, to };
}

export function parseOperation(text: string): Operation | undefined {
  const word = text.slice(0, text.indexOf(' '));
  switch (word) {
    case 'move':
    case 'transfer':
      return parseMove(word, text);
    case 'split':
      return parseSplit(text);
    case 'join':
      return parseJoin(text);
    default:
      return undefined;
  }
}

function parseMove(kind: 'move' | 'transfer', text: string): Operation | undefined {
  const [, id, from, to] = new RegExp(`^${kind} R${ID} ${NODE} -> ${NODE}$`).exec(text) ?? [];
  const range = parseId(id);
  return range !== undefined && from !== undefined && to !== undefined ? { kind, range, from, to } : undefined;
}

function parseSplit(text: string): Operation | undefined {
  const [, id, boundary, leftText, rightText] =
    new RegExp(`^split R${ID} at (\\S+) -> (R\\S+) (R\\S+)$`).exec(text) ?? [];
  const range = parseId(id);
  const at = parseBound(boundary);
  const left = parseChild(leftText);
  const right = parseChild(rightText);
  return range !== undefined && at !== undefined && left && right ? { kind: 'split', range, at, left, right } : undefined;
}

function parseJoin(text: string): Operation | undefined {
  const [, leftId, rightId, childText] = new RegExp(`^join R${ID} R${ID} -> (R\\S+)$`).exec(text) ?? [];
  const left = parseId(leftId);
  const right = parseId(rightId);
  const child = parseChild(childText);
  return left !== undefined && right !== undefined && child ? { kind: 'join', left, right, child } : undefined;
}

function parseChild(text: string | undefined): ChildRef | undefined {
  const [, id, node] = text === undefined ? [] : (new RegExp(`^R${ID}@${NODE}$`).exec(text) ?? []);
  const range = parseId(id);
  return range !== undefined && node !== undefined ? { range, node } : undefined;
}
