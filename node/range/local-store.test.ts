import { afterEach, describe, expect, it } from 'vitest';
import { EVERYTHING, type Interval } from '../../model/interval.js';
import { type Key, keyFromText } from '../../model/key.js';
import type { RangeMeta } from '../../model/range.js';
import type { Parent } from '../../model/report.js';
import { type Change, type ScanEntry, type ScanRequest, selectedSpan } from '../../model/store.js';
import { LocalCluster, at, command, get, meta, put } from '../testing/local-cluster.js';

type Node = ReturnType<LocalCluster['start']>;

const whole = meta(1);
const k = keyFromText;
const v = (text: string): Buffer => Buffer.from(text);
const prefix = (text: string): Interval => selectedSpan({ prefix: k(text) }) ?? EVERYTHING;

const clusters: LocalCluster[] = [];
function newCluster(...args: ConstructorParameters<typeof LocalCluster>): LocalCluster {
  const cluster = new LocalCluster(...args);
  clusters.push(cluster);
  return cluster;
}
afterEach(() => {
  for (const cluster of clusters.splice(0)) cluster.killAll();
});

const prepare = (node: Node, range: RangeMeta, epoch: number, parents: Parent[] = [], initial = false): ReturnType<typeof command> =>
  command(node, { command: 'Prepare', meta: range, epoch, parents, initial });
const deactivate = (node: Node, id: number, epoch: number): ReturnType<typeof command> => command(node, { command: 'Deactivate', id, epoch });
const drop = (node: Node, id: number, epoch: number): ReturnType<typeof command> => command(node, { command: 'Drop', id, epoch, force: false });
async function activate(node: Node, id: number, epoch: number, sources: Parent[] = [], initial = false): Promise<void> {
  expect(await command(node, { command: 'Activate', id, epoch, force: false, sources, initial })).toMatchObject({ state: 'Active' });
}

async function place(cluster: LocalCluster, ident: string, range = whole): Promise<Node> {
  const node = cluster.nodes.get(ident) ?? cluster.start(ident);
  await prepare(node, range, 1, [], true);
  await activate(node, range.id, 1, [], true);
  return node;
}

