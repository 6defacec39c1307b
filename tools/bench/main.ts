import { cpus, loadavg, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../runtime/clock.js';
import { loadConfig, type Spec } from '../../runtime/config.js';
import { AppError } from '../../runtime/errors.js';
import { stopAllClusters } from './cluster.js';
import { controller } from './controller.js';
import { failover } from './failover.js';
import { footprint } from './footprint.js';
import { Generator } from './generators.js';
import { moveLarge } from './move.js';
import { type Figure, meetsAim, renderFigures } from './report.js';
import { repair } from './repair.js';
import { replicas } from './replicas.js';
import { reshape } from './reshape.js';
import type { Section } from './section.js';
import { store } from './store.js';
import { throughput } from './throughput.js';

const SECTIONS: Readonly<Record<string, Section>> = { throughput, store, move: moveLarge, reshape, footprint, controller, replicas, failover, repair };

const PROGRAM = {
  name: 'bin/bench',
  summary: 'Starts clusters of its own on free ports, measures them, and prints each figure beside its aim.',
  notes: `The load comes from a process on the same machine, so absolute figures mean little elsewhere;
ratios are of one run. Exit status 1 when --strict was given and an aim was missed.`,
};

const SPEC = {
  quick: { kind: 'boolean', flag: 'quick', help: 'Less data and fewer rounds: a first look within about a minute.' },
  only: { kind: 'list', flag: 'only', default: Object.keys(SECTIONS), help: 'Parts of it, by name.' },
  strict: { kind: 'boolean', flag: 'strict', help: 'Fail when an aim is missed.' },
} as const satisfies Spec;

async function main(): Promise<void> {
  const config = loadConfig(PROGRAM, SPEC, process.argv.slice(2), process.env);
  const unknown = config.only.filter((name) => !SECTIONS[name]);
  if (unknown.length > 0) throw new AppError('INVALID_ARGUMENT', `--only ${unknown.join(',')} is no part: they are ${Object.keys(SECTIONS).join(', ')}`);
  const clock = systemClock;
  // Compiled to dist/tools/bench/main.js.
  const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
  const generator = new Generator(clock);
  const say = (text: string): void => {
    process.stderr.write(`  ${text}\n`);
  };
  const missed: Figure[] = [];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      isInterrupted = true;
      // What is being measured fails meanwhile, and need not say so.
      void stopAllClusters().finally(() => {
        generator.close();
        process.exit(1);
      });
    });
  }
  process.stdout.write(`${machine()}\n`);
  try {
    for (const name of config.only) {
      process.stderr.write(`${name}\n`);
      const figures = (await SECTIONS[name]?.({ root, clock, generator, quick: config.quick, say })) ?? [];
      process.stdout.write(renderFigures(figures));
      missed.push(...figures.filter((figure) => !meetsAim(figure)));
    }
  } finally {
    generator.close();
  }
  process.stdout.write(missed.length === 0 ? 'every aim is met\n' : `missed: ${missed.map(({ what }) => what.trim()).join('; ')}\n`);
  if (config.strict && missed.length > 0) process.exitCode = 1;
}

function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} cores (${cpu?.model ?? 'unknown'}), ${process.platform} ${release()}, Node ${process.version}, load ${loadavg()[0]?.toFixed(1) ?? 'unknown'} before we began`;
}

let isInterrupted = false;

main().catch((thrown: unknown) => {
  if (isInterrupted) return;
  process.stderr.write(`${PROGRAM.name}: ${thrown instanceof AppError ? thrown.message : thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
  process.exitCode = 1;
});
