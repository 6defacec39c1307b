import { EVERYTHING, type Interval, compareEnds, containsKey, covers, overlaps } from '../model/interval.js';
import { type Key, NO_KEY } from '../model/key.js';
import type { NodeIdent, RangeId, RangeMeta } from '../model/range.js';

/*
 * Who owns which keys, from what nodes claim. Pure: values in, values out. A change
 * costs a binary search, the few claims around it, and one copy of an array of
 * references, however many ranges there are.
 */

/** A node says that it is active for a range. */
export interface Claim {
  readonly range: RangeMeta;
  readonly epoch: number;
  readonly node: NodeIdent;
  readonly address: string;
  /** Counts the reports: the latest has the highest. */
  readonly report: number;
}

/** Whom to ask for the keys of an interval. */
export interface Owner {
  readonly interval: Interval;
  readonly range: RangeId;
  readonly epoch: number;
  readonly node: NodeIdent;
  readonly address: string;
  /** The claim this comes from; its range may reach beyond `interval`. */
  readonly claim: Claim;
}

export interface Ownership {
  /** Sorted, without overlaps. */
  readonly owners: readonly Owner[];
  /** Claims that lost some of their keys to another range's: few, but every change near them has to look at them. */
  readonly contested: ReadonlySet<Claim>;
}

export const NO_OWNERS: Ownership = { owners: [], contested: new Set() };

/** When so many spans would each look at so many contested claims, everything from scratch is cheaper. */
const LOOKS_MAX = 1_000_000;

/** The claim to believe among those for one range: the highest epoch, then the latest report. */
export function bestClaim(claims: Iterable<Claim>): Claim | undefined {
  let best: Claim | undefined;
  for (const claim of claims) {
    if (!best || claim.epoch > best.epoch || (claim.epoch === best.epoch && claim.report > best.report)) best = claim;
  }
  return best;
}

/** Everything from scratch: the owner of each key among all claims. */
export function mergeClaims(claims: Iterable<Claim>): Ownership {
  const byRange = new Map<RangeId, Claim[]>();
  for (const claim of claims) {
    const others = byRange.get(claim.range.id);
    if (others) others.push(claim);
    else byRange.set(claim.range.id, [claim]);
  }
  const best = [...byRange.values()].map((all) => bestClaim(all) as Claim);
  return reassign(NO_OWNERS, [], best);
}

/**
 * The ownership after some claims went and others came. Callers give one claim a
 * range (see {@link bestClaim}): epochs count within a range, and say nothing about
 * another one. Between ranges, such as parent and child, the latest report wins.
 */
export function reassign(before: Ownership, removed: readonly Claim[], added: readonly Claim[]): Ownership {
  if (removed.length === 0 && added.length === 0) return before;
  const gone = new Set(removed);
  const contested = new Set([...before.contested].filter((claim) => !gone.has(claim)));
  const touched = touchedSpans(before.owners, [...removed, ...added]);
  const spans = touched.length * contested.size > LOOKS_MAX ? [EVERYTHING] : touched;
  const arrivals = [...added].sort((a, b) => compareStarts(a.range, b.range));
  const out = new Assembly();
  let copied = 0;
  let arrived = 0;
  for (const span of spans) {
    const from = firstEndingAfter(before.owners, span.start);
    const to = firstStartingAt(before.owners, span.end);
    out.copy(before.owners, copied, from);
    copied = to;

    const candidates = new Set<Claim>();
    for (let i = from; i < to; i++) {
      const { claim } = before.owners[i] as Owner;
      if (!gone.has(claim)) candidates.add(claim);
    }
    for (const claim of contested) if (overlaps(claim.range, span)) candidates.add(claim);
    for (let claim = arrivals[arrived]; claim && covers(span, claim.range); claim = arrivals[++arrived]) candidates.add(claim);

    const losers = sweep(span, [...candidates], out);
    for (const claim of candidates) {
      if (losers.has(claim)) contested.add(claim);
      else if (covers(span, claim.range)) contested.delete(claim);
    }
  }
  out.copy(before.owners, copied, before.owners.length);
  return { owners: out.finish(), contested };
}

export function ownerOf(owners: readonly Owner[], key: Key): Owner | undefined {
  const owner = owners[firstEndingAfter(owners, key)];
  return owner && containsKey(owner.interval, key) ? owner : undefined;
}

/** The owner of the keys right below `end`. */
export function ownerBelow(owners: readonly Owner[], end: Key): Owner | undefined {
  const owner = owners[firstStartingAt(owners, end) - 1];
  return owner && compareEnds(end, owner.interval.end) <= 0 ? owner : undefined;
}

/** The owners of keys in an interval, in order. */
export function ownersWithin(owners: readonly Owner[], interval: Interval): readonly Owner[] {
  return owners.slice(firstEndingAfter(owners, interval.start), firstStartingAt(owners, interval.end));
}

