import { afterEach, describe, expect, it } from 'vitest';
import type { RangeMeta } from '../model/range.js';
import type { Parent } from '../model/report.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import { MemoryStorage } from './storage/memory.js';
import { LocalCluster, at, command, get, meta, put } from './testing/local-cluster.js';

/* A write that is sent again with its id is applied once, whatever happened in between. */

const clusters: LocalCluster[] = [];
let laterMs = 0;
const clock: Clock = { ...systemClock, now: () => systemClock.now() + laterMs, wallMs: () => systemClock.wallMs() + laterMs };
afterEach(() => {
  laterMs = 0;
  for (const cluster of clusters.splice(0)) cluster.killAll();
});

function newCluster(options: ConstructorParameters<typeof LocalCluster>[0] = {}): LocalCluster {
  const cluster = new LocalCluster({ clock, ...options });
  clusters.push(cluster);
  return cluster;
}

type Node = ReturnType<LocalCluster['start']>;
const whole = meta(1);
const [left, right] = [meta(2, '', 'm'), meta(3, 'm', '')];

const prepare = async (node: Node, range: RangeMeta, epoch: number, parents: Parent[] = [], initial = false): Promise<void> => {
  expect((await command(node, { command: 'Prepare', meta: range, epoch, parents, initial })).state).toBe('Inactive');
};
const activate = async (node: Node, id: number, epoch: number, sources: Parent[] = [], initial = false): Promise<void> => {
  expect((await command(node, { command: 'Activate', id, epoch, force: false, sources, initial })).state).toBe('Active');
};
const deactivate = async (node: Node, id: number, epoch: number): Promise<void> => {
  expect((await command(node, { command: 'Deactivate', id, epoch })).state).toBe('Inactive');
};

async function place(cluster: LocalCluster, ident: string): Promise<Node> {
  const node = cluster.start(ident);
  await prepare(node, whole, 1, [], true);
  await activate(node, 1, 1, [], true);
  return node;
}

const ID = Buffer.from('0123456789abcdef');
const OTHER = Buffer.from('fedcba9876543210');
const first = { writeId: ID };
/** The second try of a write first sent so long ago. */
const again = (ageMs: number, writeId = ID): { writeId: Buffer; firstSentAt: number } => ({ writeId, firstSentAt: clock.now() - ageMs });

