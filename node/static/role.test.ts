import { afterEach, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { systemClock } from '../../runtime/clock.js';
import { silentLogger } from '../../runtime/log.js';
import type { KvNode } from '../node.js';
import { LocalCluster, command, get, meta, put } from '../testing/local-cluster.js';
import { StaticController, type StaticRole } from './role.js';

describe('a node with a role', () => {
  let cluster = new LocalCluster();
  const controllers: StaticController[] = [];
  afterEach(() => {
    for (const controller of controllers.splice(0)) controller.close();
    cluster.killAll();
    cluster = new LocalCluster();
  });

  function given(node: KvNode, role: StaticRole): StaticController {
    const controller = new StaticController(role, { node, clock: systemClock, logger: silentLogger });
    controllers.push(controller);
    return controller;
  }

  const primaryRole = (node: KvNode): StaticRole => ({ is: 'primary', self: { node: 'A', incarnation: node.sources.storage.incarnation, address: 'A' } });
  const replicaRole: StaticRole = { is: 'replica', primary: 'A' };

  async function startPrimary(): Promise<KvNode> {
    const node = cluster.start('A');
    await given(node, primaryRole(node)).run();
    return node;
  }

  async function startReplica(): Promise<KvNode> {
    const node = cluster.start('B');
    await given(node, replicaRole).run();
    return node;
  }

  it('takes writes as a primary, and follows as a replica that it does not wait for', async () => {
    const a = await startPrimary();
    expect(a.role).toBe('primary');
    await put(a, 'before', '1');
    const b = await startReplica();
    expect(b.role).toBe('replica');
    await put(a, 'after', '2');
    await expect.poll(() => b.data.getStale(Buffer.from('after')).stored?.value.toString()).toBe('2');
    expect(b.data.getStale(Buffer.from('before')).stored?.value.toString()).toBe('1');
    expect(() => get(b, 'after')).toThrow();
    cluster.kill('B');
    await put(a, 'alone', '3');
    expect(get(a, 'alone')).toBe('3');
  });

  it('waits for a primary that comes later', async () => {
    const b = cluster.start('B');
    const controller = given(b, replicaRole);
    const running = controller.run();
    expect(controller.waiting).toBe('the primary at A was not copied yet');
    await put(await startPrimary(), 'k', '1');
    await running;
    expect(controller.waiting).toBeUndefined();
    await expect.poll(() => b.data.getStale(Buffer.from('k')).stored?.value.toString()).toBe('1');
  });

  it('goes on after a restart of either, with what it had', async () => {
    await put(await startPrimary(), 'k', '1');
    const first = await startReplica();
    await expect.poll(() => first.data.getStale(Buffer.from('k')).stored?.value.toString()).toBe('1');
    cluster.kill('A');
    cluster.kill('B');
    const b = cluster.start('B');
    void given(b, replicaRole).run();
    expect(b.data.getStale(Buffer.from('k')).stored?.value.toString()).toBe('1');
    const a = await startPrimary();
    expect(get(a, 'k')).toBe('1');
    await put(a, 'k', '2');
    await expect.poll(() => b.data.getStale(Buffer.from('k')).stored?.value.toString()).toBe('2');
  });

  it('does not mistake a primary that began anew for the one it followed', async () => {
    const a = await startPrimary();
    for (const key of ['x', 'y', 'z']) await put(a, key, 'old');
    const b = await startReplica();
    await expect.poll(() => b.data.getStale(Buffer.from('z')).stored?.value.toString()).toBe('old');
    cluster.kill('A');
    cluster.loseDisk('A');
    const wallMs = systemClock.wallMs() + 10_000;
    const again = cluster.start('A');
    const anew = new StaticController(primaryRole(again), { node: again, clock: { ...systemClock, wallMs: () => wallMs }, logger: silentLogger });
    await anew.run();
    await put(again, 'x', 'new');
    await expect.poll(() => b.data.getStale(Buffer.from('x')).stored?.value.toString()).toBe('new');
    expect(b.data.getStale(Buffer.from('z')).stored).toBeUndefined();
  });

  it('is said to be static until a controller commands it, and has no role any more from then on', async () => {
    const a = await startPrimary();
    const b = await startReplica();
    expect([a, b].map((node) => node.rangelet.rangeInfo(1)?.replica?.static)).toEqual([true, true]);
    // As a controller does that took over what is on A: the primary is told its members, the replica whom to follow.
    const epoch = (a.rangelet.rangeInfo(1)?.epoch ?? 0) + 1;
    const range = { id: 1, ...EVERYTHING };
    await a.rangelet.execute({ command: 'Activate', id: 1, epoch, force: false, sources: [], initial: false, membership: { members: [], minInSync: 1, fork: 0, promote: false }, term: 1 });
    await b.rangelet.execute({ command: 'Prepare', meta: range, epoch, parents: [{ range, parents: [], placements: [{ node: 'A', state: 'Active', index: 0 }] }], initial: false, term: 1 });
    expect([a, b].map((node) => node.rangelet.rangeInfo(1)?.replica?.static)).toEqual([false, false]);
    expect(() => given(a, primaryRole(a))).toThrow('of a cluster with a controller: start it without a role');
    expect(() => given(b, replicaRole)).toThrow('of a cluster with a controller: start it without a role');
    cluster.kill('B');
    const again = cluster.start('B');
    expect(again.rangelet.rangeInfo(1)?.replica?.static).toBe(false);
    expect(() => given(again, replicaRole)).toThrow('start it without a role');
  });

  it('refuses the data of another role, or of a cluster with a controller', async () => {
    const a = await startPrimary();
    const b = await startReplica();
    expect(() => given(a, replicaRole)).toThrow('the data directory is that of the primary: start it with ROLE=primary');
    expect(() => given(b, primaryRole(b))).toThrow('the data directory is that of a replica');
    const c = cluster.start('C');
    await command(c, { command: 'Prepare', meta: meta(1, '', 'm'), epoch: 1, parents: [], initial: true });
    expect(() => given(c, primaryRole(c))).toThrow('the data directory has R1 [-inf, m) of a cluster with a controller: start it without a role');
  });
});
