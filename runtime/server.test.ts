import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { service as healthDefinition } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import { KVClient, KVService, type GetResponse } from '../proto/gen/kv/kv.js';
import { addService, type UnaryHandler } from '../proto/serve.js';
import { systemClock } from './clock.js';
import { channelOptions } from './grpc-options.js';
import { silentLogger } from './log.js';
import { createMetrics } from './metrics.js';
import { listen, type ListenOptions, type OnePortServer } from './server.js';

const servers: OnePortServer[] = [];
const clients: grpc.Client[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => server.close(0)));
});

type Get = UnaryHandler<{ key: Buffer; stale: boolean }, GetResponse>;

const echo: Get = (r) => Promise.resolve({ value: r.key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n });

async function start(options: Partial<ListenOptions> & { get?: Get } = {}): Promise<OnePortServer> {
  const unused = (): Promise<never> => Promise.reject(new Error('not called here'));
  const server = await listen({
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
    clock: systemClock,
    services: (grpcServer) => {
      addService(grpcServer, KVService, { get: options.get ?? echo, put: unused, dump: unused }, { logger: silentLogger });
    },
    metrics: createMetrics({ name: 'test' }),
    ready: () => ({ ready: true }),
    ...options,
  });
  servers.push(server);
  return server;
}

function dial<C extends grpc.Client>(Client: new (address: string, creds: grpc.ChannelCredentials, options: object) => C, server: OnePortServer): C {
  // Each test has its own connection, which a shared pool would not give it.
  const client = new Client(server.address, grpc.credentials.createInsecure(), { ...channelOptions(), 'grpc.use_local_subchannel_pool': 1 });
  clients.push(client);
  return client;
}

function get(client: KVClient, key: string): Promise<string> {
  return new Promise((resolve, reject) => {
    client.get({ key: Buffer.from(key), stale: false }, (error, response) => {
      if (error) reject(error);
      else resolve(response.value.toString());
    });
  });
}

/** What comes back on a plain connection after sending `text`, until the server closes it. */
function sendRaw(server: OnePortServer, text: string, options: { end?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1', () => {
      if (options.end) socket.end(text, 'latin1');
      else socket.write(text, 'latin1');
    });
    sockets.push(socket);
    let got = '';
    socket.on('data', (bytes) => (got += bytes.toString('latin1')));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') resolve(got);
      else reject(error);
    });
    socket.on('close', () => {
      resolve(got);
    });
  });
}

async function http(server: OnePortServer, path: string, method = 'GET'): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(`http://${server.address}${path}`, { method });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

