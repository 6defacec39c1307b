import { once } from 'node:events';
import { type IncomingMessage, type OutgoingHttpHeaders, Agent, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ByteBudget } from '../client/budget.js';
import { EVERYTHING } from '../model/interval.js';
import { type Key, keyFromText } from '../model/key.js';
import type { Store } from '../model/store.js';
import { LocalCluster, command } from '../node/testing/local-cluster.js';
import { systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import { createHttp } from '../runtime/http.js';
import { silentLogger } from '../runtime/log.js';
import { Gateway, type GatewayOptions } from './gateway.js';

const k = keyFromText;
const MIB = 1024 * 1024;

let cluster: LocalCluster;
let store: Store;
let budget: ByteBudget;
let closing: AbortController;
const cleanUps: (() => void)[] = [];

beforeEach(async () => {
  cluster = new LocalCluster();
  const node = cluster.start('A');
  await command(node, { command: 'Prepare', meta: { id: 1, ...EVERYTHING }, epoch: 1, parents: [], initial: true });
  await command(node, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true });
  store = node.store;
  budget = new ByteBudget(32 * MIB);
  closing = new AbortController();
});

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  cluster.killAll();
});

interface Door {
  readonly port: number;
  ask(method: string, path: string, options?: { headers?: OutgoingHttpHeaders; body?: Buffer | string; agent?: Agent }): Promise<{ status: number; headers: IncomingMessage['headers']; body: string; bytes: Buffer }>;
}

async function open(options: Partial<GatewayOptions> & { rest?: boolean } = {}): Promise<Door> {
  const gateway = new Gateway({
    store,
    role: () => 'primary',
    status: () => ({ keys: 3 }),
    budget,
    clock: systemClock,
    logger: silentLogger,
    closing: () => closing.signal,
    version: '1.2.3',
    ...options,
  });
  const server = createHttp(options.rest ? gateway.handleRest : (request, response) => void gateway.handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    ask: (method, path, { headers = {}, body, agent } = {}) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({ port, host: '127.0.0.1', method, path, headers, ...(agent ? { agent } : {}) }, (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const bytes = Buffer.concat(chunks);
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes.toString(), bytes });
          });
        });
        request.on('error', reject);
        request.end(body);
      }),
  };
}

const problem = (body: string): unknown => (JSON.parse(body) as { code: unknown }).code;

