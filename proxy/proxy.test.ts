import { setTimeout as delay } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GrpcStore } from '../client/store/grpc-store.js';
import { MemoryCoordination } from '../coordination/memory/memory.js';
import type { Registration } from '../coordination/interfaces.js';
import { EVERYTHING } from '../model/interval.js';
import { keyFromText } from '../model/key.js';
import { channelOptions } from '../proto/channel.js';
import { KVClient } from '../proto/gen/kv/kv.js';
import { PipeAction, PipeClient, type PipeResponse } from '../proto/gen/kv/pipe.js';
import { systemClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/log.js';
import { systemRandom } from '../runtime/random.js';
import { type Proxy, type ProxyOptions, startProxy } from './proxy.js';
import { SharedData, TestNode, type TestNodeOptions } from './testing/test-node.js';

let coordination: MemoryCoordination;
let data: SharedData;
let nodes: { node: TestNode; registration: Registration }[];
let proxies: Proxy[];
let clients: grpc.Client[];

beforeEach(() => {
  coordination = new MemoryCoordination();
  data = new SharedData();
  nodes = [];
  proxies = [];
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await Promise.all(nodes.map(({ node }) => node.close()));
});

async function addNode(ident: string, options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
  const node = await TestNode.start({ ident, data, ...options });
  nodes.push({ node, registration: await coordination.connect().discovery.register(node.instance) });
  return node;
}

async function addProxy(options: Partial<ProxyOptions> = {}): Promise<Proxy> {
  const { discovery } = coordination.connect();
  const proxy = await startProxy({
    listen: { host: '127.0.0.1', port: 0 },
    timeoutMs: 10_000,
    maxBytesInFlight: 64 * 1024 * 1024,
    graceMs: 2000,
    discovery,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    onRefused: (reason) => {
      throw reason as Error;
    },
    ...options,
  });
  proxies.push(proxy);
  return proxy;
}

function connect(proxy: Proxy): Kv {
  const client = new KVClient(proxy.address, grpc.credentials.createInsecure(), { ...channelOptions(), 'grpc.use_local_subchannel_pool': 1 });
  clients.push(client);
  return new Kv(client);
}

class Kv {
  constructor(readonly client: KVClient) {}

  get(key: string, timeoutMs?: number): Promise<string> {
    return new Promise((resolve, reject) => {
      this.client.get({ key: Buffer.from(key), stale: false }, deadline(timeoutMs), (error, response) => {
        if (error) reject(error);
        else resolve(response.value.toString());
      });
    });
  }

  put(key: string, value: string | Buffer | undefined, timeoutMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const bytes = typeof value === 'string' ? Buffer.from(value) : value;
      this.client.put({ key: Buffer.from(key), value: bytes, level: 0, writeId: Buffer.alloc(0), retryAgeMs: 0n }, deadline(timeoutMs), (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }
}

function deadline(timeoutMs: number | undefined): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (timeoutMs !== undefined) metadata.set('grpc-timeout', `${timeoutMs}m`);
  return metadata;
}

const rejects = (code: grpc.status, details: RegExp): object => ({ code, details: expect.stringMatching(details) as string });
const failure = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => 'it succeeded', (error: unknown) => error);

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await holds()) return;
    await delay(10);
  }
  throw new Error(`never came true: ${what}`);
}

const R1 = { id: 1, ...EVERYTHING };

