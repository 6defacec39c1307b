import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { type ServiceError, Server, ServerCredentials, credentials, status } from '@grpc/grpc-js';
import { Subject, firstValueFrom, filter, timeout } from 'rxjs';
import { afterEach, describe, expect, test } from 'vitest';
import type { Instance } from '../coordination/interfaces.js';
import type { Key } from '../model/key.js';
import type { RangeMeta } from '../model/range.js';
import { type DeactivateRequest, type DropRequest, NodeClient, type PrepareRequest, type ServeRequest } from '../proto/gen/ranger/node.js';
import { RangeNodeState } from '../proto/gen/ranger/types.js';
import { grpcRanges } from './mirror-grpc.js';
import { Mirror } from './mirror.js';
import type { RangeletOptions } from './options.js';
import { Rangelet } from './rangelet.js';
import { FakeService } from './testing/fake-service.js';

const EMPTY = Buffer.alloc(0);
const R1: RangeMeta = { id: 1, start: '' as Key, end: 'm' as Key };

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0).reverse()) close();
});

interface Node {
  readonly service: FakeService;
  readonly rangelet: Rangelet;
  readonly server: Server;
  readonly client: NodeClient;
  readonly address: string;
}

async function start(options: Partial<RangeletOptions> = {}, at = '127.0.0.1:0'): Promise<Node> {
  const service = new FakeService();
  const rangelet = new Rangelet({ service, ident: 'n1', incarnation: 'i1', ...options });
  const server = new Server();
  rangelet.register(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(at, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  const address = `127.0.0.1:${port}`;
  const client = new NodeClient(address, credentials.createInsecure());
  open.push(() => {
    client.close();
    server.forceShutdown();
  });
  return { service, rangelet, server, client, address };
}

type Callback<A> = (error: ServiceError | null, answer: A) => void;

function call<A>(run: (callback: Callback<A>) => unknown): Promise<A> {
  return new Promise((resolve, reject) => {
    run((error, answer) => {
      if (error) reject(error);
      else resolve(answer);
    });
  });
}

async function refusal(answer: Promise<unknown>): Promise<ServiceError> {
  return answer.then(
    () => {
      throw new Error('was not refused');
    },
    (error: unknown) => error as ServiceError,
  );
}

const prepare = (over: Partial<PrepareRequest> = {}): PrepareRequest => ({
  range: { ident: 1n, start: EMPTY, end: Buffer.from('m') }, parents: [], epoch: 1n, initial: true, term: 0n, fork: 0n, ...over,
});
const serve = (over: Partial<ServeRequest> = {}): ServeRequest => ({ range: 1n, force: false, epoch: 1n, sources: [], initial: true, term: 0n, fork: 0n, members: [], minInSync: 0, promote: false, ...over });
const deactivate = (over: Partial<DeactivateRequest> = {}): DeactivateRequest => ({ range: 1n, epoch: 1n, term: 0n, ...over });
const drop = (over: Partial<DropRequest> = {}): DropRequest => ({ range: 1n, force: false, epoch: 1n, term: 0n, ...over });

describe('malformed requests are refused, naming the field', () => {
  test.each<[string, (client: NodeClient, callback: Callback<unknown>) => unknown, string]>([
    ['Prepare without a range', (c, cb) => c.prepare(prepare({ range: undefined }), cb), 'range: is missing'],
    ['Prepare of range 0', (c, cb) => c.prepare(prepare({ range: { ident: 0n, start: EMPTY, end: EMPTY } }), cb), 'range.ident: '],
    ['Prepare of nothing', (c, cb) => c.prepare(prepare({ range: { ident: 1n, start: Buffer.from('b'), end: Buffer.from('a') } }), cb), 'range: [b, a)'],
    ['Prepare with a key too long', (c, cb) => c.prepare(prepare({ range: { ident: 1n, start: Buffer.alloc(1025, 1), end: EMPTY } }), cb), 'range.start: 1025'],
    ['Prepare with a bad parent', (c, cb) => c.prepare(prepare({ parents: [{ range: undefined, parent: [], placements: [], fork: 0n }] }), cb), 'parents[0].range: '],
    ['Prepare at too large an epoch', (c, cb) => c.prepare(prepare({ epoch: 2n ** 63n }), cb), 'epoch: '],
    ['Activate of range 0', (c, cb) => c.activate(serve({ range: 0n }), cb), 'range: '],
    ['Activate with a bad source', (c, cb) => c.activate(serve({ sources: [{ range: undefined, parent: [], placements: [], fork: 0n }] }), cb), 'sources[0].range: '],
    ['Deactivate of range 0', (c, cb) => c.deactivate(deactivate({ range: 0n }), cb), 'range: '],
    ['Drop of range 2^53', (c, cb) => c.drop(drop({ range: 2n ** 53n }), cb), 'range: 9007199254740992'],
  ])('%s', async (_, run, message) => {
    const { client, rangelet } = await start();
    const error = await refusal(call((callback) => run(client, callback)));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details.startsWith(message), error.details).toBe(true);
    expect(rangelet.rangeIds()).toEqual([]);
  });

  test('bytes that are no message', async () => {
    const { client } = await start();
    const error = await refusal(
      call((callback) => client.makeUnaryRequest('/ranger.Node/Prepare', () => Buffer.from([0xff, 0xff, 0xff]), (bytes) => bytes, {}, callback)),
    );
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect((await call<unknown>((callback) => client.info({}, callback)))).toMatchObject({ ident: 'n1', incarnation: 'i1' });
  });
});

describe('commands over the wire', () => {
  test('a failed Prepare answers NOT_FOUND with the reason, and the range', async () => {
    const { client, service } = await start();
    service.prepare = () => Promise.reject(new Error('no source answers'));
    const { rangeInfo } = await call((cb: Callback<{ rangeInfo: unknown }>) => client.prepare(prepare(), cb));
    expect(rangeInfo).toMatchObject({ state: RangeNodeState.NOT_FOUND, lastError: 'no source answers', meta: { ident: 1n } });
  });

  test('failed Activate and Drop say where the range is, and why', async () => {
    const { client, service } = await start({ restored: [{ meta: R1, state: 'Inactive', epoch: 1 }] });
    service.activate = () => Promise.reject(new Error('source away'));
    service.drop = () => Promise.reject(new Error('disk busy'));
    expect(await call((cb: Callback<unknown>) => client.activate(serve(), cb))).toEqual({ state: RangeNodeState.INACTIVE, lastError: 'source away' });
    expect(await call((cb: Callback<unknown>) => client.drop(drop(), cb))).toEqual({ state: RangeNodeState.INACTIVE, lastError: 'disk busy' });
  });

  test('a Drop of what is not there is OK', async () => {
    const { client } = await start();
    expect(await call((cb: Callback<unknown>) => client.drop(drop(), cb))).toEqual({ state: RangeNodeState.NOT_FOUND, lastError: '' });
  });

  test('an older epoch is refused', async () => {
    const { client } = await start({ restored: [{ meta: R1, state: 'Active', epoch: 5 }] });
    const error = await refusal(call((cb: Callback<unknown>) => client.deactivate(deactivate({ epoch: 4n }), cb)));
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: expect.stringContaining('older than epoch 5') as string });
  });

  test('a caller in a hurry is answered before its deadline', async () => {
    const { client } = await start({ graceMs: 60_000 });
    const answer = call((cb: Callback<{ rangeInfo: unknown }>) => client.prepare(prepare(), { deadline: Date.now() + 2000 } as never, cb as never));
    expect((await answer).rangeInfo).toMatchObject({ state: RangeNodeState.PREPARING });
  });
});

