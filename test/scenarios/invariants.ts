import { type Interval, containsKey } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import { formatRange, type RangeId } from '../../model/range.js';
import { type Keyspace, coverageProblem } from '../../controller/keyspace/keyspace.js';
import { isInSync } from '../../controller/keyspace/record.js';
import { type FakeCopy, type FakeNode, PROBES } from './fake-node.js';
import { isLeased, isReplicated, write } from './fake-replica.js';

/**
 * The invariants of operations.md that can be seen from outside, checked after every
 * step. Clients write as they check, so that what they were promised is known.
 */
export class Invariants {
  private readonly acknowledged = new Map<Key, number>();
  /** The newest value that a client was shown. */
  private readonly shown = new Map<Key, number>();
  private readonly epochs = new Map<string, number>();
  private writes = 0;

  check(keyspace: Keyspace, nodes: Iterable<FakeNode>): void {
    const all = [...nodes];
    this.checkOwners(keyspace, all);
    const problem = coverageProblem(keyspace.leaves());
    if (keyspace.size > 0 && problem !== undefined) throw broken(2, problem);
    for (const range of keyspace.values()) this.checkEpoch(`R${range.id}`, range.epoch);
    for (const node of all) this.checkCopies(node);
    for (const node of all) for (const copy of node.copies.values()) checkMembers(keyspace, node, copy);
  }

  /** 1: one owner a key. 3 and 4: it has the newest acknowledged value. */
  private checkOwners(keyspace: Keyspace, nodes: readonly FakeNode[]): void {
    for (const key of PROBES) {
      const owners = nodes.flatMap((node) =>
        [...node.copies.values()].filter((c) => accepts(node, c, key) && !isGivenUp(keyspace, node, c)).map((copy) => ({ node, copy })),
      );
      if (owners.length > 1) {
        throw broken(1, `key ${key} is active as ${owners.map((o) => `${formatRange(o.copy.meta)} on ${o.node.ident}`).join(' and ')}`);
      }
      for (const { node, copy } of owners) {
        const promised = this.acknowledged.get(key);
        const has = copy.data.get(key);
        const least = Math.max(promised ?? 0, this.shown.get(key) ?? 0);
        if ((has ?? 0) < least || (!isReplicated(copy) && has !== promised && promised !== undefined)) {
          throw broken(promised !== undefined && copy.data.size === 0 ? 4 : 3, `R${copy.meta.id} on ${node.ident} has ${String(has)} for key ${key}, and ${String(promised)} was acknowledged, ${String(this.shown.get(key))} shown`);
        }
        if (!node.up || node.frozen) continue;
        if (has !== undefined) this.shown.set(key, has);
        this.writes += 1;
        if (write(node, copy, key, this.writes) === 'acknowledged') this.acknowledged.set(key, this.writes);
      }
    }
  }

  /** An operator gave the data of these keys up. */
  forget(range: Interval): void {
    for (const key of PROBES) {
      if (!containsKey(range, key)) continue;
      this.acknowledged.delete(key);
      this.shown.delete(key);
    }
  }

  /** 7: epochs only grow, in the keyspace and on every node. */
  private checkEpoch(where: string, epoch: number): void {
    const before = this.epochs.get(where) ?? 0;
    if (epoch < before) throw broken(7, `${where} went from epoch ${before} back to ${epoch}`);
    this.epochs.set(where, epoch);
  }

  private checkCopies(node: FakeNode): void {
    for (const [id, copy] of node.copies) {
      this.checkEpoch(place(id, node), copy.epoch);
      if (copy.lastError.startsWith('BROKEN')) throw broken(4, copy.lastError);
    }
  }
}

/** What it has counts no more, whatever it believes until it is told. */
function isGivenUp(keyspace: Keyspace, node: FakeNode, copy: FakeCopy): boolean {
  return keyspace.get(copy.meta.id)?.placements.some((p) => p.lost && p.incarnation === node.incarnation) === true;
}

/** Who is persisted as in sync is waited for by whoever can acknowledge a write. */
function checkMembers(keyspace: Keyspace, node: FakeNode, copy: FakeCopy): void {
  const range = keyspace.get(copy.meta.id);
  if (!range || copy.state !== 'Active' || !isReplicated(copy) || !isLeased(node, copy)) return;
  const waitedFor = new Set([...copy.replica.required, node.member].map((m) => `${m.node} ${m.incarnation}`));
  for (const placement of range.placements.filter((p) => isInSync(range, p))) {
    if (waitedFor.has(`${placement.node} ${placement.incarnation ?? ''}`)) continue;
    throw broken(8, `R${range.id} P${placement.index}@${placement.node} is persisted as in sync, and ${node.ident} does not wait for it`);
  }
}

function place(id: RangeId, node: FakeNode): string {
  return `R${id} on ${node.incarnation}`;
}

function accepts(node: FakeNode, copy: FakeCopy, key: Key): boolean {
  return copy.state === 'Active' && containsKey(copy.meta, key) && (!isReplicated(copy) || isLeased(node, copy));
}

function broken(number: number, what: string): Error {
  return new Error(`invariant ${number} is broken: ${what}`);
}
