import type { NodeIdent } from '../../model/range.js';
import type { RemoteState } from '../../model/states.js';
import type { PlacementRecord, RangeRecord } from '../keyspace/record.js';
import { type RemoteRange, type Roster, type RosterNode, isTrusted } from '../roster/roster.js';
import type { World } from './types.js';

/** What can be seen of one placement. */
export type Sight =
  /** Nothing was heard yet, so nothing follows. */
  | { readonly kind: 'unknown'; readonly because: string }
  | { readonly kind: 'gone'; readonly because: string }
  | {
      readonly kind: 'here';
      readonly state: RemoteState;
      readonly report: RemoteRange | undefined;
      readonly node: RosterNode;
      /** Commands reach it. Otherwise this is what it said last. */
      readonly reachable: boolean;
    };

export function look(roster: Roster, range: RangeRecord, placement: PlacementRecord): Sight {
  const node = roster.nodes.get(placement.node);
  if (!node) return absent(roster, placement.node);
  if (node.link.state === 'lost') return { kind: 'gone', because: `${node.ident} is gone: ${node.link.why}` };
  if (!isTrusted(roster, node)) return { kind: 'unknown', because: `${node.ident} has not been heard from yet` };
  if (isStranger(node, placement)) {
    return { kind: 'gone', because: `${node.ident} came back with another disk, without what it held` };
  }
  if (node.link.state === 'connecting') return { kind: 'unknown', because: `${node.ident} has not been heard from yet` };
  const report = node.ranges.get(range.id);
  return { kind: 'here', state: report?.state ?? 'NotFound', report, node, reachable: node.link.state === 'live' };
}

function absent(roster: Roster, ident: NodeIdent): Sight {
  return roster.settled
    ? { kind: 'gone', because: `${ident} is gone: it is not registered` }
    : { kind: 'unknown', because: `${ident} has not been seen yet` };
}

/** Since when its node, or the disk that it was on, is gone, as far as this controller knows; undefined while it is not. */
export function goneSinceMs({ roster }: Pick<World, 'roster'>, range: RangeRecord, placement: PlacementRecord): number | undefined {
  if (look(roster, range, placement).kind !== 'gone') return undefined;
  return roster.nodes.get(placement.node)?.link.sinceMs ?? roster.settledMs;
}

/** The same, and of one that only does not answer at the moment; 0 of one that is well. */
export function unheardSinceMs(world: Pick<World, 'roster'>, range: RangeRecord, placement: PlacementRecord): number {
  const link = world.roster.nodes.get(placement.node)?.link;
  return goneSinceMs(world, range, placement) ?? (link?.state === 'silent' ? link.sinceMs : 0);
}

/** A node that lost its disk holds nothing of what its namesake did. */
export function isStranger(node: RosterNode, placement: PlacementRecord): boolean {
  return placement.incarnation !== undefined && node.incarnation !== undefined && placement.incarnation !== node.incarnation;
}

/** The disk that the placement is on is this node's, whatever the node is called now. */
export function isOnDiskOf(node: RosterNode, placement: PlacementRecord): boolean {
  return placement.incarnation !== undefined && placement.incarnation === node.incarnation;
}

/** It says that it is active, and could be told otherwise. */
export function isActive(sight: Sight): boolean {
  return sight.kind === 'here' && sight.reachable && sight.state === 'Active';
}

/** It is prepared, inactive, and could be told to activate. */
export function isReady(sight: Sight): boolean {
  return sight.kind === 'here' && sight.reachable && sight.state === 'Inactive';
}
