import { loadConfig } from '../../runtime/config.js';
import { type RunResult, simulate } from './simulate.js';

const PROGRAM = {
  name: 'simulate',
  summary: 'Runs whole clusters in one process on a virtual clock, through faults, and checks that nothing is lost.',
};

const OPTIONS = {
  seeds: { kind: 'integer', flag: 'seeds', env: 'SIMULATE_SEEDS', default: 100, min: 1, help: 'How many seeds to run.' },
  from: { kind: 'integer', flag: 'from', env: 'SIMULATE_FROM', default: 1, min: 0, help: 'The first of them.' },
  seed: { kind: 'integer', flag: 'seed', env: 'SIMULATE_SEED', min: 0, help: 'Runs this one alone, as it ran before.' },
  replicas: { kind: 'integer', flag: 'replicas', env: 'SIMULATE_REPLICAS', default: 1, min: 1, max: 3, help: 'Copies of each range.' },
  trace: { kind: 'boolean', flag: 'trace', env: 'SIMULATE_TRACE', default: false, help: 'Prints all that happened, not only the end of a failed run.' },
} as const;

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function main(): Promise<number> {
  const config = loadConfig(PROGRAM, OPTIONS, process.argv.slice(2), process.env);
  const first = config.seed ?? config.from;
  const count = config.seed === undefined ? config.seeds : 1;
  const startedAt = performance.now();
  const total = { seeds: 0, failed: 0, steps: 0, simulatedMs: 0, requests: 0, operations: 0 };
  for (let seed = first; seed < first + count; seed++) {
    const result = await simulate({ seed, replicas: config.replicas, keepLines: config.trace ? Infinity : 200 });
    total.seeds++;
    total.steps += result.steps;
    total.simulatedMs += result.simulatedMs;
    total.requests += result.requests;
    total.operations += result.operations.begun;
    if (result.problem) total.failed++;
    if (result.problem || config.trace) report(result, config.replicas);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  print(
    `${total.seeds} seeds in ${seconds.toFixed(1)} s: ${(total.simulatedMs / 1000).toFixed(0)} s simulated, ` +
      `${total.requests} requests, ${total.operations} operations, ${total.steps} steps, ${Math.round(total.steps / seconds)} steps/s`,
  );
  print(`${total.seeds - total.failed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

function report(result: RunResult, replicas: number): void {
  for (const line of result.trace) print(line);
  const verdict = result.problem ? `FAILED: ${result.problem.message}` : 'passed';
  print(`seed ${result.seed} ${verdict}; trace ${result.digest}; again with: bin/simulate --seed ${result.seed}${replicas > 1 ? ` --replicas ${replicas}` : ''} --trace`);
}

process.exitCode = await main();
