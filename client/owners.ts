import type { Observable } from 'rxjs';
import type { Interval } from '../model/interval.js';
import type { Key } from '../model/key.js';
import type { NodeIdent, RangeId } from '../model/range.js';

/** Who serves a key, as of now. */
export interface Owner {
  readonly address: string;
  readonly node: NodeIdent;
  readonly range: RangeId;
  readonly epoch: number;
}

/** What routing needs to know of the cluster; a rangelet's mirror of all nodes gives it. */
export interface Owners {
  find(key: Key): Owner | undefined;
  /** Whoever has a copy of the key that can be read, new or not; the owner among them. */
  copies(key: Key): readonly Owner[];
  /** Where the nodes that are there answer: each is worth a connection. */
  addresses(): readonly string[];
  /** Emits after each change of either. */
  readonly changes: Observable<unknown>;
}

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.address === b.address && a.range === b.range && a.epoch === b.epoch && a.node === b.node;
}

/** With what lies around a key, for those who ask for many. */
export interface SpanOwner extends Owner {
  /** The keys that are asked there, of those around the one that was looked for. */
  readonly interval: Interval;
}

export interface SpanOwners extends Owners {
  find(key: Key): SpanOwner | undefined;
  /** Who serves the keys right below `end`, of which the empty one is +inf. */
  findBelow(end: Key): SpanOwner | undefined;
}

/** For those who ask by range and not by key, as for its log. */
export interface RangePlaces extends Pick<SpanOwners, 'find' | 'changes'> {
  primaryOf(range: RangeId): RangePrimary | undefined;
  /** Whether a node that is there has a copy, of whatever state; undefined while not all have told what they have. */
  isHeld(range: RangeId): boolean | undefined;
}

export interface RangePrimary extends Owner {
  /** The first key of the range. */
  readonly start: Key;
}

/** `node 5201` when its address says no more, else with the address. */
export function formatOwner(owner: Owner): string {
  return owner.address.endsWith(`:${owner.node}`) || owner.address === owner.node
    ? `node ${owner.node}`
    : `node ${owner.node} at ${owner.address}`;
}
