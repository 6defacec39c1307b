import type { NodeIdent } from '../../model/range.js';
import { isUnderWay } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, isInSync, primaryOf } from '../keyspace/record.js';
import type { RosterNode } from '../roster/roster.js';
import { isReplicated } from './members.js';
import { isActive, isStranger, look } from './sight.js';
import { awaitsAdoption, whyAwaits } from './static.js';
import type { World } from './types.js';

export type Availability =
  | { readonly available: true }
  | {
      readonly available: false;
      readonly because: string;
      /** It will not come on by itself; otherwise it may be the moment of a handover. */
      readonly lasting: boolean;
      /** What an operator can do; empty when there is nothing. */
      readonly todo: string;
    };

/** Whether the range's keys can be read and written; undefined for one that does not answer for keys now, as while its parents do. */
export function availabilityOf(world: World, range: RangeRecord): Availability | undefined {
  if (!answersForKeys(world, range)) return undefined;
  const primary = primaryOf(range);
  if (primary && isActive(look(world.roster, range, primary))) return { available: true };
  const lost = primary && lostCopy(world, range);
  if (lost) return { available: false, lasting: true, ...lost };
  if (awaitsAdoption(world, range)) return { available: false, lasting: true, ...whyAwaits(world, range) };
  const because = primary ? presentTrouble(world, range, primary) : 'it has no node yet';
  const todo = primary ? '' : 'start a node, or end a drain or cordon: `rangerctl nodes` lists them';
  return { available: false, because, lasting: false, todo };
}

/** While a split or join is under way the parents do, until the children are to take over. */
function answersForKeys(world: World, range: RangeRecord): boolean {
  if (range.state === 'Obsolete') return false;
  if (range.primary !== undefined) return true;
  return range.state === 'Active' && !isUnderWay(range, world.keyspace);
}

function presentTrouble(world: World, range: RangeRecord, primary: PlacementRecord): string {
  const sight = look(world.roster, range, primary);
  if (sight.kind !== 'here') return sight.because;
  if (!sight.reachable) return `${primary.node} does not answer`;
  return `${primary.node} says it is ${sight.state}`;
}

/** The copy that the range waits for, when that is not there: its primary, or one that may have taken the data over. */
function lostCopy(world: World, range: RangeRecord): { because: string; todo: string } | undefined {
  const reset = `rangerctl range reset ${range.id} --accept-data-loss`;
  const primary = primaryOf(range);
  const wanted = range.placements.filter((p) => p.state !== 'Dropped' && (!isReplicated(world, range) || p.index === range.primary || isInSync(range, p)));
  // One that is there takes over, or is taken over from.
  if (wanted.some((p) => p !== primary && isInSync(range, p) && look(world.roster, range, p).kind === 'here')) return undefined;
  for (const placement of [...(primary ? [primary] : []), ...wanted]) {
    const sight = look(world.roster, range, placement);
    const node = world.roster.nodes.get(placement.node);
    if (sight.kind === 'gone') return { because: sight.because, todo: todoFor(placement.node, node, placement, reset) };
    if (placement === primary && range.established && sight.kind === 'here' && sight.state === 'NotFound') {
      return { because: `${placement.node} no longer has it`, todo: `look for why in its log; if the data is lost for good: ${reset}` };
    }
  }
  return undefined;
}

function todoFor(ident: NodeIdent, node: RosterNode | undefined, placement: PlacementRecord, reset: string): string {
  if (node && isStranger(node, placement)) {
    return `start ${ident} with the data directory it had; if that is lost for good: ${reset}`;
  }
  return `start ${ident} again, its data is on its disk; if that is lost for good: ${reset}`;
}