describe('a second try', () => {
  it('gets the answer of the first, and writes nothing', async () => {
    const node = await place(newCluster(), 'A');
    const position = await put(node, 'k', 'one', first);
    await put(node, 'k', 'two');
    expect(await put(node, 'k', 'one', again(100))).toEqual(position);
    // The first may also come late, behind the second.
    expect(await put(node, 'k', 'one', first)).toEqual(position);
    expect(get(node, 'k')).toBe('two');
    expect(node.writeIds.repeated).toBe(2);
  });

  it('waits for a first that is on its way to the disk', async () => {
    const node = await place(newCluster(), 'A');
    const [one, two] = await Promise.all([put(node, 'k', 'v', first), put(node, 'k', 'v', again(100))]);
    expect(two).toEqual(one);
    expect((await put(node, 'l', 'v')).offset).toBe(one.offset + 1);
  });

  it('is known where a part of the range went on to, wherever that part begins; and no offset is given twice there', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const position = await put(a, 'z', 'one', first);
    await prepare(a, right, 2, [at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(a, 3, 3, [at(whole, 'A')]);
    const b = cluster.start('B');
    await prepare(b, right, 4, [at(right, 'A')]);
    await deactivate(a, 3, 5);
    await activate(b, 3, 5, [at(right, 'A')]);
    const end = b.copies.get(3)?.lastOffset;
    expect(await put(b, 'z', 'one', again(100))).toEqual(position);
    // What the log of the part begins with has no key, and is a record like any other.
    cluster.kill('B');
    const back = cluster.start('B');
    expect(back.copies.get(3)?.lastOffset).toBe(end);
  });

  it('of a write that failed is told so, and one after that is applied', async () => {
    let full = false;
    const disk = new MemoryStorage('A-disk', () => (full ? Promise.reject(new AppError('RESOURCE_EXHAUSTED', 'the disk is full')) : Promise.resolve()));
    const node = await place(newCluster({ storage: () => disk }), 'A');
    full = true;
    const tries = await Promise.allSettled([put(node, 'k', 'v', first), put(node, 'k', 'v', again(100))]);
    expect(tries.map((result) => (result as PromiseRejectedResult).reason as unknown)).toMatchObject([{ code: 'RESOURCE_EXHAUSTED' }, { code: 'UNAVAILABLE' }]);
    full = false;
    await put(node, 'k', 'v', again(100));
    expect(get(node, 'k')).toBe('v');
  });

  it('of a write that never arrived is applied', async () => {
    const node = await place(newCluster(), 'A');
    await put(node, 'k', 'v', again(5_000));
    expect(get(node, 'k')).toBe('v');
  });

  it('with the id of another key is refused', async () => {
    const node = await place(newCluster(), 'A');
    await put(node, 'k', 'v', first);
    await expect(put(node, 'l', 'v', again(100))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(put(node, 'l', 'v', { writeId: Buffer.from('short') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('that is older than what is remembered is refused, never applied', async () => {
    const node = await place(newCluster(), 'A');
    await put(node, 'k', 'one', first);
    await put(node, 'k', 'two');
    laterMs = 70_000;
    await put(node, 'other', 'v', { writeId: OTHER });
    await expect(put(node, 'k', 'one', again(70_000))).rejects.toMatchObject({ code: 'UNKNOWN', message: expect.stringContaining('is unknown') as string });
    expect(get(node, 'k')).toBe('two');
    // What was first sent after all that was forgotten is still certain.
    await put(node, 'new', 'v', { writeId: Buffer.from('another-write-id'), firstSentAt: clock.now() - 40_000 });
  });

  it('is known after a restart', async () => {
    const cluster = newCluster();
    const position = await put(await place(cluster, 'A'), 'k', 'one', first);
    cluster.kill('A');
    laterMs = 3_000;
    const node = cluster.start('A');
    await put(node, 'k', 'two');
    expect(await put(node, 'k', 'one', again(4_000))).toEqual(position);
    expect(get(node, 'k')).toBe('two');
    await put(node, 'l', 'v', again(4_000, OTHER));
  });

  it('is known where the range was moved to, though its log is not', async () => {
    const cluster = newCluster({ limits: { retention: { keepBytes: 2_000, holdBytesMax: 1_000_000, keepAgeMs: 0 } } });
    const a = await place(cluster, 'A');
    const positions = [];
    for (let i = 0; i < 20; i++) positions.push(await put(a, `k${i}`, 'one', { writeId: Buffer.alloc(16, i + 1) }));
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    const during = await put(a, 'during', 'v', first);
    await deactivate(a, 1, 3);
    await activate(b, 1, 3, [at(whole, 'A')]);
    for (let i = 0; i < 20; i++) expect(await put(b, `k${i}`, 'one', again(1_000, Buffer.alloc(16, i + 1)))).toEqual(positions[i]);
    expect(await put(b, 'during', 'v', again(1_000))).toEqual(during);
    // What node A would have known for certain, B knows too.
    await put(b, 'new', 'v', again(20_000, OTHER));
  });

  it('is known to the children of a split, here and elsewhere, and after their restart', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const [low, high] = [await put(a, 'a', 'one', first), await put(a, 'z', 'one', { writeId: OTHER })];
    const b = cluster.start('B');
    await prepare(a, left, 2, [at(left), at(whole, 'A')]);
    await prepare(b, right, 2, [at(right), at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(a, 2, 3, [at(whole, 'A')]);
    await activate(b, 3, 3, [at(whole, 'A')]);
    await put(a, 'a', 'two');
    await put(b, 'z', 'two');
    for (const restarted of [false, true]) {
      if (restarted) for (const ident of ['A', 'B']) cluster.kill(ident);
      const [nodeA, nodeB] = restarted ? [cluster.start('A'), cluster.start('B')] : [a, b];
      expect(await put(nodeA, 'a', 'one', again(1_000))).toEqual(low);
      expect(await put(nodeB, 'z', 'one', again(1_000, OTHER))).toEqual(high);
      expect([get(nodeA, 'a'), get(nodeB, 'z')]).toEqual(['two', 'two']);
      await put(nodeA, 'b', 'v', again(20_000, Buffer.alloc(16, restarted ? 1 : 2)));
      await put(nodeB, 'y', 'v', again(20_000, Buffer.alloc(16, restarted ? 3 : 4)));
    }
    // And where a child is moved to, in turn.
    const c = cluster.start('C');
    await prepare(c, left, 4, [at(left, 'A')]);
    await deactivate(cluster.node('A'), 2, 5);
    await activate(c, 2, 5, [at(left, 'A')]);
    expect(await put(c, 'a', 'one', again(1_000))).toEqual(low);
  });

  it('is known to parents that are served again, of writes that their children took', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const b = cluster.start('B');
    const before = await put(a, 'b', 'one', { writeId: OTHER });
    await prepare(a, left, 2, [at(left), at(whole, 'A')]);
    await prepare(b, right, 2, [at(right), at(whole, 'A')]);
    await deactivate(a, 1, 3);
    await activate(a, 2, 3, [at(whole, 'A')]);
    await activate(b, 3, 3, [at(whole, 'A')]);
    const [low, high] = [await put(a, 'a', 'one', first), await put(b, 'z', 'one', { writeId: Buffer.alloc(16, 9) })];
    await deactivate(a, 2, 4);
    await deactivate(b, 3, 4);
    await activate(a, 1, 4, [at(left, 'A'), at(right, 'B')]);
    expect(await put(a, 'a', 'one', again(1_000))).toEqual(low);
    expect(await put(a, 'z', 'one', again(1_000, Buffer.alloc(16, 9)))).toEqual(high);
    expect(await put(a, 'b', 'one', again(1_000, OTHER))).toEqual(before);
    cluster.kill('A');
    const restarted = cluster.start('A');
    expect(await put(restarted, 'z', 'one', again(1_000, Buffer.alloc(16, 9)))).toEqual(high);
    expect(await put(restarted, 'b', 'one', again(1_000, OTHER))).toEqual(before);
  });
});
