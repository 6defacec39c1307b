import { ReplaySubject } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { EVERYTHING, containsKey } from '../../model/interval.js';
import { type Key, NO_KEY, keyFromText } from '../../model/key.js';
import type { RangeMeta } from '../../model/range.js';
import type { Parent } from '../../model/report.js';
import { type Change, type Operation, type OperationAnswer, type Store, selectedSpan } from '../../model/store.js';
import { LocalCluster, at, command, meta } from '../../node/testing/local-cluster.js';
import { systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { systemRandom } from '../../runtime/random.js';
import { ByteBudget } from '../budget.js';
import type { SpanOwner, SpanOwners } from '../owners.js';
import type { NodeStore } from './node-store.js';
import { RoutedStore } from './routed-store.js';

const k = keyFromText;
const v = (text: string): Buffer => Buffer.from(text);
const spans = (prefix: string) => selectedSpan({ prefix: k(prefix) }) ?? EVERYTHING;

/** A map that the test draws. */
class DrawnOwners implements SpanOwners {
  /** Tells its last change to whoever begins to listen, as the one of a proxy does. */
  readonly changes = new ReplaySubject<void>(1);
  private owners: SpanOwner[] = [];

  set(...owners: readonly (readonly [RangeMeta, string, number])[]): void {
    this.owners = owners.map(([range, node, epoch]) => ({ interval: { start: range.start, end: range.end }, range: range.id, node, address: node, epoch }));
    this.changes.next();
  }

  find(key: Key): SpanOwner | undefined {
    return this.owners.find(({ interval }) => containsKey(interval, key));
  }

  findBelow(end: Key): SpanOwner | undefined {
    return this.owners.find(({ interval }) => (end === NO_KEY ? interval.end === NO_KEY : interval.start < end && (interval.end === NO_KEY || interval.end >= end)));
  }

  copies(key: Key): readonly SpanOwner[] {
    return this.owners.filter(({ interval }) => containsKey(interval, key));
  }

  addresses(): string[] {
    return [...new Set(this.owners.map(({ address }) => address))];
  }
}

/** Nodes in this process, a map of them, and a store over both. */
class World {
  readonly cluster = new LocalCluster();
  readonly owners = new DrawnOwners();
  /** Calls to each node. */
  readonly batches: { readonly node: string; readonly operations: readonly Operation[] }[] = [];
  /** Called before a node sees a batch, and after it has answered. */
  before: (node: string) => Promise<void> = () => Promise.resolve();
  after: (node: string) => Promise<void> = () => Promise.resolve();
  readonly budget = new ByteBudget(64 * 1024 * 1024);
  readonly store = new RoutedStore({
    owners: this.owners,
    connect: (address) => this.connect(address),
    router: {
      get: () => { throw new Error('nodes here know kv.Store'); },
      put: () => { throw new Error('nodes here know kv.Store'); },
    },
    budget: this.budget,
    clock: systemClock,
    random: systemRandom,
    timeoutMs: 20_000,
  });

  private connect(address: string): NodeStore {
    const store = (): Store => this.cluster.node(address).store;
    return {
      address,
      ready: () => Promise.resolve(),
      close: () => undefined,
      get: (key, options) => store().get(key, options),
      put: (...args) => store().put(...args),
      delete: (...args) => store().delete(...args),
      batch: async (operations, options): Promise<OperationAnswer[]> => {
        this.batches.push({ node: address, operations });
        await this.before(address);
        const answers = await store().batch(operations, options);
        await this.after(address);
        return answers;
      },
      scan: (request, options) => store().scan(request, options),
      watch: (request, options) => store().watch(request, options),
      log: (request, options) => this.cluster.node(address).log.read(request, options),
    };
  }

  node(ident: string): ReturnType<LocalCluster['start']> {
    return this.cluster.nodes.get(ident) ?? this.cluster.start(ident);
  }

  async place(ident: string, range: RangeMeta): Promise<void> {
    await this.prepare(ident, range, 1, [], true);
    await this.activate(ident, range.id, 1, [], true);
  }

  prepare(ident: string, range: RangeMeta, epoch: number, parents: Parent[], initial = false): Promise<unknown> {
    return command(this.node(ident), { command: 'Prepare', meta: range, epoch, parents, initial });
  }

  async activate(ident: string, id: number, epoch: number, sources: Parent[], initial = false): Promise<void> {
    expect(await command(this.node(ident), { command: 'Activate', id, epoch, force: false, sources, initial })).toMatchObject({ state: 'Active' });
  }

  deactivate(ident: string, id: number, epoch: number): Promise<unknown> {
    return command(this.node(ident), { command: 'Deactivate', id, epoch });
  }

  drop(ident: string, id: number, epoch: number): Promise<unknown> {
    return command(this.node(ident), { command: 'Drop', id, epoch, force: false });
  }
}

const worlds: World[] = [];
function newWorld(): World {
  const world = new World();
  worlds.push(world);
  return world;
}
afterEach(() => {
  for (const world of worlds.splice(0)) {
    world.store.close();
    world.cluster.killAll();
  }
});

const whole = meta(1);
const left = meta(2, '', 'm');
const right = meta(3, 'm', '');

async function two(): Promise<World> {
  const world = newWorld();
  await world.place('A', left);
  await world.place('B', right);
  world.owners.set([left, 'A', 1], [right, 'B', 1]);
  return world;
}

describe('a routed store', () => {
  it('sends a write with the id that it was given, and makes it once', async () => {
    const { store, batches } = await two();
    const writeId = Buffer.alloc(16, 7);
    const first = await store.put(k('a'), v('1'), { writeId, condition: { is: 'absent' } });
    const again = await store.put(k('a'), v('1'), { writeId, condition: { is: 'absent' }, retryAgeMs: 100 });
    expect(again).toEqual(first);
    expect(first.applied).toBe(true);
    expect(batches.map(({ operations: [operation] }) => operation)).toMatchObject([{ writeId, retryAgeMs: 0 }, { writeId }]);
    await store.batch([{ is: 'delete', key: k('a'), writeId: Buffer.alloc(16, 8) }]);
    expect(batches.at(-1)?.operations).toMatchObject([{ writeId: Buffer.alloc(16, 8) }]);
  });

  it('says of a write that could not be sent in time that nothing was applied', async () => {
    const world = newWorld();
    await expect(world.store.put(k('a'), v('1'), {}, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringMatching(/no node serves key a now\. Nothing was applied$/) as string });
    await expect(world.store.get(k('a'), { timeoutMs: 30 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringMatching(/no node serves key a now$/) as string });
  });

  it('asks each key of its owner, what belongs to one node in one message', async () => {
    const { store, batches } = await two();
    const keys = ['a', 'b', 'x', 'y'].map(k);
    const written = await store.batch([...keys.map((key) => ({ is: 'put' as const, key, value: v(key) })), { is: 'delete', key: k('z') }, { is: 'put', key: NO_KEY, value: v('') }]);
    expect(written.slice(0, 5)).toMatchObject(Array(5).fill({ is: 'written', outcome: { applied: true } }));
    expect(written[5]).toMatchObject({ is: 'failed', error: { code: 'INVALID_ARGUMENT' } });
    expect(batches.map(({ node, operations }) => [node, operations.length])).toEqual([['A', 2], ['B', 3]]);
    const read = await Promise.all([...keys, k('none')].map((key) => store.get(key)));
    expect(read.map((value) => value?.value.toString())).toEqual(['a', 'b', 'x', 'y', undefined]);
    expect(batches).toHaveLength(4);
    expect(await store.put(k('a'), v('again'), { condition: { is: 'absent' } })).toEqual({ applied: false, current: { epoch: 1, offset: 1 } });
    expect(await store.delete(k('a'), { is: 'present' })).toMatchObject({ applied: true });
  });

  it('waits for an owner, and tells why when none comes in time', async () => {
    const world = newWorld();
    await world.place('A', whole);
    const waiting = world.store.put(k('a'), v('1'));
    world.owners.set([whole, 'A', 1]);
    expect(await waiting).toMatchObject({ applied: true });
    world.owners.set();
    await expect(world.store.get(k('a'), { timeoutMs: 30 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message: 'waited 30 ms: no node serves key a now' });
    const over = new AbortController();
    const aborted = world.store.get(k('a'), { signal: over.signal });
    over.abort(new AppError('CANCELLED', 'enough'));
    await expect(aborted).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(world.budget.used).toBe(0);
  });

  it('sends again what was lost, and a write is made once however often it is sent', async () => {
    const world = await two();
    let losses = 2;
    const lose = (): Promise<void> => (losses-- > 0 ? Promise.reject(new AppError('UNAVAILABLE', 'the connection broke')) : Promise.resolve());
    world.after = lose;
    expect(await world.store.get(k('a'))).toBeUndefined();
    losses = 3;
    expect(await world.store.put(k('a'), v('1'), { condition: { is: 'absent' } })).toEqual({ applied: true, position: { epoch: 1, offset: 1 } });
    losses = 2;
    expect(await world.store.delete(k('a'), { is: 'present' })).toEqual({ applied: true, position: { epoch: 1, offset: 2 } });
    losses = 1;
    expect(await world.store.put(k('a'), v('2'), { contentType: 'text/plain' })).toEqual({ applied: true, position: { epoch: 1, offset: 3 } });
    losses = Infinity;
    await expect(world.store.put(k('b'), v('1'), {}, { timeoutMs: 1000 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringContaining('unknown') as string });
    losses = 0;
    await world.deactivate('A', 2, 2);
    const held = world.store.put(k('a'), v('2'));
    await world.activate('A', 2, 3, []);
    world.owners.set([left, 'A', 3], [right, 'B', 1]);
    expect(await held).toMatchObject({ applied: true });
  });

  it('gets many large values over several messages, and answers no more than one holds', async () => {
    const { store } = await two();
    const large = Buffer.alloc(5 * 1024 * 1024);
    const keys = Array.from({ length: 6 }, (_, i) => k(`large${i}`));
    await Promise.all(keys.map((key) => store.put(key, large)));
    const read = await Promise.all(keys.map((key) => store.get(key)));
    expect(read.map((value) => value?.value.length)).toEqual(keys.map(() => large.length));
    const answers = await store.batch(keys.map((key) => ({ is: 'get', key })));
    expect(answers.map((answer) => answer.is)).toEqual(['value', 'value', 'value', 'failed', 'failed', 'failed']);
  });

  it('scans over ranges in either direction, while they move', async () => {
    const world = await two();
    const keys = Array.from({ length: 1500 }, (_, i) => k(`${i < 700 ? 'a' : 'z'}${String(i).padStart(4, '0')}`));
    await world.store.batch(keys.map((key) => ({ is: 'put', key, value: v(key) })));
    for (const reverse of [false, true]) {
      const order = reverse ? [...keys].reverse() : keys;
      const seen: Key[] = [];
      const tokens: (Buffer | undefined)[] = [];
      let moved = false;
      for await (const { entries, next } of world.store.scan({ span: EVERYTHING, reverse })) {
        seen.push(...entries.map(({ key }) => key));
        tokens.push(next);
        if (moved) continue;
        moved = true;
        // The range that is being read goes to another node.
        const [from, to, range, epoch] = reverse ? (['B', 'C', right, 3] as const) : (['A', 'C', left, 3] as const);
        await world.prepare(to, range, epoch - 1, [at(range, from)]);
        await world.deactivate(from, range.id, epoch);
        await world.activate(to, range.id, epoch, [at(range, from)]);
        await world.drop(from, range.id, epoch);
        world.owners.set([left, 'C', 3], reverse ? [right, 'C', 3] : [right, 'B', 1]);
      }
      expect(seen).toEqual(order);
      expect(tokens.at(-1)).toBeUndefined();
      const rest: Key[] = [];
      for await (const { entries } of world.store.scan({ span: EVERYTHING, reverse, token: tokens[1], limit: 100, keysOnly: true })) rest.push(...entries.map(({ key }) => key));
      const from = seen.indexOf(rest[0] as Key);
      expect(rest).toEqual(order.slice(from, from + 100));
    }
    const some = Array.from({ length: 1000 }, (_, i) => k(`q${i}`));
    await world.store.batch(some.map((key) => ({ is: 'put', key, value: v('') })));
    const last: unknown[] = [];
    for await (const { next } of world.store.scan({ span: spans('q') })) last.push(next);
    expect(last.at(-1)).toBeUndefined();
    const none = [];
    for await (const page of world.store.scan({ span: spans('r') })) none.push(...page.entries);
    expect(none).toEqual([]);
    await expect(world.store.scan({ span: EVERYTHING, token: v('nonsense') })[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('tells watchers every change once, over a move, a split and a join, and on from any token', async () => {
    const world = newWorld();
    await world.place('A', whole);
    world.owners.set([whole, 'A', 1]);
    const over = new AbortController();
    const seen: Change[] = [];
    const tokens: { readonly token: Buffer; readonly seen: number }[] = [];
    const watching = (async () => {
      for await (const { changes, token } of world.store.watch({ span: EVERYTHING }, { signal: over.signal })) {
        seen.push(...changes);
        if (token) tokens.push({ token, seen: seen.length });
      }
    })().catch((thrown: unknown) => AppError.from(thrown).code);
    await expect.poll(() => tokens.length).toBe(1);
    const wrote: string[] = [];
    let stop = false;
    const writer = async (key: string): Promise<void> => {
      for (let i = 0; !stop; i++) {
        await world.store.put(k(key), v(String(i)));
        wrote.push(`${key}=${i}`);
      }
    };
    const writers = [writer('a'), writer('z')];
    const after = async (count: number): Promise<void> => expect.poll(() => wrote.length).toBeGreaterThan(wrote.length + count);
    await after(20);
    await world.prepare('B', whole, 2, [at(whole, 'A')]);
    await world.deactivate('A', 1, 3);
    await world.activate('B', 1, 3, [at(whole, 'A')]);
    await world.drop('A', 1, 3);
    world.owners.set([whole, 'B', 3]);
    await after(20);
    await world.prepare('B', left, 4, [at(left), at(whole, 'B')]);
    await world.prepare('C', right, 4, [at(right), at(whole, 'B')]);
    await world.deactivate('B', 1, 5);
    await world.activate('B', 2, 5, [at(whole, 'B')]);
    await world.activate('C', 3, 5, [at(whole, 'B')]);
    world.owners.set([left, 'B', 5], [right, 'C', 5]);
    await world.drop('B', 1, 5);
    await after(20);
    const joined = meta(4);
    await world.prepare('C', joined, 6, [at(joined), at(left, 'B'), at(right, 'C')]);
    await Promise.all([world.deactivate('B', 2, 7), world.deactivate('C', 3, 7)]);
    await world.activate('C', 4, 7, [at(left, 'B'), at(right, 'C')]);
    world.owners.set([joined, 'C', 7]);
    await after(20);
    stop = true;
    await Promise.all(writers);
    const of = (name: string, list: readonly Change[]): string[] => list.filter(({ key }) => key === name).map(({ value }) => `${name}=${value?.toString() ?? '-'}`);
    for (const name of ['a', 'z']) await expect.poll(() => of(name, seen)).toEqual(wrote.filter((text) => text.startsWith(name)));
    over.abort(new AppError('CANCELLED', 'enough'));
    expect(await watching).toBe('CANCELLED');

    // From a token of the last range, what came behind it comes again, and nothing else.
    const late = tokens.at(-3);
    if (!late) throw new Error('there were many events');
    const again: Change[] = [];
    const end = new AbortController();
    const resumed = (async () => {
      for await (const { changes } of world.store.watch({ span: EVERYTHING, token: late.token }, { signal: end.signal })) again.push(...changes);
    })().catch((thrown: unknown) => AppError.from(thrown).code);
    await expect.poll(() => again.length).toBe(seen.length - late.seen);
    for (const name of ['a', 'z']) expect(of(name, again)).toEqual(of(name, seen.slice(late.seen)));
    end.abort(new AppError('CANCELLED', 'enough'));
    await resumed;
  });

  it('refuses tokens that are none, and offsets that mean nothing', async () => {
    const { store } = await two();
    const first = (request: Parameters<Store['watch']>[0]): Promise<unknown> => store.watch(request)[Symbol.asyncIterator]().next() as Promise<unknown>;
    await expect(first({ span: EVERYTHING, token: v('nonsense') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(first({ span: EVERYTHING, afterOffset: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('more than one range') as string });
    await expect(first({ span: spans('a'), afterOffset: 7 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
