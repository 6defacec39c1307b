import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isEmpty } from '../model/interval.js';
import { KEY_BYTES_MAX, type Key, keyFromBytes, keyFromText } from '../model/key.js';
import type { RangeMeta } from '../model/range.js';
import type { LoadInfo, Parent, RangeInfo, RangesEvent, TransferProgress } from '../model/report.js';
import type { PlacementState, RangeState, RemoteState } from '../model/states.js';
import { AppError } from '../runtime/errors.js';
import * as convert from './convert.js';
import { Parent as WireParent, RangesResponse } from './gen/ranger/node.js';
import { PlacementState as WirePlacementState, RangeNodeState, RangeInfo as WireRangeInfo, RangeMeta as WireRangeMeta } from './gen/ranger/types.js';

const REMOTE_STATES: RemoteState[] = ['Preparing', 'Inactive', 'Activating', 'Active', 'Deactivating', 'Dropping', 'NotFound'];
const PLACEMENT_STATES: PlacementState[] = ['Pending', 'Inactive', 'Active', 'Missing', 'Dropped'];
const RANGE_STATES: RangeState[] = ['Active', 'Subsuming', 'Obsolete'];

const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const rate = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true });
const bound: fc.Arbitrary<Key> = fc.uint8Array({ maxLength: 40 }).map(keyFromBytes);
const textKey: fc.Arbitrary<Key> = fc.string({ minLength: 1, maxLength: 40, unit: 'binary' }).map(keyFromText);
const bytesKey: fc.Arbitrary<Key> = fc.uint8Array({ minLength: 1, maxLength: 40 }).map(keyFromBytes);
const meta: fc.Arbitrary<RangeMeta> = fc.record({ id, start: bound, end: bound }).filter((m) => !isEmpty(m));
const splits: fc.Arbitrary<Key[]> = fc.oneof(
  fc.constant<Key[]>([]),
  fc.tuple(bytesKey, fc.array(textKey, { maxLength: 3 })).map(([first, rest]) => [first, ...rest]),
);
const load: fc.Arbitrary<LoadInfo> = fc.record({ keys: count, bytes: count, readsPerSecond: rate, writesPerSecond: rate, splits });
const progress: fc.Arbitrary<TransferProgress> = fc.record({ keys: count, bytes: count, keysTotal: count, caughtUp: fc.boolean() });
const info: fc.Arbitrary<RangeInfo> = fc.record({
  meta,
  state: fc.constantFrom(...REMOTE_STATES),
  load,
  epoch: count,
  progress: fc.option(progress, { nil: undefined }),
  lastError: fc.string(),
  serving: fc.boolean(),
});
const parent: fc.Arbitrary<Parent> = fc.record({
  range: meta,
  parents: fc.array(id, { maxLength: 3 }),
  placements: fc.array(
    fc.record({
      node: fc.integer({ min: 1, max: 65_535 }).map((port) => `node.example:${port}`),
      state: fc.constantFrom(...PLACEMENT_STATES),
      index: fc.integer({ min: 0, max: 0xffffffff }),
    }),
    { maxLength: 3 },
  ),
  fork: id,
});
const event: fc.Arbitrary<RangesEvent> = fc.oneof(
  fc.constant<RangesEvent>({ type: 'synced' }),
  fc.record({
    type: fc.constant('range' as const),
    meta,
    state: fc.constantFrom(...REMOTE_STATES),
    epoch: count,
    info: fc.option(info, { nil: undefined }),
  }),
);

function refusal(act: () => unknown): AppError {
  try {
    act();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(AppError);
    return thrown as AppError;
  }
  throw new Error('nothing was refused');
}

