import { afterEach, describe, expect, it } from 'vitest';
import type { RangeMeta } from '../model/range.js';
import type { Parent } from '../model/report.js';
import { LocalCluster, at, command, get, meta, put } from './testing/local-cluster.js';

const whole = meta(1);

const clusters: LocalCluster[] = [];
function newCluster(...args: ConstructorParameters<typeof LocalCluster>): LocalCluster {
  const cluster = new LocalCluster(...args);
  clusters.push(cluster);
  return cluster;
}
afterEach(() => {
  for (const cluster of clusters.splice(0)) cluster.killAll();
});

type Node = ReturnType<LocalCluster['start']>;

const prepare = (node: Node, range: RangeMeta, epoch: number, parents: Parent[] = [], initial = false): ReturnType<typeof command> =>
  command(node, { command: 'Prepare', meta: range, epoch, parents, initial });
const activate = (node: Node, id: number, epoch: number, sources: Parent[] = [], initial = false): ReturnType<typeof command> =>
  command(node, { command: 'Activate', id, epoch, force: false, sources, initial });
const deactivate = (node: Node, id: number, epoch: number): ReturnType<typeof command> => command(node, { command: 'Deactivate', id, epoch });
const drop = (node: Node, id: number, epoch: number): ReturnType<typeof command> => command(node, { command: 'Drop', id, epoch, force: false });

async function place(cluster: LocalCluster, ident: string, range = whole, epoch = 1): Promise<Node> {
  const node = cluster.start(ident);
  expect((await prepare(node, range, epoch, [], true)).state).toBe('Inactive');
  expect((await activate(node, range.id, epoch, [], true)).state).toBe('Active');
  return node;
}

/** As many as fill several chunks. */
const COUNT = 5_000;
const key = (i: number): string => `k${String(i).padStart(6, '0')}`;

async function fill(node: Node, count = COUNT): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => put(node, key(i), `v${i}`)));
}

function expectFilled(node: Node, count = COUNT): void {
  const wrong = Array.from({ length: count }, (_, i) => i).filter((i) => get(node, key(i)) !== `v${i}`);
  expect(wrong).toEqual([]);
}

