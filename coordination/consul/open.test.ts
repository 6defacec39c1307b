import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../runtime/clock.js';
import { silentLogger } from '../../runtime/log.js';
import { systemRandom } from '../../runtime/random.js';
import { ConsulAgent } from '../../test/cluster/consul-agent.js';
import { until } from '../contract/harness.js';
import { openConsul, openDiscovery } from '../open.js';

const deps = { clock: systemClock, random: systemRandom, logger: silentLogger };
let agent: ConsulAgent;
beforeAll(async () => {
  agent = await ConsulAgent.start({ keeps: 'memory' });
}, 120_000);
afterAll(() => agent.close());

test('a controller writes while it leads and not after, and others see it come and go', async () => {
  const { host, port } = agent;
  const backend = await openConsul({ host, port, ...deps });
  await expect(backend.persister.write([[{ key: '1', value: 'early' }]])).rejects.toMatchObject({ code: 'ABORTED' });

  const campaign = backend.election.campaign({ ident: '5000', address: 'localhost:5000' });
  await until(campaign, ({ leading }) => leading);
  await backend.persister.load();
  await backend.persister.write([[{ key: '1', value: 'led' }]]);
  await backend.discovery.register({ service: 'controller', ident: '5000', address: 'localhost:5000', meta: {} });
  const other = await openDiscovery({ choice: { kind: 'consul', host, port }, ...deps });
  await until(other.watch('controller'), (list) => list[0]?.ident === '5000');

  await backend.election.resign();
  await expect(backend.persister.write([[{ key: '1', value: 'late' }]])).rejects.toMatchObject({ code: 'ABORTED' });
  expect(Object.fromEntries(await backend.persister.load())).toEqual({ 1: 'led' });
  await backend.close();
  await until(other.watch('controller'), (list) => list.length === 0);
  await other.close();
});

test('everything closes in time while no agent answers', async () => {
  const backend = await openConsul({ host: '127.0.0.1', port: 1, ...deps });
  const registering = backend.discovery.register({ service: 'controller', ident: '5000', address: 'localhost:5000', meta: {} });
  const cancelled = expect(registering).rejects.toMatchObject({ code: 'CANCELLED' });
  backend.election.campaign({ ident: '5000', address: 'localhost:5000' });
  await backend.close();
  await cancelled;
});
