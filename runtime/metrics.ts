import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';

export { Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The metrics of one process. What a program adds starts with `keyranger_`; the
 * process's own (CPU, memory, event loop, garbage collection) have the names that
 * every Node dashboard knows.
 */
export function createMetrics(program: { readonly name: string; readonly version?: string }): Registry {
  const registry = new Registry();
  // Sampling the event loop at the default of 10 ms would be most of what an idle node does.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 500 });
  const info = new Gauge({
    name: 'keyranger_info',
    help: 'Always 1; its labels say what runs here.',
    labelNames: ['program', 'version', 'node_version'],
    registers: [registry],
  });
  info.set({ program: program.name, version: program.version ?? 'unknown', node_version: process.version }, 1);
  return registry;
}
