import { describe, expect, it } from 'vitest';
import { type Random, seededRandom } from '../../runtime/random.js';
import { FAULT_KINDS } from './faults.js';
import { type Scenario, play, printScenario } from './script.js';

/*
 * Scenarios that nobody thought of: operations, faults, deaths and restarts in an
 * order drawn from a seed. Nothing is expected of them but the invariants, after
 * every step and, once everything is healthy again, at the end. SEEDS sets how many,
 * SEED plays one.
 */

const count = Number(process.env['SEEDS'] ?? 300);
const first = process.env['SEED'] === undefined ? 1 : Number(process.env['SEED']);
const last = process.env['SEED'] === undefined ? count : first;

const KEYS = ['a', 'h', 'm', 't'];
const COMMANDS = ['Prepare', 'Activate', 'Deactivate', 'Drop'];

/** What a world of random scenarios is made of. */
interface Kind {
  readonly nodes: readonly string[];
  /** What stands before the nodes appear. */
  readonly before: readonly string[];
  /** What happens to nodes, besides what can happen to each. */
  readonly disturbances: readonly string[];
  readonly transfers: boolean;
}

const ALONE: Kind = { nodes: ['5200', '5201', '5202'], before: [], disturbances: [], transfers: false };
const REPLICATED: Kind = {
  nodes: ['5200', '5201', '5202', '5203'],
  before: ['replicas 3'],
  disturbances: ['lags', 'catches up', 'is cut off', 'is joined', 'is joined'],
  transfers: true,
};

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random.next() * choices.length)] as T;
}

function disturbance(random: Random, { nodes, disturbances }: Kind): string {
  const node = pick(random, nodes);
  if (disturbances.length > 0 && random.next() < 0.4) return `${node} ${pick(random, disturbances)}`;
  switch (Math.floor(random.next() * 8)) {
    case 0:
      return `${node} dies`;
    case 1:
      return `${node} freezes`;
    case 2:
    case 3:
      return `${node} returns`;
    case 4:
      return `${node} hears late`;
    case 5:
      return 'restart controller';
    case 6:
      return `${node} heals`;
    default:
      return `wait ${1 + Math.floor(random.next() * 8)}s`;
  }
}

function operation(random: Random, { nodes, transfers }: Kind): string {
  const id = (): number => 1 + Math.floor(random.next() * (transfers ? 5 : 9));
  const node = (): string => (random.next() < 0.6 ? ` ${pick(random, nodes)}` : '');
  if (transfers && random.next() < 0.3) return `transfer ${id()} ${pick(random, nodes)}`;
  if (transfers && random.next() < 0.15) return `move ${id()} ${pick(random, nodes)} ${pick(random, nodes)}`;
  switch (Math.floor(random.next() * 4)) {
    case 3:
      return transfers ? `move ${id()}${node()}` : `reset ${id()} --accept-data-loss`;
    case 0:
      return `move ${id()}${node()}`;
    case 1:
      return random.next() < 0.5 ? `split ${id()} ${pick(random, KEYS)}` : `split ${id()} ${pick(random, KEYS)} ${pick(random, nodes)} ${pick(random, nodes)}`;
    default: {
      const left = id();
      return `join ${left} ${random.next() < 0.6 ? left + 1 : id()}${node()}`;
    }
  }
}

function line(random: Random, kind: Kind): string {
  const dice = random.next();
  if (dice < 0.35) return operation(random, kind);
  if (dice < 0.55) return `go ${100 * Math.floor(random.next() * 60)}ms`;
  if (dice < 0.75) return `step ${1 + Math.floor(random.next() * 4)}`;
  if (dice < 0.88) return disturbance(random, kind);
  const times = random.next() < 0.7 ? ` ${1 + Math.floor(random.next() * 4)} times` : '';
  return `${pick(random, kind.nodes)} ${pick(random, FAULT_KINDS)} ${pick(random, COMMANDS)}${times}`;
}

function draw(seed: number, kind: Kind): Scenario {
  const random = seededRandom(seed);
  const lines = [...kind.before, `nodes ${kind.nodes.join(' ')}`, ...(random.next() < 0.5 ? ['go'] : [])];
  const length = 10 + Math.floor(random.next() * 50);
  for (let i = 0; i < length; i++) lines.push(line(random, kind));
  return { heading: [`# Seed ${seed}`], blocks: lines.map((command) => ({ command, output: [] })) };
}

describe('random scenarios', () => {
  it.each([
    ['one copy', ALONE],
    ['replicas', REPLICATED],
  ] as const)(`keep the invariants with %s, seeds ${first} to ${last}`, (_, kind) => {
    const failures: string[] = [];
    for (let seed = first; seed <= last; seed++) {
      const scenario = draw(seed, kind);
      try {
        play(scenario, process.env['SEED'] === undefined ? undefined : (text) => process.stdout.write(`${text}\n`));
      } catch (thrown) {
        failures.push(`${printScenario(scenario)}seed ${seed}: ${(thrown as Error).message}`);
      }
    }
    expect(failures.slice(0, 3).join('\n\n')).toBe('');
  }, 30_000 + 50 * (last - first));
});
