import { type Interval, covers, overlaps } from '../../model/interval.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import type { Parent } from '../../model/report.js';
import type { Link } from '../follow/link.js';
import type { CopyRecord } from '../storage/copy-record.js';
import type { Copy } from './copy.js';
import { coversSpan, intersectAll, subtractAll } from './span-set.js';

/** One place from which a span of keys can be had. */
export interface Candidate {
  readonly range: RangeId;
  readonly address: string;
  readonly span: Interval;
}

/**
 * Which span to have from where: the range itself first, then its ancestors,
 * nearest first, each only for what the ones before it lack (or, with `all`, every
 * place that overlaps).
 */
export function sourcesFor(
  range: RangeMeta,
  parents: readonly Parent[],
  wanted: (placement: Parent['placements'][number]) => boolean,
  options: { all?: boolean } = {},
): Candidate[] {
  const candidates: Candidate[] = [];
  let lacking: Interval[] = [{ start: range.start, end: range.end }];
  for (const parent of parents) {
    const placements = parent.placements.filter(wanted);
    for (const { node } of options.all ? placements : placements.slice(0, 1)) {
      const spans = options.all ? intersectAll([range], parent.range) : intersectAll(lacking, parent.range);
      candidates.push(...spans.map((span) => ({ range: parent.range.id, address: node, span: { start: span.start, end: span.end } })));
    }
    if (placements.length > 0) lacking = subtractAll(lacking, [parent.range]);
  }
  return candidates;
}

/**
 * Up to where the data of `span` is known to be complete: offsets grow along the way
 * of a right to write, whichever range's log it passes through. Undefined when
 * nothing is known, and a snapshot has to be had.
 */
export function resumePoint(copy: Copy, links: readonly Link[], span: Interval): number | undefined {
  const link = links.find((other) => overlaps(other.span, span));
  if (link) return covers(link.span, span) ? link.resumableAt : undefined;
  const saved = copy.record.links.find((other) => overlaps(other, span));
  if (saved) return covers(saved, span) && !saved.plain ? saved.offset : undefined;
  // Not where the log ends now: another part of the range may have come back already.
  const given = copy.record.handed.filter((other) => overlaps(other, span));
  return coversSpan(given, span) ? Math.min(...given.map(({ offset }) => offset)) : undefined;
}

/** What the copy gave away to whom the link follows. */
export function givenTo(copy: Copy, link: Link): CopyRecord['handed'] {
  return copy.record.handed.filter((given) => given.range === link.range && overlaps(given, link.span));
}

/** Whoever the copy gave a right to. */
export function handedCandidates(copy: Copy): Candidate[] {
  return copy.record.handed.map(({ range, address, start, end }) => ({ range, address, span: { start, end } }));
}
