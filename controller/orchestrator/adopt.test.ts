import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { keyFromText } from '../../model/key.js';
import { NO_LOAD, type RangeInfo, type ReplicaInfo } from '../../model/report.js';
import { Keyspace, firstRange } from '../keyspace/keyspace.js';
import { type RangeRecord, newPlacement } from '../keyspace/record.js';
import { EMPTY_ROSTER, type Roster } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import { planAdopt } from './adopt.js';
import { planMove } from './request.js';
import { planReset } from './reset.js';
import { reconcile } from './reconcile.js';
import { DEFAULT_TUNING, type World } from './types.js';

const BEGUN = 1_700_000_000_000;
const WHOLE = { id: 1, ...EVERYTHING };

function copy(replica: Partial<ReplicaInfo> = {}, more: Partial<RangeInfo> = {}): RangeInfo {
  const known: ReplicaInfo = { configEpoch: BEGUN, logEpoch: BEGUN, lastOffset: 7, committedOffset: 7, source: '', sourceLost: false, followers: [], leased: true, damaged: false, incomplete: false, static: true, ...replica };
  return { meta: WHOLE, state: 'Active', load: NO_LOAD, epoch: BEGUN, progress: undefined, lastError: '', serving: true, replica: known, ...more };
}

const primary = copy();
const replicaOf = (address: string, more: Partial<ReplicaInfo> = {}): RangeInfo => copy({ configEpoch: 0, source: address, leased: false, ...more }, { state: 'Inactive', epoch: 1, serving: false });

function heard(roster: Roster, ident: string, ranges: readonly RangeInfo[]): Roster {
  const seen = updates.discovered(roster, { ident, address: `host:${ident}`, incarnation: `disk-${ident}` }, 0);
  return updates.reported(seen, ident, { ranges, wantDrain: false, incarnation: `disk-${ident}` }, 0, 0);
}

function world(nodes: Readonly<Record<string, readonly RangeInfo[]>>, records: readonly RangeRecord[] = [firstRange()], replicas = 2): World {
  const roster = Object.entries(nodes).reduce((before, [ident, ranges]) => heard(before, ident, ranges), EMPTY_ROSTER);
  return { keyspace: new Keyspace(records), roster: updates.settled(roster), nowMs: 10_000, tuning: { ...DEFAULT_TUNING, replicas } };
}

function taken(at: World, node: string): RangeRecord {
  const plan = planAdopt(at, node);
  const record = plan.allowed ? plan.changes[0]?.record : undefined;
  if (!record) throw new Error(plan.allowed ? 'nothing changed' : plan.because);
  return record;
}

const refusal = (at: World, node: string): string => {
  const plan = planAdopt(at, node);
  return plan.allowed ? `allowed: ${plan.description}` : plan.because;
};

describe('taking over a static primary', () => {
  it('makes the first range what is on that node, on that disk, above every epoch that is known there', () => {
    const record = taken(world({ a: [primary], b: [{ ...replicaOf('host:a'), epoch: BEGUN + 5 }] }), 'a');
    expect(record).toMatchObject({ id: 1, established: true, epoch: BEGUN + 6, adopted: BEGUN, primary: 0, insync: [0], fork: 0 });
    expect(record.placements).toEqual([newPlacement(0, 'a', { state: 'Active', incarnation: 'disk-a' })]);
  });

  it('is one change', () => {
    const plan = planAdopt(world({ a: [primary], b: [replicaOf('host:a')] }), 'a');
    expect(plan.allowed && plan.changes.length).toBe(1);
  });

  it('changes nothing when it is asked for again, and is refused for another disk', () => {
    const before = world({ a: [primary] });
    const record = taken(before, 'a');
    const after = world({ a: [primary] }, [record]);
    expect(planAdopt(after, 'a')).toMatchObject({ allowed: true, changes: [], description: '' });
    expect(refusal({ ...after, roster: heard(updates.discovered(EMPTY_ROSTER, { ident: 'a', address: 'host:a', incarnation: 'other' }, 0), 'b', []) }, 'a')).toContain('were taken over already');
  });

  it('forgets a copy that was to begin empty', () => {
    const begun: RangeRecord = { ...firstRange(), epoch: 2, primary: 0, placements: [newPlacement(0, 'c')] };
    const record = taken(world({ a: [primary], c: [] }, [begun]), 'a');
    expect(record.placements).toMatchObject([{ node: 'c', state: 'Dropped' }, { node: 'a', state: 'Active' }]);
    expect(record.primary).toBe(1);
  });

  const inUse: RangeRecord = { ...firstRange(), epoch: 2, established: true, primary: 0, insync: [0], placements: [newPlacement(0, 'c', { state: 'Active' })] };
  const half = { id: 1, start: EVERYTHING.start, end: keyFromText('m') };
  it.each<[string, World, string]>([
    ['a node that is not there', world({ b: [primary] }), 'there is no node a'],
    ['a node without keys', world({ a: [] }), 'a has no keys'],
    ['a replica', world({ a: [replicaOf('host:p')], p: [primary] }), 'a was a static replica: have p taken over'],
    ['a replica whose primary is not there', world({ a: [replicaOf('far:1')] }), 'have its primary (far:1) taken over'],
    ['one that is starting', world({ a: [copy({}, { state: 'Activating' })] }), 'a says it is Activating'],
    ['one that is damaged', world({ a: [copy({ damaged: true })] }), 'what a has is damaged'],
    ['keys of a cluster whose controller lost its memory', world({ a: [copy({ static: false })] }), 'of a cluster with a controller'],
    ['keys of a node that knows nothing of this', world({ a: [copy({}, { replica: undefined })] }), 'of a cluster with a controller'],
    ['a part of the keys', world({ a: [copy({}, { meta: half })] }), 'of a cluster with a controller'],
    ['more than the one range', world({ a: [primary, copy({}, { meta: { ...WHOLE, id: 7 } })] }), 'a holds R7'],
    ['one of two primaries', world({ a: [primary], b: [primary] }), 'b is a static primary too'],
    ['one beside a range that was never made here', world({ a: [primary], b: [copy({ static: false }, { meta: { ...WHOLE, id: 7 } })] }), 'b holds R7'],
    ['one beside another that serves the range', world({ a: [primary], b: [copy({ static: false })] }), 'b holds R1'],
    ['one when the cluster has keys of its own', world({ a: [primary], c: [] }, [inUse]), 'in use already: R1 is on c'],
    ['one that an operator gave up', world({ a: [primary] }, [{ ...firstRange(), placements: [newPlacement(0, 'a', { state: 'Dropped', lost: true })] }]), 'was given up'],
  ])('refuses %s', (_words, at, because) => {
    expect(refusal(at, 'a')).toContain(because);
  });
});

