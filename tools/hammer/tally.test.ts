import { describe, expect, it } from 'vitest';
import { Tally } from './tally.js';

describe('Tally', () => {
  it('counts, and measures latencies of what succeeded', () => {
    const tally = new Tally(1000);
    for (let i = 1; i <= 100; i++) tally.succeeded('read', 2000, 2000 + i);
    const { actions, all, seconds } = tally.summary(11_000);
    expect(seconds).toBe(10);
    expect(all).toEqual(actions.read);
    expect(all).toMatchObject({ ok: 100, errors: 0, perSecond: 10 });
    expect(all.latencyMs?.p50).toBeCloseTo(50, 0);
    expect(all.latencyMs?.p99).toBeCloseTo(99, 0);
    expect(all.latencyMs?.max).toBeCloseTo(100, 0);
    expect(actions.create.latencyMs).toBeUndefined();
  });

  it('finds the longest gap, at the beginning, between and at the end', () => {
    const gap = (successes: readonly number[], end: number): [number, number] => {
      const tally = new Tally(0);
      for (const at of successes) tally.succeeded('read', at, at);
      const { longestGapMs, longestGapAtMs } = tally.summary(end);
      return [longestGapMs, longestGapAtMs];
    };
    expect(gap([500, 600], 700)).toEqual([500, 0]);
    expect(gap([10, 310, 400], 500)).toEqual([300, 10]);
    expect(gap([10, 20], 1000)).toEqual([980, 20]);
    expect(gap([], 1000)).toEqual([1000, 0]);
  });

  it('counts failures as waiting, but not as success', () => {
    const tally = new Tally(0);
    tally.failed('update', { code: 'DEADLINE_EXCEEDED', message: 'too late' }, 100, 10_100);
    const { longestWaitMs, longestGapMs, all } = tally.summary(20_000);
    expect([longestWaitMs, longestGapMs, all.ok, all.errors]).toEqual([10_000, 20_000, 0, 1]);
  });

  it('puts errors that differ in numbers and keys together', () => {
    const tally = new Tally(0);
    const fail = (message: string, at: number): void => {
      tally.failed('read', { code: 'UNAVAILABLE', message }, at, at);
    };
    fail('no owner of a1f-0-17 for 10.5 ms', 100);
    fail('no owner of a1f-0-9 for 3 ms', 200);
    fail('Last error: connect ECONNREFUSED 127.0.0.1:5100 (2026-11-21T07:00:00.000Z). Resolution note: ', 300);
    expect(tally.summary(1000).errors).toEqual([
      { action: 'read', code: 'UNAVAILABLE', message: 'no owner of KEY for N ms', count: 2, firstMs: 100, lastMs: 200 },
      { action: 'read', code: 'UNAVAILABLE', message: 'Last error: connect ECONNREFUSED 127.0.0.1:5100', count: 1, firstMs: 300, lastMs: 300 },
    ]);
  });

  it('stays bounded however many kinds of errors there are', () => {
    const tally = new Tally(0);
    for (let i = 0; i < 1000; i++) tally.failed('read', { code: 'INTERNAL', message: `strange ${'x'.repeat(i)}` }, 0, i);
    const { errors } = tally.summary(1000);
    expect(errors.length).toBeLessThan(40);
    expect(errors.reduce((sum, error) => sum + error.count, 0)).toBe(1000);
    expect(errors[0]?.message).toBe('(various)');
  });

  it('starts the recent figures anew each time', () => {
    const tally = new Tally(0);
    tally.succeeded('read', 0, 5);
    expect(tally.takeRecent(1)).toMatchObject({ ok: 1, perSecond: 1 });
    expect(tally.takeRecent(1)).toMatchObject({ ok: 0, latencyMs: undefined });
    expect(tally.summary(1000).all.ok).toBe(1);
  });
});
