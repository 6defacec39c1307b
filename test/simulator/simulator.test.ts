import { describe, expect, it } from 'vitest';
import * as builds from './broken/builds.js';
import * as replicated from './broken/replicas.js';
import { Violation } from './invariants.js';
import { simulate } from './simulate.js';

const SEEDS = 150;
/** By this many a broken build has been caught. */
const SEEDS_MAX = 1_000;

describe('the simulator', () => {
  it.each([1, 2, 3])(`finds nothing wrong in ${SEEDS} seeds with %i of each range`, { timeout: 300_000 }, async (replicas) => {
    const failed: string[] = [];
    let operations = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { problem, operations: some } = await simulate({ seed, replicas });
      operations += some.done;
      if (problem) failed.push(`bin/simulate --seed ${seed} --replicas ${replicas} --trace: ${problem.message}`);
    }
    expect(failed).toEqual([]);
    expect(operations).toBeGreaterThan(SEEDS);
  });

  it('replays a seed exactly', async () => {
    for (const seed of [3, 14, 159]) {
      const [first, second] = [await simulate({ seed, keepLines: Infinity }), await simulate({ seed, keepLines: Infinity })];
      expect(second.digest).toBe(first.digest);
      expect(second.trace).toEqual(first.trace);
    }
    expect((await simulate({ seed: 4 })).digest).not.toBe((await simulate({ seed: 5 })).digest);
  });
});

describe('the simulator notices that', () => {
  const all = [...Object.values(builds).map((fault) => ({ ...fault, replicas: 1 })), ...Object.values(replicated).map((fault) => ({ ...fault, replicas: 3 }))];

  it.each(all.map(({ build, breaks, replicas }) => ({ what: build.name, build, breaks, replicas })))('$what', { timeout: 300_000 }, async ({ build, breaks, replicas }) => {
    let caught: Violation | undefined;
    for (let seed = 1; seed <= SEEDS_MAX && !caught; seed++) {
      const { problem } = await simulate({ seed, build, replicas });
      if (problem && breaks.includes(problem.invariant)) caught = problem;
    }
    expect(caught).toBeInstanceOf(Violation);
  });

  it('every invariant is broken by some build', () => {
    const broken = new Set(all.flatMap(({ breaks }) => breaks));
    expect([...broken].sort()).toEqual([1, 2, 3, 4, 5, 7, 8, 9]);
  });
});
