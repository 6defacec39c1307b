import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as grpc from '@grpc/grpc-js';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serverOptions } from '../../proto/channel.js';
import { DiscoveryClient, type RegisterRequest, type RegisterResponse } from '../../proto/gen/ranger/coordination.js';
import { systemClock } from '../../runtime/clock.js';
import { silentLogger } from '../../runtime/log.js';
import { systemRandom } from '../../runtime/random.js';
import { discoveryContract } from '../contract/discovery.js';
import { electionContract } from '../contract/election.js';
import { type DiscoveryProcess, until } from '../contract/harness.js';
import { persisterContract } from '../contract/persister.js';
import type { Instance } from '../interfaces.js';
import { EmbeddedDiscovery } from './client.js';
import { EmbeddedDiscoveryServer } from './server.js';
import { EmbeddedStore, STORE_FILE } from './store.js';

const deps = { clock: systemClock, random: systemRandom, logger: silentLogger };

/** A controller as far as discovery goes, on one port through its restarts. */
class TestController {
  private net: Server | undefined;
  private readonly sockets = new Set<Socket>();
  private port = 0;
  discovery = new EmbeddedDiscoveryServer(deps);

  async start(): Promise<void> {
    const server = new grpc.Server(serverOptions());
    this.discovery = new EmbeddedDiscoveryServer(deps);
    this.discovery.register(server);
    const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
    this.net = createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {}).on('close', () => this.sockets.delete(socket));
      injector.injectConnection(socket);
    });
    this.net.listen(this.port, '127.0.0.1');
    await once(this.net, 'listening');
    this.port = (this.net.address() as AddressInfo).port;
  }

  /** As kill -9 does: the connections just end. */
  async stop(): Promise<void> {
    if (!this.net) return;
    const closed = once(this.net, 'close');
    this.net.close();
    this.net = undefined;
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }
}

const temporary: string[] = [];
async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  temporary.push(directory);
  return directory;
}
afterEach(async () => {
  for (const directory of temporary.splice(0)) await rm(directory, { recursive: true, force: true });
});

const openStore = (directory: string): Promise<EmbeddedStore> => EmbeddedStore.open({ directory, ...deps });

discoveryContract('embedded', async () => {
  const controller = new TestController();
  await controller.start();
  const discoveries: EmbeddedDiscovery[] = [];
  let ports = 5200;
  const start = (instance: Instance): Promise<DiscoveryProcess> => {
    const discovery = new EmbeddedDiscovery({ address: controller.address, ...deps });
    discoveries.push(discovery);
    return Promise.resolve({ discovery, instance, kill: () => discovery.close() });
  };
  return {
    process: (ident, incarnation = 'i') => start({ service: 'node', ident, address: `localhost:${ports++}`, meta: { incarnation } }),
    restart: ({ instance }) => start(instance),
    faults: { stop: () => controller.stop(), start: () => controller.start() },
    deathMs: 500,
    recoveryMs: 3500,
    close: async () => {
      for (const discovery of discoveries) await discovery.close();
      await controller.stop();
    },
  };
});

persisterContract('embedded', async () => {
  const directory = await temporaryDirectory();
  return { open: async () => (await openStore(directory)).persister, shared: false, close: () => Promise.resolve() };
});

electionContract('embedded', async () => {
  const directory = await temporaryDirectory();
  let store: EmbeddedStore | undefined;
  return {
    candidate: async () => {
      await store?.close();
      store = await openStore(directory);
      return { election: store.election, kill: () => store?.close() ?? Promise.resolve() };
    },
    shared: false,
    close: async () => store?.close(),
  };
});

