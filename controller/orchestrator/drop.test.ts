import { describe, expect, it } from 'vitest';
import { build, lines, refused } from '../../test/scenarios/build.js';
import type { RemoteState } from '../../model/states.js';
import { NO_LOAD, type ReplicaInfo } from '../../model/report.js';
import { keyFromText } from '../../model/key.js';
import type { Roster } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import { reconcile } from './reconcile.js';

const QUIET: ReplicaInfo = {
  configEpoch: 0, logEpoch: 1, lastOffset: 7, committedOffset: 7, source: '', sourceLost: false, followers: [], leased: false, damaged: false, incomplete: false, static: false,
};
const nodes = ['5200', '5201'];
const live = 'R1 [-inf, +inf): P0@5200 Active';

/** A copy that nobody placed there. */
function stray(id: number, state: RemoteState, serving = false) {
  const meta = { id, start: keyFromText(''), end: keyFromText('') };
  return (roster: Roster): Roster =>
    updates.rangeReported(roster, '5201', { meta, state, load: NO_LOAD, epoch: 4, progress: undefined, lastError: '', serving }, 1);
}

describe('strays', () => {
  it('that nothing can depend on are dropped, at an epoch that the node does not refuse', () => {
    expect(lines(reconcile(build({ nodes, ranges: [live], roster: stray(1, 'Inactive') })))).toEqual(['Drop stray R1@5201 epoch 4']);
  });

  it.each<[string, (roster: Roster) => Roster]>([
    ['still serves R1', stray(1, 'Active')],
    ['still serves R1', stray(1, 'Inactive', true)],
    ['holds R9, which this controller never made', stray(9, 'Inactive')],
  ])('that may matter are only shown: %s', (problem, roster) => {
    const decision = reconcile(build({ nodes, ranges: [live], roster }));
    expect(decision.commands).toEqual([]);
    expect(decision.problems.map((p) => p.because).join()).toContain(problem);
  });

  describe('on a disk that was given up under another name', () => {
    // 5209 is gone, and its disk is 5201's now.
    const reset = 'R1 [-inf, +inf): P1@5200 Active, P0@5209 Dropped -> NotFound';
    const world = (state: RemoteState) =>
      build({
        nodes,
        ranges: [reset],
        roster: stray(1, state, state === 'Active'),
        change: (range) => ({ ...range, epoch: 7, placements: range.placements.map((p) => (p.index === 0 ? { ...p, incarnation: '5201', lost: true } : p)) }),
      });

    it('are told to stop', () => {
      expect(lines(reconcile(world('Active')))).toEqual(['Deactivate stray R1@5201 epoch 7']);
    });

    it('and dropped by force once they have, as nothing that they hold counts', () => {
      expect(reconcile(world('Inactive')).commands).toMatchObject([{ command: 'Drop', node: '5201', epoch: 7, force: true }]);
      expect(reconcile(world('Deactivating')).commands).toEqual([]);
    });
  });

  it('are looked for only where asked', () => {
    const world = build({ nodes, ranges: [live], roster: stray(1, 'Inactive') });
    expect(reconcile(world, { ranges: [1], nodes: [] }).commands).toEqual([]);
    expect(reconcile(world, { ranges: [], nodes: ['5201'] }).commands).toHaveLength(1);
  });

  it('that were not dropped are tried again later', () => {
    const roster = (r: Roster): Roster => refused('Drop', 1, '5201', 4, 8)(stray(1, 'Inactive')(r));
    const world = build({ nodes, ranges: [live], roster });
    expect(reconcile(world).commands).toHaveLength(1);
    expect(reconcile({ ...world, nowMs: 500 })).toMatchObject({ commands: [], wakeAtMs: 1000 });
  });
});

describe('a dropped placement', () => {
  const dropped = 'R1 [-inf, +inf): P0@5200 Active, P1@5201 Dropped -> Inactive';

  it('is kept until its node has confirmed that it is gone', () => {
    expect(lines(reconcile(build({ nodes, ranges: [dropped] })))).toEqual(['Drop R1 P1@5201 epoch 1']);
    const confirmed = (roster: Roster): Roster => {
      const sent = { command: 'Drop', range: 1, node: '5201', epoch: 1 } as const;
      return updates.commandAnswered(updates.commandSent(roster, sent), sent, { state: 'NotFound', lastError: '' }, 5);
    };
    const ranges = [dropped.replace('Inactive', 'NotFound')];
    expect(lines(reconcile(build({ nodes, ranges })))).toEqual(['Drop R1 P1@5201 epoch 1']);
    expect(lines(reconcile(build({ nodes, ranges, roster: confirmed })))).toEqual(['R1 P1@5201: Dropped -> Gone']);
  });

  it('is dropped by force when a fail-over went past it', () => {
    const told = (logEpoch: number) => (roster: Roster): Roster =>
      updates.rangeReported(roster, '5201', { meta: { id: 1, start: keyFromText(''), end: keyFromText('') }, state: 'Inactive', load: NO_LOAD, epoch: 4, progress: undefined, lastError: '', serving: false, replica: { ...QUIET, logEpoch } }, 1);
    const decide = (logEpoch: number) => reconcile(build({ nodes, ranges: [dropped], roster: told(logEpoch), change: (range) => ({ ...range, epoch: 9, fork: 7 }) })).commands;
    expect(decide(6)).toMatchObject([{ command: 'Drop', node: '5201', force: true }]);
    expect(decide(7)[0]).not.toHaveProperty('force');
  });

  it('is forgotten with its node', () => {
    expect(lines(reconcile(build({ nodes: ['5200'], ranges: [dropped] })))).toEqual(['R1 P1@5201: Dropped -> Gone']);
  });
});
