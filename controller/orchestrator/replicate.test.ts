import { describe, expect, it } from 'vitest';
import { build, lines } from '../../test/scenarios/build.js';
import type { RangeRecord } from '../keyspace/record.js';
import * as updates from '../roster/updates.js';
import type { Roster } from '../roster/roster.js';
import { reconcile } from './reconcile.js';
import type { Tuning, World } from './types.js';

const ONE = 'R1 [-inf, +inf): P0@5200 Active';
const THREE = 'R1 [-inf, +inf): P0@5200 Active, P1@5201 Inactive, P2@5202 Inactive';
const insync = (range: RangeRecord): RangeRecord => ({ ...range, insync: range.placements.map((p) => p.index) });

function zoned(zones: Readonly<Record<string, string>>) {
  return (roster: Roster): Roster => {
    let next = roster;
    for (const [ident, zone] of Object.entries(zones)) {
      const nodes = new Map(next.nodes);
      const node = nodes.get(ident);
      if (node) nodes.set(ident, { ...node, zone });
      next = { ...next, nodes };
    }
    return next;
  };
}

function steps(world: World, tuning: Partial<Tuning>): string[] {
  return lines(reconcile({ ...world, tuning: { ...world.tuning, ...tuning } })).filter((line) => line.includes(' -> '));
}

const inSync = (range: RangeRecord): RangeRecord => ({ ...range, insync: [0] });

describe('copies that are missing', () => {
  it('go to other nodes, by name when they are equally full', () => {
    const world = build({ nodes: ['5200', '5201', '5202', '5203'], ranges: [ONE], change: inSync });
    expect(steps(world, { replicas: 3 })).toEqual(['R1 P1@5201: New -> Pending', 'R1 P2@5202: New -> Pending']);
  });

  it('go to other zones first', () => {
    const world = build({ nodes: ['5200', '5201', '5202', '5203'], ranges: [ONE], change: inSync, roster: zoned({ 5200: 'a', 5201: 'a', 5202: 'b', 5203: 'c' }) });
    expect(steps(world, { replicas: 3 })).toEqual(['R1 P1@5202: New -> Pending', 'R1 P2@5203: New -> Pending']);
  });

  it('count what was given to a node in the same pass', () => {
    const ranges = ['R1 [-inf, h): P0@5200 Active', 'R2 [h, +inf): P0@5200 Active'];
    const world = build({ nodes: ['5200', '5201', '5202'], ranges, change: inSync });
    expect(steps(world, { replicas: 2 })).toEqual(['R1 P1@5201: New -> Pending', 'R2 P1@5202: New -> Pending']);
  });

  it('are made of a few ranges at once', () => {
    const ranges = ['R1 [-inf, h): P0@5200 Active', 'R2 [h, +inf): P0@5200 Active'];
    const world = build({ nodes: ['5200', '5201'], ranges, change: inSync });
    const decision = reconcile({ ...world, tuning: { ...world.tuning, replicas: 2, repairsMax: 1 } });
    expect(decision.steps).toHaveLength(1);
    expect(decision.waiting.get(2)).toBe('1 copy is missing, to be made in turn (--repair-concurrency 1)');
  });

  it('are not thought of with --replicas 1', () => {
    expect(steps(build({ nodes: ['5200', '5201'], ranges: [ONE], change: inSync }), { replicas: 1 })).toEqual([]);
  });
});

describe('a node that is away', () => {
  const gone = (roster: Roster): Roster => updates.lost(roster, '5202', 'killed', 0);

  it('keeps its place for --node-grace', () => {
    const world = build({ nodes: ['5200', '5201', '5202', '5203'], ranges: [THREE], change: insync, roster: gone });
    const decision = reconcile({ ...world, tuning: { ...world.tuning, replicas: 3, nodeGraceMs: 5_000 } });
    expect(lines(decision).filter((line) => line.includes('New'))).toEqual([]);
    expect(decision.waiting.get(1)).toBe('5202 is away, and keeps its place for 4 s');
    expect(decision.wakeAtMs).toBe(5_000);
  });

  it('and then another gets a copy', () => {
    const world = build({ nodes: ['5200', '5201', '5202', '5203'], ranges: [THREE], change: insync, roster: gone });
    expect(steps(world, { replicas: 3, nodeGraceMs: 1_000 })).toContain('R1 P3@5203: New -> Pending');
  });
});

describe('copies that are too many', () => {
  it('go one by one, from the zone that has most', () => {
    const world = build({ nodes: ['5200', '5201', '5202'], ranges: [THREE], change: insync, roster: zoned({ 5200: 'a', 5201: 'a', 5202: 'b' }) });
    expect(steps(world, { replicas: 2 })).toEqual(['R1 P1@5201: InSync -> Learner', 'R1 P1@5201: Inactive -> Dropped']);
  });

  it('are never the primary', () => {
    const world = build({ nodes: ['5200', '5201', '5202'], ranges: [THREE], change: insync });
    expect(steps(world, { replicas: 1 })).toEqual(['R1 P2@5202: InSync -> Learner', 'R1 P2@5202: Inactive -> Dropped']);
  });

  it('are none as long as too few others are in sync', () => {
    const world = build({ nodes: ['5200', '5201', '5202'], ranges: [THREE], change: inSync });
    expect(steps(world, { replicas: 2 })).toEqual([]);
  });
});
