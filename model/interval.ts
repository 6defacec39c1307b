import { type Key, NO_KEY, formatKey } from './key.js';

/** Keys in [start, end), ordered bytewise. An empty `start` is -inf, an empty `end` is +inf. */
export interface Interval {
  readonly start: Key;
  readonly end: Key;
}

export const EVERYTHING: Interval = { start: NO_KEY, end: NO_KEY };

/** Orders two interval ends, of which the empty one is +inf. */
export function compareEnds(a: Key, b: Key): number {
  if (a === b) return 0;
  if (a === NO_KEY) return 1;
  if (b === NO_KEY) return -1;
  return a < b ? -1 : 1;
}

export function isEmpty(interval: Interval): boolean {
  return interval.end !== NO_KEY && interval.start >= interval.end;
}

export function containsKey(interval: Interval, key: Key): boolean {
  return key >= interval.start && (interval.end === NO_KEY || key < interval.end);
}

export function covers(outer: Interval, inner: Interval): boolean {
  return inner.start >= outer.start && compareEnds(inner.end, outer.end) <= 0;
}

/** What both hold; undefined when nothing. */
export function intersection(a: Interval, b: Interval): Interval | undefined {
  const start = a.start > b.start ? a.start : b.start;
  const end = compareEnds(a.end, b.end) <= 0 ? a.end : b.end;
  const both = { start, end };
  return isEmpty(both) ? undefined : both;
}

export function overlaps(a: Interval, b: Interval): boolean {
  return intersection(a, b) !== undefined;
}

/** What remains of `whole` without `parts`, in order. */
export function subtract(whole: Interval, parts: readonly Interval[]): Interval[] {
  let rest: Interval[] = [whole];
  for (const part of parts) {
    rest = rest.flatMap((piece) => {
      const cut = intersection(piece, part);
      if (!cut) return [piece];
      const pieces: Interval[] = [];
      if (piece.start < cut.start) pieces.push({ start: piece.start, end: cut.start });
      if (compareEnds(cut.end, piece.end) < 0) pieces.push({ start: cut.end, end: piece.end });
      return pieces;
    });
  }
  return rest;
}

/** True when `left` ends exactly where `right` starts. */
export function adjacent(left: Interval, right: Interval): boolean {
  return left.end !== NO_KEY && left.end === right.start;
}

/** `[a, m)`, `[-inf, m)`, `[m, +inf)`. */
export function formatInterval(interval: Interval): string {
  const start = interval.start === NO_KEY ? '-inf' : formatKey(interval.start);
  const end = interval.end === NO_KEY ? '+inf' : formatKey(interval.end);
  return `[${start}, ${end})`;
}
