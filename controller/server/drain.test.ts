import { beforeEach, describe, expect, it } from 'vitest';
import type { DrainEvent } from '../../proto/gen/ranger/controller.js';
import { FakeCluster } from '../../test/scenarios/fake-cluster.js';
import type { Controller } from '../controller.js';
import { planNodeOrder } from '../orchestrator/wishes.js';
import { type DrainCall, reattachDrain } from './drain.js';

describe('a drain whose leader went away while it was watched', () => {
  let cluster: FakeCluster;
  let leader: Controller;
  let second: Controller;
  let written: DrainEvent[];

  beforeEach(async () => {
    cluster = new FakeCluster();
    written = [];
    leader = (await cluster.startLeader('5200', '5201')).controller;
    second = cluster.startController().controller;
    await cluster.clock.advance(2000);
  });

  const event = (moved: bigint): DrainEvent => ({ node: '5200', moved, left: 1n, done: false, remaining: [] });

  function goOn(last: DrainEvent | undefined, signal = new AbortController().signal): Promise<boolean> {
    const call = { request: { node: '5200' }, cancelled: false, write: (told: DrainEvent) => written.push(told) };
    const continuation = reattachDrain(second, cluster.clock, call as unknown as DrainCall);
    if (last) continuation.saw(last);
    return continuation.goOn(signal);
  }

  /** The order is on disk, and nothing came of it yet. */
  async function order(kind: 'drain' | 'undrain'): Promise<void> {
    cluster.intercept = () => Promise.resolve({ error: 'not yet' });
    const ordered = leader.adjust((world) => planNodeOrder(world, kind, '5200'));
    await Promise.all([ordered, cluster.clock.advance(10)]);
  }

  it('is told on from a follower, and over when the next leader has done it', async () => {
    await order('drain');
    leader.close();
    const told = goOn(event(2n));
    await cluster.clock.advance(3000);
    expect(written.at(-1)).toMatchObject({ moved: 2n, left: 1n, done: false });
    cluster.intercept = (_, obey) => Promise.resolve(obey());
    second.lead({ leading: true, term: 2, leaderAddress: 'host:5001' });
    await cluster.clock.advance(120_000);
    expect(await told).toBe(true);
    expect(written.at(-1)).toMatchObject({ moved: 3n, left: 0n, done: true });
  });

  it('is told when somebody ended it meanwhile', async () => {
    await order('drain');
    await order('undrain');
    leader.close();
    const told = expect(goOn(event(0n))).rejects.toMatchObject({ code: 'ABORTED', message: '5200 is drained no more: somebody ended it' });
    await cluster.clock.advance(3000);
    await told;
  });

  it('is not guessed at when nobody knows whether it was ordered', async () => {
    expect(await goOn(undefined)).toBe(false);
  });
});
