import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Controller } from '../../controller/controller.js';
import { silentObserver } from '../../controller/metrics.js';
import { planMove } from '../../controller/orchestrator/request.js';
import { DEFAULT_TUNING } from '../../controller/orchestrator/types.js';
import { grpcDial } from '../../controller/transport/grpc.js';
import { MemoryCoordination } from '../../coordination/memory/memory.js';
import { KvNode, DEFAULT_LIMITS } from '../../node/node.js';
import { addFollowService, grpcFollowTransport, grpcPeerDump } from '../../node/server/follow-service.js';
import { addKvServices } from '../../node/server/kv-services.js';
import { MemoryStorage } from '../../node/storage/memory.js';
import { startProxy } from '../../proxy/proxy.js';
import { systemClock as clock } from '../../runtime/clock.js';
import { silentLogger as logger } from '../../runtime/log.js';
import { createMetrics } from '../../runtime/metrics.js';
import { freePort } from '../../runtime/ports.js';
import { systemRandom as random } from '../../runtime/random.js';
import { listen } from '../../runtime/server.js';
import { endOfTurn } from '../../runtime/turn.js';
import { type Info, type KvCalls, type Meta, type NodeCalls, type Parent, type State, type Stub, kvStub, nodeStub } from './stubs.js';
import { ToyNode } from './toy-node.js';

let coordination: MemoryCoordination;
let cleanup: (() => unknown)[];

beforeEach(() => {
  coordination = new MemoryCoordination();
  cleanup = [];
});

afterEach(async () => {
  for (const undo of cleanup.reverse()) await undo();
});

interface OurNode {
  readonly node: KvNode;
  readonly address: string;
}

/** Our node, as its main.ts puts it on a port. */
async function startOurs(ident: string): Promise<OurNode> {
  const port = await freePort('127.0.0.1');
  const address = `127.0.0.1:${port}`;
  const node = new KvNode({
    storage: new MemoryStorage(ident),
    transport: grpcFollowTransport(),
    peerDump: grpcPeerDump(clock),
    clock,
    logger,
    ident,
    address,
    yieldTurn: () => new Promise(endOfTurn),
    onFatal: (error) => {
      throw error;
    },
    limits: DEFAULT_LIMITS,
  });
  const server = await listen({
    listen: { host: '127.0.0.1', port },
    logger,
    clock,
    metrics: createMetrics({ name: 'node' }),
    ready: () => ({ ready: true }),
    services: (grpcServer, closing) => {
      node.register(grpcServer);
      addKvServices(grpcServer, { data: node.data, clock, turn: endOfTurn, closing, observe: () => undefined });
      addFollowService(grpcServer, { ...node.sources, logger }, closing);
    },
  });
  node.start();
  cleanup.push(async () => {
    await server.close(0);
    await node.close();
  });
  return { node, address };
}

async function announce(ident: string, address: string): Promise<void> {
  await coordination.connect().discovery.register({ service: 'node', ident, address, meta: {} });
}

function startController(): Controller {
  const { persister, discovery } = coordination.connect();
  const tuning = { ...DEFAULT_TUNING, gatherMs: 0 };
  const controller = new Controller({ clock, turn: endOfTurn, logger, persister, discovery, dial: grpcDial(clock), observer: silentObserver, tuning, timing: { settleMs: 500 } });
  controller.start();
  controller.lead({ leading: true, term: 1, leaderAddress: '127.0.0.1:1' });
  cleanup.push(() => controller.close());
  return controller;
}

async function connectProxy(): Promise<Client> {
  const proxy = await startProxy({
    listen: { host: '127.0.0.1', port: 0 },
    timeoutMs: 10_000,
    maxBytesInFlight: 64 * 1024 * 1024,
    graceMs: 0,
    discovery: coordination.connect().discovery,
    clock,
    random,
    logger,
    onRefused: (reason) => {
      throw reason as Error;
    },
  });
  cleanup.push(() => proxy.close());
  return new Client(proxy.address);
}