describe('a proxy', () => {
  it('gets, puts and deletes, whichever node has the key', async () => {
    const [left, right] = [await addNode('left'), await addNode('right')];
    await left.place({ id: 2, start: keyFromText(''), end: keyFromText('m') }, 1);
    await right.place({ id: 3, start: keyFromText('m'), end: keyFromText('') }, 1);
    const kv = connect(await addProxy());
    await Promise.all([kv.put('apple', 'red'), kv.put('plum', 'blue'), kv.put('void', '')]);
    expect(await Promise.all([kv.get('apple'), kv.get('plum'), kv.get('void')])).toEqual(['red', 'blue', '']);
    expect([left.served, right.served]).toEqual([2, 4]);
    await kv.put('apple', undefined);
    expect(await failure(kv.get('apple'))).toMatchObject(rejects(grpc.status.NOT_FOUND, /^key apple is not there$/));
  });

  it('lets nobody see that ranges move: 64 callers, no error, no wrong value', async () => {
    const [a, b] = [await addNode('a'), await addNode('b')];
    await a.place(R1, 1);
    const proxy = await addProxy();
    const errors: unknown[] = [];
    let [done, stop, longestMs] = [0, false, 0];
    const caller = async (name: number): Promise<void> => {
      const kv = connect(proxy);
      for (let i = 0; !stop; i++) {
        const key = `caller ${name} key ${i % 5}`;
        const startedAt = performance.now();
        try {
          await kv.put(key, `${i}`);
          const value = await kv.get(key);
          if (value !== `${i}`) errors.push(`${key} is ${value} instead of ${i}`);
        } catch (error) {
          errors.push(error);
        }
        done++;
        longestMs = Math.max(longestMs, performance.now() - startedAt);
      }
    };
    const callers = Array.from({ length: 64 }, (_, name) => caller(name));
    await until('requests are served', () => done > 200);
    let [from, to] = [a, b];
    for (let epoch = 2; epoch <= 16; epoch++) {
      await to.prepare(R1, epoch);
      await from.deactivate(1, epoch);
      await delay(epoch % 3 === 0 ? 20 : 0);
      await to.activate(1, epoch);
      await from.drop(1, epoch);
      [from, to] = [to, from];
      const before = done;
      await until('requests are served after the move', () => done > before + 64);
    }
    stop = true;
    await Promise.all(callers);
    expect(errors).toEqual([]);
    expect(Math.min(a.served, b.served)).toBeGreaterThan(100);
    // Not a measure of speed: no request was forgotten until its deadline.
    expect(longestMs).toBeLessThan(9000);
  });

  it('works with nodes that know unary calls only', async () => {
    const node = await addNode('old', { pipe: false });
    await node.place(R1, 1);
    const kv = connect(await addProxy());
    await Promise.all(Array.from({ length: 50 }, (_, i) => kv.put(`k${i}`, `v${i}`)));
    expect(await kv.get('k42')).toBe('v42');
    expect(await failure(kv.get('none'))).toMatchObject(rejects(grpc.status.NOT_FOUND, /not there/));
    await node.deactivate(1, 2);
    const held = kv.put('k1', 'later');
    await delay(50);
    await node.activate(1, 2);
    await held;
    expect(await kv.get('k1')).toBe('later');
  });

  it('carries values of every size, and refuses what is too large, naming limit and size', async () => {
    const node = await addNode('a');
    await node.place(R1, 1);
    const kv = connect(await addProxy());
    for (const bytes of [1, 1000, 70_000, 3_000_000, 8 * 1024 * 1024]) {
      const value = Buffer.alloc(bytes, 'x');
      await kv.put('k', value);
      expect((await kv.get('k')).length).toBe(bytes);
    }
    await kv.put('k'.repeat(1024), 'long');
    const writes = data.writes;
    expect(await Promise.all([failure(kv.put('', 'v')), failure(kv.get('')), failure(kv.put('k'.repeat(1025), 'v')), failure(kv.put('k', Buffer.alloc(8 * 1024 * 1024 + 1)))])).toMatchObject([
      rejects(grpc.status.INVALID_ARGUMENT, /^key is empty/),
      rejects(grpc.status.INVALID_ARGUMENT, /^key is empty/),
      rejects(grpc.status.INVALID_ARGUMENT, /^key of 1025 bytes is too long: the limit is 1024 bytes/),
      rejects(grpc.status.INVALID_ARGUMENT, /^value of 8388609 bytes is too long: the limit is 8388608 bytes/),
    ]);
    expect(data.writes).toBe(writes);
  });

  it('answers damaged requests with INVALID_ARGUMENT, and Dump with where to ask', async () => {
    const proxy = await addProxy();
    const { client } = connect(proxy);
    const raw = (path: string): Promise<unknown> =>
      failure(
        new Promise((resolve, reject) => {
          const asIs = (bytes: Buffer): Buffer => bytes;
          client.makeUnaryRequest(path, asIs, asIs, Buffer.from([0x0a, 0x7f, 1]), (error, response) => {
            if (error) reject(error);
            else resolve(response);
          });
        }),
      );
    expect(await raw('/kv.KV/Get')).toMatchObject(rejects(grpc.status.INVALID_ARGUMENT, /cannot be decoded: a field of 127 bytes reaches beyond/));
    expect(await raw('/kv.KV/Put')).toMatchObject(rejects(grpc.status.INVALID_ARGUMENT, /cannot be decoded/));
    expect(await raw('/kv.KV/Dump')).toMatchObject(rejects(grpc.status.UNIMPLEMENTED, /node that has the range/));
  });

  it("says within the caller's deadline why it could not serve", async () => {
    const proxy = await addProxy();
    const kv = connect(proxy);
    expect(await failure(kv.get('k', 200))).toMatchObject(rejects(grpc.status.FAILED_PRECONDITION, /^no node serves key k, waited \d+ ms for one: no node is known/));
    const node = await addNode('a');
    await node.place(R1, 1);
    node.fault = { code: grpc.status.FAILED_PRECONDITION, message: 'R1 is frozen' };
    await until('the node is connected', async () => /frozen/.test(String(await failure(kv.get('k', 100)))));
    expect(await failure(kv.put('k', 'v', 300))).toMatchObject(rejects(grpc.status.FAILED_PRECONDITION, /^waited \d+ ms for node a at 127.0.0.1:\d+, which refuses: R1 is frozen$/));
  });

  it('passes cancellation on to the node', async () => {
    const node = await addNode('slow', { delayMs: 60_000 });
    await node.place(R1, 1);
    const proxy = await addProxy();
    const { client } = connect(proxy);
    const call = client.get({ key: Buffer.from('k'), stale: false }, () => undefined);
    await delay(100);
    call.cancel();
    await until('the node was told', () => node.cancelled === 1);
    await until('nothing is in flight', async () => /keyranger_proxy_requests_in_flight 0/.test(await metricsOf(proxy)));
    expect(await metricsOf(proxy)).toContain('keyranger_proxy_requests_total{method="get",code="CANCELLED"} 1');
  });

  it('survives connections that break: what was sent is sent again, and a write applied once', async () => {
    const node = await addNode('a', { delayMs: 50 });
    await node.place(R1, 1);
    const kv = connect(await addProxy());
    await kv.put('k', 'v');
    const [read, write] = [kv.get('k'), kv.put('k', 'w')];
    await delay(20);
    node.cutConnections();
    await write;
    expect(data.writes).toBe(2);
    expect(['v', 'w']).toContain(await read);
    await kv.put('k', 'x');
    expect(await kv.get('k')).toBe('x');
  });

  it('notices a node that froze, and serves from where its range went', async () => {
    const [a, b] = [await addNode('a'), await addNode('b')];
    await a.place(R1, 1);
    const kv = connect(await addProxy());
    await kv.put('k', 'v');
    a.freeze();
    const read = kv.get('k');
    await b.place(R1, 2);
    expect(await read).toBe('v');
  });

  it('loses no write to a node that is stopped in order', async () => {
    const [a, b] = [await addNode('a', { delayMs: 5 }), await addNode('b', { delayMs: 5 })];
    await a.place(R1, 1);
    const kv = connect(await addProxy());
    await kv.put('k', 'v');
    const writes = Array.from({ length: 500 }, async (_, i) => {
      await delay(i / 10);
      await kv.put(`k${i}`, 'v');
    });
    await delay(25);
    a.drain();
    await a.deactivate(1, 2);
    await b.place(R1, 2);
    await Promise.all(writes);
    expect(data.values.size).toBe(501);
  });

  it('refuses, instead of growing, what goes beyond its bytes in flight', async () => {
    const node = await addNode('slow', { delayMs: 300 });
    await node.place(R1, 1);
    const kv = connect(await addProxy({ maxBytesInFlight: 20 * 1024 * 1024 }));
    const value = Buffer.alloc(8 * 1024 * 1024);
    const results = await Promise.all(Array.from({ length: 6 }, (_, i) => failure(kv.put(`k${i}`, value))));
    const refused = results.filter((result) => result !== 'it succeeded');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(6);
    for (const result of refused) expect(result).toMatchObject(rejects(grpc.status.RESOURCE_EXHAUSTED, /--max-bytes-in-flight/));
    await kv.put('k', value);
    const reads = await Promise.all(Array.from({ length: 6 }, () => failure(kv.get('k'))));
    expect(reads.filter((result) => result === 'it succeeded')).not.toEqual([]);
    await until('all bytes are accounted for', async () => /keyranger_proxy_bytes_in_flight 0/.test(await metricsOf(proxies[0] as Proxy)));
  });

  it('serves kv.Pipe as nodes do', async () => {
    const node = await addNode('a');
    await node.place(R1, 1);
    const client = new PipeClient((await addProxy()).address, grpc.credentials.createInsecure());
    clients.push(client);
    const call = client.open();
    const answers: PipeResponse[] = [];
    const ended = new Promise((resolve) => call.on('end', resolve));
    call.on('data', ({ responses }: { responses: PipeResponse[] }) => answers.push(...responses));
    const rest = { level: 0, writeId: Buffer.alloc(0), retryAgeMs: 0n, stale: false };
    const request = (id: number, action: PipeAction, key: string, value?: string) => ({ id, action, key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value), ...rest });
    call.write({ requests: [request(1, PipeAction.PIPE_ACTION_PUT, 'k', 'v'), request(2, PipeAction.PIPE_ACTION_GET, 'none'), request(3, PipeAction.PIPE_ACTION_GET, ''), request(4, 9 as PipeAction, 'k')] });
    await until('four answers', () => answers.length === 4);
    call.write({ requests: [request(5, PipeAction.PIPE_ACTION_GET, 'k')] });
    call.end();
    await ended;
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    expect([1, 2, 3, 4, 5].map((id) => byId.get(id)?.code)).toEqual([0, grpc.status.NOT_FOUND, grpc.status.INVALID_ARGUMENT, grpc.status.UNIMPLEMENTED, 0]);
    expect(byId.get(5)?.value.toString()).toBe('v');
  });

  it('is ready once the nodes that are there have told their ranges, and shows what it does', async () => {
    const proxy = await addProxy();
    const ready = async (): Promise<unknown> => (await fetch(`http://${proxy.address}/ready`)).json();
    expect(await ready()).toEqual({ ready: false, reason: 'no node is known yet' });
    const node = await addNode('a');
    await node.place(R1, 1);
    await until('ready', async () => ((await ready()) as { ready: boolean }).ready);
    const kv = connect(proxy);
    await kv.put('k', 'v');
    await failure(kv.get('none'));
    const metrics = await metricsOf(proxy);
    expect(metrics).toContain('keyranger_proxy_requests_total{method="put",code="OK"} 1');
    expect(metrics).toContain('keyranger_proxy_requests_total{method="get",code="NOT_FOUND"} 1');
    expect(metrics).toContain('keyranger_proxy_request_seconds_count{method="get"} 1');
    expect(metrics).toMatch(/keyranger_proxy_request_seconds_bucket\{method="put",le="\+Inf"\} 1/);
    expect(metrics).toContain('keyranger_proxy_owners 1');
    await nodes[0]?.registration.deregister();
    expect(((await ready()) as { ready: boolean }).ready).toBe(true);
  });

  it('counts the calls of kv.Store, and how they ended', async () => {
    await (await addNode('a')).place(R1, 1);
    const proxy = await addProxy();
    const store = new GrpcStore(proxy.address, systemClock);
    const [k, none] = [keyFromText('k'), keyFromText('none')];
    await store.put(k, Buffer.from('v'));
    await store.batch([{ is: 'get', key: k }, { is: 'get', key: none }]);
    await store.get(none);
    await failure(store.watch({ span: EVERYTHING })[Symbol.asyncIterator]().next());
    store.close();
    const metrics = await metricsOf(proxy);
    for (const labels of ['method="put",code="OK"', 'method="batch",code="OK"', 'method="get",code="NOT_FOUND"', 'method="watch",code="UNIMPLEMENTED"']) {
      expect(metrics).toContain(`keyranger_proxy_store_requests_total{${labels}} 1`);
    }
    expect(metrics).toContain('keyranger_proxy_store_request_seconds_count{method="get"} 1');
  });

  it('is known where it says that it is reached', async () => {
    const proxy = await addProxy({ advertise: { host: 'door', port: 0 } });
    expect(proxy.address).toMatch(/^door:[1-9]/);
    expect(proxy.ident).toBe(proxy.address);
  });

  it('finishes what is in flight when it closes, and leaves discovery', async () => {
    const node = await addNode('slow', { delayMs: 200 });
    await node.place(R1, 1);
    const proxy = await addProxy();
    const kv = connect(proxy);
    const write = kv.put('k', 'v');
    await delay(100);
    await proxy.close();
    await write;
    expect(data.values.size).toBe(1);
  });
});

async function metricsOf(proxy: Proxy): Promise<string> {
  return (await fetch(`http://${proxy.address}/metrics`)).text();
}