describe('a node', () => {
  it('serves what it was given, and nothing else', async () => {
    const cluster = newCluster();
    const node = await place(cluster, 'A', meta(1, 'b', 'd'));
    expect(await put(node, 'b', 'x')).toEqual({ epoch: 1, offset: 1 });
    expect(get(node, 'b')).toBe('x');
    expect(get(node, 'c')).toBeUndefined();
    expect(() => get(node, 'd')).toThrow(/no range on this node has key d/);
    await expect(put(node, 'a', 'x')).rejects.toMatchObject({ code: 'ABORTED' });
    await put(node, 'b', undefined);
    expect(get(node, 'b')).toBeUndefined();
    await deactivate(node, 1, 1);
    expect(() => get(node, 'b')).toThrow(expect.objectContaining({ code: 'FAILED_PRECONDITION' }) as Error);
  });

  it('refuses keys and values beyond the limits, and stores nothing of them', async () => {
    const node = await place(newCluster(), 'A');
    await expect(put(node, '', 'x')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(put(node, 'k'.repeat(1025), 'x')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(put(node, 'k', 'v'.repeat(8 * 1024 * 1024 + 1))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(get(node, 'k')).toBeUndefined();
  });

  it('will not start a range empty that has held data', async () => {
    const cluster = newCluster();
    const node = cluster.start('A');
    expect(await prepare(node, whole, 5)).toMatchObject({ state: 'NotFound', lastError: expect.stringContaining('has held data') as string });
    await prepare(node, whole, 6, [], true);
    expect(await activate(node, 1, 6)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('hand over') as string });
  });

  it('is active again after a restart, with its data', async () => {
    const cluster = newCluster();
    await fill(await place(cluster, 'A'));
    cluster.kill('A');
    const again = cluster.start('A');
    expect(again.rangelet.stateOf(1)).toBe('Active');
    expectFilled(again);
    expect(await put(again, 'more', 'x')).toMatchObject({ epoch: 1, offset: COUNT + 1 });
  });
});

describe('a move', () => {
  it('brings everything along, what is written meanwhile included', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await fill(a);
    const b = cluster.start('B');
    const preparing = prepare(b, whole, 2, [at(whole, 'A')]);
    let writes = 0;
    let stop = false;
    const writer = (async () => {
      while (!stop) await put(a, `w${writes++}`, 'live');
    })();
    expect((await preparing).state).toBe('Inactive');
    for (let i = 0; i < 20; i++) await put(a, key(i), 'late');
    await put(a, key(20), undefined);
    stop = true;
    await writer;
    expect((await deactivate(a, 1, 3)).state).toBe('Inactive');
    expect((await activate(b, 1, 3, [at(whole, 'A')])).state).toBe('Active');
    expect(get(b, key(0))).toBe('late');
    expect(get(b, key(20))).toBeUndefined();
    expect(get(b, key(21))).toBe('v21');
    expect(get(b, `w${writes - 1}`)).toBe('live');
    expect((await drop(a, 1, 3)).state).toBe('NotFound');
    await expect.poll(() => a.sources.storage.keys(whole, 10)).toEqual([]);
    await expect.poll(() => a.sources.storage.loggedRanges()).toEqual([]);
    const { offset, epoch } = await put(b, 'after', 'x');
    expect(epoch).toBe(3);
    expect(offset).toBeGreaterThan(COUNT + writes);
  });

  it('waits with the hand-over until the source stops serving', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    const activating = activate(b, 1, 3, [at(whole, 'A')]);
    await put(a, 'k', 'still A');
    await deactivate(a, 1, 3);
    expect((await activating).state).toBe('Active');
    expect(get(b, 'k')).toBe('still A');
  });

  it('goes on where it was when the connection breaks, before and after the snapshot', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await fill(a);
    const b = cluster.start('B');
    const preparing = prepare(b, whole, 2, [at(whole, 'A')]);
    await new Promise((resolve) => setImmediate(resolve));
    cluster.cut('A', 'B');
    await put(a, key(0), 'while cut');
    cluster.heal();
    expect((await preparing).state).toBe('Inactive');
    cluster.cut('A', 'B');
    await put(a, key(1), 'while cut');
    await put(a, key(2), undefined);
    cluster.heal();
    await deactivate(a, 1, 3);
    expect((await activate(b, 1, 3)).state).toBe('Active');
    expect([get(b, key(0)), get(b, key(1)), get(b, key(2)), get(b, key(3))]).toEqual(['while cut', 'while cut', undefined, 'v3']);
  });

  it('does not take half a snapshot for a whole one when the source comes back without its disk', async () => {
    const cluster = newCluster({ limits: { patience: { fetchMs: 500, handOverMs: 500 } } });
    await fill(await place(cluster, 'A'));
    const b = cluster.start('B');
    const preparing = prepare(b, whole, 2, [at(whole, 'A')]);
    const copied = (): number => b.rangelet.rangeInfo(1)?.progress?.keys ?? 0;
    while (copied() === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(copied()).toBeLessThan(COUNT);
    cluster.kill('A');
    cluster.loseDisk('A');
    cluster.start('A');
    expect(await preparing).toMatchObject({ state: 'NotFound', lastError: 'range 1 is not on this node' });
  });

  it('is taken back at once while the source still holds the right to write', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await put(a, 'k', '1');
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    cluster.kill('B');
    expect((await activate(a, 1, 4, [at(whole, 'B')])).state).toBe('Active');
    await put(a, 'k', '2');
    const again = cluster.start('B');
    // The command of the abandoned attempt arrives late: the source has moved on.
    expect(await activate(again, 1, 3)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('newer') as string });
    expect(get(a, 'k')).toBe('2');
  });

  it('is taken back with what the destination took meanwhile', async () => {
    const cluster = newCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 200 } } });
    const a = await place(cluster, 'A');
    await put(a, 'k', '1');
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(b, 1, 3);
    await put(b, 'k', '2');
    expect(await activate(a, 1, 4)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('still active') as string });
    await deactivate(b, 1, 4);
    expect((await activate(a, 1, 5, [at(whole, 'B')])).state).toBe('Active');
    expect(get(a, 'k')).toBe('2');
    await expect(activate(b, 1, 4)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  it('never leaves two owners when the answer of the hand-over is lost', async () => {
    const cluster = newCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 300 } } });
    const a = await place(cluster, 'A');
    await put(a, 'k', '1');
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    // A records that it has handed over; B dies before it knows.
    void activate(b, 1, 3);
    await new Promise<void>((resolve) => {
      const stop = a.copies.get(1)?.watch(() => {
        if (a.copies.get(1)?.record.handed.length === 0) return;
        stop?.();
        resolve();
      });
    });
    cluster.kill('B');
    expect(await activate(a, 1, 4)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('cannot be reached') as string });
    const again = cluster.start('B');
    expect(again.copies.get(1)?.record.owned).toEqual([]);
    const back = await activate(a, 1, 5, [at(whole, 'B')]);
    expect(back.state).toBe('Active');
    expect(again.copies.get(1)?.record.owned).toEqual([]);
    expect(get(a, 'k')).toBe('1');
    await expect(activate(again, 1, 3)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  it('does not take a right back from a stranger under the old name', async () => {
    const cluster = newCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 300 } } });
    const a = await place(cluster, 'A');
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(b, 1, 3);
    await put(b, 'k', 'only on the lost disk');
    cluster.kill('B');
    cluster.loseDisk('B');
    const stranger = newCluster().start('elsewhere');
    expect(stranger.rangelet.stateOf(1)).toBe('NotFound');
    const replaced = cluster.start('B');
    Object.assign(replaced.sources.storage, { incarnation: 'another disk' });
    expect(await activate(a, 1, 4, [at(whole, 'B')])).toMatchObject({
      state: 'Inactive',
      lastError: expect.stringContaining('data directory is another') as string,
    });
  });

  it('cleans over what an earlier attempt left', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await fill(a, 100);
    const b = await place(cluster, 'B', meta(9), 1);
    await fill(b, 200);
    await put(b, 'zzz', 'stale');
    await b.sources.storage.commit({ removeCopies: [9] });
    cluster.kill('B');
    const again = cluster.start('B');
    await prepare(again, whole, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(again, 1, 3);
    expectFilled(again, 100);
    expect(get(again, key(150))).toBeUndefined();
    expect(get(again, 'zzz')).toBeUndefined();
  });
});

