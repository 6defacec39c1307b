import type { Router } from '../client/router.js';
import type { Mirror } from '../rangelet/mirror.js';
import { Counter, Gauge, type Registry } from '../runtime/metrics.js';

/** What the router and the mirror hold, read when somebody asks. */
export function registerRouterMetrics(registry: Registry, router: Router, mirror: Mirror): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    const metric = new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        metric.set(read());
      },
    });
  };
  gauge('keyranger_proxy_requests_in_flight', 'Requests without an answer yet.', () => router.stats().inFlight);
  gauge('keyranger_proxy_requests_held', 'Requests that wait for an owner, or for a connection to it.', () => router.stats().held);
  gauge('keyranger_proxy_bytes_in_flight', 'Keys and values of requests and answers on their way.', () => router.stats().bytesInFlight);
  gauge('keyranger_proxy_nodes', 'Nodes that the proxy connects to.', () => router.stats().nodes);
  gauge('keyranger_proxy_owners', 'Intervals of keys in the map of owners.', () => mirror.current.owners.length);
  registry.registerMetric(
    new Counter({
      name: 'keyranger_proxy_holds_total',
      help: 'Times that a request had to wait before it could be sent, or sent again, by why.',
      labelNames: ['why'],
      registers: [],
      collect() {
        this.reset();
        for (const [why, count] of Object.entries(router.stats().holds)) this.inc({ why }, count);
      },
    }),
  );
  registry.registerMetric(
    new Counter({
      name: 'keyranger_proxy_shed_total',
      help: 'Requests refused because too many bytes were in flight.',
      registers: [],
      collect() {
        this.reset();
        this.inc(router.stats().shed);
      },
    }),
  );
  registry.registerMetric(
    new Counter({
      name: 'keyranger_proxy_repeated_writes_total',
      help: 'Times that a write was sent again, with its id, because nobody knew what became of it.',
      registers: [],
      collect() {
        this.reset();
        this.inc(router.stats().repeated);
      },
    }),
  );
}
