import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../runtime/clock.js';
import { loadConfig } from '../../runtime/config.js';
import { messageOf } from '../../runtime/errors.js';
import { chooseCoordination, type Coordination, probeConsul } from './coordination.js';
import { PROGRAM, SPEC } from './options.js';
import { Prefixes, wantsColour } from './output.js';
import { type Entry, isData, parseFormation, parseProcfile, plan, type Planned, type Result } from './plan.js';
import { takenPorts } from './ports.js';
import { askReady, reportReadiness } from './readiness.js';
import { Runner, SYSTEM } from './runner.js';

const KILL_AFTER_MS = 10_000;

async function main(): Promise<void> {
  const config = loadConfig(PROGRAM, SPEC, process.argv.slice(2), process.env);
  // Compiled to dist/tools/dev/main.js.
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const procfile = config.procfile === undefined ? join(root, 'Procfile') : resolve(config.procfile);
  const dataDir = config.dataDir === undefined ? join(root, '.data') : resolve(config.dataDir);

  const entries = need(parseProcfile(read(procfile)));
  const formation = need(parseFormation(formationFor(config.formation, config.replicas), entries));
  const planned = need(plan({ entries, formation, basePort: config.basePort, dataDir }));
  const taken = await takenPorts(planned);
  if (taken.length > 0) refuse([...taken, 'stop what has it, or shift all ports with --base-port']);
  const coordination = need(await chooseCoordination({ choice: config.coordination, env: process.env, planned, probe: probeConsul }));

  const runner = new Runner({
    planned,
    env: (one) => environment(one, { coordination, logLevel: config.logLevel, replicas: config.replicas, root }),
    cwd: resolve(procfile, '..'),
    pidDir: join(dataDir, 'run'),
    prefixes: new Prefixes([...planned.map(({ name }) => name), SYSTEM], { clock: systemClock, colour: wantsColour(process.env, process.stdout.isTTY) }),
    out: process.stdout,
    clock: systemClock,
    killAfterMs: KILL_AFTER_MS,
  });
  const over = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      over.abort();
      runner.stop(signal);
    });
  }
  // Whoever read our output is gone: nobody could see what happens.
  process.stdout.on('error', () => {
    over.abort();
    runner.stop('output closed');
  });

  runner.say(coordination.because);
  if (config.fresh) runner.say(`data is in ${dataDir}, removed first (--fresh): ${removeData(dataDir, entries).join(', ') || 'nothing was there'}`);
  else runner.say(`data is in ${dataDir}, kept from run to run (--fresh begins again)`);
  runner.say(`starting ${planned.map(({ name, port }) => `${name} on ${port}`).join(', ')}`);
  runner.start();
  void reportReadiness({ planned, ask: askReady, clock: systemClock, signal: over.signal, say: (text) => { runner.say(text); } });
  const exitCode = await runner.finished;
  over.abort();
  process.exitCode = exitCode;
}

/** As many nodes as copies are wanted, unless somebody said how many. */
function formationFor(words: readonly string[], replicas: number): readonly string[] {
  const isDefault = words.join(',') === SPEC.formation.default.join(',');
  return isDefault ? words.map((word) => (word === 'node=3' ? `node=${Math.max(3, replicas)}` : word)) : words;
}

interface Common {
  readonly coordination: Coordination;
  readonly logLevel: string;
  readonly replicas: number;
  readonly root: string;
}

function environment(one: Planned, { coordination, logLevel, replicas, root }: Common): NodeJS.ProcessEnv {
  // One name for several processes is never meant.
  const { IDENT: _ident, ...inherited } = process.env;
  return {
    LOG_FORMAT: 'bare',
    ...inherited,
    PORT: String(one.port),
    COORDINATION: one.entry === 'controller' ? coordination.controller : coordination.others,
    DATA_DIR: one.dataDir,
    LOG_LEVEL: logLevel,
    ...(one.entry === 'controller' ? { REPLICAS: String(replicas) } : {}),
    // What runs is what was built when we started, also when a source changes meanwhile.
    KEYRANGER_BUILT: root.replace(/\/$/, ''),
  };
}

function removeData(dataDir: string, entries: readonly Entry[]): readonly string[] {
  let names: string[];
  try {
    names = readdirSync(dataDir);
  } catch {
    return [];
  }
  const data = names.filter((name) => isData(name, entries)).sort();
  for (const name of data) rmSync(join(dataDir, name), { recursive: true });
  return data;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    return refuse([`the Procfile cannot be read: ${messageOf(thrown)}`]);
  }
}

function need<T>(result: Result<T>): T {
  return result.ok ? result.value : refuse(result.problems);
}

function refuse(problems: readonly string[]): never {
  for (const problem of problems) process.stderr.write(`${PROGRAM.name}: ${problem}\n`);
  return process.exit(2);
}

main().catch((thrown: unknown) => {
  process.stderr.write(`${PROGRAM.name}: ${messageOf(thrown)}\n`);
  process.exitCode = 1;
});
