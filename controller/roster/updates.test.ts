import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { NO_LOAD, type RangeInfo } from '../../model/report.js';
import type { RemoteState } from '../../model/states.js';
import { newPlacement, newRange } from '../keyspace/record.js';
import { look } from '../orchestrator/sight.js';
import { EMPTY_ROSTER, type Roster, attemptOf, isInformed } from './roster.js';
import * as updates from './updates.js';

const meta = { id: 1, ...EVERYTHING };
const sent = { command: 'Prepare', range: 1, node: '5200', epoch: 3 } as const;

function info(state: RemoteState, lastError = ''): RangeInfo {
  return { meta, state, load: NO_LOAD, epoch: 3, progress: undefined, lastError, serving: false };
}

function report(roster: Roster, states: RemoteState[], askedMs: number, nowMs: number, incarnation = 'x'): Roster {
  return updates.reported(roster, '5200', { ranges: states.map((s) => info(s)), wantDrain: false, incarnation }, askedMs, nowMs);
}

const seen = { ident: '5200', address: 'host:5200', incarnation: 'x' };
const live = report(updates.discovered(EMPTY_ROSTER, seen, 0), [], 0, 1);
const stateOf = (roster: Roster): RemoteState => roster.nodes.get('5200')?.ranges.get(1)?.state ?? 'NotFound';

describe('links', () => {
  it('a node is live when it was heard, silent when its connection breaks, lost when that lasts', () => {
    const silent = updates.silent(live, '5200', 'broken', 5);
    const lost = updates.lost(silent, '5200', 'broken', 9);
    expect([live, silent, lost].map((r) => r.nodes.get('5200')?.link.state)).toEqual(['live', 'silent', 'lost']);
    expect(report(lost, [], 10, 11).nodes.get('5200')?.link.state).toBe('live');
  });

  it('a node that still talks stays, though discovery lists it no more', () => {
    const left = updates.undiscovered(live, '5200', 5);
    expect(left.nodes.get('5200')?.link.state).toBe('live');
    expect(updates.silent(left, '5200', 'broken', 6).nodes.get('5200')?.link.state).toBe('lost');
  });

  it('what a node on another disk had does not count', () => {
    const with1 = report(live, ['Active'], 1, 2);
    const moved = updates.discovered(with1, { ...seen, incarnation: 'y' }, 3);
    expect(stateOf(moved)).toBe('NotFound');
    expect(stateOf(report(with1, [], 3, 4, 'y'))).toBe('NotFound');
  });

  it('nothing changes when nothing was news', () => {
    expect(updates.discovered(live, seen, 9)).toBe(live);
    expect(updates.silent(EMPTY_ROSTER, '5200', 'broken', 9)).toBe(EMPTY_ROSTER);
  });
});

describe('a keyspace that others wrote', () => {
  const placement = newPlacement(0, '5200', { state: 'Active', incarnation: 'x' });
  const range = newRange(meta, { placements: [placement], primary: 0 });

  it('is compared with nothing that was heard, or was being asked, before it was read', () => {
    const read = updates.distrusted(report(live, ['Inactive'], 5, 6), 10);
    expect(look(read, range, placement).kind).toBe('unknown');
    expect(look(report(read, ['Inactive'], 9, 12), range, placement).kind).toBe('unknown');
    expect(look(report(read, ['Active'], 10, 12), range, placement)).toMatchObject({ kind: 'here', state: 'Active' });
  });

  it('does not make a stranger of a node whose new disk was not heard of yet', () => {
    const other = { ...placement, incarnation: 'y' };
    expect(look(live, range, other).kind).toBe('gone');
    expect(look(updates.distrusted(live, 10), range, other).kind).toBe('unknown');
  });

  it('waits for no node that does not answer', () => {
    const read = updates.distrusted(live, 10);
    expect(isInformed(read)).toBe(false);
    expect(isInformed(updates.silent(read, '5200', 'it does not answer', 11))).toBe(true);
    expect(isInformed(report(read, [], 10, 11))).toBe(true);
    expect(look(updates.lost(read, '5200', 'it does not answer', 11), range, placement).kind).toBe('gone');
  });
});

