import type { RangeId } from '../../model/range.js';
import type { RangeRecord } from '../keyspace/record.js';
import type { RemoteRange, RosterNode } from '../roster/roster.js';
import type { World } from './types.js';

/*
 * Copies of static nodes (docs/static.md): a primary of all keys, and its replicas, which
 * no controller ever commanded. They are nobody's to begin beside, to write over or to
 * drop, until an operator has the primary's keys taken over (adopt.ts).
 */

/** The range that a static primary has, as it calls it. */
export const STATIC_RANGE: RangeId = 1;

/** A copy of a static node. */
export interface StaticCopy {
  readonly node: RosterNode;
  readonly report: RemoteRange;
}

export function isStatic(report: RemoteRange): boolean {
  return report.replica?.static === true;
}

export function staticCopyOn(node: RosterNode): RemoteRange | undefined {
  const report = node.ranges.get(STATIC_RANGE);
  return report && isStatic(report) ? report : undefined;
}

/** It takes writes, and alone may. */
export function isStaticPrimary(report: RemoteRange): boolean {
  return isStatic(report) && report.serving && report.state === 'Active';
}

/** Of all static copies that are seen the one to take over, or to tell of: a primary's before a replica's, `preferred` before others. */
export function findStaticCopy({ roster }: World, preferred?: string): StaticCopy | undefined {
  const seen = [...roster.nodes.values()].flatMap((node): StaticCopy[] => {
    const report = node.link.state === 'lost' ? undefined : staticCopyOn(node);
    return report ? [{ node, report }] : [];
  });
  const weigh = ({ node, report }: StaticCopy): number => (isStaticPrimary(report) ? 2 : 0) + (node.ident === preferred ? 1 : 0);
  return seen.sort((a, b) => weigh(b) - weigh(a) || (a.node.ident < b.node.ident ? -1 : 1))[0];
}

/** A replica of the very store that was taken over: its log is the beginning of the range's. */
export function isOfAdoptedStore(adopted: number, { state, replica }: RemoteRange): boolean {
  return adopted > 0 && state === 'Inactive' && replica?.logEpoch === adopted;
}

/** The range never held data, and static nodes that were seen have keys which are to be its. */
export function awaitsAdoption(world: World, range: RangeRecord): boolean {
  return range.id === STATIC_RANGE && !range.established && range.parents.length === 0 && (range.awaits !== undefined || findStaticCopy(world) !== undefined);
}

/** Why the range does not begin, and what an operator can do. */
export function whyAwaits(world: World, range: RangeRecord): { readonly because: string; readonly todo: string } {
  const seen = findStaticCopy(world, range.awaits);
  if (!seen) {
    const ident = range.awaits ?? '';
    return { because: `the keys of the static node ${ident} were seen, and wait to be taken over; that node is away, or without its data`, todo: `start ${ident} again, without a role and with its data directory; or, to begin empty: rangerctl range reset ${range.id} --accept-data-loss` };
  }
  const { node, report } = seen;
  if (isStaticPrimary(report)) {
    return { because: `${node.ident} has the keys of a static primary, which this controller was not told to take over`, todo: `rangerctl adopt ${node.ident}` };
  }
  return { because: `${node.ident} has a copy of a static primary's keys`, todo: `start ${primaryOf(world, report)} here too, without a role, and have it taken over with rangerctl adopt` };
}

/** The primary that a static replica follows, as people know it. */
export function primaryOf({ roster }: World, { replica }: RemoteRange): string {
  const source = replica?.source ?? '';
  const known = [...roster.nodes.values()].find(({ address }) => address === source);
  return known?.ident ?? (source === '' ? 'its primary' : `its primary (${source})`);
}
