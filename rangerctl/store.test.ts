import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../model/interval.js';
import { type Key, keyFromText } from '../model/key.js';
import type { Store } from '../model/store.js';
import { LocalCluster, command } from '../node/testing/local-cluster.js';
import { serverOptions } from '../proto/channel.js';
import { addLogService } from '../proto/log-server.js';
import { addStoreService } from '../proto/store-server.js';
import { systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/log.js';
import { runCli } from './cli.js';
import { diskFiles } from './files.js';
import type { Io } from './io.js';

const k = keyFromText;

let cluster: LocalCluster;
let server: grpc.Server;
let store: Store;
let address: string;
let folder: string;
/** Asked before each batch. */
let beforeBatch: () => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rangerctl-'));
  cluster = new LocalCluster();
  const node = cluster.start('A');
  await command(node, { command: 'Prepare', meta: { id: 1, ...EVERYTHING }, epoch: 1, parents: [], initial: true });
  await command(node, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true });
  store = node.store;
  beforeBatch = () => undefined;
  const served: Store = {
    get: (...args) => store.get(...args),
    put: (...args) => store.put(...args),
    delete: (...args) => store.delete(...args),
    batch: (...args) => {
      beforeBatch();
      return store.batch(...args);
    },
    scan: (...args) => store.scan(...args),
    watch: (...args) => store.watch(...args),
  };
  server = new grpc.Server(serverOptions());
  addStoreService(server, served, { logger: silentLogger, clock: systemClock, closing: new AbortController().signal });
  addLogService(server, node.log, { logger: silentLogger, clock: systemClock, closing: new AbortController().signal });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  address = `127.0.0.1:${port}`;
});

afterEach(() => {
  server.forceShutdown();
  cluster.killAll();
  rmSync(folder, { recursive: true });
});

interface World {
  readonly tty?: boolean;
  readonly stdin?: string;
  readonly onInterrupt?: Io['onInterrupt'];
  readonly onLine?: (text: string) => void;
}

async function run(words: readonly string[], world: World = {}): Promise<{ code: number; out: string; err: string }> {
  const captured = { out: '', err: '' };
  const output = (name: 'out' | 'err'): Io['stdout'] => ({
    isTTY: world.tty ?? false,
    write: (text: string | Uint8Array, written?: () => void) => {
      captured[name] += Buffer.from(text as string).toString();
      if (name === 'out') world.onLine?.(captured.out);
      written?.();
      return true;
    },
  });
  const io: Io = {
    stdout: output('out'),
    stderr: output('err'),
    env: { NO_COLOR: '1' },
    clock: systemClock,
    stdin: (async function* () {
      yield Buffer.from(world.stdin ?? '');
    })(),
    readFile: () => { throw new Error('not here'); },
    files: diskFiles,
    onInterrupt: world.onInterrupt ?? (() => () => undefined),
  };
  const code = await runCli([...words, '--proxy', address], io, '1.2.3');
  return { code, ...captured };
}

const lines = (text: string): unknown[] => text.trimEnd().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as unknown);
const keys = async (): Promise<Key[]> => {
  const all: Key[] = [];
  for await (const { entries } of store.scan({ span: EVERYTHING })) all.push(...entries.map(({ key }) => key));
  return all;
};

describe('scan', () => {
  beforeEach(async () => {
    for (const key of ['a', 'b/1', 'b/2', 'c']) await store.put(k(key), Buffer.from(`of ${key}`));
    await store.put('\xff' as Key, Buffer.from([0, 255]), { contentType: 'image/png' });
  });

  it('prints lines of JSON into a pipe, and text on a terminal', async () => {
    expect(lines((await run(['scan'])).out)).toMatchObject([
      { key: 'a', value: 'of a', epoch: 1, offset: 1 },
      { key: 'b/1' },
      { key: 'b/2' },
      { key: 'c' },
      { key_base64: '/w==', value_base64: 'AP8=', content_type: 'image/png' },
    ]);
    expect((await run(['scan', '--start', 'c'], { tty: true })).out).toBe('c  of c\nb64:/w==  b64:AP8=\n');
    expect((await run(['scan', 'b/', '--keys-only', '--reverse'], { tty: true })).out).toBe('b/2\nb/1\n');
    expect(lines((await run(['scan', 'b64:/w==', '--keys-only'])).out)).toEqual([{ key_base64: '/w==' }]);
  });

  it('tells how to go on when the limit ends it, and goes on', async () => {
    const first = await run(['scan', '--limit', '2', '--keys-only']);
    expect(lines(first.out)).toEqual([{ key: 'a' }, { key: 'b/1' }]);
    const token = /--token (\S+)/.exec(first.err)?.[1] ?? '';
    expect(lines((await run(['scan', '--keys-only', '--token', token])).out)).toEqual([{ key: 'b/2' }, { key: 'c' }, { key_base64: '/w==' }]);
  });

  it('refuses what makes no sense', async () => {
    expect(await run(['scan', '--start', 'b', '--end', 'a'])).toMatchObject({ code: 2, err: expect.stringContaining('[b, a) holds no key') as string });
    expect(await run(['scan', '--limit', 'x'])).toMatchObject({ code: 2 });
    expect(await run(['scan', '--token', 'AAAA'])).toMatchObject({ code: 2, err: expect.stringContaining('token') as string });
    expect(JSON.parse((await run(['scan', 'a', '--request'])).out)).toEqual({ start: 'YQ==', end: 'Yg==', reverse: false, keys_only: false, limit: '0', token: '' });
  });
});