describe('a mirror over the wire', () => {
  function follow(...nodes: { ident: string; address: string }[]): { mirror: Mirror; found: Subject<readonly Instance[]>; until: (test: () => boolean) => Promise<void> } {
    const found = new Subject<readonly Instance[]>();
    const mirror = new Mirror({ nodes: found, connect: grpcRanges({ keepaliveMs: 200, keepaliveTimeoutMs: 200 }), times: { backoffMaxMs: 100 } });
    open.push(() => {
      mirror.close();
    });
    found.next(nodes.map((node) => ({ ...node, service: 'node' as const, meta: {} })));
    const until = async (test: () => boolean): Promise<void> => {
      if (!test()) await firstValueFrom(mirror.changes.pipe(filter(test), timeout(20_000)));
    };
    return { mirror, found, until };
  }

  test('sees a range come, move on and go', async () => {
    const { service, rangelet, address } = await start();
    const { mirror, until } = follow({ ident: 'n1', address });
    const owner = (): string | undefined => mirror.current.ownerOf('k' as Key)?.address;
    service.willing = true;
    await rangelet.execute({ command: 'Prepare', meta: R1, epoch: 1, parents: [], initial: true });
    await rangelet.execute({ command: 'Activate', id: 1, epoch: 3, force: false, sources: [], initial: true });
    await until(() => owner() === address);
    expect(mirror.current.ownerOf('k' as Key)).toMatchObject({ range: 1, epoch: 3, node: 'n1', interval: { start: '', end: 'm' } });
    expect(mirror.current.ownerOf('z' as Key)).toBeUndefined();
    await rangelet.execute({ command: 'Deactivate', id: 1, epoch: 4 });
    await until(() => owner() === undefined);
  });

  test('outlives a restart of the node', async () => {
    const restored = [{ meta: R1, state: 'Active' as const, epoch: 3 }];
    const first = await start({ restored });
    const { mirror, until } = follow({ ident: 'n1', address: first.address });
    await until(() => mirror.current.owners.length === 1);
    first.server.forceShutdown();
    await start({ restored: [{ meta: R1, state: 'Active', epoch: 9 }] }, first.address);
    await until(() => mirror.current.owners[0]?.epoch === 9);
    expect(mirror.current.owners).toHaveLength(1);
  });

  test('notices a node that froze', async () => {
    const { address } = await start({ restored: [{ meta: R1, state: 'Active', epoch: 3 }] });
    const sockets: Socket[] = [];
    const relay = createServer((near) => {
      const far = connect(Number(address.split(':')[1]), '127.0.0.1');
      for (const socket of [near, far]) socket.on('error', () => undefined);
      near.pipe(far).pipe(near);
      sockets.push(near, far);
    });
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
    open.push(() => {
      for (const socket of sockets) socket.destroy();
      relay.close();
    });
    const between = `127.0.0.1:${(relay.address() as AddressInfo).port}`;
    const { mirror, until } = follow({ ident: 'n1', address: between });
    await until(() => mirror.current.owners.length === 1);
    for (const socket of sockets) socket.unpipe().pause();
    await expect.poll(() => mirror.nodes()[0]?.lastError, { timeout: 20_000 }).not.toBe('');
    expect(mirror.current.owners).toHaveLength(1);
  });

  test('a node that is not there is reported so', async () => {
    const { mirror } = follow({ ident: 'gone', address: '127.0.0.1:1' });
    await expect.poll(() => mirror.nodes()[0]?.lastError, { timeout: 20_000 }).toContain('127.0.0.1:1');
    expect(mirror.complete).toBe(false);
  });
});
