import { describe, expect, it } from 'vitest';
import { NO_LOAD } from '../model/report.js';
import { Keyspace } from './keyspace/keyspace.js';
import { newPlacement, newRange, type RangeRecord } from './keyspace/record.js';
import { DEFAULT_TUNING, type World } from './orchestrator/types.js';
import { Outages } from './outages.js';
import { EMPTY_ROSTER, type Roster } from './roster/roster.js';
import * as updates from './roster/updates.js';
import { type Status, statusOf } from './status.js';

const META = { id: 1, start: '', end: '' } as never as { id: number; start: never; end: never };
const RANGE = newRange(META, { established: true, primary: 0, placements: [newPlacement(0, '5200', { state: 'Active', incarnation: 'a' })] });
const REPORT = { meta: META, state: 'Active' as const, load: NO_LOAD, epoch: 1, progress: undefined, lastError: '', serving: true };

function rosterWith(incarnation = 'a'): Roster {
  let roster = updates.settled(EMPTY_ROSTER);
  for (const ident of ['5200', '5201']) {
    const disk = ident === '5200' ? incarnation : 'b';
    roster = updates.discovered(roster, { ident, address: `localhost:${ident}`, incarnation: disk }, 0);
    const ranges = ident === '5200' && incarnation === 'a' ? [REPORT] : [];
    roster = updates.reported(roster, ident, { ranges, wantDrain: false, incarnation: disk }, 0, 0);
  }
  return roster;
}

function worldOf(roster: Roster, nowMs = 0): World {
  return { keyspace: new Keyspace([RANGE]), roster, nowMs, tuning: DEFAULT_TUNING };
}

function statusIn(world: World, outageSinceMs?: number): Status {
  return statusOf({ world, waiting: () => undefined, outageSinceMs: () => outageSinceMs, problems: [], broken: undefined, leaderless: undefined });
}

describe('status', () => {
  it.each([
    ['a follower', 1, [0], 'busy', 'the copy on 5201 is damaged, and is made anew'],
    ['a primary with others in sync', 0, [0, 1], 'busy', 'its primary on 5200 is damaged, and another copy takes its place'],
    ['the only copy in sync', 0, [0], 'degraded', 'its only copy in sync, on 5200, is damaged'],
  ])('says that %s is damaged', (_, index, insync, health, waiting) => {
    const node = index === 0 ? '5200' : '5201';
    const replica = { configEpoch: 1, logEpoch: 1, lastOffset: 0, committedOffset: 0, source: '', sourceLost: false, followers: [], leased: true, damaged: true, incomplete: false, static: false };
    const report = { ...REPORT, state: index === 0 ? ('Active' as const) : ('Inactive' as const), replica };
    const placements = [...RANGE.placements, newPlacement(1, '5201', { state: 'Inactive', incarnation: 'b' })];
    const keyspace = new Keyspace([{ ...RANGE, placements, insync }]);
    const status = statusIn({ ...worldOf(updates.rangeReported(rosterWith(), node, report, 0)), keyspace });
    expect(status.items).toMatchObject([{ health, waiting, subject: 'R1 [-inf, +inf)', node, todo: expect.stringContaining(`see whether the disk of ${node} is well`) as string }]);
  });

  it('is healthy when every range is served', () => {
    expect(statusIn(worldOf(rosterWith()))).toMatchObject({ health: 'healthy', ranges: 1, rangesUnavailable: 0, nodes: 2, nodesReachable: 2, items: [] });
  });

  it('says nothing of a node that is gone with no more than what an operator gave up', () => {
    const given: RangeRecord = { ...RANGE, placements: RANGE.placements.map((p) => ({ ...p, state: 'Dropped', lost: true, failed: 'an operator gave it up' })) };
    const world = { ...worldOf(updates.lost(rosterWith(), '5200', 'killed', 100), 200), keyspace: new Keyspace([given]) };
    expect(statusIn(world).items.filter(({ node }) => node !== undefined)).toEqual([]);
  });

  it('a node that is silent for a moment is only watched', () => {
    const silent = updates.silent(rosterWith(), '5200', 'the connection broke', 100);
    expect(statusIn(worldOf(silent, 600), 100)).toMatchObject({ health: 'busy', rangesUnavailable: 0, nodesReachable: 1 });
    expect(statusIn(worldOf(silent, 6000), 100).health).toBe('degraded');
  });

  it('a node that is gone: what waits for it, since when, and what to do', () => {
    const gone = updates.lost(rosterWith(), '5200', 'the connection broke', 100);
    const status = statusIn(worldOf(gone, 65_100), 100);
    expect(status).toMatchObject({ health: 'degraded', rangesUnavailable: 1 });
    expect(status.items[0]).toEqual({
      health: 'degraded',
      subject: 'R1 [-inf, +inf)',
      waiting: '5200 is gone: the connection broke',
      forMs: 65_000,
      todo: 'start 5200 again, its data is on its disk; if that is lost for good: rangerctl range reset 1 --accept-data-loss',
      range: 1,
    });
    expect(status.items[1]).toMatchObject({ subject: 'node 5200', todo: 'start 5200 again' });
  });

  it('a node that is back with another disk is a stranger', () => {
    const status = statusIn(worldOf(rosterWith('other'), 1000), 0);
    expect(status.items[0]).toMatchObject({ health: 'degraded', waiting: '5200 came back with another disk, without what it held' });
    expect(status.items[0]?.todo).toMatch(/^start 5200 with the data directory it had/);
  });

  it('a drain is worked on; one that nobody can take needs somebody', () => {
    const world = worldOf(rosterWith());
    world.keyspace.applyWishes([{ node: '5200', wish: { drain: true, cordon: false } }]);
    expect(statusIn(world)).toMatchObject({ health: 'busy', items: [{ subject: 'node 5200', waiting: 'drains, 1 range left', todo: '' }] });
    world.keyspace.applyWishes([{ node: '5201', wish: { drain: false, cordon: true } }]);
    const stuck = statusIn(world);
    expect(stuck.health).toBe('degraded');
    expect(stuck.items[0]?.waiting).toBe('drains, 1 range left: R1 waits: no node can take it: 5200 already has R1, 5201 is cordoned');
    expect(stuck.items[0]?.todo).toContain('rangerctl undrain 5200');
  });

  it('a controller that cannot write says so first', () => {
    const world = worldOf(rosterWith());
    const status = statusOf({ world, waiting: () => undefined, outageSinceMs: () => undefined, problems: [], broken: 'Consul is away', leaderless: undefined });
    expect(status.items[0]).toMatchObject({ subject: 'controller', waiting: 'nothing is decided: Consul is away' });
  });

  it('one that follows says what it knows, and that nobody leads', () => {
    const status = statusOf({ world: worldOf(rosterWith()), waiting: () => undefined, outageSinceMs: () => undefined, problems: [], broken: undefined, leaderless: 'no controller leads at the moment' });
    expect(status).toMatchObject({ health: 'degraded', ranges: 1, rangesUnavailable: 0, nodesReachable: 2 });
    expect(status.items[0]).toMatchObject({ subject: 'controllers', waiting: expect.stringContaining('no controller leads at the moment') as string });
  });
});

