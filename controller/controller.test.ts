import { beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../test/cluster/manual-clock.js';
import { FakeCluster } from '../test/scenarios/fake-cluster.js';
import { formatStep } from '../model/notation.js';
import { AppError } from '../runtime/errors.js';
import type { Controller } from './controller.js';
import type { Starter } from './loop.js';
import { primaryOf } from './keyspace/record.js';
import { planMove } from './orchestrator/request.js';

const move = (to: string) => (world: Parameters<typeof planMove>[0]) => planMove(world, { range: 1, node: to });
const holder = (controller: Controller, id = 1): string | undefined => {
  const range = controller.keyspace.get(id);
  const primary = range ? primaryOf(range) : undefined;
  return primary?.state === 'Active' ? primary.node : undefined;
};

describe('a controller', () => {
  let cluster: FakeCluster;
  beforeEach(() => {
    cluster = new FakeCluster();
  });

  it('makes the first range on its first start, and only then', async () => {
    const first = await cluster.startLeader('5200', '5201');
    expect(holder(first.controller)).toBe('5200');
    first.controller.close();
    const second = cluster.startController();
    second.controller.lead({ leading: true, term: 2, leaderAddress: 'host:5000' });
    await cluster.clock.advance(10);
    expect(second.controller.keyspace.size).toBe(1);
    expect(holder(second.controller)).toBe('5200');
  });

  it('tells an operation step by step, and when it is done', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    const told: string[] = [];
    const starter: Starter = {
      started: ({ description }) => void told.push(description),
      step: (step) => void told.push(formatStep(step)),
      progress: () => undefined,
    };
    const running = controller.run(move('5201'), starter);
    await cluster.clock.advance(10);
    const result = await (await running).result;
    expect(result.ranges).toEqual([1]);
    expect(told).toEqual([
      'move R1 5200 -> 5201',
      'R1 P1@5201: New -> Pending',
      'R1 P1@5201: Pending -> Inactive',
      'R1 P0@5200: Active -> Inactive',
      'R1 P1@5201: Inactive -> Active',
      'R1 P0@5200: Inactive -> Dropped',
      'R1 P0@5200: Dropped -> Gone',
    ]);
  });

  it('persists each decision before it sends what follows from it, and waits for nothing it only saw', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    cluster.trace.length = 0;
    void controller.run(move('5201'));
    await cluster.clock.advance(10);
    expect(cluster.trace.filter((line) => line.startsWith('sent'))).toEqual([
      'sent Prepare R1@5201 3',
      'sent Deactivate R1@5200 4',
      'sent Activate R1@5201 4',
      'sent Drop R1@5200 4',
    ]);
    const before = (command: string): string => cluster.trace[cluster.trace.indexOf(command) - 1] ?? '';
    expect(before('sent Prepare R1@5201 3')).toBe('wrote 1');
    expect(before('sent Deactivate R1@5200 4')).toBe('wrote 1');
    expect(before('sent Drop R1@5200 4')).toBe('wrote 1');
  });

  it('refuses what cannot be done, and says why', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    const refused = controller.run(move('5021'));
    await expect(Promise.all([refused, cluster.clock.advance(10)])).rejects.toThrow('did you mean 5201?');
  });

  it('ends an operation that is given up with the reason', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    cluster.intercept = (command, obey) => (command.command === 'Prepare' ? { error: 'disk full' } : obey());
    const running = controller.run(move('5201'));
    await cluster.clock.advance(1000);
    const error = AppError.from(await (await running).result.catch((thrown: unknown) => thrown));
    expect(error.code).toBe('ABORTED');
    expect(error.message).toContain('5201 did not prepare R1: disk full');
    expect(holder(controller)).toBe('5200');
  });

  it('decides nothing while it cannot persist, and goes on when it can', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    cluster.coordination.setAvailable(false);
    const refused = controller.run(move('5201'));
    const outcome = expect(refused).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    cluster.trace.length = 0;
    await cluster.clock.advance(5000);
    await outcome;
    expect(cluster.trace).toEqual([]);
    expect(controller.ready.ready).toBe(false);
    expect(holder(controller)).toBe('5200');

    cluster.coordination.setAvailable(true);
    await cluster.clock.advance(2000);
    expect(controller.ready.ready).toBe(true);
    void controller.run(move('5201'));
    await cluster.clock.advance(10);
    expect(holder(controller)).toBe('5201');
  });

  it('does not overwrite what another controller changed, and reads it again', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    const other = cluster.coordination.connect();
    const documents = await other.persister.load();
    await other.persister.write([[{ key: '1', value: documents.get('1')?.replace('"epoch":2', '"epoch":9') }]]);
    const lost = expect(controller.run(move('5201'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await cluster.clock.advance(10);
    await lost;
    expect(controller.keyspace.get(1)?.epoch).toBe(9);
    void controller.run(move('5201'));
    await cluster.clock.advance(10);
    expect(holder(controller)).toBe('5201');
  });

  it('that does not lead refuses operations, naming who does, and reads what the leader decided', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    const { controller: follower } = cluster.startController();
    follower.lead({ leading: false, term: 1, leaderAddress: 'host:5000' });
    await expect(follower.run(move('5201'))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('host:5000') as string,
    });
    void controller.run(move('5201'));
    await cluster.clock.advance(2000);
    expect(holder(follower)).toBe('5201');
  });

  it('sends nothing more once it leads no more', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    // The destination never answers, so the operation is under way.
    cluster.intercept = () => new Promise(() => undefined);
    const running = controller.run(move('5201'));
    await cluster.clock.advance(100);
    cluster.intercept = (_, obey) => obey();
    controller.lead({ leading: false, term: 2, leaderAddress: 'host:5001' });
    cluster.trace.length = 0;
    const outcome = await running.then((operation) => operation.result).catch((thrown: unknown) => thrown);
    await cluster.clock.advance(5000);
    expect(AppError.from(outcome).code).toBe('UNAVAILABLE');
    expect(cluster.trace.filter((line) => line.startsWith('sent'))).toEqual([]);
  });

  it('goes on with what an earlier one began, wherever that stopped', async () => {
    for (let turns = 0; turns < 40; turns += 2) {
      const world = new FakeCluster();
      const { controller, process } = await world.startLeader('5200', '5201');
      controller.run(move('5201')).catch(() => undefined);
      await settle(turns);
      controller.close();
      process.crash();
      const { controller: next } = world.startController();
      next.lead({ leading: true, term: 2, leaderAddress: 'host:5000' });
      await world.clock.advance(6000);
      const range = next.keyspace.get(1);
      expect(range?.placements.map((p) => p.state)).toEqual(['Active']);
      const active = [...world.nodes.values()].filter((node) => node.copies.get(1)?.state === 'Active');
      expect(active.map((node) => node.ident)).toEqual([holder(next)]);
    }
  });

  it('that begins to lead looks before it judges: what is over by then does not stand in the way', async () => {
    const { controller, process } = await cluster.startLeader('5200', '5201', '5202');
    // It dies between the destination's becoming active and its own seeing that.
    cluster.intercept = (command, obey) => {
      const answer = obey();
      if (command.command === 'Activate') controller.close();
      return answer;
    };
    controller.run(move('5201')).catch(() => undefined);
    await cluster.clock.advance(10);
    process.crash();
    cluster.intercept = (_, obey) => obey();
    expect(cluster.nodes.get('5201')?.copies.get(1)?.state).toBe('Active');
    const { controller: next } = cluster.startController();
    await cluster.clock.advance(2000);
    next.lead({ leading: true, term: 2, leaderAddress: 'host:5000' });
    const onward = next.run(move('5202'));
    await Promise.all([onward, cluster.clock.advance(100)]);
    expect(holder(next)).toBe('5202');
  });

  it('waits for a node that is gone, says so, and goes on when it is back', async () => {
    const { controller } = await cluster.startLeader('5200', '5201');
    await cluster.killNode('5200');
    await cluster.clock.advance(3000);
    expect(controller.keyspace.get(1)?.placements[0]?.state).toBe('Missing');
    expect(controller.waiting(1)?.because).toContain('5200 is gone');
    await cluster.startNode('5200');
    await cluster.clock.advance(2000);
    expect(holder(controller)).toBe('5200');
    expect(controller.waiting(1)).toBeUndefined();
  });

  it('takes nobody for gone in its first seconds', async () => {
    const first = await cluster.startLeader('5200', '5201');
    first.controller.close();
    await cluster.killNode('5200');
    const { controller } = cluster.startController({ settleMs: 4000 });
    controller.lead({ leading: true, term: 2, leaderAddress: 'host:5000' });
    await cluster.clock.advance(3000);
    expect(controller.keyspace.get(1)?.placements[0]?.state).toBe('Active');
    expect(controller.waiting(1)?.because).toContain('5200 has not been seen yet');
    await cluster.clock.advance(2000);
    expect(controller.keyspace.get(1)?.placements[0]?.state).toBe('Missing');
  });
});
