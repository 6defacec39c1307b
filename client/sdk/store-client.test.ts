import { describe, expect, it } from 'vitest';
import { type Key, keyFromText } from '../../model/key.js';
import type { Change, Store, WatchEvent } from '../../model/store.js';
import { systemClock } from '../../runtime/clock.js';
import { AppError, type ErrorCode } from '../../runtime/errors.js';
import type { NodeStore } from '../store/node-store.js';
import type { KeyrangerError } from './api.js';
import { connect } from './connect.js';
import { Proxies } from './proxies.js';
import { resumedWatch } from './resumed-watch.js';
import { StoreClient, type StoreClientParts } from './store-client.js';

const never = (): never => {
  throw new Error('nobody was to ask for this');
};

const NOTHING: Store = { get: never, put: never, delete: never, batch: never, scan: never, watch: never };

function clientOver(store: Partial<Store>, router: StoreClientParts['router'] = { put: never }): StoreClient {
  return new StoreClient({ store: { ...NOTHING, ...store }, router, close: () => Promise.resolve() });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: unknown) => `${(error as KeyrangerError).code}${(error as KeyrangerError).retryable ? ', again' : ''}`,
  );
}

describe('a client', () => {
  it.each<[ErrorCode, string, string]>([
    ['INVALID_ARGUMENT', 'invalid_argument', 'invalid_argument'],
    ['UNAVAILABLE', 'unavailable, again', 'outcome_unknown'],
    ['FAILED_PRECONDITION', 'unavailable, again', 'unavailable, again'],
    ['DEADLINE_EXCEEDED', 'timeout, again', 'outcome_unknown'],
    ['RESOURCE_EXHAUSTED', 'overloaded, again', 'overloaded, again'],
    ['UNIMPLEMENTED', 'not_supported', 'not_supported'],
    ['INTERNAL', 'internal', 'outcome_unknown'],
    ['UNKNOWN', 'internal', 'outcome_unknown'],
  ])('says of %s: %s for a read, %s for a write', async (code, read, write) => {
    const fail = (): Promise<never> => Promise.reject(new AppError(code, 'no'));
    const router: StoreClientParts['router'] = {
      put: (_key, _value, _timeoutMs, done) => {
        done({ code: code === 'UNAVAILABLE' ? 14 : 8, message: 'no', value: Buffer.alloc(0), epoch: 0, offset: 0 });
        return undefined;
      },
    };
    const client = clientOver({ get: fail, put: fail, delete: fail, batch: () => Promise.resolve([{ is: 'failed', error: new AppError(code, 'no') }]) }, router);
    expect(await codeOf(client.get('k'))).toBe(read);
    expect(await codeOf(client.setSafe('k', 'v'))).toBe(write);
    expect(await codeOf(client.delete('k'))).toBe(write);
    expect(await codeOf(client.set('k', 'v'))).toBe(code === 'UNAVAILABLE' ? 'outcome_unknown' : 'overloaded, again');
    const [answer] = await client.batch([{ op: 'set', key: 'k', value: 'v' }]);
    expect(answer).toMatchObject({ op: 'failed', error: { code: write.replace(', again', '') } });
  });

  it('says that a write that surely was not made may be made again', async () => {
    const client = clientOver({ put: () => Promise.reject(new AppError('DEADLINE_EXCEEDED', 'waited 5 ms. Nothing was applied')) });
    expect(await codeOf(client.setSafe('k', 'v'))).toBe('timeout, again');
  });

  it.each([
    ['an empty key', (client: StoreClient) => client.get('')],
    ['a long key', (client: StoreClient) => client.get('k'.repeat(1025))],
    ['a long value', (client: StoreClient) => client.set('k', new Uint8Array(8 * 1024 * 1024 + 1))],
    ['a content type that cannot be kept', (client: StoreClient) => client.setSafe('k', 'v', { contentType: 'a\nb' })],
    ['no time', (client: StoreClient) => client.get('k', { timeoutMs: 0 })],
    ['a span without keys', (client: StoreClient) => client.scan({ start: 'm', end: 'c' }).next()],
    ['a limit of nothing', (client: StoreClient) => client.scan({ limit: 0 }).next()],
    ['too many operations', (client: StoreClient) => client.batch(Array.from({ length: 10_001 }, () => ({ op: 'get', key: 'k' })))],
  ])('refuses %s before it asks', async (_, ask) => {
    expect(await codeOf(ask(clientOver({})))).toBe('invalid_argument');
  });

  it('gives a read up as aborted, and a write on its way as unknown', async () => {
    const client = clientOver({ get: () => new Promise(() => undefined), put: () => new Promise(() => undefined) });
    expect(await codeOf(client.setSafe('k', 'v', { signal: AbortSignal.abort() }))).toBe('aborted');
    const abort = new AbortController();
    const { signal } = abort;
    const calls = [client.get('k', { signal }), client.setSafe('k', 'v', { signal })].map(codeOf);
    abort.abort(new Error('enough'));
    expect(await Promise.all(calls)).toEqual(['aborted', 'outcome_unknown']);
    await expect(client.get('k', { signal })).rejects.toMatchObject({ cause: { message: 'enough' } });
  });

  it('ends what is on its way when it is closed, and refuses what comes later', async () => {
    const client = clientOver({ get: () => new Promise(() => undefined) });
    const waiting = codeOf(client.get('k'));
    await client.close();
    await client.close();
    expect([await waiting, await codeOf(client.get('k')), await codeOf(client.scan().next())]).toEqual(['closed', 'closed', 'closed']);
  });

  it('takes keys and values as text and as bytes', async () => {
    const asked: unknown[] = [];
    const put: Store['put'] = (key, value, write) => {
      asked.push(key, value.toString('hex'), write?.condition?.is);
      return Promise.resolve({ applied: true, position: { epoch: 1, offset: asked.length } });
    };
    const client = clientOver({ put });
    await client.setSafe('é', 'é');
    await client.compareAndSet(new Uint8Array([0xff, 0]), 'absent', new Uint8Array([1, 2, 3]).subarray(1));
    await client.compareAndSet('k', { epoch: 1, offset: 3 }, '');
    expect(asked).toEqual(['\xc3\xa9', 'c3a9', undefined, '\xff\0', '0203', 'absent', 'k', '', 'at']);
  });
});