describe('conditional writes', () => {
  it('are made when the condition holds, and tell what is there when it does not', async () => {
    const { store } = await place(newCluster(), 'A');
    expect(await store.put(k('a'), v('1'), { condition: { is: 'present' } })).toEqual({ applied: false, current: undefined });
    expect(await store.delete(k('a'), { is: 'at', positions: [{ epoch: 1, offset: 1 }] })).toEqual({ applied: false, current: undefined });
    const first = { epoch: 1, offset: 1 };
    expect(await store.put(k('a'), v('1'), { condition: { is: 'absent' } })).toEqual({ applied: true, position: first });
    expect(await store.put(k('a'), v('2'), { condition: { is: 'absent' } })).toEqual({ applied: false, current: first });
    expect(await store.put(k('a'), v('2'), { condition: { is: 'notAt', positions: [first] } })).toEqual({ applied: false, current: first });
    const second = { epoch: 1, offset: 2 };
    expect(await store.put(k('a'), v('2'), { condition: { is: 'at', positions: [{ epoch: 9, offset: 9 }, first] }, contentType: 'text/plain' })).toEqual({ applied: true, position: second });
    expect(await store.get(k('a'))).toMatchObject({ ...second, value: v('2'), contentType: 'text/plain' });
    expect(await store.delete(k('a'), { is: 'at', positions: [first] })).toEqual({ applied: false, current: second });
    expect(await store.delete(k('a'), { is: 'at', positions: [second] })).toMatchObject({ applied: true });
    expect(await store.get(k('a'))).toBeUndefined();
  });

  it('see every write before them, those on their way to the disk included', async () => {
    const { store } = await place(newCluster(), 'A');
    const outcomes = await Promise.all([
      store.put(k('a'), v('plain')),
      store.put(k('a'), v('lost'), { condition: { is: 'absent' } }),
      store.put(k('a'), v('held up')),
      store.put(k('a'), v('won'), { condition: { is: 'present' } }),
      store.put(k('b'), v('first'), { condition: { is: 'absent' } }),
      store.put(k('b'), v('second'), { condition: { is: 'absent' } }),
    ]);
    expect(outcomes.map(({ applied }) => applied)).toEqual([true, false, true, true, true, false]);
    expect((await store.get(k('a')))?.value).toEqual(v('won'));
    expect((await store.get(k('b')))?.value).toEqual(v('first'));
  });

  it('count right when many race', async () => {
    const { store } = await place(newCluster(), 'A');
    await store.put(k('n'), v('0'));
    let tries = 0;
    const increment = async (): Promise<void> => {
      for (;;) {
        tries++;
        const now = await store.get(k('n'));
        if (!now) throw new Error('it is there');
        const { epoch, offset, value } = now;
        const { applied } = await store.put(k('n'), v(String(Number(value) + 1)), { condition: { is: 'at', positions: [{ epoch, offset }] } });
        if (applied) return;
      }
    };
    await Promise.all(Array.from({ length: 20 }, async () => {
      for (let i = 0; i < 5; i++) await increment();
    }));
    expect((await store.get(k('n')))?.value.toString()).toBe('100');
    expect(tries).toBeGreaterThan(100);
  });

  it('are refused when the range leaves while they wait', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const outcomes = Promise.allSettled([a.store.put(k('a'), v('1')), a.store.put(k('a'), v('2'), { condition: { is: 'present' } })]);
    const leaving = deactivate(a, 1, 2);
    expect(await outcomes).toMatchObject([{ status: 'fulfilled', value: { applied: true } }, { status: 'rejected', reason: { code: 'FAILED_PRECONDITION' } }]);
    await leaving;
  });
});

describe('a batch', () => {
  it('answers each operation in its place', async () => {
    const { store } = await place(newCluster(), 'A', meta(1, 'a', 'n'));
    await store.put(k('a'), v('1'));
    const answers = await store.batch([
      { is: 'get', key: k('a') },
      { is: 'get', key: k('b') },
      { is: 'put', key: k('c'), value: v('3') },
      { is: 'put', key: k('a'), value: v('3'), condition: { is: 'absent' } },
      { is: 'delete', key: k('z') },
      { is: 'delete', key: k('b') },
    ]);
    expect(answers).toMatchObject([
      { is: 'value', value: { value: v('1') } },
      { is: 'absent' },
      { is: 'written', outcome: { applied: true } },
      { is: 'written', outcome: { applied: false, current: { epoch: 1, offset: 1 } } },
      { is: 'failed', error: { code: 'ABORTED' } },
      { is: 'written', outcome: { applied: true } },
    ]);
  });

  it('does not answer more than a message holds', async () => {
    const { store } = await place(newCluster(), 'A');
    const large = Buffer.alloc(8 * 1024 * 1024);
    await store.put(k('large'), large);
    const answers = await store.batch(Array.from({ length: 4 }, () => ({ is: 'get' as const, key: k('large') })));
    expect(answers.map((answer) => answer.is)).toEqual(['value', 'value', 'failed', 'failed']);
  });
});

async function scanAll(node: Node, request: ScanRequest): Promise<{ entries: ScanEntry[]; pages: number; next: Buffer | undefined }> {
  const entries: ScanEntry[] = [];
  let pages = 0;
  let next: Buffer | undefined;
  for await (const page of node.store.scan(request)) {
    entries.push(...page.entries);
    next = page.next;
    pages++;
  }
  return { entries, pages, next };
}

const keysOf = (entries: readonly ScanEntry[]): Key[] => entries.map(({ key }) => key);