describe('watch-keys', () => {
  it('prints each change, and goes on from a token', async () => {
    let interrupt: () => void = () => undefined;
    let begun = false;
    const watching = run(['watch-keys', 'a'], {
      onInterrupt: (callback) => {
        interrupt = callback;
        return () => undefined;
      },
      onLine: (text) => {
        begun = true;
        if (lines(text).length === 4) interrupt();
      },
    });
    await expect.poll(() => begun).toBe(true);
    await store.put(k('a1'), Buffer.from('x'));
    await store.put(k('b'), Buffer.from('x'));
    await store.put(k('a2'), Buffer.from('y'), { contentType: 'text/plain' });
    await store.delete(k('a1'));
    const { code, out } = await watching;
    expect(code).toBe(0);
    const told = lines(out) as { token?: string }[];
    expect(told).toMatchObject([{ token: expect.any(String) as string }, { key: 'a1', value: 'x', offset: 1 }, { key: 'a2', content_type: 'text/plain' }, { key: 'a1', deleted: true, offset: 4 }]);
    const again = await run(['watch-keys', 'a', '--token', told[1]?.token ?? '', '--timeout', '300ms']);
    expect(lines(again.out).slice(1)).toMatchObject([{ key: 'a2' }, { key: 'a1', deleted: true }]);
    expect((await run(['watch-keys', '--from-offset', '3', '--timeout', '300ms'], { tty: true })).out).toBe('del  a1\n');
    expect(await run(['watch-keys', '--from-offset', '30'])).toMatchObject({ code: 2 });
  });
});

describe('log', () => {
  it('prints the writes of a range, from an offset on', async () => {
    await store.put(k('a'), Buffer.from('1'));
    await store.put(k('b'), Buffer.from([0, 255]), { contentType: 'image/png' });
    await store.delete(k('a'));
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string;
    expect(lines((await run(['log', '1'])).out)).toEqual([
      { key: 'a', value: '1', epoch: 1, offset: 1, time },
      { key: 'b', value_base64: 'AP8=', content_type: 'image/png', epoch: 1, offset: 2, time },
      { key: 'a', deleted: true, epoch: 1, offset: 3, time },
    ]);
    expect((await run(['log', 'R1', '--from', '2'], { tty: true })).out).toMatch(/^\S+Z {2}1-2 {2}put {2}b {2}b64:AP8=\n\S+Z {2}1-3 {2}del {2}a\n$/);
    expect((await run(['log', '1', '--from', '3', '--follow', '--timeout', '300ms'], { tty: true })).out).toMatch(/1-3 {2}del {2}a\n$/);
    expect(await run(['log', '2'])).toMatchObject({ code: 3, err: expect.stringContaining('R2 is not on this node') as string });
    expect(await run(['log', '1', '--from', '9'])).toMatchObject({ code: 2, err: expect.stringContaining('beyond the end') as string });
    expect(JSON.parse((await run(['log', '1', '--follow', '--request'])).out)).toEqual({ range: '1', from: '0', follow: true });
  });
});

