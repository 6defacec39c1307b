import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { ConsulAgent } from '../../test/cluster/consul-agent.js';
import { persisterContract } from '../contract/persister.js';
import type { Change } from '../interfaces.js';
import { ConsulClient } from './client.js';
import { operationOf, packGroups } from './packing.js';
import { ConsulPersister, type Fence } from './persister.js';

let agent: ConsulAgent;
beforeAll(async () => {
  agent = await ConsulAgent.start({ keeps: 'disk' });
}, 120_000);
afterAll(() => agent.close());

let prefixes = 0;

persisterContract('consul', () => {
  const client = new ConsulClient(agent);
  const prefix = `test${prefixes++}/`;
  return Promise.resolve({
    open: () => Promise.resolve(new ConsulPersister({ client, prefix })),
    shared: true,
    faults: { stop: () => agent.kill(), start: () => agent.start() },
    close: async () => client.close(),
  });
});

describe('consul persister', () => {
  test('a document is one key under ranges/, as other programs expect it', async () => {
    const persister = new ConsulPersister({ client: new ConsulClient(agent) });
    await persister.write([[{ key: '7', value: '{"ident":7}' }]]);
    const [pair] = (await agent.request('GET', 'kv/ranges/7')) as [{ Value: string }];
    expect(Buffer.from(pair.Value, 'base64').toString()).toBe('{"ident":7}');
    await agent.request('PUT', 'kv/ranges/');
    expect(Object.fromEntries(await persister.load())).toEqual({ 7: '{"ident":7}' });
    await persister.close();
  });

  test('what is not about ranges is kept out of ranges/', async () => {
    const client = new ConsulClient(agent);
    const persister = new ConsulPersister({ client, prefix: 'apart/', nodesPrefix: 'beside/nodes/' });
    await persister.write([[{ key: '7', value: 'seven' }, { key: 'nodes/5201', value: 'drain' }]]);
    expect(await agent.request('GET', 'kv/apart/?keys')).toEqual(['apart/7']);
    expect(await agent.request('GET', 'kv/beside/?keys')).toEqual(['beside/nodes/5201']);
    expect(Object.fromEntries(await persister.load())).toEqual({ 7: 'seven', 'nodes/5201': 'drain' });
    await persister.write([[{ key: 'nodes/5201', value: undefined }]]);
    expect(Object.fromEntries(await persister.load())).toEqual({ 7: 'seven' });
    await persister.close();
  });

  test('who has lost the lock writes nothing', async () => {
    const client = new ConsulClient(agent);
    const { ID: session } = (await agent.request('PUT', 'session/create', { LockDelay: '1ms' })) as { ID: string };
    await agent.request('PUT', `kv/lock?acquire=${session}`, 'x');
    let fence: Fence | undefined = { key: 'lock', session };
    const persister = new ConsulPersister({ client, prefix: 'fenced/', fence: () => fence });
    await persister.write([Array.from({ length: 63 }, (_, i) => ({ key: `${i}`, value: 'x' }))]);

    await agent.request('PUT', `kv/lock?release=${session}`, 'x');
    await expect(persister.write([[{ key: '1', value: 'late' }]])).rejects.toMatchObject({ code: 'ABORTED' });
    expect((await persister.load()).get('1')).toBe('x');
    fence = undefined;
    await expect(persister.write([[{ key: '1', value: 'late' }]])).rejects.toThrow('does not lead');
    client.close();
  });

  test('a document of nearly half a megabyte is one transaction, a greater one is refused before anything is written', async () => {
    const client = new ConsulClient(agent);
    const persister = new ConsulPersister({ client, prefix: 'big/' });
    await persister.write([[{ key: '1', value: 'x'.repeat(390_000) }]]);
    const tooBig = persister.write([[{ key: '2', value: 'x' }], [{ key: '1', value: 'x'.repeat(400_000) }]]);
    await expect(tooBig).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect([...(await persister.load()).keys()]).toEqual(['1']);
    client.close();
  });

  test('an agent that is not there is UNAVAILABLE, and named', async () => {
    const client = new ConsulClient({ host: '127.0.0.1', port: 1 });
    const persister = new ConsulPersister({ client });
    await expect(persister.load()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(persister.load()).rejects.toThrow('Consul at 127.0.0.1:1');
  });
});

describe('packing', () => {
  const limits = { operationsMax: 5, bodyBytesMax: 500 };
  const bytesOf = ({ key, value }: Change): number => JSON.stringify(operationOf(key, value, 1)).length;
  const change = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'), value: fc.option(fc.string({ maxLength: 20 }), { nil: undefined }) });
  const group = fc.uniqueArray(change, { maxLength: 3, selector: ({ key }) => key });

  const applied = (changes: Iterable<Change>, to = new Map<string, string>()): Map<string, string> => {
    for (const { key, value } of changes) {
      if (value === undefined) to.delete(key);
      else to.set(key, value);
    }
    return to;
  };

  test('every prefix of the transactions is a prefix of the groups, within the limits', () => {
    fc.assert(
      fc.property(fc.array(group, { maxLength: 20 }), (groups) => {
        const packs = packGroups(groups, bytesOf, limits);
        const states = groups.map((_, i) => JSON.stringify([...applied(groups.slice(0, i + 1).flat())].sort()));
        const state = new Map<string, string>();
        let at = 0;
        for (const pack of packs) {
          expect(pack.size).toBeLessThanOrEqual(limits.operationsMax);
          const body = [...pack.values()].map(({ key, value }) => ({ KV: operationOf(key, value, 1) }));
          expect(JSON.stringify(body).length).toBeLessThanOrEqual(limits.bodyBytesMax);
          const found = states.indexOf(JSON.stringify([...applied(pack.values(), state)].sort()), at);
          expect(found).toBeGreaterThanOrEqual(0);
          at = found;
        }
        expect([...state].sort()).toEqual([...applied(groups.flat())].sort());
      }),
    );
  });

  test('small groups share a transaction', () => {
    const groups = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((key) => [{ key, value: '1' }]);
    expect(packGroups(groups, bytesOf, limits).map((pack) => [...pack.keys()].join(''))).toEqual(['abcde', 'fg']);
  });
});
