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

const NODES = ['5200', '5201', '5202'];
const KEYS = ['a', 'h', 'm', 't'];
const COMMANDS = ['Prepare', 'Activate', 'Deactivate', 'Drop'];

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random.next() * choices.length)] as T;
}

function disturbance(random: Random): string {
  const node = pick(random, NODES);
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

function operation(random: Random): string {
  const id = (): number => 1 + Math.floor(random.next() * 9);
  const node = (): string => (random.next() < 0.6 ? ` ${pick(random, NODES)}` : '');
  switch (Math.floor(random.next() * 4)) {
    case 3:
      return `reset ${id()} --accept-data-loss`;
    case 0:
      return `move ${id()}${node()}`;
    case 1:
      return random.next() < 0.5 ? `split ${id()} ${pick(random, KEYS)}` : `split ${id()} ${pick(random, KEYS)} ${pick(random, NODES)} ${pick(random, NODES)}`;
    default: {
      const left = id();
      return `join ${left} ${random.next() < 0.6 ? left + 1 : id()}${node()}`;
    }
  }
}

function line(random: Random): string {
  const dice = random.next();
  if (dice < 0.35) return operation(random);
  if (dice < 0.55) return `go ${100 * Math.floor(random.next() * 60)}ms`;
  if (dice < 0.75) return `step ${1 + Math.floor(random.next() * 4)}`;
  if (dice < 0.88) return disturbance(random);
  const times = random.next() < 0.7 ? ` ${1 + Math.floor(random.next() * 4)} times` : '';
  return `${pick(random, NODES)} ${pick(random, FAULT_KINDS)} ${pick(random, COMMANDS)}${times}`;
}

export function draw(seed: number): Scenario {
  const random = seededRandom(seed);
  const lines = ['nodes 5200 5201 5202', ...(random.next() < 0.5 ? ['go'] : [])];
  const length = 10 + Math.floor(random.next() * 50);
  for (let i = 0; i < length; i++) lines.push(line(random));
  return { heading: [`# Seed ${seed}`], blocks: lines.map((command) => ({ command, output: [] })) };
}

describe('random scenarios', () => {
  it(`keep the invariants, seeds ${first} to ${last}`, () => {
    const failures: string[] = [];
    for (let seed = first; seed <= last; seed++) {
      const scenario = draw(seed);
      try {
        play(scenario, process.env['SEED'] === undefined ? undefined : (text) => process.stdout.write(`${text}\n`));
      } catch (thrown) {
        failures.push(`${printScenario(scenario)}seed ${seed}: ${(thrown as Error).message}`);
      }
    }
    expect(failures.slice(0, 3).join('\n\n')).toBe('');
  }, 30_000 + 50 * (last - first));
});