describe('outages', () => {
  it('are told once, and their end too', () => {
    const outages = new Outages();
    const gone = updates.lost(rosterWith(), '5200', 'killed', 100);
    const because = (): undefined => undefined;
    expect(outages.note(worldOf(rosterWith()), [1], because)).toEqual([]);
    expect(outages.note(worldOf(gone, 100), [1], because).map(({ text }) => text)).toEqual(['R1 [-inf, +inf) is unavailable: 5200 is gone: killed']);
    expect(outages.note(worldOf(gone, 200), [1], because)).toEqual([]);
    expect(outages.sinceMs(1)).toBe(100);
    expect(outages.note(worldOf(rosterWith(), 2600), [1], because).map(({ text }) => text)).toEqual(['R1 [-inf, +inf) is available again after 2.5 s']);
    expect(outages.sinceMs(1)).toBeUndefined();
  });

  it('the moment of a handover is none', () => {
    const outages = new Outages();
    const silent = updates.silent(rosterWith(), '5200', 'a moment', 0);
    expect(outages.note(worldOf(silent, 100), [1], () => undefined)).toEqual([]);
    expect(outages.note(worldOf(rosterWith(), 200), [1], () => undefined)).toEqual([]);
  });
});

describe('status of copies', () => {
  const following = (inSync: boolean, silentMs: number) => ({ member: { node: '5201', incarnation: 'b', address: 'localhost:5201' }, ackedOffset: 0, inSync, silentMs, lagBytes: 0 });
  const replica = { configEpoch: 1, logEpoch: 1, lastOffset: 0, committedOffset: 0, source: '', sourceLost: false, followers: [following(true, 0)], leased: true, damaged: false, incomplete: false, static: false };

  function worldWith(change: (range: RangeRecord) => RangeRecord, minInSync = 1): World {
    const both = [newPlacement(0, '5200', { state: 'Active', incarnation: 'a' }), newPlacement(1, '5201', { state: 'Inactive', incarnation: 'b' })];
    let roster = updates.rangeReported(rosterWith(), '5200', { ...REPORT, replica }, 0);
    roster = updates.rangeReported(roster, '5201', { ...REPORT, state: 'Inactive', serving: false, replica: { ...replica, source: 'localhost:5200', followers: [] } }, 0);
    const range = change({ ...RANGE, placements: both, insync: [0, 1] });
    return { keyspace: new Keyspace([range]), roster, nowMs: 0, tuning: { ...DEFAULT_TUNING, replicas: 2, minInSync } };
  }

  it('with all of them in sync there is nothing to say', () => {
    expect(statusIn(worldWith((range) => range)).items).toEqual([]);
  });

  it('one that is catching up is on its way', () => {
    expect(statusIn(worldWith((range) => ({ ...range, insync: [0] }))).items[0]).toMatchObject({ health: 'busy', waiting: '1 of 2 in sync, 1 catching up', todo: '' });
  });

  it('too few for --min-in-sync is degraded: writes are refused', () => {
    const [item] = statusIn(worldWith((range) => ({ ...range, insync: [0] }), 2)).items;
    expect(item).toMatchObject({ health: 'degraded', waiting: '1 of 2 in sync, 1 catching up; writes are refused, for --min-in-sync is 2' });
  });

  it('a node that is away is expected back, and its ranges are served', () => {
    const world = worldWith((range) => range);
    const gone = { ...world, roster: updates.lost(world.roster, '5201', 'killed', 0) };
    const status = statusIn(gone);
    expect(status.health).toBe('busy');
    expect(status.items.find(({ range }) => range === 1)).toMatchObject({ waiting: '1 of 2 in sync, 1 missing', todo: 'start 5201 again' });
  });

  it('with no node for a copy it does not go on by itself', () => {
    const world = worldWith((range) => ({ ...range, placements: range.placements.slice(0, 1), insync: [0] }));
    expect(statusIn(world).items[0]).toMatchObject({ health: 'degraded', todo: 'start another node' });
  });
});