/** Sends text as it is, and resolves with all that comes back until the server hangs up. */
async function raw(port: number, text: string | Buffer, then: (socket: ReturnType<typeof connect>) => void = () => undefined): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let back = '';
  socket.on('data', (chunk: Buffer) => (back += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(text);
  then(socket);
  await once(socket, 'close');
  return back;
}

describe('a value over HTTP', () => {
  it('is written, read, and deleted, whatever the bytes of its key', async () => {
    const door = await open();
    for (const path of ['name', 'a/b/c', '%ff%00%2F', 'with%20space', '%25', 'plus+plus', encodeURIComponent('ключ')]) {
      const bytes = Buffer.from([0, 1, 255, ...Buffer.from(path)]);
      const written = await door.ask('PUT', `/kv/${path}`, { body: bytes });
      expect(written).toMatchObject({ status: 200, headers: { 'content-type': 'application/json; charset=utf-8' } });
      const read = await door.ask('GET', `/kv/${path}`);
      expect(read).toMatchObject({ status: 200, bytes, headers: { etag: written.headers.etag, 'content-type': 'application/octet-stream', 'content-length': String(bytes.length) } });
      expect(await door.ask('HEAD', `/kv/${path}`)).toMatchObject({ status: 200, body: '', headers: { etag: written.headers.etag, 'content-length': String(bytes.length) } });
      expect((await door.ask('GET', `/get/${path}`)).bytes).toEqual(bytes);
      expect(await door.ask('DELETE', `/kv/${path}`)).toMatchObject({ status: 200 });
      const gone = await door.ask('GET', `/kv/${path}`);
      expect([gone.status, problem(gone.body), gone.headers['content-type']]).toEqual([404, 'not_found', 'application/problem+json']);
    }
    await door.ask('PUT', '/kv/%ff%00%2Fx', { body: 'x' });
    expect((await store.get('\xff\x00/x' as Key))?.value.toString()).toBe('x');
    await door.ask('PUT', '/kv/empty', { body: '' });
    expect(await door.ask('GET', '/kv/empty')).toMatchObject({ status: 200, body: '' });
  });

  it('keeps its content type, but not what curl says of everything', async () => {
    const door = await open();
    const typeOf = async (given?: string): Promise<string | undefined> => {
      await door.ask('PUT', '/set/k', { body: 'x', headers: given === undefined ? {} : { 'content-type': given } });
      return (await door.ask('GET', '/kv/k')).headers['content-type'];
    };
    expect(await typeOf('application/json; charset=utf-8')).toBe('application/json; charset=utf-8');
    expect(await typeOf('application/x-www-form-urlencoded')).toBe('application/octet-stream');
    expect(await typeOf()).toBe('application/octet-stream');
    const answer = await door.ask('PUT', '/set/k', { body: 'x', headers: { 'content-type': 'x'.repeat(300) } });
    expect([answer.status, problem(answer.body)]).toEqual([400, 'bad_header']);
  });

  it('is written under the conditions of its headers', async () => {
    const door = await open();
    const put = async (headers: OutgoingHttpHeaders): Promise<number> => (await door.ask('PUT', '/kv/k', { body: 'x', headers })).status;
    expect(await put({ 'if-match': '*' })).toBe(412);
    expect(await put({ 'if-none-match': '*' })).toBe(200);
    expect(await put({ 'if-none-match': '*' })).toBe(412);
    const { etag = '' } = (await door.ask('GET', '/kv/k')).headers;
    expect(etag).toBe('"1-1"');
    expect(await put({ 'if-match': '"1-7", W/"1-1", "other"' })).toBe(412);
    expect(await put({ 'if-match': `"1-7", ${etag}` })).toBe(200);
    expect(await put({ 'if-match': etag })).toBe(412);
    expect(await put({ 'if-none-match': '"1-2"' })).toBe(412);
    expect(await put({ 'if-none-match': etag })).toBe(200);
    for (const headers of [{ 'if-match': 'no quotes' }, { 'if-match': '' }, { 'if-match': '*', 'if-none-match': '*' }]) expect(await put(headers)).toBe(400);
    const read = async (headers: OutgoingHttpHeaders): Promise<number> => (await door.ask('GET', '/kv/k', { headers })).status;
    expect(await Promise.all([{ 'if-none-match': '"1-3"' }, { 'if-none-match': 'W/"1-3"' }, { 'if-none-match': '"1-2"' }, { 'if-match': '"1-3"' }, { 'if-match': '"1-2"' }].map(read))).toEqual([304, 304, 200, 200, 412]);
    expect((await door.ask('DELETE', '/kv/k', { headers: { 'if-match': '"1-2"' } })).status).toBe(412);
    expect((await door.ask('DELETE', '/kv/k', { headers: { 'if-match': '"1-3"' } })).status).toBe(200);
  });

  it('has a door of its own where the path is the key', async () => {
    const door = await open({ rest: true });
    expect(await door.ask('POST', '/a/key', { body: 'value' })).toMatchObject({ status: 200 });
    expect(await door.ask('GET', '/a/key')).toMatchObject({ status: 200, body: 'value' });
    expect((await store.get(k('a/key')))?.value.toString()).toBe('value');
    expect((await door.ask('GET', '/')).status).toBe(404);
    expect(await door.ask('PATCH', '/a')).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD, POST, PUT, DELETE, OPTIONS' } });
  });
});

describe('what else is answered', () => {
  it('is counted', async () => {
    const seen: string[] = [];
    const door = await open({ observe: (method, status) => seen.push(`${method} ${status}`) });
    await door.ask('PUT', '/kv/k', { body: 'x' });
    await door.ask('GET', '/kv/none');
    await expect.poll(() => seen).toEqual(['PUT 200', 'GET 404']);
  });

  it('tells the role, the status, and the API', async () => {
    const door = await open();
    expect(JSON.parse((await door.ask('GET', '/role')).body)).toEqual({ role: 'primary' });
    expect(JSON.parse((await door.ask('GET', '/status')).body)).toEqual({ role: 'leader' });
    expect(JSON.parse((await door.ask('GET', '/status?level=full')).body)).toEqual({ role: 'leader', keys: 3 });
    const api = JSON.parse((await door.ask('GET', '/openapi.json')).body) as { openapi: string; info: { version: string }; paths: object };
    expect([api.openapi, api.info.version]).toEqual(['3.1.0', '1.2.3']);
    expect(Object.keys(api.paths)).toEqual(['/kv/{key}', '/kv/', '/get/{key}', '/set/{key}', '/health', '/ready', '/role', '/status', '/openapi.json', '/metrics']);
    expect(await door.ask('OPTIONS', '/kv/k')).toMatchObject({ status: 204, headers: { allow: 'GET, HEAD, PUT, DELETE, OPTIONS' } });
  });

  it('has in its API the methods that each path knows, and refers to nothing that is not there', async () => {
    const door = await open();
    const { body } = await door.ask('GET', '/openapi.json');
    const api = JSON.parse(body) as { paths: Record<string, Record<string, { responses?: object; parameters?: { name: string; in: string; required: boolean }[] }>>; components: { schemas: object } };
    for (const [path, item] of Object.entries(api.paths)) {
      const methods = Object.keys(item).filter((name) => name !== 'parameters').map((name) => name.toUpperCase());
      // Those are the server's own.
      if (['/health', '/ready', '/metrics'].includes(path)) continue;
      const { headers } = await door.ask('OPTIONS', path.replace('{key}', 'k'));
      expect([...methods, 'OPTIONS'], path).toEqual(headers.allow?.split(', '));
      for (const method of methods) expect(item[method.toLowerCase()]?.responses, `${method} ${path}`).toHaveProperty('200');
      expect(body.includes(`"${path}":{"parameters":[{"name":"key","in":"path","required":true`), path).toBe(path.includes('{key}'));
    }
    for (const [, name = ''] of body.matchAll(/"#\/components\/schemas\/(\w+)"/g)) expect(Object.keys(api.components.schemas)).toContain(name);
    expect(await door.ask('OPTIONS', '*')).toMatchObject({ status: 204, headers: { allow: 'GET, HEAD, PUT, DELETE, OPTIONS' } });
  });

  it('answers with a problem what Node would refuse without a word', async () => {
    const { port } = await open();
    const say = async (text: string): Promise<string> => {
      const socket = connect(port, '127.0.0.1');
      socket.setEncoding('utf8').write(text);
      let all = '';
      socket.on('data', (part: Buffer | string) => (all += part.toString()));
      await once(socket, 'close');
      return all;
    };
    expect(await say('GET /kv/k HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [^]*"code":"bad_request","detail":"the request has no Host header/);
    expect(await say('PUT /kv/k HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n')).toMatch(/^HTTP\/1\.1 417 [^]*"code":"bad_header","detail":"Expect: tea is not known/);
    expect(await say('CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n')).toMatch(/^HTTP\/1\.1 501 [^]*"code":"not_supported"/);
    expect(await say('GET /kv/none HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 404 /);
  });

  it('sends to the primary what is not served here, and says when a read may be old', async () => {
    const asked: string[] = [];
    const elsewhere = {
      serves: (key: Key) => key < 'm',
      locate: (key: Key) => Promise.resolve(key === 'unknown' ? undefined : 'other.example:9999'),
      stale: (key: Key) => (key === 'old' ? { value: Buffer.from('old'), epoch: 1, offset: 4, atOffset: 7 } : undefined),
    };
    const door = await open({ elsewhere, store: { ...bound(store), put: (key, ...rest) => (asked.push(key), store.put(key, ...rest)) } });
    expect(await door.ask('PUT', '/kv/a', { body: 'x' })).toMatchObject({ status: 200 });
    for (const body of ['x', Buffer.alloc(MIB)]) {
      expect(await door.ask('PUT', '/set/x%2Fy?', { body })).toMatchObject({ status: 307, headers: { location: 'http://other.example:9999/set/x%2Fy?', 'content-length': '0' } });
    }
    expect(await door.ask('DELETE', '/kv/x')).toMatchObject({ status: 307 });
    expect(await door.ask('GET', '/kv/x')).toMatchObject({ status: 307, headers: { location: 'http://other.example:9999/kv/x' } });
    expect(await door.ask('GET', '/kv/old')).toMatchObject({ status: 200, body: 'old', headers: { etag: '"1-4"', 'keyranger-consistency': 'stale', 'keyranger-offset': '7' } });
    expect(await door.ask('GET', '/kv/old?consistency=strong')).toMatchObject({ status: 307, headers: { location: 'http://other.example:9999/kv/old?consistency=strong' } });
    expect((await door.ask('GET', '/kv/old?consistency=maybe')).status).toBe(400);
    const lost = await door.ask('PUT', '/kv/unknown', { body: 'x' });
    expect([lost.status, problem(lost.body), lost.headers['retry-after']]).toEqual([503, 'not_served_here', '1']);
    expect(asked).toEqual(['a']);
  });

  it('has a code for each way in which the store can refuse', async () => {
    let error = new AppError('UNAVAILABLE', 'why');
    const door = await open({ store: { ...bound(store), get: () => Promise.reject(error) } });
    const answers: unknown[] = [];
    for (const code of ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'UNIMPLEMENTED', 'INTERNAL'] as const) {
      error = new AppError(code, 'why');
      const { status, body, headers } = await door.ask('GET', '/kv/k');
      answers.push([status, problem(body), headers['retry-after']]);
    }
    expect(answers).toEqual([
      [503, 'unavailable', '1'],
      [504, 'timeout', '1'],
      [503, 'overloaded', '1'],
      [503, 'not_served_here', '1'],
      [501, 'not_supported', undefined],
      [500, 'internal', undefined],
    ]);
  });
});

describe('a listing', () => {
  interface Listing {
    items: { key?: string; key_base64?: string; value?: string }[];
    next: string | null;
  }
  const list = async (door: Door, query: string): Promise<Listing> => JSON.parse((await door.ask('GET', `/kv/${query}`)).body) as Listing;
  const names = ({ items }: Listing): unknown[] => items.map(({ key, key_base64 }) => key ?? key_base64);

  beforeEach(async () => {
    for (const key of ['a', 'b1', 'b2', 'c']) await store.put(k(key), Buffer.from(`of ${key}`), { contentType: key === 'c' ? 'text/plain' : undefined });
    await store.put('\xff' as Key, Buffer.from([255]));
  });

  it('has all keys in order, or those that are asked for, and goes on from its token', async () => {
    const door = await open();
    expect(names(await list(door, ''))).toEqual(['a', 'b1', 'b2', 'c', '/w==']);
    expect(names(await list(door, '?reverse'))).toEqual(['/w==', 'c', 'b2', 'b1', 'a']);
    expect(names(await list(door, '?prefix=b'))).toEqual(['b1', 'b2']);
    expect(names(await list(door, '?start=b1&end=c&reverse=true'))).toEqual(['b2', 'b1']);
    expect(names(await list(door, '?start=%ff'))).toEqual(['/w==']);
    expect(await list(door, '?keys_only&prefix=b')).toEqual({ items: [{ key: 'b1' }, { key: 'b2' }], next: null });
    expect((await list(door, '?start=c')).items).toMatchObject([{ key: 'c', value: 'of c', content_type: 'text/plain', epoch: 1, offset: 4 }, { key_base64: '/w==', value_base64: '/w==' }]);
    const first = await list(door, '?limit=2');
    expect(names(first)).toEqual(['a', 'b1']);
    expect(names(await list(door, `?token=${first.next ?? ''}`))).toEqual(['b2', 'c', '/w==']);
    expect(await list(door, '?prefix=nothing')).toEqual({ items: [], next: null });
    expect((await door.ask('HEAD', '/kv/')).body).toBe('');
  });

  it('comes as lines to those who ask for lines', async () => {
    const door = await open();
    const { body, headers } = await door.ask('GET', '/kv?limit=2&keys_only=1', { headers: { accept: 'application/x-ndjson' } });
    expect(headers['content-type']).toBe('application/x-ndjson');
    expect(body.trimEnd().split('\n').map((line) => JSON.parse(line) as unknown)).toEqual([{ key: 'a' }, { key: 'b1' }, { next: expect.any(String) as string }]);
  });

  it.each([
    ['?start=b&end=a', 'bad_query'],
    ['?limit=0', 'bad_query'],
    ['?limit=many', 'bad_query'],
    ['?reverse=perhaps', 'bad_query'],
    ['?prefixx=a', 'bad_query'],
    ['?prefix=a&prefix=b', 'bad_query'],
    [`?prefix=${'x'.repeat(1025)}`, 'bad_query'],
    ['?prefix=%f', 'bad_encoding'],
    ['?token=nonsense', 'bad_token'],
    ['?token=%00', 'bad_token'],
  ])('refuses %s', async (query, code) => {
    const { status, body } = await (await open()).ask('GET', `/kv/${query}`);
    expect([status, problem(body)]).toEqual([400, code]);
  });

  it('is read no faster than its client takes it', async () => {
    let pages = 0;
    const endless: Store = {
      ...bound(store),
      scan: async function* () {
        for (;;) {
          pages++;
          yield { entries: [{ key: k('k'), value: Buffer.alloc(256 * 1024, 'x'), epoch: 1, offset: 1 }], next: undefined };
          await new Promise((resolve) => setImmediate(resolve));
        }
      },
    };
    const door = await open({ store: endless });
    const socket = connect(door.port, '127.0.0.1');
    cleanUps.push(() => socket.destroy());
    socket.pause();
    socket.write('GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n');
    let before = -1;
    // What is in the kernel's buffers and ours; then it stands still.
    await expect.poll(() => {
      const still = pages > 0 && pages === before;
      before = pages;
      return still;
    }, { interval: 200 }).toBe(true);
    expect(pages).toBeLessThan(100);
    closing.abort(new AppError('UNAVAILABLE', 'closing'));
    socket.resume();
    await once(socket, 'close');
  });

  it('breaks off when it cannot go on, so that nobody takes it for whole', async () => {
    const broken: Store = {
      ...bound(store),
      scan: async function* () {
        yield { entries: [{ key: k('k'), value: Buffer.from('v'), epoch: 1, offset: 1 }], next: undefined };
        throw new AppError('UNAVAILABLE', 'gone');
      },
    };
    await expect((await open({ store: broken })).ask('GET', '/kv/')).rejects.toThrow(/aborted|hang up/);
  });
});

describe('bad input', () => {
  it.each([
    ['GET', '/', 404, 'no_route'],
    ['GET', '/nothing/here', 404, 'no_route'],
    ['GET', '/set/k', 405, 'method_not_allowed'],
    ['POST', '/kv/k', 405, 'method_not_allowed'],
    ['DELETE', '/kv/', 405, 'method_not_allowed'],
    ['PUT', '/role', 405, 'method_not_allowed'],
    ['GET', '/kv/%zz', 400, 'bad_encoding'],
    ['GET', '/kv/%a', 400, 'bad_encoding'],
    ['PUT', `/kv/${'k'.repeat(1025)}`, 400, 'bad_key'],
    ['GET', '/kv/k?nonsense=1', 400, 'bad_query'],
    ['GET', '/status?level=some', 400, 'bad_query'],
  ])('%s %s is answered with %i, and the connection kept', async (method, path, status, code) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    cleanUps.push(() => {
      agent.destroy();
    });
    const door = await open();
    const answer = await door.ask(method, path, { agent, ...(method === 'PUT' ? { body: 'small' } : {}) });
    expect([answer.status, problem(answer.body)]).toEqual([status, code]);
    expect(status === 405 ? typeof answer.headers.allow : 'string').toBe('string');
    expect((await door.ask('GET', '/role', { agent })).status).toBe(200);
    expect(Object.keys(agent.freeSockets)).toHaveLength(1);
  });

  it('in the body is refused, and nothing is written', async () => {
    const door = await open();
    const tooLong = Buffer.alloc(8 * MIB + 1);
    for (const headers of [{}, { 'transfer-encoding': 'chunked' }]) {
      const answer = await door.ask('PUT', '/kv/k', { body: tooLong, headers });
      expect([answer.status, problem(answer.body), answer.headers.connection]).toEqual([413, 'value_too_long', 'close']);
    }
    expect((await door.ask('PUT', '/kv/k', { body: 'x', headers: { 'content-encoding': 'gzip' } })).status).toBe(415);
    expect((await door.ask('PUT', '/kv/k', { body: 'x', headers: { 'content-range': 'bytes 0-1/2' } })).status).toBe(400);
    expect(await store.get(k('k'))).toBeUndefined();
    expect((await door.ask('PUT', '/kv/k', { body: Buffer.alloc(8 * MIB, 'x') })).status).toBe(200);
    expect((await door.ask('GET', '/kv/k')).bytes.length).toBe(8 * MIB);
    await expect.poll(() => budget.used).toBe(0);
  });

  it('that breaks off in the middle writes nothing', async () => {
    const door = await open();
    await raw(door.port, 'PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this', (socket) => setTimeout(() => socket.destroy(), 20));
    await raw(door.port, 'PUT /kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', (socket) => setTimeout(() => socket.end(), 20));
    await raw(door.port, 'PUT /kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n');
    expect((await door.ask('GET', '/role')).status).toBe(200);
    expect(await store.get(k('k'))).toBeUndefined();
    await expect.poll(() => budget.used).toBe(0);
  });

  it('that is no HTTP is told so', async () => {
    const door = await open();
    expect(await raw(door.port, 'this is nothing\r\n\r\n')).toMatch(/^HTTP\/1.1 400 Bad Request\r\nConnection: close\r\n[^]*"code":"bad_request"/);
    expect(await raw(door.port, `GET /kv/k HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
  });

  it('is refused before its body is sent, when the client asks first', async () => {
    const door = await open();
    const ask = (path: string, length: number): Promise<string> =>
      raw(door.port, `PUT ${path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`, (socket) => {
        socket.on('data', (chunk: Buffer) => {
          if (chunk.toString().startsWith('HTTP/1.1 100')) socket.end('x'.repeat(length));
          else socket.end();
        });
      });
    expect(await ask('/kv/k', 9 * MIB)).toMatch(/^HTTP\/1.1 413 /);
    expect(await ask('/nothing', 9)).toMatch(/^HTTP\/1.1 404 /);
    expect(await ask('/kv/k', 9)).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK/);
  });

  it('of many slow clients does not grow memory: what goes beyond the limit is refused', async () => {
    budget = new ByteBudget(10 * MIB);
    const door = await open();
    const slow = connect(door.port, '127.0.0.1');
    cleanUps.push(() => slow.destroy());
    slow.write(`PUT /kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: ${8 * MIB}\r\n\r\n`);
    slow.write(Buffer.alloc(8 * MIB - 1));
    await expect.poll(() => budget.used).toBe(8 * MIB - 1);
    const answer = await door.ask('PUT', '/kv/k', { body: Buffer.alloc(4 * MIB) });
    expect([answer.status, problem(answer.body), answer.headers['retry-after']]).toEqual([503, 'overloaded', '1']);
    slow.destroy();
    await expect.poll(() => budget.used).toBe(0);
    expect((await door.ask('PUT', '/kv/k', { body: Buffer.alloc(4 * MIB) })).status).toBe(200);
    const lazy = connect(door.port, '127.0.0.1');
    cleanUps.push(() => lazy.destroy());
    lazy.pause();
    for (let i = 0; i < 10; i++) lazy.write('GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\n');
    await expect.poll(() => budget.used).toBeGreaterThan(0);
    expect(budget.used).toBeLessThanOrEqual(10 * MIB);
    lazy.destroy();
    await expect.poll(() => budget.used).toBe(0);
    expect((await store.get(k('slow')))?.value).toBeUndefined();
  });
});

function bound(given: Store): Store {
  return {
    get: (...args) => given.get(...args),
    put: (...args) => given.put(...args),
    delete: (...args) => given.delete(...args),
    batch: (...args) => given.batch(...args),
    scan: (...args) => given.scan(...args),
    watch: (...args) => given.watch(...args),
  };
}
