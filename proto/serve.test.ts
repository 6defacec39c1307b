import * as grpc from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AppError } from '../runtime/errors.js';
import { type Logger, silentLogger } from '../runtime/log.js';
import { channelOptions, serverOptions } from './channel.js';
import { KVClient, KVService, type GetRequest, type GetResponse } from './gen/kv/kv.js';
import { PipeClient, PipeService, type PipeRequests, type PipeResponses } from './gen/kv/pipe.js';
import { NodeClient, NodeService } from './gen/ranger/node.js';
import { addService, type BidiHandler, type CallContext, type HandlersOf, type ServerStreamHandler, send, type UnaryHandler } from './serve.js';
import { fromServiceError } from './status.js';

const GARBAGE = Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01]);

let server: grpc.Server;
let port: number;
const clients: grpc.Client[] = [];
let logged: { message: string; fields: unknown }[] = [];

const logger: Logger = { ...silentLogger, error: (message, fields) => logged.push({ message, fields }) };

beforeEach(() => {
  server = new grpc.Server(serverOptions());
  logged = [];
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  server.forceShutdown();
});

async function start(): Promise<string> {
  port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  return `127.0.0.1:${port}`;
}

function dial<C extends grpc.Client>(Client: new (address: string, creds: grpc.ChannelCredentials, options: object) => C): C {
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), channelOptions());
  clients.push(client);
  return client;
}

const unused = (): Promise<never> => Promise.reject(new Error('not called here'));

function serveGet(get: UnaryHandler<GetRequest, GetResponse>): Promise<string> {
  addService(server, KVService, { get, put: unused, dump: unused }, { logger });
  return start();
}

function get(key: string, metadata = new grpc.Metadata()): { answer: Promise<GetResponse>; cancel: () => void } {
  const client = dial(KVClient);
  let cancel = (): void => {};
  const answer = new Promise<GetResponse>((resolve, reject) => {
    const call = client.get({ key: Buffer.from(key), stale: false }, metadata, (error, response) => {
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
    cancel = () => {
      call.cancel();
    };
  });
  return { answer, cancel };
}

/** Sends bytes as they are to a unary or server-streaming method. */
function sendRaw(path: string, bytes: Buffer): Promise<unknown> {
  const client = dial(grpc.Client);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, (b: Buffer) => b, (b: Buffer) => b, bytes, (error, value) => {
      if (error) reject(fromServiceError(error));
      else resolve(value);
    });
  });
}

const REQUEST = { id: 1, action: 1, key: Buffer.from('k'), level: 0, writeId: Buffer.alloc(0), retryAgeMs: 0n, stale: false };

