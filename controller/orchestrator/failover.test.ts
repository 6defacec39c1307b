import { describe, expect, it } from 'vitest';
import { build, lines } from '../../test/scenarios/build.js';
import type { ReplicaInfo } from '../../model/report.js';
import type { RangeRecord } from '../keyspace/record.js';
import type { Roster } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import { reconcile } from './reconcile.js';
import type { World } from './types.js';

const RANGE = 'R1 [-inf, +inf): P0@5200 Active, P1@5201 Inactive, P2@5202 Inactive';
const NODES = ['5200', '5201', '5202'];
const QUIET: ReplicaInfo = {
  configEpoch: 0, logEpoch: 1, lastOffset: 7, committedOffset: 7, source: 'host:5200', sourceLost: false, followers: [], leased: false, damaged: false, incomplete: false, static: false,
};

/** What copies say of themselves, by node. */
function saying(says: Readonly<Record<string, Partial<ReplicaInfo>>>) {
  return (roster: Roster): Roster => {
    let next = roster;
    for (const [node, replica] of Object.entries(says)) {
      const known = next.nodes.get(node)?.ranges.get(1);
      if (known) next = updates.rangeReported(next, node, { ...known, replica: { ...QUIET, ...replica } }, 0);
    }
    return next;
  };
}

function world(says: Readonly<Record<string, Partial<ReplicaInfo>>>, happens: (roster: Roster) => Roster, change: (range: RangeRecord) => RangeRecord = (range) => range): World {
  const built = build({ nodes: NODES, ranges: [RANGE], change: (range) => change({ ...range, insync: [0, 1, 2] }), roster: (roster) => happens(saying({ 5201: {}, 5202: {}, ...says })(roster)) });
  return { ...built, tuning: { ...built.tuning, replicas: 3 } };
}

const reportOf = (roster: Roster, node: string): updates.NodeInfo => ({ ranges: [...(roster.nodes.get(node)?.ranges.values() ?? [])], wantDrain: false, incarnation: node });
const dead = (roster: Roster): Roster => updates.lost(roster, '5200', 'killed', 0);
/** The others have answered since. */
const silent = (roster: Roster): Roster =>
  ['5201', '5202'].reduce((next, node) => updates.reported(next, node, reportOf(next, node), 900, 900), updates.silent(roster, '5200', 'it does not answer', 900));

function notices(of: World): readonly string[] {
  return reconcile(of).notices.map(({ text }) => text);
}

describe('fail-over', () => {
  it('is to the copy in sync with the longest log', () => {
    expect(notices(world({ 5202: { lastOffset: 9 } }, dead))).toEqual(['R1 fails over from 5200 to 5202: 5200 is gone: killed']);
    expect(notices(world({ 5201: { logEpoch: 2 }, 5202: { lastOffset: 9 } }, dead))).toEqual(['R1 fails over from 5200 to 5201: 5200 is gone: killed']);
  });

  it('is to one that has answered since the loss was noticed, and it is asked', () => {
    const late = (roster: Roster): Roster => updates.lost(roster, '5200', 'killed', 50);
    const answering = (node: string) => (roster: Roster): Roster => updates.reported(roster, node, reportOf(roster, node), 50, 51);
    const silence = world({ 5202: { lastOffset: 9 } }, late);
    expect(notices(silence)).toEqual([]);
    expect(reconcile(silence).ask).toEqual(['5202']);
    expect(notices(world({ 5202: { lastOffset: 9 } }, (roster) => answering('5202')(late(roster))))).toEqual(['R1 fails over from 5200 to 5202: 5200 is gone: killed']);
  });

  it('takes no follower out by the word of a primary from before that was gone', () => {
    const late = (roster: Roster): Roster => updates.lost(roster, '5202', 'killed', 50);
    const silence = world({}, late);
    expect(reconcile(silence).ask).toEqual(['5200']);
    expect(lines(reconcile(silence))).not.toContain('R1 P2@5202: InSync -> Learner');
    expect(lines(reconcile(world({}, (roster) => updates.reported(late(roster), '5200', reportOf(roster, '5200'), 50, 51))))).toContain('R1 P2@5202: InSync -> Learner');
  });

  it('is never to one that is damaged, not whole, or not in sync', () => {
    expect(notices(world({ 5202: { lastOffset: 9, damaged: true } }, dead))).toEqual(['R1 fails over from 5200 to 5201: 5200 is gone: killed']);
    expect(notices(world({ 5202: { lastOffset: 9, incomplete: true } }, dead))).toEqual(['R1 fails over from 5200 to 5201: 5200 is gone: killed']);
    expect(notices(world({ 5202: { lastOffset: 9 } }, dead, (range) => ({ ...range, insync: [0, 1] })))).toEqual(['R1 fails over from 5200 to 5201: 5200 is gone: killed']);
    expect(notices(world({}, dead, (range) => ({ ...range, insync: [0] })))).toEqual([]);
  });

  it('is to one that a move gave up only when there is no other', () => {
    const givenUp = (range: RangeRecord): RangeRecord => ({ ...range, placements: range.placements.map((p) => (p.index === 2 ? { ...p, replaces: 0, failed: 'it was too slow' } : p)) });
    const both = (roster: Roster): Roster => updates.lost(dead(roster), '5201', 'killed', 0);
    expect(notices(world({ 5202: { lastOffset: 9 } }, dead, givenUp))).toEqual(['R1 fails over from 5200 to 5201: 5200 is gone: killed']);
    expect(notices(world({ 5202: { lastOffset: 9 } }, both, givenUp))).toEqual(['R1 fails over from 5200 to 5202: 5200 is gone: killed']);
  });

  it('of a silent primary waits for the word of all its followers', () => {
    expect(notices(world({}, silent))).toEqual([]);
    expect(notices(world({ 5201: { sourceLost: true } }, silent))).toEqual([]);
    expect(notices(world({ 5201: { sourceLost: true }, 5202: { sourceLost: true } }, silent))).toHaveLength(1);
    expect(notices(world({ 5201: { sourceLost: true }, 5202: { sourceLost: true } }, (roster) => roster))).toEqual([]);
  });

  it('takes no word of one that follows somebody else', () => {
    expect(notices(world({ 5201: { sourceLost: true }, 5202: { sourceLost: true, source: 'host:5299' } }, silent))).toEqual([]);
  });

  it('is a fork: the new primary promotes itself, and nobody is asked for the write token', () => {
    const decision = reconcile(world({}, dead));
    const activate = decision.commands.find(({ command }) => command === 'Activate');
    expect(activate).toMatchObject({ node: '5201', epoch: 2, parents: [], membership: { promote: true, fork: 2, minInSync: 1 } });
    expect(activate?.membership?.members.map(({ node }) => node)).toEqual(['5201', '5202']);
    expect(decision.groups.every(({ deferrable }) => !deferrable)).toBe(true);
    expect(lines(decision)).toContain('Prepare R1 P2@5202 epoch 2');
  });

  it('takes out who is gone as well, so that nobody waits for them', () => {
    const both = (roster: Roster): Roster => updates.lost(dead(roster), '5202', 'killed', 0);
    expect(lines(reconcile(world({}, both)))).toContain('R1 P2@5202: InSync -> Learner');
  });
});
