import { describe, expect, it } from 'vitest';
import { type Built, build, lines, refused } from '../../test/scenarios/build.js';
import type { RangeRecord } from '../keyspace/record.js';
import { reconcile } from './reconcile.js';

const nodes = ['5200', '5201', '5202'];
const decide = (built: Omit<Built, 'nodes'>): string[] => lines(reconcile(build({ nodes, ...built })));

/** R1 is being split into R2 and R3, before or after the handover. */
function splitting(after: boolean, named = false) {
  return (r: RangeRecord): RangeRecord =>
    r.id === 1
      ? { ...r, state: 'Subsuming', children: [2, 3], primary: after ? undefined : 0 }
      : { ...r, parents: [1], primary: after ? 0 : undefined, placements: r.placements.map((p) => ({ ...p, named })) };
}

/** R1 and R2 are being joined into R3. */
function joining(after: boolean) {
  return (r: RangeRecord): RangeRecord =>
    r.id === 3 ? { ...r, parents: [1, 2], primary: after ? 0 : undefined } : { ...r, state: 'Subsuming', children: [3], primary: after ? undefined : 0 };
}

describe('split', () => {
  it('hands over once both children are prepared, all epochs together', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Active', 'R2 [-inf, m): P0@5201 Inactive', 'R3 [m, +inf): P0@5202 Pending -> Inactive'];
    const decision = reconcile(build({ nodes, ranges, change: splitting(false) }));
    expect(lines(decision)).toEqual(['R3 P0@5202: Pending -> Inactive', 'Deactivate R1 P0@5200 epoch 2']);
    expect(decision.groups).toHaveLength(1);
    expect(decision.groups[0]?.changes.map((c) => [c.id, c.record?.epoch, c.record?.primary]).sort()).toEqual([
      [1, 2, undefined],
      [2, 2, 0],
      [3, 2, 0],
    ]);
  });

  it('does not hand over while one child is not prepared', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Active', 'R2 [-inf, m): P0@5201 Inactive', 'R3 [m, +inf): P0@5202 Pending -> Preparing'];
    expect(decide({ ranges, change: splitting(false) })).toEqual([]);
  });

  it('activates both children side by side, with the parent as their source', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Inactive', 'R2 [-inf, m): P0@5201 Inactive', 'R3 [m, +inf): P0@5202 Inactive'];
    const decision = reconcile(build({ nodes, ranges, change: splitting(true) }));
    expect(lines(decision)).toEqual(['Activate R2 P0@5201 epoch 1', 'Activate R3 P0@5202 epoch 1']);
    expect(decision.commands[0]?.parents.map((p) => [p.range.id, p.placements])).toEqual([[1, [{ node: 'host:5200', state: 'Inactive', index: 0 }]]]);
  });

  it('drops the parent once both are active, and prunes it when that is confirmed', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Inactive', 'R2 [-inf, m): P0@5201 Active', 'R3 [m, +inf): P0@5202 Active'];
    expect(decide({ ranges, change: splitting(true) })).toEqual([
      'R1 P0@5200: Inactive -> Dropped',
      'R1: Subsuming -> Obsolete',
      'Drop R1 P0@5200 epoch 1',
    ]);
  });

  it('recalls what a child took when the other fails, before the parent is active again', () => {
    const ranges = ['R1 [-inf, +inf): P0@5200 Inactive', 'R2 [-inf, m): P0@5201 Active', 'R3 [m, +inf): P0@5202 Inactive'];
    expect(decide({ ranges, change: splitting(true), roster: refused('Activate', 3, '5202', 1, 3) })).toEqual(['Deactivate R2 P0@5201 epoch 2']);
    const back = decide({ ranges: ranges.map((r) => r.replace('P0@5201 Active', 'P0@5201 Inactive')), change: splitting(true), roster: refused('Activate', 3, '5202', 1, 3) });
    expect(back).toEqual(['Activate R1 P0@5200 epoch 2']);
  });
});

describe('join', () => {
  it('hands over once the child is prepared and both parents are active', () => {
    const ranges = ['R1 [-inf, m): P0@5200 Active', 'R2 [m, +inf): P0@5201 Active', 'R3 [-inf, +inf): P0@5202 Inactive'];
    expect(decide({ ranges, change: joining(false) })).toEqual(['Deactivate R1 P0@5200 epoch 2', 'Deactivate R2 P0@5201 epoch 2']);
    expect(decide({ ranges: ranges.map((r) => r.replace('P0@5201 Active', 'P0@9999 Active')), change: joining(false) })).toEqual([
      'R2 P0@9999: Active -> Missing',
    ]);
  });

  it('activates the child only once both parents are not active', () => {
    const half = ['R1 [-inf, m): P0@5200 Inactive', 'R2 [m, +inf): P0@5201 Active', 'R3 [-inf, +inf): P0@5202 Inactive'];
    expect(decide({ ranges: half, change: joining(true) })).toEqual(['Deactivate R2 P0@5201 epoch 1']);
  });

  it('is taken back when one parent does not deactivate: the other is active again', () => {
    const half = ['R1 [-inf, m): P0@5200 Inactive', 'R2 [m, +inf): P0@5201 Active', 'R3 [-inf, +inf): P0@5202 Inactive'];
    expect(decide({ ranges: half, change: joining(true), roster: refused('Deactivate', 2, '5201', 1, 3) })).toEqual([
      'Activate R1 P0@5200 epoch 2',
      'Activate R2 P0@5201 epoch 2',
    ]);
  });
});