describe('unary calls', () => {
  it('are answered by the handler', async () => {
    await serveGet((request) => Promise.resolve({ value: request.key, epoch: 3n, offset: 4n, stale: false, atOffset: 0n }));
    expect(await get('k').answer).toEqual({ value: Buffer.from('k'), epoch: 3n, offset: 4n, stale: false, atOffset: 0n });
  });

  it("get the AppError's status, thrown or rejected", async () => {
    await serveGet((request) => {
      if (request.key.toString() === 'throw') throw new AppError('ABORTED', 'thrown');
      return Promise.reject(new AppError('NOT_FOUND', 'no such key'));
    });
    await expect(get('throw').answer).rejects.toMatchObject({ code: 'ABORTED', message: 'thrown' });
    await expect(get('reject').answer).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'no such key' });
    expect(logged).toEqual([]);
  });

  it('get INTERNAL when the handler is broken, which is logged', async () => {
    await serveGet(() => {
      throw new TypeError('x is undefined');
    });
    await expect(get('k').answer).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(logged).toMatchObject([{ message: 'a request handler failed', fields: { method: '/kv.KV/Get', error: 'x is undefined' } }]);
  });

  it('with undecodable bytes get INVALID_ARGUMENT and never reach the handler', async () => {
    let called = 0;
    await serveGet((request) => {
      called++;
      return Promise.resolve({ value: request.key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n });
    });
    await expect(sendRaw('/kv.KV/Get', GARBAGE)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('/kv.KV/Get') as string,
    });
    expect(called).toBe(0);
    expect((await get('still here').answer).value.toString()).toBe('still here');
  });

  it("abort the handler's signal when the caller cancels", async () => {
    const seen = new Promise<CallContext>((resolve) => {
      void serveGet((_request, ctx) => {
        resolve(ctx);
        return untilAborted(ctx.signal);
      }).then(() => {
        const { answer, cancel } = get('k');
        answer.catch(() => {});
        void seen.then(cancel);
      });
    });
    const { signal } = await seen;
    await aborted(signal);
    expect(signal.reason).toMatchObject({ code: 'CANCELLED' });
  });

  it("abort the handler's signal when the deadline passes, and tell what is left of it before", async () => {
    let left: number | undefined;
    let reason: unknown;
    await serveGet(async (_request, ctx) => {
      left = ctx.deadlineMs;
      return untilAborted(ctx.signal).catch((thrown: unknown) => {
        reason = thrown;
        throw thrown;
      });
    });
    // What a caller sends with a deadline; that it also hangs up then would be a race with what is tested here.
    const metadata = new grpc.Metadata();
    metadata.set('grpc-timeout', '200m');
    await expect(get('k', metadata).answer).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(200);
    await expect.poll(() => reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });

  it('leave the signal alone after the answer', async () => {
    let signal: AbortSignal | undefined;
    await serveGet((request, ctx) => {
      signal = ctx.signal;
      return Promise.resolve({ value: request.key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n });
    });
    await get('k').answer;
    await get('again').answer;
    expect(signal?.aborted).toBe(false);
  });

  it('have no deadline unless the caller gives one', async () => {
    let left: number | undefined = 1;
    await serveGet((request, ctx) => {
      left = ctx.deadlineMs;
      return Promise.resolve({ value: request.key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n });
    });
    await get('k').answer;
    expect(left).toBeUndefined();
  });
});