/** A client that knows the plain calls. */
class Client {
  private readonly kv: Stub<KvCalls>;

  constructor(address: string) {
    this.kv = kvStub(address);
    cleanup.push(() => this.kv.close());
  }

  async get(key: string): Promise<string> {
    return (await this.kv.call('Get', { key: Buffer.from(key) })).value.toString();
  }

  async put(key: string, value?: string): Promise<void> {
    await this.kv.call('Put', { key: Buffer.from(key), ...(value === undefined ? {} : { value: Buffer.from(value) }) });
  }
}

describe('a node that knows only the plain calls, under our controller and proxy', () => {
  it('has the first range, hands it to our node, and takes it back', async () => {
    const toy = await ToyNode.start();
    cleanup.push(() => toy.close());
    await announce('toy', toy.address);
    const controller = startController();
    await expect.poll(() => toy.copies.get(1)?.state).toBe('ACTIVE');
    const client = await connectProxy();
    await client.put('a', '1');
    await client.put('gone', '1');
    await client.put('gone');
    await client.put('empty', '');
    expect(await client.get('a')).toBe('1');
    await expect(client.get('gone')).rejects.toMatchObject({ code: 5 });

    const { node, address } = await startOurs('ours');
    await announce('ours', address);
    await expect.poll(() => controller.roster.nodes.size).toBe(2);
    await move(controller, 'ours');
    expect(toy.dumped).toEqual([1]);
    await expect.poll(() => toy.copies.size).toBe(0);
    expect(node.copies.all().length).toBe(1);
    expect([await client.get('a'), await client.get('empty')]).toEqual(['1', '']);
    await expect(client.get('gone')).rejects.toMatchObject({ code: 5 });

    await client.put('a', '2');
    await client.put('b', '3');
    await move(controller, 'toy');
    expect(toy.copies.get(1)?.state).toBe('ACTIVE');
    await expect.poll(() => node.copies.all().length).toBe(0);
    expect([await client.get('a'), await client.get('b'), await client.get('empty')]).toEqual(['2', '3', '']);
    await client.put('a', '4');
    expect(await client.get('a')).toBe('4');
  });
});

async function move(controller: Controller, node: string): Promise<void> {
  let last: unknown;
  // A node that has only just come may not be known well enough yet.
  await expect
    .poll(async () => {
      try {
        await (await controller.run((world) => planMove(world, { range: 1, node }))).result;
        return 'moved';
      } catch (thrown) {
        last = thrown;
        return String(last);
      }
    })
    .toBe('moved');
}