describe('export and import', () => {
  it('carry everything over, whatever the bytes', async () => {
    const values: [Key, Buffer, string | undefined][] = [
      [k('text'), Buffer.from('gr\u00fc\u00dfe\n"quoted"'), 'text/plain'],
      ['\x00\xff' as Key, Buffer.from([0, 255, 128]), undefined],
      [k('empty'), Buffer.alloc(0), undefined],
      ...Array.from({ length: 1500 }, (_, i): [Key, Buffer, undefined] => [k(`n${i}`), Buffer.from(String(i)), undefined]),
    ];
    for (const [key, value, contentType] of values) await store.put(key, value, { contentType });
    const file = join(folder, 'all.jsonl');
    expect(await run(['export', file])).toMatchObject({ code: 0, out: '', err: expect.stringMatching(/^exported 1,503 keys, /) as string });
    expect(existsSync(`${file}.state`)).toBe(false);
    expect((await run(['export', '-', '--prefix', 'text'])).out).toBe(readFileSync(file, 'utf8').split('\n').filter((line) => line.includes('"text"')).join('\n') + '\n');
    for (const [key] of values) await store.delete(key);
    expect(await run(['import', file])).toMatchObject({ code: 0, err: expect.stringMatching(/^imported 1,503 keys in /) as string });
    for (const [key, value, contentType] of values) expect(await store.get(key)).toMatchObject({ value, contentType });
    await store.put(k('text'), Buffer.from('newer'));
    expect((await run(['import', file, '--if-absent'])).err).toContain('imported 0 keys');
    expect((await store.get(k('text')))?.value.toString()).toBe('newer');
  });

  it('show how far they are on a terminal', async () => {
    const { err } = await run(['import', '-'], { tty: true, stdin: '{"key":"a","value":"1"}\n\n{"key":"b","value_base64":"AA=="}' });
    expect(err).toContain('2 keys');
    expect(await keys()).toEqual(['a', 'b']);
    const file = join(folder, 'some');
    writeFileSync(file, '{"key":"c","value":"1"}\n');
    expect((await run(['import', file], { tty: true })).err).toMatch(/\[#{16}\] {2}100% {2}24 B of 24 B {2}1 key\b/);
  });

  it('try again what failed for the moment', async () => {
    let failures = 2;
    beforeBatch = () => {
      if (failures-- > 0) throw new AppError('UNAVAILABLE', 'not now');
    };
    expect((await run(['import', '-'], { stdin: '{"key":"a","value":"1"}' })).code).toBe(0);
    expect(await keys()).toEqual(['a']);
  });

  it('an import goes on where it was broken off, with the last of two lines for one key', async () => {
    const file = join(folder, 'broken.jsonl');
    const items = Array.from({ length: 1200 }, (_, i) => `{"key":"n${String(i % 700).padStart(4, '0')}","value":"${i}"}\n`);
    writeFileSync(file, [...items.slice(0, 1000), 'no JSON\n', ...items.slice(1000)].join(''));
    const refused = await run(['import', file]);
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('line 1001: is no JSON') as string });
    expect(Number(readFileSync(`${file}.state`, 'utf8'))).toBe(items.slice(0, 1000).join('').length);
    writeFileSync(file, items.join(''));
    let batches = 0;
    beforeBatch = () => batches++;
    expect((await run(['import', file, '--resume'])).code).toBe(0);
    expect(batches).toBe(1);
    expect(existsSync(`${file}.state`)).toBe(false);
    expect(await Promise.all([0, 299, 300, 499, 500].map(async (i) => (await store.get(k(`n${String(i).padStart(4, '0')}`)))?.value.toString()))).toEqual(['700', '999', '1000', '1199', '500']);
  });

  it('an export goes on where it was broken off', async () => {
    const values = Array.from({ length: 1700 }, (_, i) => k(`n${String(i).padStart(4, '0')}`));
    await Promise.all(values.map((key) => store.put(key, Buffer.from('x'.repeat(100)))));
    const file = join(folder, 'all.jsonl');
    const whole = store;
    let pages = 0;
    store = {
      ...whole,
      scan: async function* (request) {
        for await (const page of whole.scan(request)) {
          if (++pages === 3) throw new AppError('INTERNAL', 'broken');
          yield page;
        }
      },
    };
    expect((await run(['export', file])).code).toBe(1);
    expect(existsSync(`${file}.state`)).toBe(true);
    store = whole;
    expect((await run(['export', file, '--resume', '--prefix', 'n1'])).err).toContain('begun with other keys');
    expect((await run(['export', file, '--resume'])).err).toContain('exported 1,700 keys');
    expect(lines(readFileSync(file, 'utf8')).map((line) => (line as { key: string }).key)).toEqual(values);
    expect((await run(['export', file, '--resume'])).err).toContain('is whole');
  });

  it('refuse what cannot be', async () => {
    expect(await run(['import', join(folder, 'none')])).toMatchObject({ code: 2, err: expect.stringContaining('is not there') as string });
    expect(await run(['export', join(folder, 'no/folder')])).toMatchObject({ code: 2, err: expect.stringContaining('cannot write') as string });
    for (const line of ['[]', '{}', '{"key":"a"}', '{"key_base64":"!","value":""}', '{"key":"","value":""}', '{"key":"a","value":"","content_type":7}']) {
      expect(await run(['import', '-'], { stdin: line })).toMatchObject({ code: 2, err: expect.stringContaining('line 1: ') as string });
    }
    expect(await keys()).toEqual([]);
  });
});