describe('what is sent is what arrives, through the bytes of the wire', () => {
  test('a range', () => {
    fc.assert(
      fc.property(meta, (sent) => {
        const bytes = WireRangeMeta.encode(convert.rangeMetaToWire(sent)).finish();
        expect(convert.rangeMetaFromWire(WireRangeMeta.decode(bytes), 'range')).toEqual(sent);
      }),
    );
  });

  test('a parent', () => {
    fc.assert(
      fc.property(parent, (sent) => {
        const bytes = WireParent.encode(convert.parentToWire(sent)).finish();
        expect(convert.parentFromWire(WireParent.decode(bytes), 'parents[0]')).toEqual(sent);
      }),
    );
  });

  test('a report', () => {
    fc.assert(
      fc.property(info, (sent) => {
        const bytes = WireRangeInfo.encode(convert.rangeInfoToWire(sent)).finish();
        expect(convert.rangeInfoFromWire(WireRangeInfo.decode(bytes), 'info')).toEqual(sent);
      }),
    );
  });

  test('a message of the stream of ranges', () => {
    fc.assert(
      fc.property(event, (sent) => {
        const bytes = RangesResponse.encode(convert.rangesEventToWire(sent)).finish();
        expect(convert.rangesEventFromWire(RangesResponse.decode(bytes))).toEqual(sent);
      }),
    );
  });

  test('every state', () => {
    for (const state of REMOTE_STATES) expect(convert.remoteStateFromWire(convert.remoteStateToWire(state), 's')).toBe(state);
    for (const state of PLACEMENT_STATES) expect(convert.placementStateFromWire(convert.placementStateToWire(state), 's')).toBe(state);
    for (const state of RANGE_STATES) expect(convert.rangeStateFromWire(convert.rangeStateToWire(state), 's')).toBe(state);
  });

  test('the numbers of the contract', () => {
    expect(REMOTE_STATES.map(convert.remoteStateToWire)).toEqual([3, 1, 4, 2, 5, 6, 7]);
    expect(PLACEMENT_STATES.map(convert.placementStateToWire)).toEqual([1, 2, 3, 5, 6]);
    expect(RANGE_STATES.map(convert.rangeStateToWire)).toEqual([1, 2, 3]);
  });
});

describe('what is malformed is refused with the name of its field', () => {
  const bytes = (text: string): Buffer => Buffer.from(text);
  const wire = (ident: bigint, start: string, end: string): WireRangeMeta => ({ ident, start: bytes(start), end: bytes(end) });

  test.each([
    ['no range', () => convert.rangeMetaFromWire(undefined, 'range'), 'range: is missing'],
    ['ident 0', () => convert.rangeMetaFromWire(wire(0n, '', ''), 'range'), 'range.ident: '],
    ['ident over 2^53 - 1', () => convert.rangeMetaFromWire(wire(2n ** 53n, '', ''), 'range'), 'range.ident: 9007199254740992'],
    ['start = end', () => convert.rangeMetaFromWire(wire(1n, 'm', 'm'), 'range'), 'range: [m, m)'],
    ['start > end', () => convert.rangeMetaFromWire(wire(1n, 'n', 'm'), 'range'), 'range: [n, m)'],
    ['long start', () => convert.rangeMetaFromWire(wire(1n, 'x'.repeat(1025), ''), 'range'), 'range.start: 1025 bytes'],
    ['long end', () => convert.rangeMetaFromWire(wire(1n, '', 'x'.repeat(1025)), 'range'), 'range.end: 1025 bytes'],
    ['no key', () => convert.keyFromWire(Buffer.alloc(0), 'key'), 'key: a key is missing'],
    ['epoch too large', () => convert.epochFromWire(2n ** 60n, 'epoch'), 'epoch: '],
    ['state 0', () => convert.remoteStateFromWire(RangeNodeState.UNKNOWN, 'state'), 'state: 0'],
    ['state of a later version', () => convert.rangeStateFromWire(99 as never, 'state'), 'state: 99'],
    ['placement state 0', () => convert.placementStateFromWire(WirePlacementState.PS_UNKNOWN, 'state'), 'state: 0'],
    [
      'a parent that is no range',
      () => convert.parentsFromWire([{ range: wire(0n, '', ''), parent: [], placements: [], fork: 0n }], 'parents'),
      'parents[0].range.ident: ',
    ],
    [
      'a parent of parent 0',
      () => convert.parentsFromWire([{ range: wire(1n, '', ''), parent: [0n], placements: [], fork: 0n }], 'parents'),
      'parents[0].parent[0]: ',
    ],
    [
      'a copy at what is no address',
      () => convert.parentFromWire({ range: wire(1n, '', ''), parent: [], placements: [{ node: 'no address', state: WirePlacementState.PS_ACTIVE, index: 0 }], fork: 0n }, 'p'),
      'p.placements[0].node: ',
    ],
    [
      'a copy without a node',
      () => convert.parentFromWire({ range: wire(1n, '', ''), parent: [], placements: [{ node: '', state: WirePlacementState.PS_ACTIVE, index: 0 }], fork: 0n }, 'p'),
      'p.placements[0].node: ',
    ],
  ])('%s', (_, act, message) => {
    const error = refusal(act);
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message.startsWith(message), error.message).toBe(true);
  });

  test('the longest key passes', () => {
    const key = 'x'.repeat(KEY_BYTES_MAX);
    expect(convert.keyFromWire(bytes(key), 'key')).toBe(key);
  });

  test('a range that no peer should send never gets through', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), bound, bound, (ident, start, end) => {
        const legal = ident > 0n && ident < 2n ** 53n && !isEmpty({ start, end });
        const convertIt = (): unknown => convert.rangeMetaFromWire({ ident, start: Buffer.from(start, 'latin1'), end: Buffer.from(end, 'latin1') }, 'r');
        if (legal) expect(convertIt()).toEqual({ id: Number(ident), start, end });
        else expect(refusal(convertIt).code).toBe('INVALID_ARGUMENT');
      }),
    );
  });
});