describe('a split', () => {
  const left = meta(2, '', key(COUNT / 2));
  const right = meta(3, key(COUNT / 2), '');

  it('in place moves nothing and keeps everything', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await fill(a);
    for (const child of [left, right]) expect((await prepare(a, child, 2, [at(child), at(whole, 'A')])).state).toBe('Inactive');
    await deactivate(a, 1, 3);
    for (const child of [left, right]) expect((await activate(a, child.id, 3, [at(whole, 'A')])).state).toBe('Active');
    expect((await drop(a, 1, 3)).state).toBe('NotFound');
    expectFilled(a);
    expect(a.rangelet.info().ranges.map((range) => [range.meta.id, range.state, range.serving])).toEqual([[2, 'Active', true], [3, 'Active', true]]);
  });

  it('to other nodes gives each child its keys only', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    await fill(a);
    const b = cluster.start('B');
    const c = cluster.start('C');
    const sources = [at(whole, 'A')];
    await Promise.all([prepare(b, left, 2, [at(left), ...sources]), prepare(c, right, 2, [at(right), ...sources])]);
    await put(a, key(0), 'late left');
    await put(a, key(COUNT - 1), 'late right');
    await deactivate(a, 1, 3);
    expect(await Promise.all([activate(b, 2, 3, sources), activate(c, 3, 3, sources)])).toMatchObject([{ state: 'Active' }, { state: 'Active' }]);
    expect(get(b, key(0))).toBe('late left');
    expect(get(c, key(COUNT - 1))).toBe('late right');
    await expect.poll(() => b.sources.storage.keys(right, 1)).toEqual([]);
    await expect.poll(() => c.sources.storage.keys(left, 1)).toEqual([]);
    expect((await drop(a, 1, 3)).state).toBe('NotFound');
  });

  it('is recalled with the writes that one child took', async () => {
    const cluster = newCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 300 } } });
    const a = await place(cluster, 'A');
    await fill(a, 100);
    const b = cluster.start('B');
    const sources = [at(whole, 'A')];
    await prepare(b, left, 2, [at(left), ...sources]);
    await prepare(a, right, 2, [at(right), ...sources]);
    await deactivate(a, 1, 3);
    await activate(b, 2, 3, sources);
    await put(b, key(7), 'taken by the child');
    await put(b, key(8), undefined);
    await deactivate(b, 2, 4);
    expect((await activate(a, 1, 4, [at(left, 'B'), at(right, 'A')])).state).toBe('Active');
    expect([get(a, key(6)), get(a, key(7)), get(a, key(8))]).toEqual(['v6', 'taken by the child', undefined]);
    expect((await drop(b, 2, 4)).state).toBe('NotFound');
    expect((await drop(a, 3, 4)).state).toBe('NotFound');
    expect(get(a, key(99))).toBe('v99');
  });
});