describe('server streams', () => {
  type Ranges = HandlersOf<typeof NodeService>['ranges'];

  function serveRanges(ranges: Ranges): Promise<string> {
    addService(server, NodeService, { prepare: unused, activate: unused, deactivate: unused, drop: unused, info: unused, ranges }, { logger });
    return start();
  }

  const message = (epoch: bigint): Parameters<Parameters<Ranges>[0]['write']>[0] => ({ meta: undefined, state: 0, epoch, synced: true, info: undefined });

  it('end with the status of what the handler throws or rejects with', async () => {
    await serveRanges(async (call) => {
      call.write(message(1n));
      await Promise.resolve();
      throw new AppError('UNAVAILABLE', 'closing');
    });
    const { epochs, error } = await drain(dial(NodeClient).ranges({}));
    expect(epochs).toEqual([1n]);
    expect(error).toMatchObject({ code: 'UNAVAILABLE', message: 'closing' });
  });

  it('with undecodable bytes get INVALID_ARGUMENT', async () => {
    await serveRanges(() => {
      throw new Error('not reached');
    });
    const path = NodeService.ranges.path;
    const call = dial(grpc.Client).makeServerStreamRequest(path, (b: Buffer) => b, NodeService.ranges.responseDeserialize, GARBAGE);
    expect((await drain(call)).error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(logged).toEqual([]);
  });

  it('hold their writer while nobody reads, and free it when the caller leaves', async () => {
    let sent = 0n;
    let ended: unknown;
    const handler: ServerStreamHandler<unknown, ReturnType<typeof message>> = async (call, ctx) => {
      try {
        for (;;) await send(call, { ...message(++sent), meta: { ident: 1n, start: Buffer.alloc(64 * 1024), end: Buffer.alloc(0) } }, ctx.signal);
      } catch (thrown) {
        ended = thrown;
        throw thrown;
      }
    };
    await serveRanges(handler);
    const call = dial(NodeClient).ranges({});
    call.on('error', () => {});
    await new Promise((resolve) => call.once('data', resolve));
    call.pause();
    let before = -1n;
    await expect.poll(() => {
      const held = sent === before;
      before = sent;
      return held;
    }, { interval: 200 }).toBe(true);
    call.cancel();
    await expect.poll(() => ended).toMatchObject({ code: 'CANCELLED' });
    expect(logged).toEqual([]);
  });
});

describe('server streams of a server that closes', () => {
  it('end with its reason, the many that are open and those that come later', async () => {
    const closing = new AbortController();
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    let opened = 0;
    const ranges: HandlersOf<typeof NodeService>['ranges'] = () => {
      opened++;
    };
    const deps = { logger, closing: closing.signal };
    addService(server, NodeService, { prepare: unused, activate: unused, deactivate: unused, drop: unused, info: unused, ranges }, deps);
    await start();
    const client = dial(NodeClient);
    const open = Array.from({ length: 50 }, () => drain(client.ranges({})));
    await expect.poll(() => opened).toBe(50);
    closing.abort(new AppError('UNAVAILABLE', 'the server is closing'));
    for (const { error } of await Promise.all(open)) expect(error).toMatchObject({ code: 'UNAVAILABLE', message: 'the server is closing' });
    expect((await drain(client.ranges({}))).error).toMatchObject({ code: 'UNAVAILABLE' });
    process.removeListener('warning', onWarning);
    expect(warnings).toEqual([]);
  });
});

describe('bidirectional streams', () => {
  const echo: BidiHandler<PipeRequests, PipeResponses> = (call) => {
    call.on('data', (batch: PipeRequests) => {
      const responses = batch.requests.map(({ id, key }) => ({ id, code: 0, message: '', value: key, epoch: 0n, offset: 0n, stale: false, atOffset: 0n }));
      call.write({ responses });
    });
    call.on('end', () => call.end());
  };

  it('carry messages both ways and end', async () => {
    addService(server, PipeService, { open: echo }, { logger });
    await start();
    const call = dial(PipeClient).open();
    const got: number[] = [];
    call.on('data', (batch: PipeResponses) => got.push(...batch.responses.map((r) => r.id)));
    const ended = new Promise((resolve) => call.on('end', resolve));
    call.write({ requests: [{ ...REQUEST, id: 7 }] });
    call.end();
    await ended;
    expect(got).toEqual([7]);
  });

  it('with undecodable bytes in the middle end with INVALID_ARGUMENT', async () => {
    addService(server, PipeService, { open: echo }, { logger });
    await start();
    const call = dial(grpc.Client).makeBidiStreamRequest(PipeService.open.path, (b: Buffer) => b, (b: Buffer) => b);
    const failed = new Promise((resolve) => call.on('error', resolve));
    call.on('data', () => call.write(GARBAGE));
    call.write(Buffer.from(PipeService.open.requestSerialize({ requests: [REQUEST] })));
    expect(fromServiceError(await failed)).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('end with the status of what the handler throws', async () => {
    const open: BidiHandler<PipeRequests, PipeResponses> = () => {
      throw new AppError('RESOURCE_EXHAUSTED', 'too many streams');
    };
    addService(server, PipeService, { open }, { logger });
    await start();
    const call = dial(PipeClient).open();
    const failed = new Promise((resolve) => call.on('error', resolve));
    call.on('data', () => {});
    expect(fromServiceError(await failed)).toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: 'too many streams' });
  });
});

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error);
    });
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}

function drain(call: grpc.ClientReadableStream<{ epoch: bigint }>): Promise<{ epochs: bigint[]; error: unknown }> {
  return new Promise((resolve) => {
    const epochs: bigint[] = [];
    call.on('data', (m: { epoch: bigint }) => epochs.push(m.epoch));
    call.on('error', (error) => {
      resolve({ epochs, error: fromServiceError(error) });
    });
    call.on('end', () => {
      resolve({ epochs, error: undefined });
    });
  });
}