describe('our nodes, under a controller that knows only the plain calls', () => {
  it('place, move, split, recall, and join', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    const whole = meta(1);
    expect(await a.prepare(whole, [own(whole)])).toBe('INACTIVE');
    expect(await a.activate(1)).toBe('ACTIVE');
    await a.client.put('a', '1');
    await a.client.put('z', '2');

    expect(await b.prepare(whole, [own(whole, a)])).toBe('INACTIVE');
    expect(await a.deactivate(1)).toBe('INACTIVE');
    await expect(a.client.put('a', 'late')).rejects.toMatchObject({ code: 9 });
    expect(await b.activate(1)).toBe('ACTIVE');
    expect(await a.drop(1)).toBe('NOT_FOUND');
    expect(await a.drop(1)).toBe('NOT_FOUND');
    await expect(a.client.get('a')).rejects.toMatchObject({ code: 10 });
    expect(await b.client.get('a')).toBe('1');

    const [left, right] = [meta(2, '', 'm'), meta(3, 'm', '')];
    expect(await b.prepare(left, [own(left, [], 1), own(whole, b)])).toBe('INACTIVE');
    expect(await a.prepare(right, [own(right, [], 1), own(whole, b)])).toBe('INACTIVE');
    expect(await b.deactivate(1)).toBe('INACTIVE');
    expect(await a.activate(3)).toBe('ACTIVE');
    await a.client.put('z', '3');
    // The other child fails, so the parent is called back: nothing written is lost.
    expect(await a.deactivate(3)).toBe('INACTIVE');
    expect(await b.activate(1)).toBe('ACTIVE');
    expect([await b.client.get('a'), await b.client.get('z')]).toEqual(['1', '3']);

    await b.client.put('z', '4');
    expect(await b.deactivate(1)).toBe('INACTIVE');
    expect(await b.activate(2)).toBe('ACTIVE');
    expect(await a.activate(3)).toBe('ACTIVE');
    expect(await b.drop(1)).toBe('NOT_FOUND');
    expect([await b.client.get('a'), await a.client.get('z')]).toEqual(['1', '4']);

    const joined = meta(4);
    expect(await a.prepare(joined, [own(joined, [], 2, 3), own(left, b, 1), own(right, a, 1)])).toBe('INACTIVE');
    expect(await b.deactivate(2)).toBe('INACTIVE');
    expect(await a.deactivate(3)).toBe('INACTIVE');
    expect(await a.activate(4)).toBe('ACTIVE');
    expect([await b.drop(2), await a.drop(3)]).toEqual(['NOT_FOUND', 'NOT_FOUND']);
    expect([await a.client.get('a'), await a.client.get('z')]).toEqual(['1', '4']);
    expect((await a.infos()).map(({ meta: { ident }, state }) => [ident, state])).toEqual([[4, 'ACTIVE']]);
  });

  it('refuse what the contract refuses', async () => {
    const a = await peer('a');
    await expect(a.activate(9)).rejects.toMatchObject({ code: 3 });
    const whole = meta(1);
    await a.prepare(whole, [own(whole)]);
    await a.activate(1);
    expect(await a.activate(1)).toBe('ACTIVE');
    await expect(a.prepare(whole, [own(whole)])).rejects.toMatchObject({ code: 3 });
    await expect(a.dump(1)).rejects.toMatchObject({ code: 9 });
    await expect(a.dump(2)).rejects.toMatchObject({ code: 10 });
  });
});

function meta(ident: number, start = '', end = ''): Meta {
  return { ident, start: Buffer.from(start), end: Buffer.from(end) };
}

/** An entry of a lineage: where the range is active, and its parents. */
function own(range: Meta, on: Peer | readonly Peer[] = [], ...parent: number[]): Parent {
  return { range, parent, placements: [on].flat().map(({ address }: Peer) => ({ node: address, state: 'PS_ACTIVE' })) };
}

async function peer(ident: string): Promise<Peer> {
  return new Peer((await startOurs(ident)).address);
}

/** One of our nodes, as a controller of other origin sees it: it asks again while a state is passing. */
class Peer {
  readonly client: Client;
  private readonly node: Stub<NodeCalls>;
  private readonly kv: Stub<KvCalls>;

  constructor(readonly address: string) {
    this.client = new Client(address);
    this.node = nodeStub(address);
    this.kv = kvStub(address);
    cleanup.push(() => {
      this.node.close();
      this.kv.close();
    });
  }

  prepare(range: Meta, parents: readonly Parent[]): Promise<State> {
    return this.settled(async () => (await this.node.call('Prepare', { range, parents })).range_info.state);
  }

  activate(range: number): Promise<State> {
    return this.settled(async () => (await this.node.call('Activate', { range })).state);
  }

  deactivate(range: number): Promise<State> {
    return this.settled(async () => (await this.node.call('Deactivate', { range })).state);
  }

  drop(range: number): Promise<State> {
    return this.settled(async () => (await this.node.call('Drop', { range })).state);
  }

  dump(range: number): Promise<unknown> {
    return this.kv.call('Dump', { range_ident: range });
  }

  async infos(): Promise<readonly Info[]> {
    return (await this.node.call('Info', {})).ranges;
  }

  private async settled(ask: () => Promise<State>): Promise<State> {
    let state = await ask();
    for (let i = 0; i < 20 && state.endsWith('ING'); i++) state = await ask();
    return state;
  }
}
