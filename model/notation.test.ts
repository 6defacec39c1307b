import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatInterval, isEmpty } from './interval.js';
import { type Key, keyFromBytes, keyFromText } from './key.js';
import {
  type Operation,
  type Step,
  formatOperation,
  formatStep,
  parseInterval,
  parseOperation,
  parsePlacement,
  parseRange,
  parseStep,
} from './notation.js';
import { formatPlacement, formatRange } from './range.js';

const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const index = fc.nat({ max: 1000 });
const node = fc.oneof(fc.constantFrom('5200', '10.0.0.7:5200', 'db-1.example:80'), fc.stringMatching(/^[A-Za-z0-9.:_-]{1,20}$/));
const key: fc.Arbitrary<Key> = fc.oneof(
  fc.constantFrom(...['-inf', '+inf', 'b64:', 'b64:YQ==', 'a, b)', ' ', 'm'].map((text) => keyFromText(text))),
  fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => keyFromBytes(bytes)),
);
const bound = fc.oneof(fc.constant('' as Key), key);
const interval = fc.record({ start: bound, end: bound }).filter((i) => !isEmpty(i));
const child = fc.record({ range: id, node });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constantFrom('move' as const, 'transfer' as const), range: id, from: node, to: node }),
  fc.record({ kind: fc.constant('split' as const), range: id, at: key, left: child, right: child }),
  fc.record({ kind: fc.constant('join' as const), left: id, right: id, child }),
);
const state = fc.constantFrom('New', 'Pending', 'Inactive', 'Active', 'Missing', 'Dropped', 'Gone');
const step: fc.Arbitrary<Step> = fc.record({
  range: id,
  placement: fc.option(fc.record({ index, node }), { nil: undefined }),
  from: state,
  to: state,
});

describe('what is printed is read back', () => {
  it('intervals and ranges', () => {
    fc.assert(
      fc.property(id, interval, (range, span) => {
        expect(parseInterval(formatInterval(span))).toEqual(span);
        expect(parseRange(formatRange({ id: range, ...span }))).toEqual({ id: range, ...span });
      }),
    );
  });

  it('placements', () => {
    fc.assert(
      fc.property(id, index, node, (range, number, name) => {
        expect(parsePlacement(formatPlacement(range, number, name))).toEqual({ range, index: number, node: name });
      }),
    );
  });

  it('steps', () => {
    fc.assert(
      fc.property(step, (value) => {
        expect(parseStep(formatStep(value))).toEqual(value);
      }),
    );
  });

  it('operations', () => {
    fc.assert(
      fc.property(operation, (value) => {
        expect(parseOperation(formatOperation(value))).toEqual(value);
      }),
    );
  });
});

describe('what nobody printed is refused', () => {
  it.each(['', '[a, m]', '(a, m)', '[m, a)', '[a,m)', '[a, m) ', '[+inf, m)', '[-inf, -inf)'])('interval %j', (text) => {
    expect(parseInterval(text)).toBeUndefined();
  });

  it.each(['R0 [a, m)', 'R [a, m)', '1 [a, m)', 'R99999999999999999 [a, m)', 'R01 [a, m)'])('range %j', (text) => {
    expect(parseRange(text)).toBeUndefined();
  });

  it.each(['R1 P@5200', 'R1 P0@', 'R1 P0 5200', 'P0@5200'])('placement %j', (text) => {
    expect(parsePlacement(text)).toBeUndefined();
  });

  it.each(['R1 P0@5200: Active', 'R1 P0@5200: Active > Inactive', 'X: A -> B'])('step %j', (text) => {
    expect(parseStep(text)).toBeUndefined();
  });

  it.each(['move R1 5200', 'transfer R1 5200 5201', 'split R1 m -> R2@a R3@b', 'join R1 -> R2@a', 'drop R1'])('operation %j', (text) => {
    expect(parseOperation(text)).toBeUndefined();
  });
});
