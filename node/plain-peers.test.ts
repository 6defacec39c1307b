import { afterEach, describe, expect, it } from 'vitest';
import { AppError } from '../runtime/errors.js';
import { LocalCluster, at, command, get, meta, put } from './testing/local-cluster.js';

const whole = meta(1);
type Node = ReturnType<LocalCluster['start']>;

/** A controller that knows no epochs, no sources and no lineage of rights. */
const prepare = (node: Node, range = whole, ...parents: ReturnType<typeof at>[]): ReturnType<typeof command> =>
  command(node, { command: 'Prepare', meta: range, epoch: 0, parents: [at(range), ...parents], initial: false });
const activate = (node: Node, id = 1): ReturnType<typeof command> =>
  command(node, { command: 'Activate', id, epoch: 0, force: false, sources: [], initial: false });
const deactivate = (node: Node, id = 1): ReturnType<typeof command> => command(node, { command: 'Deactivate', id, epoch: 0 });
const drop = (node: Node, id = 1): ReturnType<typeof command> => command(node, { command: 'Drop', id, epoch: 0, force: false });

/** A node that knows the plain calls alone. */
class PlainNode {
  active = true;
  pairs = new Map<string, string>();

  dump(): Promise<{ key: Buffer; value: Buffer }[]> {
    if (this.active) return Promise.reject(new AppError('FAILED_PRECONDITION', 'range is still writable'));
    return Promise.resolve([...this.pairs].map(([key, value]) => ({ key: Buffer.from(key), value: Buffer.from(value) })));
  }
}

let cluster: LocalCluster;
afterEach(() => {
  cluster.killAll();
});

async function placed(plain?: PlainNode): Promise<Node> {
  cluster = new LocalCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 200 } }, ...(plain ? { plain: { F: plain } } : {}) });
  const a = cluster.start('A');
  expect((await prepare(a)).state).toBe('Inactive');
  expect((await activate(a)).state).toBe('Active');
  return a;
}

describe('a controller that knows only the plain calls', () => {
  it('moves a range there and back', async () => {
    const a = await placed();
    await put(a, 'k', '1');
    const b = cluster.start('B');
    expect((await prepare(b, whole, at(whole, 'A'))).state).toBe('Inactive');
    await deactivate(a);
    expect((await activate(b)).state).toBe('Active');
    await put(b, 'k', '2');
    expect((await drop(a)).state).toBe('NotFound');
    expect((await prepare(a, whole, at(whole, 'B'))).state).toBe('Inactive');
    await deactivate(b);
    expect((await activate(a)).state).toBe('Active');
    expect(get(a, 'k')).toBe('2');
  });

  it('splits, recalls, and joins', async () => {
    const a = await placed();
    await put(a, 'a', '1');
    await put(a, 'z', '2');
    const b = cluster.start('B');
    const [left, right] = [meta(2, '', 'm'), meta(3, 'm', '')];
    await prepare(a, left, at(whole, 'A'));
    await prepare(b, right, at(whole, 'A'));
    await deactivate(a);
    expect((await activate(b, 3)).state).toBe('Active');
    await put(b, 'z', '3');
    await deactivate(b, 3);
    expect((await activate(a)).state).toBe('Active');
    expect(get(a, 'z')).toBe('3');
    await deactivate(a);
    expect((await activate(a, 2)).state).toBe('Active');
    expect((await activate(b, 3)).state).toBe('Active');
    await drop(a);
    const joined = meta(4);
    await prepare(b, joined, at(left, 'A'), at(right, 'B'));
    await deactivate(a, 2);
    await deactivate(b, 3);
    expect((await activate(b, 4)).state).toBe('Active');
    expect([get(b, 'a'), get(b, 'z')]).toEqual(['1', '3']);
  });
});

describe('a node that knows only the plain calls', () => {
  it('is a source: its pairs are fetched once it does not serve, also after a restart', async () => {
    const plain = new PlainNode();
    plain.pairs.set('k', 'v').set('large', 'x'.repeat(5 * 1024 * 1024));
    cluster = new LocalCluster({ limits: { patience: { fetchMs: 1000, handOverMs: 200 } }, plain: { F: plain } });
    const a = cluster.start('A');
    expect((await prepare(a, whole, at(whole, 'F'))).state).toBe('Inactive');
    cluster.kill('A');
    const again = cluster.start('A');
    expect(await activate(again)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('writable') as string });
    plain.active = false;
    expect((await activate(again)).state).toBe('Active');
    expect(get(again, 'k')).toBe('v');
    expect(get(again, 'large')?.length).toBe(5 * 1024 * 1024);
  });

  it('is a destination: it fetches what is inactive here, and the rest may be dropped', async () => {
    const a = await placed(new PlainNode());
    await put(a, 'k', 'v');
    await expect(a.data.dump(1)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    await expect(a.data.dump(2)).rejects.toMatchObject({ code: 'ABORTED' });
    await command(a, { command: 'Deactivate', id: 1, epoch: 5 });
    expect((await a.data.dump(1)).map(({ key, value }) => [key.toString(), value.toString()])).toEqual([['k', 'v']]);
    expect((await command(a, { command: 'Drop', id: 1, epoch: 5, force: false })).state).toBe('NotFound');
  });

  it('gives back what it took, and only when it does not serve', async () => {
    const plain = new PlainNode();
    const a = await placed(plain);
    await put(a, 'k', '1');
    await put(a, 'gone', '1');
    await command(a, { command: 'Deactivate', id: 1, epoch: 5 });
    await a.data.dump(1);
    plain.pairs.set('k', '2');
    const back = (epoch: number): ReturnType<typeof command> =>
      command(a, { command: 'Activate', id: 1, epoch, force: false, sources: [at(whole, 'F')], initial: false });
    expect(await back(6)).toMatchObject({ state: 'Inactive', lastError: expect.stringContaining('may have newer writes') as string });
    plain.active = false;
    expect((await back(7)).state).toBe('Active');
    expect([get(a, 'k'), get(a, 'gone')]).toEqual(['2', undefined]);
  });
});
