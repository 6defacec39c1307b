import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isEmpty } from '../../model/interval.js';
import { type Key, keyFromBytes, keyFromText } from '../../model/key.js';
import { AppError } from '../../runtime/errors.js';
import { documentKey, parseDocument, printDocument } from './document.js';
import { type PlacementRecord, type RangeRecord, newPlacement, newRange } from './record.js';

const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const text = fc.string();
const bound = fc.oneof(fc.constant('' as Key), fc.uint8Array({ minLength: 1, maxLength: 8 }).map((b) => keyFromBytes(b)));
const placement = (index: number): fc.Arbitrary<PlacementRecord> =>
  fc.record({
    index: fc.constant(index),
    node: fc.string({ minLength: 1 }),
    state: fc.constantFrom('Pending', 'Inactive', 'Active', 'Missing', 'Dropped'),
    replaces: fc.option(fc.nat(), { nil: undefined }),
    named: fc.boolean(),
    initial: fc.boolean(),
    lost: fc.boolean(),
    incarnation: fc.option(text, { nil: undefined }),
    failed: fc.option(text, { nil: undefined }),
    relieves: fc.option(fc.nat(), { nil: undefined }),
    promote: fc.boolean(),
    outdated: fc.boolean(),
  });
const record: fc.Arbitrary<RangeRecord> = fc
  .record({
    id,
    start: bound,
    end: bound,
    state: fc.constantFrom('Active' as const, 'Subsuming' as const, 'Obsolete' as const),
    epoch: fc.nat(),
    established: fc.boolean(),
    parents: fc.array(id, { maxLength: 3 }),
    children: fc.array(id, { maxLength: 3 }),
    placements: fc.tuple(placement(0), placement(1)).chain((both) => fc.subarray(both)),
    abort: fc.option(text, { nil: undefined }),
    rounds: fc.nat(),
    holder: fc.option(fc.nat(), { nil: undefined }),
    fork: fc.nat(),
    since: fc.nat(),
    followed: fc.boolean(),
    awaits: fc.option(fc.constant('5200'), { nil: undefined }),
    adopted: fc.nat(),
  })
  .map((fields) => ({ ...fields, primary: fields.placements[0]?.index, insync: fields.placements.map((p) => p.index) }))
  .filter((range) => !isEmpty(range));

const range = newRange({ id: 7, start: keyFromText('a'), end: keyFromText('m') }, { placements: [newPlacement(0, '5200')], primary: 0 });

function problemOf(change: (json: Record<string, unknown>) => void, key = '7'): AppError {
  const json = JSON.parse(printDocument(range)) as Record<string, unknown>;
  change(json);
  try {
    parseDocument(key, JSON.stringify(json));
  } catch (thrown) {
    return AppError.from(thrown);
  }
  throw new Error('it was accepted');
}

describe('a document of the keyspace', () => {
  it('is read back as it was written', () => {
    fc.assert(
      fc.property(record, (value) => {
        expect(parseDocument(documentKey(value), printDocument(value))).toEqual(value);
      }),
    );
  });

  it('is refused when it comes from a newer version', () => {
    const error = problemOf((json) => (json['format'] = 2));
    expect(error.code).toBe('FAILED_PRECONDITION');
    expect(error.message).toContain('"7"');
    expect(error.message).toContain('format 2');
  });

  it.each<[string, (json: Record<string, unknown>) => void, string?]>([
    ['epoch is not a whole number', (json) => (json['epoch'] = -1)],
    ['state is not one of Active, Subsuming, Obsolete', (json) => (json['state'] = 'Busy')],
    ['start is not a key', (json) => (json['start'] = 'b64:???')],
    ['its start is not below its end', (json) => (json['start'] = 'z')],
    ['placements[0].node is not a text', (json) => ((json['placements'] as Record<string, unknown>[])[0] = { index: 0 })],
    ['two placements have one index', (json) => (json['placements'] as unknown[]).push((json['placements'] as unknown[])[0])],
    ['its primary is not among its placements', (json) => (json['primary'] = 3)],
    ['it is about range 7', () => undefined, '8'],
  ])('is refused when damaged: %s', (problem, change, key) => {
    const error = problemOf(change, key);
    expect(error.code).toBe('DATA_LOSS');
    expect(error.message).toContain(problem);
    expect(error.message).toContain(JSON.stringify(key ?? '7'));
  });

  it.each(['', '{', '[]', 'null', '7'])('is refused when it is %j', (broken) => {
    expect(() => parseDocument('7', broken)).toThrow(/document "7" of the keyspace is damaged/);
  });
});
