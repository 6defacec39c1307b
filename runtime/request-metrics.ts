import { status } from '@grpc/grpc-js';
import type { Metric } from 'prom-client';
import { Counter, type Registry } from './metrics.js';

const BUCKETS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const CODES = 17;

/**
 * Counts every request by method, status and time. The metrics library takes a
 * microsecond or two to find the labels of each observation; here it is an index
 * into an array, and the labels are written when somebody reads the metrics.
 */
export class RequestMetrics {
  private readonly counts: Map<number, number[]>;
  private readonly times: Map<number, Times>;

  /** `prefix` as in `keyranger_proxy`; `methods` names the actions that are observed, of which `service` says whose they are. */
  constructor(
    private readonly prefix: string,
    private readonly methods: ReadonlyMap<number, string>,
    private readonly service: string,
  ) {
    this.counts = new Map([...methods.keys()].map((action) => [action, new Array<number>(CODES).fill(0)]));
    this.times = new Map([...methods.keys()].map((action) => [action, new Times()]));
  }

  readonly observe = (action: number, code: number, ms: number): void => {
    const counts = this.counts.get(action);
    if (!counts) return;
    const index = code < CODES ? code : status.UNKNOWN;
    counts[index] = (counts[index] ?? 0) + 1;
    this.times.get(action)?.add(ms);
  };

  register(registry: Registry): void {
    const { counts, prefix, methods, service } = this;
    registry.registerMetric(
      new Counter({
        name: `${prefix}_requests_total`,
        help: `Requests of ${service} answered, by method and gRPC status.`,
        labelNames: ['method', 'code'],
        registers: [],
        collect() {
          this.reset();
          for (const [action, byCode] of counts) {
            byCode.forEach((count, code) => {
              if (count > 0) this.inc({ method: methods.get(action) ?? '', code: status[code] ?? '' }, count);
            });
          }
        },
      }),
    );
    registry.registerMetric(this.histogram());
  }

  /** The registry asks metrics for their name and, at each reading, their values. */
  private histogram(): Metric {
    const { methods, service } = this;
    const help = `Time from a request of ${service} to its answer; of a stream, to its end.`;
    const name = `${this.prefix}_request_seconds`;
    const values = (): object[] => [...this.times].flatMap(([action, times]) => times.values(name, methods.get(action) ?? ''));
    const histogram = {
      name,
      reset: () => undefined,
      get: () => Promise.resolve({ name, help, type: 'histogram', aggregator: 'sum', values: values() }),
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
