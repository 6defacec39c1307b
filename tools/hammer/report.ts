import { type Results } from './hammer.js';
import { type Violation, violationText } from './judge.js';
import { ACTIONS, type Action } from './plan.js';
import type { ErrorKind, Latency, SeriesSummary } from './tally.js';

/** What was run, for the first lines of the report. */
export interface RunFacts {
  readonly run: string;
  readonly addresses: readonly string[];
  /** `9 workers, 297 requests/s` or `64 callers`. */
  readonly load: string;
  readonly interrupted: boolean;
  /** More errors than this fail the run; undefined: any number may happen. */
  readonly maxErrors: number | undefined;
}

/** Documented in docs/hammer.md. */
export const EXIT = { ok: 0, wrong: 1, usage: 2, unfinished: 3 } as const;

export interface Judgement {
  readonly exitCode: number;
  /** In words; empty when all is well. */
  readonly because: readonly string[];
}

export function judge(results: Results, facts: Pick<RunFacts, 'maxErrors'>): Judgement {
  const because: string[] = [];
  const { all } = results.tally;
  const lies = results.wrong + results.missing;
  if (lies > 0) because.push(`${count(lies, 'read')} returned a wrong value, or nothing where a value had to be`);
  if (all.ok === 0) because.push('no request succeeded');
  if (facts.maxErrors !== undefined && all.errors > facts.maxErrors) {
    because.push(`${count(all.errors, 'error')}, and --max-errors allows ${facts.maxErrors}`);
  }
  const unread = results.verification.unreadable;
  if (unread > 0) because.push(`${count(unread, 'key')} could not be read at the end, so it is not known whether writes were lost`);
  if (lies > 0) return { exitCode: EXIT.wrong, because };
  return { exitCode: because.length > 0 ? EXIT.unfinished : EXIT.ok, because };
}

export function textReport(results: Results, facts: RunFacts): string {
  const { tally } = results;
  const judgement = judge(results, facts);
  const lines = [
    `hammered ${facts.addresses.join(', ')} for ${tally.seconds.toFixed(1)} s${facts.interrupted ? ' (interrupted)' : ''}: ${facts.load}; run ${facts.run}`,
    '',
    ...table([
      ['', 'ok', 'per s', 'errors', 'p50', 'p90', 'p99', 'p99.9', 'max'],
      ...ACTIONS.map((action) => seriesRow(`${action}s`, tally.actions[action])),
      seriesRow('all', tally.all),
    ]),
    '',
    ...facetLines(results),
    ...tally.errors.slice(0, ERRORS_SHOWN).map(errorText),
    ...violationLines(results),
    '',
    judgement.because.length === 0 ? `passed: ${tally.all.errors} errors, 0 wrong, 0 missing` : `FAILED: ${judgement.because.join('; ')}`,
  ];
  return `${lines.join('\n')}\n`;
}

const ERRORS_SHOWN = 20;

function facetLines(results: Results): string[] {
  const { tally, verification } = results;
  const rows = [
    ['errors', String(tally.all.errors)],
    ['wrong values', String(results.wrong)],
    ['missing values', String(results.missing)],
    ['longest gap in which nothing succeeded', `${ms(tally.longestGapMs)}, ${(tally.longestGapAtMs / 1000).toFixed(1)} s after the start`],
    ['longest that any request waited', ms(tally.longestWaitMs)],
    ['writes of unknown outcome', String(results.unknownOutcomes)],
    ...(results.retries > 0 ? [['writes sent again, as their outcome was unknown', String(results.retries)]] : []),
    ['final verification', verificationText(verification)],
  ];
  if (results.skipped > 0) rows.push(['requests due but not sent', `${results.skipped} (no key was free, or too many were under way)`]);
  if (results.stallMs > STALL_WORTH_TELLING_MS) rows.push(['hammer itself was held up for at most', ms(results.stallMs)]);
  const width = Math.max(...rows.map(([name = '']) => name.length));
  return rows.map(([name = '', value = '']) => `${name.padEnd(width)}  ${value}`);
}

/** Below it, timers are simply not more precise. */
const STALL_WORTH_TELLING_MS = 20;

function verificationText(verification: Results['verification']): string {
  if (!verification.asked) return 'not made';
  const { keys, verified, unreadable } = verification;
  const skipped = keys - verified - unreadable;
  const parts = [`read ${verified} of ${count(keys, 'key')}`];
  if (unreadable > 0) parts.push(`${unreadable} could not be read`);
  if (skipped > 0) parts.push(`${skipped} not tried`);
  return parts.join(', ');
}