describe('embedded discovery', () => {
  let controller: TestController;
  const closers: (() => unknown)[] = [];
  beforeEach(async () => {
    controller = new TestController();
    await controller.start();
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    await controller.stop();
  });

  const node: Instance = { service: 'node', ident: '5200', address: 'localhost:5200', meta: { incarnation: 'a' } };
  const wire = { ...node, meta: { ...node.meta } };

  function rawClient(): DiscoveryClient {
    const client = new DiscoveryClient(controller.address, grpc.credentials.createInsecure());
    closers.push(() => client.close());
    return client;
  }

  function discovery(): EmbeddedDiscovery {
    const made = new EmbeddedDiscovery({ address: controller.address, ...deps });
    closers.push(() => made.close());
    return made;
  }

  /** A Register stream by hand: `ended` is the status it ends with. */
  function rawRegistration(instance: Instance | undefined): { stream: grpc.ClientDuplexStream<RegisterRequest, RegisterResponse>; held: Promise<void>; ended: Promise<grpc.StatusObject> } {
    const stream = rawClient().register();
    const held = new Promise<void>((resolve) => stream.once('data', () => resolve()));
    const ended = new Promise<grpc.StatusObject>((resolve) => stream.on('status', resolve));
    stream.on('error', () => {});
    stream.write({ instance: instance && { ...instance, meta: { ...instance.meta } } });
    return { stream, held, ended };
  }

  test("the controller's own view sees others and is seen by them", async () => {
    const { local } = controller.discovery;
    const mine = await local.register({ ...node, service: 'controller', ident: '5000' });
    const other = discovery();
    await other.register(node);
    await until(local.watch('node'), (list) => list.length === 1);
    await until(other.watch('controller'), (list) => list[0]?.ident === '5000');
    await expect(local.register({ ...node, address: 'localhost:9' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await mine.deregister();
    await until(other.watch('controller'), (list) => list.length === 0);
  });

  test('the same process on a new connection replaces its old one, which ends', async () => {
    const old = rawRegistration(node);
    await old.held;
    const lists: number[] = [];
    const watching = controller.discovery.local.watch('node').subscribe((list) => lists.push(list.length));
    closers.push(() => watching?.unsubscribe());
    const renewed = rawRegistration(node);
    await renewed.held;
    expect((await old.ended).code).toBe(grpc.status.ABORTED);
    expect(lists).toEqual([1]);
    renewed.stream.end();
    await expect.poll(() => lists).toEqual([1, 0]);
  });

  test('a process that falls silent is gone after its lease', async () => {
    const silent = rawRegistration(node);
    await silent.held;
    const before = performance.now();
    expect((await silent.ended).code).toBe(grpc.status.DEADLINE_EXCEEDED);
    expect(performance.now() - before).toBeGreaterThan(2900);
    expect(await until(controller.discovery.local.watch('node'), () => true)).toEqual([]);
  });

  test.each([
    ['nothing', undefined],
    ['no ident', { ...node, ident: '' }],
    ['an unknown service', { ...node, service: 'spy' as 'node' }],
  ])('INVALID_ARGUMENT for %s in the first message, and the controller goes on', async (_what, instance) => {
    expect((await rawRegistration(instance).ended).code).toBe(grpc.status.INVALID_ARGUMENT);
    await discovery().register(node);
  });

  test('INVALID_ARGUMENT for a watch of an unknown service', async () => {
    const stream = rawClient().watch({ service: 'spy' });
    const error = await new Promise<grpc.ServiceError>((resolve) => stream.on('error', resolve as (error: Error) => void));
    expect(error.code).toBe(grpc.status.INVALID_ARGUMENT);
    expect(error.details).toContain("'spy'");
  });

  test('an address where no such controller answers is refused with advice', async () => {
    const server = new grpc.Server();
    const port = await new Promise<number>((resolve) => server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (_e, p) => resolve(p)));
    closers.push(() => server.forceShutdown());
    const lost = new EmbeddedDiscovery({ address: `127.0.0.1:${port}`, ...deps });
    closers.push(() => lost.close());
    await expect(lost.register(node)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  test('a controller that closes tells nobody that the others left', async () => {
    const nodes = ['1', '2', '3'].map((ident) => ({ made: discovery(), instance: { ...node, ident } }));
    for (const { made, instance } of nodes) await made.register(instance);
    const lists: string[] = [];
    const watching = discovery().watch('node').subscribe((list) => lists.push(list.map(({ ident }) => ident).join()));
    closers.push(() => watching.unsubscribe());
    await expect.poll(() => lists).toEqual(['1,2,3']);
    controller.discovery.close();
    await controller.stop();
    await controller.start();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(lists).toEqual(['1,2,3']);
    expect(await until(controller.discovery.local.watch('node'), () => true)).toHaveLength(3);
  });

  test('the wire form of an instance keeps its meta', async () => {
    const { held } = rawRegistration(wire);
    await held;
    expect(await until(discovery().watch('node'), (list) => list.length === 1)).toEqual([node]);
  });
});

describe('embedded store', () => {
  const put = (key: string, value: string): { key: string; value: string } => ({ key, value });

  async function written(): Promise<{ directory: string; file: string }> {
    const directory = await temporaryDirectory();
    const store = await openStore(directory);
    await store.persister.write([Array.from({ length: 20 }, (_, i) => put(`r${i}`, `value ${i} `.repeat(100)))]);
    await store.close();
    return { directory, file: join(directory, STORE_FILE) };
  }

  test('the term grows by one with each start', async () => {
    const directory = await temporaryDirectory();
    for (const term of [1, 2, 3]) {
      const store = await openStore(directory);
      const campaign = store.election.campaign({ ident: '5000', address: 'localhost:5000' });
      expect(await until(campaign, ({ leading }) => leading)).toEqual({ leading: true, term, leaderAddress: 'localhost:5000' });
      await store.close();
    }
  });

  test('a second controller is told who has the directory', async () => {
    const directory = await temporaryDirectory();
    const store = await openStore(directory);
    await expect(openStore(directory)).rejects.toThrow(`'${directory}' is in use by a controller (process ${process.pid})`);
    await store.close();
  });

  test('a file of a newer format is refused, and stays as it is', async () => {
    const { directory, file } = await written();
    const root = open({ path: file, maxDbs: 4 });
    await root.openDB({ name: 'facts', encoding: 'string' }).put('format', `${crc32('format\n2').toString(16).padStart(8, '0')}2`);
    await root.close();
    const before = await readFile(file);
    await expect(openStore(directory)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    await expect(openStore(directory)).rejects.toThrow('has format 2, which a newer version wrote');
    expect((await readFile(file)).equals(before)).toBe(true);
  });

  test('a file that is something else, or cut off, is refused, and stays as it is', async () => {
    const { directory, file } = await written();
    const { size } = await stat(file);
    await truncate(file, size / 2);
    await expect(openStore(directory)).rejects.toMatchObject({ code: 'DATA_LOSS' });
    await writeFile(file, 'no database '.repeat(2000));
    await expect(openStore(directory)).rejects.toThrow(`'${file}' is damaged`);
    expect(await readFile(file, 'utf8')).toBe('no database '.repeat(2000));
  });

  test('every other page overwritten in turn: refused with a message, or nothing of worth was in it', async () => {
    const { directory, file } = await written();
    const sound = await readFile(file);
    const refusals: string[] = [];
    for (let at = 0; at < sound.length; at += 2 * 4096) {
      const bytes = Buffer.from(sound);
      bytes.fill(0xff, at, at + 4096);
      await writeFile(file, bytes);
      try {
        const store = await openStore(directory);
        const documents = await store.persister.load().finally(() => store.close());
        expect(documents.size).toBe(20);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: 'DATA_LOSS' });
        refusals.push((thrown as Error).message);
      }
    }
    expect(refusals.length).toBeGreaterThan(2);
  });

  test('a document whose bytes changed on the disk is not believed', async () => {
    const { directory, file } = await written();
    const bytes = await readFile(file);
    for (let at = bytes.indexOf('value 7 '); at >= 0; at = bytes.indexOf('value 7 ', at + 1)) bytes.write('value 8 ', at);
    await writeFile(file, bytes);
    await expect(openStore(directory)).rejects.toMatchObject({ code: 'DATA_LOSS' });
    await expect(openStore(directory)).rejects.toThrow("document 'r7'");
  });
});