describe('connect', () => {
  it.each([[{ proxy: 'somewhere' }], [{ proxy: [] }], [{ coordination: 'zookeeper://x' }], [{ proxy: 'a:1', timeoutMs: Number.NaN }]])('refuses %j', async (options) => {
    expect(await codeOf(connect(options))).toBe('invalid_argument');
  });
});

describe('a watch through proxies', () => {
  const change = (key: string, offset: number): Change => ({ key: keyFromText(key), value: Buffer.from(''), epoch: 1, offset });
  const lost = new AppError('UNAVAILABLE', 'the connection broke');

  /** Each connection tells what it was given, then breaks; the last one stays. */
  function watched(...connections: readonly (readonly WatchEvent[])[]): { readonly events: AsyncGenerator<WatchEvent>; readonly begins: (string | undefined)[]; readonly asked: string[] } {
    const begins: (string | undefined)[] = [];
    const asked: string[] = [];
    const dial = (address: string): NodeStore => ({
      ...NOTHING,
      address,
      log: never,
      ready: never,
      close: () => undefined,
      async *watch({ token }) {
        const connection = begins.length;
        begins.push(token?.toString());
        asked.push(address);
        yield* connections[connection] ?? [];
        throw connection < connections.length - 1 ? lost : new AppError('OUT_OF_RANGE', 'the end of the test');
      },
    });
    const events = resumedWatch({ owners: new Proxies(['a', 'b']), connect: dial, clock: systemClock }, { span: { start: '' as Key, end: '' as Key } }, undefined);
    return { events, begins, asked };
  }

  async function all(events: AsyncGenerator<WatchEvent>): Promise<{ readonly told: string[]; readonly end: string }> {
    const told: string[] = [];
    try {
      for await (const { changes } of events) told.push(...changes.map(({ key, offset }) => `${key}${offset}`));
    } catch (thrown) {
      return { told, end: AppError.from(thrown).code };
    }
    return { told, end: '' };
  }

  it('goes on behind the last token, through the next proxy, and tells no change twice', async () => {
    const token = (text: string): Buffer => Buffer.from(text);
    const { events, begins, asked } = watched(
      [{ changes: [], token: token('t0') }, { changes: [change('a', 1)], token: token('t1') }, { changes: [change('a', 2), change('b', 3)], token: undefined }, { changes: [change('a', 4)], token: undefined }],
      // The first part comes again, and the connection breaks in the midst of it.
      [{ changes: [change('a', 2)], token: token('t2') }, { changes: [change('b', 3)], token: undefined }],
      [{ changes: [change('b', 3), change('a', 4), change('c', 5)], token: token('t5') }, { changes: [change('a', 6)], token: undefined }],
    );
    expect(await all(events)).toEqual({ told: ['a1', 'a2', 'b3', 'a4', 'c5', 'a6'], end: 'OUT_OF_RANGE' });
    expect(begins).toEqual([undefined, 't1', 't2']);
    expect(asked).toEqual(['a', 'b', 'a']);
  });

  it('does not go on where it would leave changes out', async () => {
    expect(await all(watched([{ changes: [change('a', 1)], token: undefined }], []).events)).toEqual({ told: ['a1'], end: 'UNAVAILABLE' });
  });
});
