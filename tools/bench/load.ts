import { systemClock, type Clock } from '../../runtime/clock.js';
import { type Random, systemRandom } from '../../runtime/random.js';
import { type CallKind, type Calls, callsOf } from './calls.js';
import { percentile } from './statistics.js';

/** What the generator is told; it runs in a process of its own, see generator.ts. */
export interface LoadOptions {
  readonly address: string;
  readonly connections: number;
  /** Which keys to take; they are there already. */
  readonly keys: number;
  /** Gets and puts of kv.KV when not given. */
  readonly calls?: CallKind;
  /** Callers that send again as soon as they are answered, or requests at a rate whatever the answers do. */
  readonly shape: { readonly callers: number } | { readonly perSecond: number };
}

/** What happened since the last lap. */
export interface Lap {
  readonly ms: number;
  readonly requests: number;
  readonly errors: number;
  /** The first of them. */
  readonly error: string | undefined;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** Requests that still wait count too. */
  readonly max: number;
}

/** How often a rate is kept up. */
const TICK_MS = 2;

export class Load {
  private readonly calls: Calls;
  private readonly waiting = new Set<{ readonly sentAt: number }>();
  private latencies: number[] = [];
  private errors = 0;
  private error: string | undefined;
  private lapAt: number;
  private stopped = false;

  constructor(
    private readonly options: LoadOptions,
    private readonly clock: Clock = systemClock,
    random: Random = systemRandom,
  ) {
    this.calls = callsOf(options.calls ?? 'unary', { ...options, random });
    this.lapAt = clock.now();
  }

  start(): void {
    const { shape } = this.options;
    if ('callers' in shape) for (let i = 0; i < shape.callers; i++) this.again();
    else this.tick(this.clock.now(), 0, shape.perSecond);
  }

  lap(): Lap {
    const now = this.clock.now();
    const sorted = Float64Array.from(this.latencies).sort();
    const oldest = [...this.waiting].reduce((max, { sentAt }) => Math.max(max, now - sentAt), 0);
    const lap: Lap = {
      ms: now - this.lapAt,
      requests: sorted.length,
      errors: this.errors,
      error: this.error,
      p50: percentile(sorted, 0.5),
      p99: percentile(sorted, 0.99),
      p999: percentile(sorted, 0.999),
      max: Math.max(oldest, sorted[sorted.length - 1] ?? 0),
    };
    this.latencies = [];
    this.errors = 0;
    this.error = undefined;
    this.lapAt = now;
    return lap;
  }

  stop(): void {
    this.stopped = true;
    this.calls.close();
  }

  private tick(beganAt: number, sent: number, perSecond: number): void {
    if (this.stopped) return;
    const due = ((this.clock.now() - beganAt) / 1000) * perSecond;
    let count = sent;
    for (; count < due; count++) this.send(() => undefined);
    this.clock.after(TICK_MS, () => {
      this.tick(beganAt, count, perSecond);
    });
  }

  private again(): void {
    this.send((problem) => {
      if (this.stopped) return;
      // A connection that is gone fails at once, again and again.
      if (problem === undefined) this.again();
      else this.clock.after(TICK_MS, () => { this.again(); });
    });
  }

  private send(answered: (problem: string | undefined) => void): void {
    const request = { sentAt: this.clock.now() };
    this.waiting.add(request);
    const done = (problem: string | undefined): void => {
      this.waiting.delete(request);
      this.latencies.push(this.clock.now() - request.sentAt);
      if (problem !== undefined) {
        this.errors++;
        this.error ??= problem;
      }
      answered(problem);
    };
    this.calls.send(done);
  }
}