describe('a join', () => {
  it('of ranges on two nodes, on one of them, copies only what is elsewhere', async () => {
    const left = meta(2, '', 'm');
    const right = meta(3, 'm', '');
    const cluster = newCluster();
    const a = await place(cluster, 'A', left);
    const b = await place(cluster, 'B', right);
    await put(a, 'a', '1');
    await put(b, 'x', '2');
    const joined = meta(4);
    await prepare(a, joined, 2, [at(joined), at(left, 'A'), at(right, 'B')]);
    await put(a, 'b', '3');
    await put(b, 'y', '4');
    await Promise.all([deactivate(a, 2, 3), deactivate(b, 3, 3)]);
    expect((await activate(a, 4, 3, [at(left, 'A'), at(right, 'B')])).state).toBe('Active');
    expect(['a', 'b', 'x', 'y'].map((name) => get(a, name))).toEqual(['1', '3', '2', '4']);
    await Promise.all([drop(a, 2, 3), drop(b, 3, 3)]);
    expect(['a', 'b', 'x', 'y'].map((name) => get(a, name))).toEqual(['1', '3', '2', '4']);
    await expect.poll(() => b.sources.storage.keys(whole, 1)).toEqual([]);
    await put(a, 'z', '5');
    expect(get(a, 'z')).toBe('5');
  });

  it('that was half done is undone on both sides', async () => {
    const left = meta(2, '', 'm');
    const right = meta(3, 'm', '');
    const cluster = newCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 200 } } });
    const a = await place(cluster, 'A', left);
    const b = await place(cluster, 'B', right);
    const c = cluster.start('C');
    await put(a, 'a', '1');
    await put(b, 'x', '2');
    const joined = meta(4);
    const sources = [at(left, 'A'), at(right, 'B')];
    await prepare(c, joined, 2, [at(joined), ...sources]);
    // Only one of the parents has stopped: the join cannot be served.
    await deactivate(a, 2, 3);
    expect(await activate(c, 4, 3, sources)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('R3') as string });
    expect((await activate(a, 2, 4, [at(joined, 'C')])).state).toBe('Active');
    expect((await drop(c, 4, 4)).state).toBe('NotFound');
    expect([get(a, 'a'), get(b, 'x')]).toEqual(['1', '2']);
  });
});
