import { describe, expect, it } from 'vitest';
import { keyFromText } from '../../model/key.js';
import { printDocument } from './document.js';
import { Keyspace, firstRange, isPrunable, toPersisted } from './keyspace.js';
import { type RangeRecord, newPlacement, newRange } from './record.js';

function range(id: number, start: string, end: string, more: Partial<RangeRecord> = {}): RangeRecord {
  return newRange({ id, start: keyFromText(start), end: keyFromText(end) }, more);
}

function load(...ranges: RangeRecord[]): Keyspace {
  return Keyspace.load(new Map(ranges.map((r) => [String(r.id), printDocument(r)])));
}

describe('loading', () => {
  it('takes what covers every key once', () => {
    const keyspace = load(range(2, '', 'm'), range(3, 'm', ''));
    expect(keyspace.leaves().map((r) => r.id)).toEqual([2, 3]);
    expect(keyspace.nextId).toBe(4);
  });

  it('takes nothing at all, as on a first start', () => {
    expect(load().size).toBe(0);
  });

  it.each<[string, RangeRecord[]]>([
    ['nothing holds [m, n)', [range(1, '', 'm'), range(2, 'n', '')]],
    ['nothing holds [-inf, a)', [range(1, 'a', '')]],
    ['nothing holds [m, +inf)', [range(1, '', 'm')]],
    ['R1 [-inf, m) and R2 [b, +inf) overlap', [range(1, '', 'm'), range(2, 'b', '')]],
    ['R1 [-inf, +inf) and R2 [b, +inf) overlap', [range(1, '', ''), range(2, 'b', '')]],
    ['there is no range', [range(1, '', '', { state: 'Obsolete' })]],
  ])('refuses what does not: %s', (problem, ranges) => {
    expect(() => load(...ranges)).toThrow(problem);
  });
});

describe('leaves', () => {
  const parent = range(1, '', '', { state: 'Subsuming', children: [2, 3] });
  const children = [range(2, '', 'm', { parents: [1] }), range(3, 'm', '', { parents: [1] })];

  it('are the parents while a split may still be taken back', () => {
    expect(load(parent, ...children).leaves().map((r) => r.id)).toEqual([1]);
  });

  it('are the children once they took over', () => {
    expect(load({ ...parent, state: 'Obsolete' }, ...children).leaves().map((r) => r.id)).toEqual([2, 3]);
  });
});

describe('ids', () => {
  it('are never given out twice, after history was pruned too', () => {
    const keyspace = new Keyspace([range(1, '', ''), range(2, '', 'm', { state: 'Obsolete' }), range(3, 'm', '', { state: 'Obsolete' })]);
    expect(isPrunable(range(2, '', 'm', { state: 'Obsolete' }), keyspace.nextId)).toBe(true);
    expect(isPrunable(range(3, 'm', '', { state: 'Obsolete' }), keyspace.nextId)).toBe(false);
    keyspace.apply([{ id: 2, record: undefined }]);
    expect(new Keyspace(keyspace.values()).nextId).toBe(4);
  });

  it('of ranges with placements are not pruned', () => {
    const busy = range(1, '', '', { state: 'Obsolete', placements: [newPlacement(0, '5200', { state: 'Dropped' })] });
    expect(isPrunable(busy, 9)).toBe(false);
  });
});

describe('the index by node', () => {
  it('follows the placements', () => {
    const keyspace = new Keyspace([range(1, '', '', { placements: [newPlacement(0, '5200')] })]);
    expect([...keyspace.on('5200')]).toEqual([1]);
    keyspace.apply([{ id: 1, record: range(1, '', '', { placements: [newPlacement(1, '5201')] }) }]);
    expect([...keyspace.on('5200')]).toEqual([]);
    expect([...keyspace.on('5201')]).toEqual([1]);
    keyspace.apply([{ id: 1, record: undefined }]);
    expect([...keyspace.on('5201')]).toEqual([]);
  });

  it('knows who waits for any node', () => {
    const keyspace = new Keyspace([firstRange()]);
    expect([...keyspace.unplaced]).toEqual([1]);
    keyspace.apply([{ id: 1, record: range(1, '', '', { placements: [newPlacement(0, '5200')] }) }]);
    expect([...keyspace.unplaced]).toEqual([]);
  });
});

it('what is removed is removed from disk', () => {
  expect(toPersisted([{ id: 4, record: undefined }])).toEqual([{ key: '4', value: undefined }]);
});
