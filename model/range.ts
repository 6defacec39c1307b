import { type Interval, formatInterval } from './interval.js';

/** Never used twice; starts at 1. At most 2^53 - 1. */
export type RangeId = number;

/** A node's name in the cluster. */
export type NodeIdent = string;

export interface RangeMeta extends Interval {
  readonly id: RangeId;
}

/** `R1 [-inf, m)` */
export function formatRange(meta: RangeMeta): string {
  return `R${meta.id} ${formatInterval(meta)}`;
}

/** `R1 P0@5200` */
export function formatPlacement(range: RangeId, index: number, node: NodeIdent): string {
  return `R${range} P${index}@${node}`;
}

/** The ident a node has when none is given: the port alone on this machine, else host:port. */
export function defaultIdent(host: string, port: number): NodeIdent {
  return host === '' || host === 'localhost' || host === '127.0.0.1' ? String(port) : `${host}:${port}`;
}