describe('before a static primary is taken over', () => {
  const awaiting = (at: World): string | undefined => reconcile(at).waiting.get(1);
  const persisted = (at: World): RangeRecord | undefined => reconcile(at).groups.flatMap(({ changes }) => changes.map(({ record }) => record))[0];

  it.each([
    ['its primary', { a: [primary], c: [] }, 'a has the keys of a static primary'],
    ['a replica alone', { b: [replicaOf('far:1')], c: [] }, "b has a copy of a static primary's keys"],
  ])('the first range is begun nowhere, and nothing is dropped, once %s was seen', (_words, nodes, because) => {
    const at = world(nodes);
    const decision = reconcile(at);
    expect(decision.waiting.get(1)).toContain(because);
    expect(decision.commands).toEqual([]);
    expect(persisted(at)?.awaits).toBe(Object.keys(nodes)[0]);
  });

  it('nor when these nodes are away, until an operator gives them up', () => {
    const away = world({ c: [] }, [{ ...firstRange(), awaits: 'a' }]);
    expect(awaiting(away)).toContain('the static node a were seen');
    expect(planReset(away, { range: 1, acceptDataLoss: false })).toMatchObject({ allowed: false });
    expect(planReset(away, { range: 1, acceptDataLoss: true })).toMatchObject({ allowed: true, changes: [{ record: { awaits: undefined } }] });
    expect(planReset(world({ a: [primary] }, [{ ...firstRange(), awaits: 'a' }]), { range: 1, acceptDataLoss: true })).toMatchObject({ allowed: false });
  });

  it('nor beside a node that was not heard yet', () => {
    const at = world({ c: [] });
    const roster = updates.discovered(at.roster, { ident: 'a', address: 'host:a', incarnation: undefined }, 9_999);
    expect(awaiting({ ...at, roster })).toBe('a has not been heard from yet, and may have keys');
    expect(awaiting({ ...at, roster: updates.lost(roster, 'a', 'no answer', 10_000) })).not.toContain('not been heard');
  });

  it('a copy that was to begin is forgotten, and never told to', () => {
    const begun: RangeRecord = { ...firstRange(), epoch: 2, primary: 0, placements: [newPlacement(0, 'c', { state: 'Inactive', incarnation: 'disk-c' })] };
    const at = world({ a: [primary], c: [copy({ static: false, logEpoch: 0 }, { state: 'Inactive', epoch: 2, serving: false })] }, [begun]);
    expect(reconcile(at).commands.map(({ command, node }) => `${command} ${node}`)).toEqual(['Drop c']);
    expect(persisted(at)).toMatchObject({ established: false, primary: undefined, awaits: 'a' });
  });
});

describe('replicas of a static primary that was taken over', () => {
  const followed = copy({ configEpoch: BEGUN + 6, static: false }, { epoch: BEGUN + 6 });
  const record = taken(world({ a: [primary] }), 'a');
  const commands = (at: World): string[] => reconcile(at).commands.map(({ command, node }) => `${command} ${node}`);
  const steps = (at: World): string[] => reconcile(at).steps.flatMap(({ placement, to }) => (placement ? [`${placement.node} ${to}`] : []));

  it('are let in as followers before any other node is, with what they have', () => {
    const at = world({ a: [followed], '0': [], b: [replicaOf('host:a')] }, [record]);
    expect(steps(at)).toEqual(['b Pending', 'b Inactive']);
    expect(commands(at)).toContain('Prepare b');
  });

  it('are dropped when there are enough, and never while the primary is not there', () => {
    expect(commands(world({ a: [followed], b: [replicaOf('host:a')] }, [record], 1))).toContain('Drop b');
    expect(commands(world({ b: [replicaOf('host:a')] }, [record], 1))).toEqual([]);
    expect(commands(world({ b: [replicaOf('host:a')] }, [record], 2))).toEqual([]);
  });

  it.each([
    ['another store', replicaOf('host:a', { logEpoch: BEGUN - 1 })],
    ['a primary that has writes', copy({ logEpoch: BEGUN - 1 })],
  ])('of %s are left alone, and nothing is given to their nodes', (_words, other) => {
    const at = world({ a: [followed], b: [other] }, [record]);
    expect(commands(at).filter((line) => line.endsWith(' b'))).toEqual([]);
    expect(steps(at)).toEqual([]);
    expect(reconcile(at).problems).toMatchObject([{ node: 'b', because: expect.stringContaining('not those of this cluster') as string }]);
    const active = world({ a: [followed], b: [other] }, [record], 1);
    expect(planMove(active, { range: 1, node: 'b' })).toMatchObject({ allowed: false, because: expect.stringContaining('b has keys of a static node') as string });
  });
});
