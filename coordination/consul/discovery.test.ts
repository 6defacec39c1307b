import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../runtime/clock.js';
import { silentLogger } from '../../runtime/log.js';
import { systemRandom } from '../../runtime/random.js';
import { ConsulAgent } from '../../test/cluster/consul-agent.js';
import { discoveryContract } from '../contract/discovery.js';
import { type DiscoveryProcess, pause, until } from '../contract/harness.js';
import type { Instance } from '../interfaces.js';
import { ConsulClient } from './client.js';
import { ConsulDiscovery } from './discovery.js';
import { checkOf } from './services.js';

/** The shortest that Consul does, so that deaths need not be waited for long. */
const check = { intervalMs: 1000, timeoutMs: 500 };
const deps = { clock: systemClock, random: systemRandom, logger: silentLogger };

/** Answers health checks until it is stopped. */
class HealthServer {
  private net: Server | undefined;
  private readonly sockets = new Set<Socket>();

  async listen(port: number): Promise<number> {
    const server = new grpc.Server();
    new HealthImplementation({ '': 'SERVING' }).addToServer(server);
    const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
    this.net = createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {}).on('close', () => this.sockets.delete(socket));
      injector.injectConnection(socket);
    });
    this.net.listen(port, '127.0.0.1');
    await once(this.net, 'listening');
    return (this.net.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    if (!this.net) return;
    const closed = once(this.net, 'close');
    this.net.close();
    this.net = undefined;
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

class Processes {
  private readonly ended: (() => Promise<void>)[] = [];

  constructor(private readonly agent: ConsulAgent) {}

  async start(service: Instance['service'], ident: string, incarnation: string, port = 0): Promise<DiscoveryProcess> {
    const health = new HealthServer();
    const taken = await health.listen(port);
    const client = new ConsulClient(this.agent);
    const discovery = new ConsulDiscovery({ ...deps, client, check });
    this.ended.push(async () => {
      discovery.abandon();
      client.close();
      await health.stop();
    });
    const instance = { service, ident, address: `127.0.0.1:${taken}`, meta: { incarnation } };
    return {
      discovery,
      instance,
      kill: async () => {
        discovery.abandon();
        await health.stop();
      },
    };
  }

  /** Ends all, and leaves the agent as if they had never been. */
  async close(): Promise<void> {
    for (const end of this.ended.splice(0)) await end();
    await this.agent.start();
    const services = (await this.agent.request('GET', 'agent/services')) as Record<string, unknown>;
    for (const id of Object.keys(services)) await this.agent.request('PUT', `agent/service/deregister/${encodeURIComponent(id)}`);
  }
}

let agent: ConsulAgent;
beforeAll(async () => {
  agent = await ConsulAgent.start({ keeps: 'memory' });
}, 120_000);
afterAll(() => agent.close());

discoveryContract('consul', () => {
  const processes = new Processes(agent);
  return Promise.resolve({
    process: (ident, incarnation = 'i') => processes.start('node', ident, incarnation),
    restart: ({ instance }) => processes.start('node', instance.ident, instance.meta['incarnation'] ?? '', Number(instance.address.split(':')[1])),
    faults: { stop: () => agent.kill(), start: () => agent.start() },
    deathMs: 2500,
    recoveryMs: 4000,
    close: () => processes.close(),
  });
});

describe('consul discovery', () => {
  let processes: Processes;
  beforeEach(() => {
    processes = new Processes(agent);
  });
  afterEach(() => processes.close());

  test('a node is registered as other programs expect it', async () => {
    const node = await processes.start('node', '5201', 'a1');
    await node.discovery.register(node.instance);
    const services = (await agent.request('GET', 'agent/services')) as Record<string, unknown>;
    const port = Number(node.instance.address.split(':')[1]);
    expect(services['5201']).toMatchObject({ ID: '5201', Service: 'node', Address: '127.0.0.1', Port: port, Meta: { incarnation: 'a1' } });
    expect(checkOf(node.instance)).toMatchObject({ grpc: `127.0.0.1:${port}`, interval: '3000ms', timeout: '1000ms', deregistercriticalserviceafter: '10000ms' });
  });

  test('a node that another program registered is seen, without meta', async () => {
    const watcher = await processes.start('node', 'w', 'w1');
    const other = await processes.start('node', '5209', '');
    await agent.request('PUT', 'agent/service/register', { ID: '5209', Name: 'node', Address: '127.0.0.1', Port: Number(other.instance.address.split(':')[1]) });
    expect(await until(watcher.discovery.watch('node'), (list) => list.length === 1)).toEqual([{ ...other.instance, meta: {} }]);
  });

  test('a registration that somebody removed is made again', async () => {
    const node = await processes.start('node', '5201', 'a1');
    await node.discovery.register(node.instance);
    await agent.request('PUT', 'agent/service/deregister/5201');
    await until(node.discovery.watch('node'), (list) => list.length === 0);
    await until(node.discovery.watch('node'), (list) => list.length === 1);
  });

  test('one that another live process registered over stays away, and takes it back when that one is gone', async () => {
    const first = await processes.start('node', '5201', 'a1');
    await first.discovery.register(first.instance);
    const rude = await processes.start('node', '5201', 'b1');
    const port = Number(rude.instance.address.split(':')[1]);
    await agent.request('PUT', 'agent/service/register', { ID: '5201', Name: 'node', Address: '127.0.0.1', Port: port, Meta: { incarnation: 'b1' } });
    await pause(2500);
    expect(await until(first.discovery.watch('node'), () => true)).toEqual([rude.instance]);
    await rude.kill();
    await until(first.discovery.watch('node'), (list) => list[0]?.address === first.instance.address);
  });

  test('the ident of a process killed a moment ago is not free before Consul has seen it die', async () => {
    const first = await processes.start('node', '5201', 'a1');
    await first.discovery.register(first.instance);
    await first.kill();
    const second = await processes.start('node', '5201', 'b1');
    await second.discovery.register(second.instance);
    expect(await until(second.discovery.watch('node'), (list) => list.length === 1)).toEqual([second.instance]);
  });

  test('watchers outlast an agent that stands still', async () => {
    const node = await processes.start('node', '5201', 'a1');
    await node.discovery.register(node.instance);
    const lists: number[] = [];
    const watching = node.discovery.watch('node').subscribe((list) => lists.push(list.length));
    await expect.poll(() => lists).toEqual([1]);
    agent.freeze();
    await pause(1500);
    agent.thaw();
    const late = await processes.start('node', '5202', 'b1');
    await late.discovery.register(late.instance);
    await expect.poll(() => lists.at(-1)).toBe(2);
    expect(lists).toEqual([1, 2]);
    watching.unsubscribe();
  });

  test('an agent that keeps its services calls them critical when it restarts, which no watcher believes', async () => {
    const keeping = await ConsulAgent.start({ keeps: 'disk' });
    const others = new Processes(keeping);
    try {
      const nodes = [await others.start('node', '5201', 'a1'), await others.start('node', '5202', 'b1')];
      for (const node of nodes) await node.discovery.register(node.instance);
      const lists: number[] = [];
      const watching = nodes[0]?.discovery.watch('node').subscribe((list) => lists.push(list.length));
      await expect.poll(() => lists).toEqual([2]);
      await keeping.kill();
      await keeping.start();
      await pause(4000);
      expect(lists).toEqual([2]);
      await nodes[1]?.kill();
      await expect.poll(() => lists).toEqual([2, 1]);
      watching?.unsubscribe();
    } finally {
      await others.close();
      await keeping.close();
    }
  });
});
