import { describe, expect, it } from 'vitest';
import { type Built, build, lines, refused } from '../../test/scenarios/build.js';
import type { PlacementRecord, RangeRecord } from '../keyspace/record.js';
import { reconcile } from './reconcile.js';

const nodes = ['5200', '5201', '5202'];
const mark = (index: number, more: Partial<PlacementRecord>, range: Partial<RangeRecord> = {}) => (r: RangeRecord): RangeRecord => ({
  ...r,
  ...range,
  placements: r.placements.map((p) => (p.index === index ? { ...p, ...more } : p)),
});
const replacing = mark(1, { replaces: 0, named: true });
const decide = (built: Omit<Built, 'nodes'>): string[] => lines(reconcile(build({ nodes, ...built })));

describe('before the handover', () => {
  it('the destination is prepared, the source left alone', () => {
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Active, P1@5201 Pending'], change: replacing })).toEqual(['Prepare R1 P1@5201 epoch 1']);
  });

  it('is told where to fetch from', () => {
    const world = build({ nodes, ranges: ['R1 [-inf, +inf): P0@5200 Active, P1@5201 Pending'], change: replacing });
    expect(reconcile(world).commands[0]?.parents).toEqual([
      expect.objectContaining({ placements: [{ node: 'host:5200', state: 'Active', index: 0 }] }),
    ]);
  });

  it('a prepared destination and an active source are handed over in one step', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Active, P1@5201 Pending -> Inactive'];
    expect(decide({ ranges, change: replacing })).toEqual(['R1 P1@5201: Pending -> Inactive', 'Deactivate R1 P0@5200 epoch 2']);
  });

  it('a source that is away is waited for, whatever the destination says', () => {
    const ranges = ['R1 [-inf, +inf): P0@9999 Active, P1@5201 Inactive'];
    const decision = reconcile(build({ nodes, ranges, change: replacing }));
    expect(decision.commands).toEqual([]);
    expect(decision.waiting.get(1)).toContain('9999');
  });

  it('a destination that failed is dropped, and the operation ends when it was named', () => {
    const built = { ranges: ['R1 [-inf, +inf): P0@5200 Active, P1@5201 Pending'], roster: refused('Prepare', 1, '5201', 1, 3) };
    expect(decide({ ...built, change: replacing })).toEqual([
      'R1 P1@5201: Pending -> Dropped',
      'ended move: 5201 did not prepare R1: no',
      'Drop R1 P1@5201 epoch 2',
    ]);
    expect(decide({ ...built, change: mark(1, { replaces: 0 }) })).toEqual([
      'R1 P1@5201: Pending -> Dropped',
      'R1 P2@5202: New -> Pending',
      'Drop R1 P1@5201 epoch 2',
      'Prepare R1 P2@5202 epoch 2',
    ]);
  });
});

describe('after it', () => {
  const handed = mark(1, { replaces: 0, named: true }, { primary: 1, epoch: 2 });

  it('the destination is activated only once the source is not active', () => {
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Active, P1@5201 Inactive'], change: handed })).toEqual(['Deactivate R1 P0@5200 epoch 2']);
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Active -> Deactivating, P1@5201 Inactive'], change: handed })).toEqual([]);
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Active -> Inactive, P1@5201 Inactive'], change: handed })).toEqual([
      'R1 P0@5200: Active -> Inactive',
      'Activate R1 P1@5201 epoch 2',
    ]);
  });

  it('what is only seen is not waited for, what is decided is', () => {
    const seen = reconcile(build({ nodes, ranges: ['R1 [-inf, +inf): P0@5200 Active -> Inactive, P1@5201 Inactive'], change: handed }));
    expect(seen.groups.map((g) => g.deferrable)).toEqual([true]);
    const decided = reconcile(build({ nodes, ranges: ['R1 [-inf, +inf): P0@5200 Inactive, P1@5201 Inactive -> Active'], change: handed }));
    expect(decided.groups.map((g) => g.deferrable)).toEqual([false]);
  });

  it('the source is dropped once the destination is active', () => {
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Inactive, P1@5201 Inactive -> Active'], change: handed })).toEqual([
      'R1 P1@5201: Inactive -> Active',
      'R1 P0@5200: Inactive -> Dropped',
      'Drop R1 P0@5200 epoch 2',
    ]);
  });

  it('a destination that fails gives way to the source at a newer epoch, and is dropped only after that', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Inactive, P1@5201 Inactive'];
    expect(decide({ ranges, change: handed, roster: refused('Activate', 1, '5201', 2, 3) })).toEqual(['Activate R1 P0@5200 epoch 3']);
    const failed = mark(1, { failed: 'no' }, { primary: 0, epoch: 1 });
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Inactive -> Active, P1@5201 Inactive'], change: failed })).toEqual([
      'R1 P0@5200: Inactive -> Active',
      'R1 P1@5201: Inactive -> Dropped',
      'ended move: no',
      'Drop R1 P1@5201 epoch 1',
    ]);
  });

  it('a destination that was given up and turns out to be active is kept', () => {
    const failed = mark(1, { failed: 'no' }, { primary: 0, epoch: 3 });
    expect(decide({ ranges: ['R1 [-inf, +inf): P0@5200 Inactive, P1@5201 Inactive -> Active'], change: failed })).toEqual([
      'R1 P0@5200: Inactive -> Dropped',
      'R1 P1@5201: Inactive -> Active',
      'Drop R1 P0@5200 epoch 4',
    ]);
  });
});
