import { status } from '@grpc/grpc-js';
import type { Metric } from 'prom-client';
import type { Router } from '../client/router.js';
import { GET, PUT } from '../proto/kv-codec.js';
import type { Mirror } from '../rangelet/mirror.js';
import { Counter, Gauge, type Registry } from '../runtime/metrics.js';

const BUCKETS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const CODES = 17;
const METHODS: ReadonlyMap<number, string> = new Map([
  [GET, 'get'],
  [PUT, 'put'],
]);

/**
 * Counts every request by method, status and time. The metrics library takes a
 * microsecond or two to find the labels of each observation; here it is an index
 * into an array, and the labels are written when somebody reads the metrics.
 */
export class RequestMetrics {
  private readonly counts = new Map([...METHODS.keys()].map((action) => [action, new Array<number>(CODES).fill(0)]));
  private readonly times = new Map([...METHODS.keys()].map((action) => [action, new Times()]));

  readonly observe = (action: number, code: number, ms: number): void => {
    const counts = this.counts.get(action);
    if (!counts) return;
    const index = code < CODES ? code : status.UNKNOWN;
    counts[index] = (counts[index] ?? 0) + 1;
    this.times.get(action)?.add(ms);
  };

  register(registry: Registry): void {
    const { counts } = this;
    registry.registerMetric(
      new Counter({
        name: 'keyranger_proxy_requests_total',
        help: 'Requests answered, by method and gRPC status.',
        labelNames: ['method', 'code'],
        registers: [],
        collect() {
          this.reset();
          for (const [action, byCode] of counts) {
            byCode.forEach((count, code) => {
              if (count > 0) this.inc({ method: METHODS.get(action) ?? '', code: status[code] ?? '' }, count);
            });
          }
        },
      }),
    );
    registry.registerMetric(this.histogram());
  }

  /** The registry asks metrics for their name and, at each reading, their values. */
  private histogram(): Metric {
    const name = 'keyranger_proxy_request_seconds';
    const values = (): object[] => [...this.times].flatMap(([action, times]) => times.values(name, METHODS.get(action) ?? ''));
    const histogram = {
      name,
      reset: () => undefined,
      get: () => Promise.resolve({ name, help: 'Time from a request to its answer, holding included.', type: 'histogram', aggregator: 'sum', values: values() }),
    };
    return histogram as unknown as Metric;
  }
}

class Times {
  private readonly buckets = new Array<number>(BUCKETS_MS.length).fill(0);
  private count = 0;
  private sumMs = 0;

  add(ms: number): void {
    this.count++;
    this.sumMs += ms;
    for (let i = 0; i < BUCKETS_MS.length; i++) {
      if (ms > (BUCKETS_MS[i] as number)) continue;
      this.buckets[i] = (this.buckets[i] as number) + 1;
      return;
    }
  }

  values(name: string, method: string): object[] {
    let below = 0;
    const buckets = BUCKETS_MS.map((bound, i) => {
      below += this.buckets[i] ?? 0;
      return { metricName: `${name}_bucket`, labels: { method, le: String(bound / 1000) }, value: below };
    });
    return [
      ...buckets,
      { metricName: `${name}_bucket`, labels: { method, le: '+Inf' }, value: this.count },
      { metricName: `${name}_sum`, labels: { method }, value: this.sumMs / 1000 },
      { metricName: `${name}_count`, labels: { method }, value: this.count },
    ];
  }
}

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
}