describe('one port', () => {
  it('serves gRPC and HTTP', async () => {
    const server = await start();
    expect(await get(dial(KVClient, server), 'hello')).toBe('hello');
    expect(await http(server, '/health')).toMatchObject({ status: 200, text: '{"status":"ok"}\n' });
  });

  it('tells whether it is ready, with the reason when it is not', async () => {
    let ready = false;
    const server = await start({ ready: () => (ready ? { ready } : { ready, reason: 'no leader yet' }) });
    expect(await http(server, '/ready')).toMatchObject({ status: 503, text: '{"ready":false,"reason":"no leader yet"}\n' });
    ready = true;
    expect(await http(server, '/ready')).toMatchObject({ status: 200, text: '{"ready":true}\n' });
  });

  it('has metrics that Prometheus reads', async () => {
    const { status, text, headers } = await http(await start(), '/metrics');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toContain('text/plain');
    expect(text).toMatch(/^process_cpu_seconds_total \d/m);
    expect(text).toMatch(/^process_resident_memory_bytes \d/m);
    expect(text).toMatch(/^keyranger_info\{program="test",/m);
  });

  it('passes other paths on, and answers 404 and 405 itself', async () => {
    const server = await start({
      http: (req, res) => {
        if (req.url !== '/mine?x=1') return false;
        res.end('mine');
        return true;
      },
    });
    expect(await http(server, '/mine?x=1')).toMatchObject({ status: 200, text: 'mine' });
    expect(await http(server, '/other')).toMatchObject({ status: 404, text: '{"error":"nothing is at /other"}\n' });
    expect(await http(server, '/health', 'POST')).toMatchObject({ status: 405 });
  });

  it('answers 500 when its HTTP handler throws', async () => {
    const server = await start({
      http: () => {
        throw new Error('broken');
      },
    });
    expect(await http(server, '/x')).toMatchObject({ status: 500, text: '{"error":"broken"}\n' });
    expect(await http(server, '/health')).toMatchObject({ status: 200 });
  });

  it('reads an HTTP request that arrives byte by byte, from a client that ends its side early', async () => {
    const server = await start();
    const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    sockets.push(socket);
    let got = '';
    socket.on('data', (bytes) => (got += bytes.toString()));
    const closed = new Promise((resolve) => socket.once('end', resolve));
    for (const byte of 'POST /x HTTP/1.0\r\n\r\n') await new Promise((resolve) => socket.write(byte, resolve));
    socket.end();
    await closed;
    expect(got).toContain('404 Not Found');
  });

  it('carries a large message each way', async () => {
    const server = await start();
    const key = 'x'.repeat(9 * 1024 * 1024);
    expect((await get(dial(KVClient, server), key)).length).toBe(key.length);
  });
});

describe('unfriendly connections', () => {
  it('are refused when they send garbage', async () => {
    const server = await start();
    expect(await sendRaw(server, '\0\x01\x02garbage')).toContain('400 Bad Request');
    expect(await sendRaw(server, '\x16\x03\x01\x02\0\x01\0')).toContain('400 Bad Request');
    expect(await sendRaw(server, 'PRI * HTTP/1.1\r\n\r\n')).toBe('');
    expect(await get(dial(KVClient, server), 'fine')).toBe('fine');
  });

  it('are closed after a whole preface and garbage', async () => {
    const server = await start();
    await sendRaw(server, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(64)}`);
    expect(await get(dial(KVClient, server), 'fine')).toBe('fine');
  });

  it('are closed after half a preface and silence', async () => {
    const server = await start({ limits: { firstBytesMs: 100 } });
    expect(await sendRaw(server, 'PRI * HTTP/2.0\r\n')).toBe('');
    expect(await sendRaw(server, 'P')).toBe('');
  });

  it('are closed at once when they end before they said anything', async () => {
    expect(await sendRaw(await start(), '', { end: true })).toBe('');
  });

  it('are closed when an HTTP request does not come to its end', async () => {
    const server = await start({ limits: { requestMs: 200 } });
    expect(await sendRaw(server, 'GET /health HTTP/1.1\r\nhost: x\r\n')).toContain('408 Request Timeout');
  });

  it('a thousand of them, silent, are closed while others are served', async () => {
    const server = await start({ limits: { firstBytesMs: 1000 } });
    const client = dial(KVClient, server);
    await get(client, 'before');
    const silent = Promise.all(Array.from({ length: 1000 }, () => sendRaw(server, '')));
    let open = true;
    void silent.finally(() => (open = false));
    let served = 0;
    while (open) {
      expect(await get(client, 'meanwhile')).toBe('meanwhile');
      served++;
    }
    expect(new Set(await silent)).toEqual(new Set(['']));
    expect(served).toBeGreaterThan(0);
  });
});

describe('gRPC health and reflection', () => {
  type Check = { status: string };
  interface HealthClient extends grpc.Client {
    check(request: { service: string }, callback: (error: grpc.ServiceError | null, response: Check) => void): void;
    watch(request: { service: string }): grpc.ClientReadableStream<Check>;
  }
  const Health = grpc.makeGenericClientConstructor(healthDefinition, 'Health') as unknown as new (
    address: string,
    creds: grpc.ChannelCredentials,
    options: object,
  ) => HealthClient;

  it('says SERVING of the server and of each service, and NOT_SERVING while it closes', async () => {
    const server = await start();
    const client = dial(Health, server);
    for (const service of ['', 'kv.KV']) {
      const { status } = await new Promise<Check>((resolve, reject) => {
        client.check({ service }, (error, response) => {
          if (error) reject(error);
          else resolve(response);
        });
      });
      expect(status).toBe('SERVING');
    }
    const seen: string[] = [];
    const watching = client.watch({ service: '' });
    watching.on('data', ({ status }: Check) => seen.push(status));
    watching.on('error', () => {});
    await expect.poll(() => seen).toEqual(['SERVING']);
    void server.close(300);
    await expect.poll(() => seen).toEqual(['SERVING', 'NOT_SERVING']);
  });

  it.each(['v1', 'v1alpha'])('lists and describes its services by reflection %s', async (version) => {
    const server = await start();
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    const call = dial(grpc.Client, server).makeBidiStreamRequest(path, (b: Buffer) => b, (b: Buffer) => b);
    const answers: string[] = [];
    call.on('data', (bytes: Buffer) => answers.push(bytes.toString('latin1')));
    const ended = new Promise((resolve, reject) => {
      call.on('end', resolve);
      call.on('error', reject);
    });
    // list_services = 7, file_containing_symbol = 4: both strings.
    for (const [field, text] of [[7, '*'], [4, 'kv.KV']] as const) {
      call.write(Buffer.concat([Buffer.from([(field << 3) | 2, text.length]), Buffer.from(text)]));
    }
    call.end();
    await ended;
    expect(answers[0]).toContain('kv.KV');
    expect(answers[0]).not.toContain('ranger.Node');
    expect(answers[1]).toContain('kv/kv.proto');
    expect(answers[1]).toContain('GetRequest');
  });
});

describe('closing', () => {
  it('lets a call in flight finish, refuses new connections, and then ends', async () => {
    let answer = (): void => {};
    const inFlight = new Promise<void>((resolve) => (answer = resolve));
    let arrived = (): void => {};
    const begun = new Promise<void>((resolve) => (arrived = resolve));
    const server = await start({
      get: async (r) => {
        arrived();
        await inFlight;
        return { value: r.key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n };
      },
    });
    const response = get(dial(KVClient, server), 'slow');
    await begun;
    let closed = false;
    const closing = server.close(10_000).then(() => (closed = true));
    expect(server.closing.aborted).toBe(true);
    await expect(get(dial(KVClient, server), 'late')).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE });
    expect(closed).toBe(false);
    answer();
    expect(await response).toBe('slow');
    await closing;
  });

  it('lets an HTTP request in flight finish, and says that the connection ends', async () => {
    let finish = (): void => {};
    let arrived = (): void => {};
    const begun = new Promise<void>((resolve) => (arrived = resolve));
    const server = await start({
      http: (_req, res) => {
        finish = () => res.end('done');
        arrived();
        return true;
      },
    });
    const answered = new Promise<string>((resolve, reject) => {
      request({ port: server.port, host: '127.0.0.1', path: '/slow' }, (res) => {
        let text = '';
        res.on('data', (bytes: Buffer) => (text += bytes.toString()));
        res.on('end', () => {
          resolve(text);
        });
      })
        .on('error', reject)
        .end();
    });
    await begun;
    const closing = server.close(10_000);
    finish();
    expect(await answered).toBe('done');
    await closing;
  });

  it('cuts off what does not finish within the grace', async () => {
    const server = await start({ get: () => new Promise(() => {}) });
    const response = get(dial(KVClient, server), 'never');
    response.catch(() => {});
    await get(dial(KVClient, await start()), 'connected');
    await server.close(50);
    await expect(response).rejects.toMatchObject({ code: expect.any(Number) as number });
  });

  it('closes idle clients at once', async () => {
    const server = await start();
    await get(dial(KVClient, server), 'x');
    await http(server, '/health');
    const silent = connect(server.port, '127.0.0.1');
    sockets.push(silent);
    await new Promise((resolve) => silent.once('connect', resolve));
    const ended = new Promise((resolve) => silent.once('close', resolve));
    silent.on('error', () => {});
    await server.close(60_000);
    await ended;
    expect(server.closing.aborted).toBe(true);
  });
});

describe('a port that cannot be had', () => {
  it('is named when it is taken', async () => {
    const { port } = await start();
    await expect(start({ listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining(`port ${port} is taken by another process`) as string,
    });
  });

  it('is explained when the host is not of this machine', async () => {
    await expect(start({ listen: { host: '192.0.2.1', port: 0 } })).rejects.toMatchObject({
      message: expect.stringContaining('"192.0.2.1" is no address of this machine') as string,
    });
  });
});
