import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseScenario, playRestarting } from './script.js';

/*
 * Every scenario once more for each of its steps, with a controller that restarts after
 * that step: it knows what is persisted and what nodes report, and nothing else. Whatever
 * the scenario was about, the invariants hold, and in the end everything has ended.
 */

const folder = fileURLToPath(new URL('.', import.meta.url));
const scenarios = readdirSync(folder)
  .filter((name) => name.endsWith('.scenario'))
  .map((name) => {
    const scenario = parseScenario(readFileSync(`${folder}${name}`, 'utf8'));
    return { name, scenario, steps: playRestarting(scenario, Infinity) };
  });

describe('a controller that restarts after any one step', () => {
  it.each(scenarios)('$name: $steps steps', ({ scenario, steps }) => {
    const failures: string[] = [];
    for (let step = 0; step < steps; step++) {
      const told: string[] = [];
      try {
        playRestarting(scenario, step, (line) => told.push(line));
      } catch (thrown) {
        failures.push(`restarted after step ${step}: ${(thrown as Error).message}\n${told.slice(-40).join('\n')}`);
      }
    }
    expect(failures.slice(0, 2).join('\n\n')).toBe('');
  });

  it('does so a thousand times', () => {
    expect(scenarios.reduce((sum, { steps }) => sum + steps, 0)).toBeGreaterThan(1000);
  });
});
