import type { NodeIdent, RangeId } from '../model/range.js';
import type { Keyspace } from './keyspace/keyspace.js';
import type { Scope } from './orchestrator/reconcile.js';
import type { Roster } from './roster/roster.js';

/** How many ranges the safety net looks at in a tick, so that a pass never holds up what is urgent. */
const SWEEP_RANGES_MAX = 5000;
const SWEEP_NODES_MAX = 100;

/** What to look at in the next pass. */
export class Agenda {
  private readonly ranges = new Set<RangeId>();
  private readonly nodes = new Set<NodeIdent>();
  private everything = false;
  private rangeSweep: Iterator<RangeId> | undefined;
  private nodeSweep: Iterator<NodeIdent> | undefined;

  get isEmpty(): boolean {
    return !this.everything && this.ranges.size === 0 && this.nodes.size === 0;
  }

  add(ranges: Iterable<RangeId>): void {
    for (const id of ranges) this.ranges.add(id);
  }

  addNode(node: NodeIdent): void {
    this.nodes.add(node);
  }

  addAll(): void {
    this.everything = true;
  }

  /** The next part of everything, so that in time all of it is looked at although nothing seems to happen. */
  sweep(keyspace: Keyspace, roster: Roster): void {
    this.rangeSweep ??= keyspace.ids();
    this.nodeSweep ??= roster.nodes.keys();
    if (!drain(this.rangeSweep, this.ranges, SWEEP_RANGES_MAX)) this.rangeSweep = undefined;
    if (!drain(this.nodeSweep, this.nodes, SWEEP_NODES_MAX)) this.nodeSweep = undefined;
  }

  clear(): void {
    this.ranges.clear();
    this.nodes.clear();
    this.everything = false;
    this.rangeSweep = undefined;
  }

  /** Undefined is everything. */
  take(): Scope | undefined {
    const scope = this.everything ? undefined : { ranges: [...this.ranges], nodes: [...this.nodes] };
    this.ranges.clear();
    this.nodes.clear();
    this.everything = false;
    return scope;
  }
}

/** Moves up to `max` items over; false when there are no more. */
function drain<T>(from: Iterator<T>, into: Set<T>, max: number): boolean {
  for (let i = 0; i < max; i++) {
    const next = from.next();
    if (next.done === true) return false;
    into.add(next.value);
  }
  return true;
}
