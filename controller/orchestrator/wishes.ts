import type { NodeIdent } from '../../model/range.js';
import type { NodeWish } from '../keyspace/wish.js';
import { type Adjustment, type Refusal, refuse, unknownNode } from './request.js';
import type { World } from './types.js';

export type NodeOrder = 'drain' | 'undrain' | 'cordon' | 'uncordon';

const DONE: Readonly<Record<NodeOrder, string>> = {
  drain: 'is drained: its ranges leave, and it is given no new ones',
  undrain: 'is drained no more',
  cordon: 'is cordoned: it is given no new ranges',
  uncordon: 'is cordoned no more',
};

/** An operator's word on what a node is to have; it holds until it is taken back. */
export function planNodeOrder(world: World, order: NodeOrder, node: NodeIdent): Adjustment | Refusal {
  if (node === '') return refuse("node: a node's name is missing", 'INVALID_ARGUMENT');
  const { keyspace, roster } = world;
  const seen = roster.nodes.get(node);
  const known = seen !== undefined || keyspace.on(node).size > 0 || keyspace.wished().has(node);
  if (!known) return refuse(unknownNode([...roster.nodes.keys(), ...keyspace.wished().keys()], node), 'NOT_FOUND');
  const before = keyspace.wish(node);
  const wish = changed(before, order);
  if (order === 'undrain' && !before.drain && seen?.wantDrain === true) {
    return refuse(`${node} asks for the drain itself, because it is told to stop; it ends with the process`);
  }
  const same = wish.drain === before.drain && wish.cordon === before.cordon;
  return { allowed: true, changes: [], steps: [], wishes: same ? [] : [{ node, wish }], description: same ? '' : `${node} ${DONE[order]}` };
}

function changed(wish: NodeWish, order: NodeOrder): NodeWish {
  switch (order) {
    case 'drain':
    case 'undrain':
      return { ...wish, drain: order === 'drain' };
    case 'cordon':
    case 'uncordon':
      return { ...wish, cordon: order === 'cordon' };
  }
}
