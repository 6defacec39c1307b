import { readFile } from 'node:fs/promises';
import { UnaryKv } from '../../client/unary.js';
import { WriteIdSource } from '../../client/write-id.js';
import { type Clock, sleep, systemClock } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import { type Random, seededRandom, systemRandom } from '../../runtime/random.js';
import { Hammer, type Load } from './hammer.js';
import { violationText } from './judge.js';
import { type HammerConfig, PROGRAM, parseOptions } from './options.js';
import { ACTIONS, DEFAULT_PLAN, type Plan, parsePlan } from './plan.js';
import { EXIT, type RunFacts, jsonReport, judge, liveLine, textReport } from './report.js';
import { Screen } from '../../runtime/screen.js';

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on('error', () => undefined);
process.exitCode = await main(process.argv.slice(2), systemClock, systemRandom);

async function main(argv: readonly string[], clock: Clock, random: Random): Promise<number> {
  const options = parseOptions(argv, process.env);
  if (options.kind === 'help') {
    process.stdout.write(options.text);
    return EXIT.ok;
  }
  if (options.kind === 'problems') return complain(options.problems);
  let load: Load;
  try {
    load = await loadOf(options.config);
  } catch (thrown) {
    return complain([messageOf(thrown)]);
  }
  return run({ config: options.config, addresses: options.addresses, load, clock, random });
}

function complain(problems: readonly string[]): number {
  for (const problem of problems) process.stderr.write(`${PROGRAM.name}: ${problem}\n`);
  process.stderr.write(`${PROGRAM.name}: \`${PROGRAM.name} --help\` lists every flag\n`);
  return EXIT.usage;
}

async function loadOf(config: HammerConfig): Promise<Load> {
  if (config.closed !== undefined) return { kind: 'closed', callers: config.closed };
  if (config.config === undefined) return { kind: 'workers', plan: DEFAULT_PLAN };
  let text: string;
  try {
    text = await readFile(config.config, 'utf8');
  } catch (thrown) {
    throw new AppError('INVALID_ARGUMENT', `--config: cannot read ${config.config}: ${messageOf(thrown)}`, { cause: thrown });
  }
  return { kind: 'workers', plan: parsePlan(text, config.config) };
}

interface Run {
  readonly config: HammerConfig;
  readonly addresses: readonly string[];
  readonly load: Load;
  readonly clock: Clock;
  readonly random: Random;
}

async function run({ config, addresses, load, clock, random }: Run): Promise<number> {
  const target = new UnaryKv({ addresses, connections: config.connections, clock });
  const screen = new Screen(process.stderr);
  const interrupt = interruption(screen);
  const facts: RunFacts = { run: random.hex(4), addresses, load: loadText(load), interrupted: false, maxErrors: config.maxErrors };
  const hammer = new Hammer({
    target,
    load,
    run: facts.run,
    keysMax: config.keys,
    valueBytes: config.valueBytes,
    timeoutMs: config.timeout,
    level: config.level,
    stale: config.stale,
    settleMs: config.settle,
    clock,
    ids: new WriteIdSource(random),
    random: config.seed === undefined ? random : seededRandom(config.seed),
    onViolation: (violation) => {
      if (!config.json) screen.line(violationText(violation));
    },
  });
  hammer.start();
  const stopShowing = config.json && !screen.live ? announce(hammer, screen, clock, facts) : show(hammer, screen, clock);
  await untilDone(config.duration, interrupt.first, clock);
  const interrupted = interrupt.first.aborted;
  await unless(interrupt.second, hammer.stop());
  stopShowing();
  if (config.verify && !interrupt.second.aborted) await verify(hammer, screen, interrupt.second, clock);
  screen.clear();
  target.close();
  interrupt.end();
  const results = hammer.results();
  const final = { ...facts, interrupted };
  await print(config.json ? jsonReport(results, final) : textReport(results, final));
  const { exitCode } = judge(results, final);
  // Requests that nobody waits for any more would keep the process until they time out.
  if (interrupt.second.aborted) process.exit(exitCode);
  return exitCode;
}

function print(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(text, () => {
      resolve();
    });
  });
}

async function verify(hammer: Hammer, screen: Screen, signal: AbortSignal, clock: Clock): Promise<void> {
  const { keys } = hammer.results();
  const stop = everySecond(clock, () => {
    screen.status(`final verification: ${hammer.verifiedCount} of ${keys} keys read`);
  });
  await hammer.verify(signal);
  stop();
}

/** Programs that read the report may have to know when the load is there: when the first request was answered. */
function announce(hammer: Hammer, screen: Screen, clock: Clock, { addresses, load, run }: RunFacts): () => void {
  const everyMs = 50;
  let cancel = clock.after(everyMs, look, { unref: true });
  function look(): void {
    if (hammer.results().tally.all.ok === 0) cancel = clock.after(everyMs, look, { unref: true });
    else screen.line(`hammering ${addresses.join(', ')}: ${load}; run ${run}`);
  }
  return () => {
    cancel();
  };
}

function show(hammer: Hammer, screen: Screen, clock: Clock): () => void {
  if (!screen.live) return () => undefined;
  const startMs = clock.now();
  let lastMs = startMs;
  return everySecond(clock, () => {
    const now = clock.now();
    const recent = hammer.recent((now - lastMs) / 1000);
    lastMs = now;
    screen.status(liveLine({ elapsedMs: now - startMs, recent, results: hammer.results() }));
  });
}

function everySecond(clock: Clock, callback: () => void): () => void {
  let cancel = clock.after(1000, again, { unref: true });
  function again(): void {
    cancel = clock.after(1000, again, { unref: true });
    callback();
  }
  return () => {
    cancel();
  };
}

async function untilDone(durationMs: number | undefined, stopped: AbortSignal, clock: Clock): Promise<void> {
  const done = durationMs === undefined ? new Promise<void>(() => undefined) : sleep(clock, durationMs, stopped);
  // An interruption ends the sending like the end of the time does.
  await unless(stopped, done.catch(() => undefined));
}

/** Resolves when `doing` does, or as soon as the signal is aborted. */
function unless(signal: AbortSignal, doing: Promise<void>): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const aborted = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    }, { once: true });
  });
  return Promise.race([doing, aborted]);
}

interface Interruption {
  /** Stop sending, verify and report. */
  readonly first: AbortSignal;
  /** Report at once. */
  readonly second: AbortSignal;
  end(): void;
}

function interruption(screen: Screen): Interruption {
  const first = new AbortController();
  const second = new AbortController();
  const onSignal = (): void => {
    if (first.signal.aborted) {
      second.abort();
      return;
    }
    screen.line('stopping: waiting for answers, then verifying; again to skip that');
    first.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  return {
    first: first.signal,
    second: second.signal,
    end() {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal);
    },
  };
}

function loadText(load: Load): string {
  if (load.kind === 'closed') return `${load.callers} callers`;
  return `${load.plan.workers.length} workers, ${rateOf(load.plan)} requests/s`;
}

function rateOf(plan: Plan): number {
  return plan.workers.reduce((sum, worker) => sum + ACTIONS.reduce((rate, action) => rate + worker.qps[action], 0), 0);
}
