import { type Histogram, build } from 'hdr-histogram-js';
import type { ErrorCode } from '../../runtime/errors.js';
import { ACTIONS, type Action } from './plan.js';

/** Counts and latencies of a run, kept at a cost that does not disturb what is measured. */
export class Tally {
  readonly #byAction: Readonly<Record<Action, Series>>;
  readonly #all = new Series();
  /** Since the last live line. */
  readonly #recent = new Series();
  readonly #errors = new Map<string, ErrorKind>();
  readonly #startMs: number;
  #lastSuccessMs: number;
  #gapMs = 0;
  #gapEndMs: number;
  #waitMs = 0;

  constructor(startMs: number) {
    this.#startMs = startMs;
    this.#lastSuccessMs = startMs;
    this.#gapEndMs = startMs;
    this.#byAction = { create: new Series(), read: new Series(), update: new Series(), delete: new Series() };
  }

  succeeded(action: Action, beginMs: number, nowMs: number): void {
    const micros = Math.min(Math.max(Math.round((nowMs - beginMs) * 1000), 0), MICROS_MAX);
    for (const series of [this.#byAction[action], this.#all, this.#recent]) series.succeeded(micros);
    this.#waitMs = Math.max(this.#waitMs, nowMs - beginMs);
    this.#noteGap(nowMs);
    this.#lastSuccessMs = nowMs;
  }

  failed(action: Action, error: { readonly code: ErrorCode; readonly message: string }, beginMs: number, nowMs: number): void {
    for (const series of [this.#byAction[action], this.#all, this.#recent]) series.errors++;
    this.#waitMs = Math.max(this.#waitMs, nowMs - beginMs);
    this.#countError(action, error, nowMs);
  }

  /** Everything up to `nowMs`, while requests are being sent. */
  summary(nowMs: number): TallySummary {
    this.#noteGap(nowMs);
    const seconds = Math.max((nowMs - this.#startMs) / 1000, 0.001);
    const actions = Object.fromEntries(ACTIONS.map((action) => [action, this.#byAction[action].summary(seconds)]));
    return {
      seconds,
      actions: actions as Record<Action, SeriesSummary>,
      all: this.#all.summary(seconds),
      errors: [...this.#errors.values()].sort((a, b) => b.count - a.count),
      longestGapMs: this.#gapMs,
      longestGapAtMs: this.#gapEndMs - this.#gapMs - this.#startMs,
      longestWaitMs: this.#waitMs,
    };
  }

  /** What happened since the last call. */
  takeRecent(seconds: number): SeriesSummary {
    const summary = this.#recent.summary(seconds);
    this.#recent.reset();
    return summary;
  }

  #noteGap(nowMs: number): void {
    const gapMs = nowMs - this.#lastSuccessMs;
    if (gapMs <= this.#gapMs) return;
    this.#gapMs = gapMs;
    this.#gapEndMs = nowMs;
  }

  #countError(action: Action, error: { readonly code: ErrorCode; readonly message: string }, nowMs: number): void {
    const message = this.#errors.size < ERROR_KINDS_MAX ? generalise(error.message) : '(various)';
    const name = `${action} ${error.code} ${message}`;
    const known = this.#errors.get(name);
    if (known) {
      known.count++;
      known.lastMs = nowMs - this.#startMs;
      return;
    }
    const atMs = nowMs - this.#startMs;
    // The names that are left have one message a code, so the map stays bounded.
    this.#errors.set(name, { action, code: error.code, message, count: 1, firstMs: atMs, lastMs: atMs });
  }
}

export interface ErrorKind {
  readonly action: Action;
  readonly code: ErrorCode;
  readonly message: string;
  count: number;
  /** Since the start. */
  readonly firstMs: number;
  lastMs: number;
}

export interface SeriesSummary {
  readonly ok: number;
  readonly errors: number;
  readonly perSecond: number;
  /** Of what succeeded; undefined when nothing did. */
  readonly latencyMs: Latency | undefined;
}

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface TallySummary {
  readonly seconds: number;
  readonly actions: Readonly<Record<Action, SeriesSummary>>;
  readonly all: SeriesSummary;
  readonly errors: readonly ErrorKind[];
  /** The longest time in which nothing succeeded, and when after the start it began. */
  readonly longestGapMs: number;
  readonly longestGapAtMs: number;
  readonly longestWaitMs: number;
}

const ERROR_KINDS_MAX = 30;
const MICROS_MAX = 3_600_000_000;
const MESSAGE_LENGTH_MAX = 160;

/** Times, amounts and keys differ from error to error; what remains is its kind. */
function generalise(message: string): string {
  const line = message
    .replace(/\s+/g, ' ')
    .replace(/\.? Resolution note:.*$/, '')
    .replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/g, '')
    .replace(/"[^"]*"/g, '"…"')
    .replace(/\b\w+(-\d+)+\b/g, 'KEY')
    .replace(/(?<![:.\d])\d+(\.\d+)?(?= ?(m?s|bytes)\b)/g, 'N');
  return line.length > MESSAGE_LENGTH_MAX ? `${line.slice(0, MESSAGE_LENGTH_MAX - 1)}…` : line;
}

class Series {
  errors = 0;
  #ok = 0;
  readonly #micros: Histogram = build({
    bitBucketSize: 32,
    lowestDiscernibleValue: 1,
    highestTrackableValue: MICROS_MAX,
    numberOfSignificantValueDigits: 3,
  });

  succeeded(micros: number): void {
    this.#ok++;
    this.#micros.recordValue(micros);
  }

  reset(): void {
    this.errors = 0;
    this.#ok = 0;
    this.#micros.reset();
  }

  summary(seconds: number): SeriesSummary {
    const at = (percentile: number): number => Math.min(this.#micros.getValueAtPercentile(percentile), this.#micros.maxValue) / 1000;
    const latencyMs =
      this.#ok === 0 ? undefined : { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: this.#micros.maxValue / 1000 };
    return { ok: this.#ok, errors: this.errors, perSecond: this.#ok / seconds, latencyMs };
  }
}