/** The keys whose owner may change, widened to whole owners, sorted, without overlaps. */
function touchedSpans(owners: readonly Owner[], claims: readonly Claim[]): Interval[] {
  const wide = claims.map(({ range }) => {
    const first = owners[firstEndingAfter(owners, range.start)];
    const last = owners[firstStartingAt(owners, range.end) - 1];
    const start = first && first.interval.start < range.start ? first.interval.start : range.start;
    const end = last && compareEnds(last.interval.end, range.end) > 0 ? last.interval.end : range.end;
    return { start, end };
  });
  wide.sort(compareStarts);
  const spans: Interval[] = [];
  for (const span of wide) {
    const last = spans.at(-1);
    if (!last || compareEnds(span.start === NO_KEY ? last.end : span.start, last.end) > 0) {
      spans.push(span);
    } else if (compareEnds(span.end, last.end) > 0) {
      spans[spans.length - 1] = { start: last.start, end: span.end };
    }
  }
  return spans;
}

/** Appends the owners of a span, in order; returns the claims that another one beat somewhere in it. */
function sweep(span: Interval, candidates: readonly Claim[], out: Assembly): ReadonlySet<Claim> {
  const sorted = [...candidates].sort((a, b) => compareStarts(a.range, b.range));
  const losers = new Set<Claim>();
  let live: Claim[] = [];
  let next = 0;
  let at: Key = span.start;
  for (;;) {
    live = live.filter((claim) => containsKey(claim.range, at));
    for (let claim = sorted[next]; claim && claim.range.start <= at; claim = sorted[++next]) {
      if (containsKey(claim.range, at)) live.push(claim);
    }
    const upcoming = sorted[next]?.range.start;
    let end = upcoming !== undefined && compareEnds(upcoming, span.end) < 0 ? upcoming : span.end;
    const winner = latest(live);
    if (winner) {
      for (const claim of live) {
        if (claim !== winner) losers.add(claim);
        if (compareEnds(claim.range.end, end) < 0) end = claim.range.end;
      }
      out.append(ownerFrom(winner, { start: at, end }));
    }
    if (compareEnds(end, span.end) >= 0) return losers;
    at = end;
  }
}

/** Reports are counted, so the winner does not depend on the order of the claims. */
function latest(claims: readonly Claim[]): Claim | undefined {
  let best: Claim | undefined;
  for (const claim of claims) if (!best || claim.report > best.report) best = claim;
  return best;
}

function ownerFrom(claim: Claim, { start, end }: Interval): Owner {
  const { range, epoch, node, address } = claim;
  const interval = start === range.start && end === range.end ? range : { start, end };
  return { interval, range: range.id, epoch, node, address, claim };
}

/** Shorter runs are copied one by one, so that there are never many parts to join. */
const RUN_MIN = 256;

/** Puts a list of owners together, taking long runs of the old list as they are. */
class Assembly {
  private readonly parts: Owner[][] = [];
  private part: Owner[] = [];

  /** Pieces of one claim that touch become one. */
  append(owner: Owner): void {
    const part = this.part.length > 0 ? this.part : (this.parts.at(-1) ?? this.part);
    const last = part.at(-1);
    if (last?.claim === owner.claim && last.interval.end === owner.interval.start) {
      part[part.length - 1] = ownerFrom(owner.claim, { start: last.interval.start, end: owner.interval.end });
    } else {
      this.part.push(owner);
    }
  }

  copy(from: readonly Owner[], start: number, end: number): void {
    const first = from[start];
    if (!first || start >= end) return;
    this.append(first);
    if (end - start < RUN_MIN) {
      for (let i = start + 1; i < end; i++) this.part.push(from[i] as Owner);
    } else {
      this.parts.push(this.part, from.slice(start + 1, end));
      this.part = [];
    }
  }

  finish(): Owner[] {
    return this.parts.length === 0 ? this.part : (this.parts[0] as Owner[]).concat(...this.parts.slice(1), this.part);
  }
}

/** The first owner that reaches beyond `key`: the only one that can hold it. */
function firstEndingAfter(owners: readonly Owner[], key: Key): number {
  return partition(owners, ({ interval }) => interval.end !== NO_KEY && interval.end <= key);
}

/** The first owner at or behind the end of an interval. */
function firstStartingAt(owners: readonly Owner[], end: Key): number {
  return end === NO_KEY ? owners.length : partition(owners, ({ interval }) => interval.start < end);
}

/** How many of the sorted owners, from the first on, are `before`. */
function partition(owners: readonly Owner[], before: (owner: Owner) => boolean): number {
  let low = 0;
  let high = owners.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(owners[middle] as Owner)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareStarts(a: Interval, b: Interval): number {
  if (a.start === b.start) return compareEnds(a.end, b.end);
  return a.start < b.start ? -1 : 1;
}