describe('a scan', () => {
  it('goes forward and back, over pages and over ranges, with a limit, and on from a token', async () => {
    const cluster = newCluster();
    const node = await place(cluster, 'A', meta(1, '', 'k0700'));
    await place(cluster, 'A', meta(2, 'k0700', ''));
    const keys = Array.from({ length: 1200 }, (_, i) => k(`k${String(i).padStart(4, '0')}`));
    await Promise.all([...keys, k('other')].map((key) => node.store.put(key, v(`of ${key}`))));
    const all = await scanAll(node, { span: EVERYTHING });
    expect(keysOf(all.entries)).toEqual([...keys, k('other')]);
    expect(all.entries[3]).toMatchObject({ epoch: 1, value: v('of k0003') });
    expect([all.pages, all.next]).toEqual([4, undefined]);
    const back = await scanAll(node, { span: prefix('k'), reverse: true });
    expect(keysOf(back.entries)).toEqual([...keys].reverse());
    for (const reverse of [false, true]) {
      for (const keysOnly of [false, true]) {
        const order = reverse ? [...keys].reverse() : keys;
        const first = await scanAll(node, { span: prefix('k'), limit: 650, reverse, keysOnly });
        expect(keysOf(first.entries)).toEqual(order.slice(0, 650));
        expect(first.entries[0]?.value.length).toBe(keysOnly ? 0 : 8);
        const rest = await scanAll(node, { span: prefix('k'), token: first.next, reverse, keysOnly });
        expect(keysOf(rest.entries)).toEqual(order.slice(650));
        expect(rest.next).toBeUndefined();
      }
    }
    expect(await scanAll(node, { span: prefix('zzz') })).toEqual({ entries: [], pages: 1, next: undefined });
  });

  it('refuses tokens of other scans, damaged ones, and keys that are not here', async () => {
    const node = await place(newCluster(), 'A', meta(1, 'a', 'n'));
    await Promise.all(['a', 'b', 'c'].map((key) => put(node, key, key)));
    const span = { start: k('a'), end: k('n') };
    const { next } = await scanAll(node, { span, limit: 1 });
    if (!next) throw new Error('there are more');
    for (const token of [v('nonsense'), next.subarray(1), Buffer.concat([next, v('x')])]) {
      await expect(scanAll(node, { span, token })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await expect(scanAll(node, { span, token: next, reverse: true })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(scanAll(node, { span: { start: k('c'), end: k('n') }, token: next })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(scanAll(node, { span: EVERYTHING })).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(scanAll(node, { span: EVERYTHING, reverse: true })).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

/** Follows keys from node to node, as a proxy does for each of its watchers. */
class Watcher {
  readonly seen: Change[] = [];
  token: Buffer | undefined;
  private readonly over = new AbortController();

  constructor(readonly span: Interval) {}

  /** Resolves when the node has told all that it will, with how it ended. */
  async on(node: Node): Promise<unknown> {
    try {
      for await (const { changes, token } of node.store.watch({ span: this.span, token: this.token }, { signal: this.over.signal })) {
        this.seen.push(...changes);
        this.token = token;
      }
      return undefined;
    } catch (thrown) {
      return (thrown as { code?: string }).code;
    }
  }

  stop(): void {
    this.over.abort();
  }

  get text(): string[] {
    return this.seen.map(({ key, value }) => `${key}=${value?.toString() ?? '-'}`);
  }
}

describe('a watch', () => {
  it('tells every change of its keys from now on, in order, and goes on from a token', async () => {
    const node = await place(newCluster(), 'A');
    await put(node, 'x1', 'before');
    const watcher = new Watcher(prefix('x'));
    const running = watcher.on(node);
    await expect.poll(() => watcher.token).toBeDefined();
    await Promise.all([put(node, 'x1', '1'), put(node, 'y', 'other'), put(node, 'x2', '2'), put(node, 'x1', undefined)]);
    await node.store.put(k('x3'), v('3'), { contentType: 'text/plain' });
    await expect.poll(() => watcher.text).toEqual(['x1=1', 'x2=2', 'x1=-', 'x3=3']);
    expect(watcher.seen.at(-1)).toMatchObject({ contentType: 'text/plain', epoch: 1, offset: 6 });
    watcher.stop();
    await running;
    await put(node, 'x4', '4');
    const again = new Watcher(prefix('x'));
    again.token = watcher.token;
    void again.on(node);
    await expect.poll(() => again.text).toEqual(['x4=4']);
    again.stop();
  });

  it('begins behind an offset, and refuses one that is no more, or not yet', async () => {
    const cluster = newCluster({ limits: { retention: { keepBytes: 1000, holdBytesMax: 1000, keepAgeMs: 0 } } });
    const node = await place(cluster, 'A');
    for (let i = 1; i <= 5; i++) await put(node, 'x', String(i));
    const { value } = await node.store.watch({ span: EVERYTHING, afterOffset: 3 })[Symbol.asyncIterator]().next() as { value: { token: Buffer } };
    const watcher = new Watcher(EVERYTHING);
    watcher.token = value.token;
    void watcher.on(node);
    await expect.poll(() => watcher.text).toEqual(['x=4', 'x=5']);
    watcher.stop();
    const begin = (afterOffset: number): Promise<unknown> => node.store.watch({ span: EVERYTHING, afterOffset })[Symbol.asyncIterator]().next() as Promise<unknown>;
    await expect(begin(6)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    for (let i = 0; i < 30; i++) await put(node, 'x', 'y'.repeat(100_000));
    await expect.poll(() => begin(3).catch((thrown: unknown) => (thrown as { code: string }).code)).toBe('OUT_OF_RANGE');
    const late = new Watcher(EVERYTHING);
    late.token = value.token;
    expect(await late.on(node)).toBe('OUT_OF_RANGE');
    for (const token of [v('nonsense'), value.token.subarray(1)]) {
      late.token = token;
      expect(await late.on(node)).toBe('INVALID_ARGUMENT');
    }
  });

  it('goes over a move without gap or repeat', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const watcher = new Watcher(prefix('x'));
    const onA = watcher.on(a);
    const b = cluster.start('B');
    await prepare(b, whole, 2, [at(whole, 'A')]);
    const writes = Promise.allSettled(Array.from({ length: 50 }, (_, i) => put(a, `x${i}`, 'a')));
    await deactivate(a, 1, 3);
    const made = (await writes).filter(({ status }) => status === 'fulfilled').length;
    expect(await onA).toBe('ABORTED');
    await activate(b, 1, 3, [at(whole, 'A')]);
    await drop(a, 1, 3);
    const onB = watcher.on(b);
    await put(b, 'x', 'b');
    await expect.poll(() => watcher.seen.length).toBe(made + 1);
    expect(watcher.seen.map(({ offset }) => offset)).toEqual([...watcher.seen.map(({ offset }) => offset)].sort((x, y) => x - y));
    watcher.stop();
    await onB;
  });

  it('goes over a split and a join, on one node and on others', async () => {
    for (const [leftNode, rightNode, joinNode] of [['A', 'A', 'A'], ['B', 'C', 'A'], ['A', 'B', 'B']] as const) {
      const cluster = newCluster();
      const node = (ident: string): Node => cluster.nodes.get(ident) ?? cluster.start(ident);
      const a = await place(cluster, 'A');
      const watchers = [new Watcher(meta(0, '', 'm')), new Watcher(meta(0, 'm', ''))];
      const onParent = watchers.map((watcher) => watcher.on(a));
      const [left, right] = [meta(2, '', 'm'), meta(3, 'm', '')];
      await prepare(node(leftNode), left, 2, [at(left), at(whole, 'A')]);
      await prepare(node(rightNode), right, 2, [at(right), at(whole, 'A')]);
      for (let i = 0; i < 3; i++) await Promise.all([put(a, `a${i}`, 'parent'), put(a, `z${i}`, 'parent')]);
      await deactivate(a, 1, 3);
      expect(await Promise.all(onParent)).toEqual(['ABORTED', 'ABORTED']);
      await activate(node(leftNode), 2, 3, [at(whole, 'A')]);
      await activate(node(rightNode), 3, 3, [at(whole, 'A')]);
      await drop(a, 1, 3);
      const onChildren = watchers.map((watcher, i) => watcher.on(node(i === 0 ? leftNode : rightNode)));
      await put(node(leftNode), 'a', 'child');
      for (let i = 0; i < 4; i++) await put(node(rightNode), `z`, `child ${i}`);
      const joined = meta(4);
      await prepare(node(joinNode), joined, 4, [at(joined), at(left, leftNode), at(right, rightNode)]);
      await put(node(rightNode), 'z', 'late');
      await Promise.all([deactivate(node(leftNode), 2, 5), deactivate(node(rightNode), 3, 5)]);
      expect(await Promise.all(onChildren)).toEqual(['ABORTED', 'ABORTED']);
      await activate(node(joinNode), 4, 5, [at(left, leftNode), at(right, rightNode)]);
      const onJoined = watchers.map((watcher) => watcher.on(node(joinNode)));
      await put(node(joinNode), 'a', 'joined');
      await put(node(joinNode), 'z', 'joined');
      await expect.poll(() => watchers[0]?.text).toEqual(['a0=parent', 'a1=parent', 'a2=parent', 'a=child', 'a=joined']);
      await expect.poll(() => watchers[1]?.text).toEqual(['z0=parent', 'z1=parent', 'z2=parent', 'z=child 0', 'z=child 1', 'z=child 2', 'z=child 3', 'z=late', 'z=joined']);
      for (const watcher of watchers) watcher.stop();
      await Promise.all(onJoined);
      expect(get(node(joinNode), 'z')).toBe('joined');
    }
  });

  it('goes over a split though the last that the parent wrote was of other keys', async () => {
    const a = await place(newCluster(), 'A');
    const watcher = new Watcher(prefix('x'));
    const onParent = watcher.on(a);
    await put(a, 'x', '1');
    await expect.poll(() => watcher.text).toEqual(['x=1']);
    await put(a, 'y', 'other');
    const [left, right] = [meta(2, '', 'm'), meta(3, 'm', '')];
    for (const child of [left, right]) await prepare(a, child, 2, [at(child), at(whole, 'A')]);
    await deactivate(a, 1, 3);
    expect(await onParent).toBe('ABORTED');
    for (const { id } of [left, right]) await activate(a, id, 3, [at(whole, 'A')]);
    await drop(a, 1, 3);
    void watcher.on(a);
    await put(a, 'x', '2');
    await expect.poll(() => watcher.text).toEqual(['x=1', 'x=2']);
    watcher.stop();
  });

  it('says so when it missed what a range told that is gone', async () => {
    const cluster = newCluster();
    const a = await place(cluster, 'A');
    const watcher = new Watcher(EVERYTHING);
    const onA = watcher.on(a);
    await expect.poll(() => watcher.token).toBeDefined();
    watcher.stop();
    await onA;
    await put(a, 'missed', '1');
    const left = meta(2, '', 'm');
    await prepare(a, left, 2, [at(left), at(whole, 'A')]);
    const right = meta(3, 'm', '');
    await prepare(a, right, 2, [at(right), at(whole, 'A')]);
    await deactivate(a, 1, 3);
    for (const { id } of [left, right]) await activate(a, id, 3, [at(whole, 'A')]);
    await drop(a, 1, 3);
    const late = new Watcher(left);
    late.token = watcher.token;
    expect(await late.on(a)).toBe('OUT_OF_RANGE');
  });
});