function violationLines(results: Results): string[] {
  const { violations, wrong, missing } = results;
  if (violations.length === 0) return [];
  const more = wrong + missing - violations.length;
  return ['', ...violations.map(violationText), ...(more > 0 ? [`and ${more} more`] : [])];
}

export function errorText(error: ErrorKind): string {
  const span = `${(error.firstMs / 1000).toFixed(1)} s to ${(error.lastMs / 1000).toFixed(1)} s`;
  return `  ${error.count} × ${error.action}: ${error.code}: ${error.message} (${span})`;
}

function seriesRow(name: string, series: SeriesSummary): string[] {
  const { latencyMs } = series;
  const latencies = latencyMs ? [latencyMs.p50, latencyMs.p90, latencyMs.p99, latencyMs.p999, latencyMs.max].map(ms) : ['-', '-', '-', '-', '-'];
  return [name, String(series.ok), series.perSecond.toFixed(1), String(series.errors), ...latencies];
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('   '));
}

/** The line that a terminal shows while the run goes on. */
export function liveLine(options: { readonly elapsedMs: number; readonly recent: SeriesSummary; readonly results: Results }): string {
  const { recent, results } = options;
  const { tally } = results;
  const latency = recent.latencyMs ? `p50 ${ms(recent.latencyMs.p50)}  p99 ${ms(recent.latencyMs.p99)}  max ${ms(recent.latencyMs.max)}` : 'nothing succeeded';
  // What matters most comes first: a narrow terminal cuts the line.
  const totals = `errors ${tally.all.errors} wrong ${results.wrong} missing ${results.missing}`;
  const worst = `longest gap ${ms(tally.longestGapMs)}  longest wait ${ms(tally.longestWaitMs)}`;
  return `${Math.floor(options.elapsedMs / 1000)}s  ${recent.perSecond.toFixed(0)}/s  ${totals}  ${latency}  ${worst}`;
}

/** The final document of `--json`. */
export function jsonReport(results: Results, facts: RunFacts): string {
  const { tally, verification } = results;
  const judgement = judge(results, facts);
  const document = {
    run: facts.run,
    addresses: facts.addresses,
    load: facts.load,
    interrupted: facts.interrupted,
    seconds: round(tally.seconds),
    operations: Object.fromEntries([...ACTIONS.map((action) => [action, seriesJson(tally.actions[action])] as const), ['all', seriesJson(tally.all)]]),
    errors: tally.all.errors,
    errors_by_kind: tally.errors.map(errorJson),
    wrong: results.wrong,
    missing: results.missing,
    violations: results.violations.map(violationJson),
    unknown_outcomes: results.unknownOutcomes,
    retries: results.retries,
    longest_gap_ms: round(tally.longestGapMs),
    longest_gap_at_ms: round(tally.longestGapAtMs),
    longest_wait_ms: round(tally.longestWaitMs),
    not_sent: results.skipped,
    hammer_stall_ms: round(results.stallMs),
    keys: results.keys,
    verification: { made: verification.asked, keys: verification.keys, verified: verification.verified, unreadable: verification.unreadable },
    passed: judgement.exitCode === EXIT.ok,
    because: judgement.because,
    exit_code: judgement.exitCode,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function seriesJson(series: SeriesSummary): object {
  return { ok: series.ok, errors: series.errors, per_second: round(series.perSecond), latency_ms: latencyJson(series.latencyMs) };
}

function latencyJson(latency: Latency | undefined): object | null {
  if (!latency) return null;
  return { p50: latency.p50, p90: latency.p90, p99: latency.p99, p999: latency.p999, max: latency.max };
}

function errorJson(error: ErrorKind): { operation: Action } & Record<string, unknown> {
  return { operation: error.action, code: error.code, message: error.message, count: error.count, first_ms: round(error.firstMs), last_ms: round(error.lastMs) };
}

function violationJson(violation: Violation): object {
  return {
    kind: violation.kind,
    key: violation.key,
    got: violation.got,
    expected: violation.expected,
    looks_like: violation.looksLike,
    read_begin_ms: round(violation.readBeginMs),
    read_end_ms: round(violation.readEndMs),
    writes: violation.writes,
    during: violation.during,
  };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function ms(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 100 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}