describe('reports', () => {
  it('one that was asked for before a push does not override it', () => {
    const pushed = updates.rangeReported(live, '5200', info('Inactive'), 10);
    expect(stateOf(report(pushed, [], 9, 12))).toBe('Inactive');
    expect(stateOf(report(pushed, ['Active'], 11, 12))).toBe('Active');
    expect(stateOf(report(pushed, [], 11, 12))).toBe('NotFound');
  });

  it('say since when a range is as it is', () => {
    const twice = updates.rangeReported(updates.rangeReported(live, '5200', info('Inactive'), 10), '5200', info('Inactive'), 20);
    expect(twice.nodes.get('5200')?.ranges.get(1)).toMatchObject({ sinceMs: 10, toldMs: 20 });
  });
});

describe('attempts', () => {
  const failing = (roster: Roster, nowMs: number): Roster => updates.commandFailed(updates.commandSent(roster, sent), sent, 'no', nowMs);

  it('a refusal counts, and waits longer each time', () => {
    const once = failing(live, 100);
    const twice = failing(once, 200);
    expect(attemptOf(once, 1, '5200')).toMatchObject({ failures: 1, nextTryMs: 150, lastError: 'no', inFlight: false });
    expect(attemptOf(twice, 1, '5200')).toMatchObject({ failures: 2, nextTryMs: 300 });
  });

  it('waits at most a second; a Drop that failed often, ten', () => {
    let roster = live;
    for (let i = 0; i < 40; i++) roster = failing(roster, 0);
    expect(attemptOf(roster, 1, '5200')?.nextTryMs).toBe(1000);
    const drop = { ...sent, command: 'Drop' as const };
    for (let i = 0; i < 30; i++) roster = updates.commandFailed(updates.commandSent(roster, drop), drop, 'no', 0);
    expect(attemptOf(roster, 1, '5200')?.nextTryMs).toBe(10_000);
  });

  it('begin anew with another command or epoch', () => {
    const next = { ...sent, epoch: 4 };
    expect(attemptOf(updates.commandSent(failing(live, 0), next), 1, '5200')?.failures).toBe(0);
    expect(updates.commandFailed(failing(live, 0), next, 'late', 1)).toEqual(failing(live, 0));
  });

  it('a state in between is no failure, until the range is seen where a refusal leaves it', () => {
    const waiting = updates.commandAnswered(updates.commandSent(live, sent), sent, { state: 'Preparing', lastError: '' }, 5);
    const preparing = updates.rangeReported(waiting, '5200', info('Preparing'), 6);
    expect(attemptOf(preparing, 1, '5200')?.failures).toBe(0);
    const gone = updates.rangeReported(preparing, '5200', info('NotFound', 'disk full'), 7);
    expect(attemptOf(gone, 1, '5200')).toMatchObject({ failures: 1, lastError: 'disk full' });
    expect(attemptOf(report(preparing, [], 7, 8), 1, '5200')?.failures).toBe(1);
  });

  it('while an answer is awaited, only the answer counts', () => {
    const preparing = updates.rangeReported(updates.commandSent(live, sent), '5200', info('Preparing'), 6);
    const gone = updates.rangeReported(preparing, '5200', info('NotFound'), 7);
    expect(attemptOf(gone, 1, '5200')?.failures).toBe(0);
    expect(attemptOf(updates.commandAnswered(gone, sent, { state: 'NotFound', lastError: 'no' }, 8), 1, '5200')?.failures).toBe(1);
  });

  it('are forgotten with their copies, and what was avoided with time', () => {
    const roster = updates.avoided(failing(live, 0), 1, '5200', 50);
    const tidy = updates.tidied(roster, () => false, 51);
    expect([tidy.attempts.size, tidy.avoidedUntilMs.size]).toEqual([0, 0]);
    expect(updates.tidied(roster, () => true, 49)).toBe(roster);
  });
});
