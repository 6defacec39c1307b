import { type Interval, compareEnds, intersection, subtract } from '../../model/interval.js';

/** Sets of keys as lists of disjoint intervals in order. */

export function addSpan(spans: readonly Interval[], span: Interval): Interval[] {
  const sorted = [...subtractAll(spans, [span]), span].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const merged: Interval[] = [];
  for (const next of sorted) {
    const last = merged.at(-1);
    if (last && last.end === next.start) merged[merged.length - 1] = { start: last.start, end: next.end };
    else merged.push({ start: next.start, end: next.end });
  }
  return merged;
}

export function subtractAll(spans: readonly Interval[], parts: readonly Interval[]): Interval[] {
  return spans.flatMap((span) => subtract(span, parts));
}

export function intersectAll(spans: readonly Interval[], part: Interval): Interval[] {
  return spans.flatMap((span) => intersection(span, part) ?? []);
}

export function coversSpan(spans: readonly Interval[], part: Interval): boolean {
  return subtract(part, spans).length === 0;
}

export function sameSpan(a: Interval, b: Interval): boolean {
  return a.start === b.start && compareEnds(a.end, b.end) === 0;
}
