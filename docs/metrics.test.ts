import { describe, expect, test } from 'vitest';
import { Keyspace } from '../controller/keyspace/keyspace.js';
import { prometheusObserver, registerGauges } from '../controller/metrics.js';
import { EMPTY_ROSTER } from '../controller/roster/roster.js';
import { httpObserver } from '../gateway/metrics.js';
import { commandMetrics, registerNodeMetrics } from '../node/metrics.js';
import { GET, PUT } from '../proto/kv-codec.js';
import { STORE_METHODS } from '../proto/store-server.js';
import { registerRouterMetrics } from '../proxy/metrics.js';
import { createMetrics, Registry } from '../runtime/metrics.js';
import { RequestMetrics } from '../runtime/request-metrics.js';
import { expectSection, sectionsOf, table } from './sections.js';

const PAGE = 'metrics.md';
const METHODS = new Map([[GET, 'get'], [PUT, 'put']]);

/** What each process exposes besides what every process does; the bats tests look at real ones too. */
const SOURCES: Readonly<Record<string, () => Registry>> = {
  'runtime/metrics.ts': () => createMetrics({ name: 'program' }),
  'controller/metrics.ts': () => {
    const registry = new Registry();
    prometheusObserver(registry);
    const controller = { keyspace: new Keyspace(), roster: EMPTY_ROSTER, runningOperations: 0, commandsInFlight: 0, leader: { leading: true } };
    registerGauges(registry, controller as never);
    return registry;
  },
  'node/metrics.ts': () => {
    const registry = new Registry();
    new RequestMetrics('keyranger_node', METHODS, 'kv.KV and kv.Pipe').register(registry);
    new RequestMetrics('keyranger_node_store', STORE_METHODS, 'kv.Store').register(registry);
    httpObserver(registry, 'keyranger_node');
    commandMetrics(registry);
    registerNodeMetrics(registry, { rangelet: { info: () => ({ ranges: [] }) }, queue: { pendingBytes: 0 }, writeIds: { size: 0, repeated: 0 }, copies: { all: () => [] }, verify: { verifier: { totals: { keys: 0, differences: 0 } } } } as never);
    return registry;
  },
  'proxy/metrics.ts': () => {
    const registry = new Registry();
    new RequestMetrics('keyranger_proxy', METHODS, 'kv.KV and kv.Pipe').register(registry);
    new RequestMetrics('keyranger_proxy_store', STORE_METHODS, 'kv.Store').register(registry);
    httpObserver(registry, 'keyranger_proxy');
    const stats = { inFlight: 0, held: 0, bytesInFlight: 0, nodes: 0, holds: {}, shed: 0, repeated: 0 };
    registerRouterMetrics(registry, { stats: () => stats } as never, { current: { owners: [] } } as never);
    return registry;
  },
};

async function metricsTable(registry: Registry): Promise<string> {
  const all = await registry.getMetricsAsJSON();
  const ours = all.filter(({ name }) => name.startsWith('keyranger_')).sort((a, b) => (a.name < b.name ? -1 : 1));
  const rows = ours.map(({ name, type, help }) => [`\`${name}\``, String(type), labelsOf(registry, name), help]);
  return table(['name', 'type', 'labels', ''], rows);
}

function labelsOf(registry: Registry, name: string): string {
  const metric = registry.getSingleMetric(name) as { labelNames?: readonly string[] } | undefined;
  // The one kind that is not the library's own has the labels of requests.
  const labels = metric?.labelNames ?? ['method'];
  return labels.filter((label) => label !== 'le').map((label) => `\`${label}\``).join(', ');
}

describe('docs/metrics.md', () => {
  test.each(Object.entries(SOURCES))('has every metric of %s', async (source, make) => {
    expectSection(PAGE, source, await metricsTable(make()));
  });

  test('has a section of every process', () => {
    expect(sectionsOf(PAGE).sort()).toEqual(Object.keys(SOURCES).sort());
  });
});