describe('what other versions send', () => {
  test('a copy in a state unknown here counts as missing', () => {
    const range = { ident: 1n, start: Buffer.alloc(0), end: Buffer.alloc(0) };
    const from = convert.parentFromWire({ range, parent: [], placements: [{ node: 'a:1', state: 4 as never, index: 0 }], fork: 0n }, 'p');
    expect(from.placements).toEqual([{ node: 'a:1', state: 'Missing', index: 0 }]);
  });

  test('a peer without additions', () => {
    const bytes = RangesResponse.encode({
      meta: { ident: 7n, start: Buffer.from('a'), end: Buffer.alloc(0) },
      state: RangeNodeState.ACTIVE,
      epoch: 0n,
      synced: false,
      info: undefined,
    }).finish();
    expect(convert.rangesEventFromWire(RangesResponse.decode(bytes))).toEqual({
      type: 'range', meta: { id: 7, start: 'a', end: '' }, state: 'Active', epoch: 0, info: undefined,
    });
  });

  test('a message without any known field is no event', () => {
    expect(convert.rangesEventFromWire(RangesResponse.decode(Buffer.alloc(0)))).toBeUndefined();
  });

  test('splits that are not text stay exact when first, and are left out of the texts', () => {
    const odd = keyFromBytes(Buffer.from([0xff, 0x00]));
    const sent = convert.loadInfoToWire({ keys: 1, bytes: 1, readsPerSecond: 0, writesPerSecond: 0, splits: [odd, keyFromText('m'), odd] });
    expect(sent.splits).toEqual(['m']);
    expect([...sent.split]).toEqual([0xff, 0x00]);
  });

  test('estimates that are no whole numbers are rounded, and nonsense is 0', () => {
    const sent = convert.loadInfoToWire({ keys: 1.6, bytes: Number.NaN, readsPerSecond: Number.NaN, writesPerSecond: -1, splits: [] });
    expect(sent).toMatchObject({ keys: 2n, bytes: 0n, readsPerSecond: 0, writesPerSecond: 0 });
  });
});
