import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import type { CopyRecord } from '../storage/copy-record.js';
import { MemoryStorage } from '../storage/memory.js';
import type { LogRecord } from '../storage/storage.js';
import { TRAVEL_MS_MAX, WriteIdWindow, type WriteIds } from './write-ids.js';

const id = (n: number): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(n, 12);
  return bytes;
};
const write = (offset: number): { epoch: number; offset: number; keyHash: number } => ({ epoch: 1, offset, keyHash: 7 });

let now = 0;
let window: WriteIdWindow;
const makeWindow = (countMax = 1000): WriteIdWindow => new WriteIdWindow({ windowMs: 60_000, countMax, now: () => now, wallMs: () => 1_000_000_000 + now });
/** Since when a retry is told for sure that it was never here. */
const vouchesSince = (ids: WriteIds, at: number): boolean => ids.vouchesFor(at + TRAVEL_MS_MAX);

beforeEach(() => {
  now = 1_000_000;
  window = makeWindow();
});

describe('the ids of writes', () => {
  it('are found again, with where the write is', () => {
    const ids = window.make();
    for (let n = 1; n <= 100; n++) ids.add(id(n), write(n));
    expect(ids.find(id(42))).toEqual(write(42));
    expect(ids.find(id(101))).toBeUndefined();
    ids.add(id(42), write(500));
    expect(ids.find(id(42))).toEqual(write(42));
    expect(ids.size).toBe(100);
  });

  it('of failed writes are forgotten, and of a log that is cut', () => {
    const ids = window.make();
    for (let n = 1; n <= 10; n++) ids.add(id(n), write(n));
    ids.remove(id(5));
    ids.cut(7);
    expect([1, 5, 7, 8, 10].map((n) => ids.find(id(n))?.offset)).toEqual([1, undefined, 7, undefined, undefined]);
    ids.add(id(8), write(9));
    expect([ids.find(id(8))?.offset, ids.size, window.size]).toEqual([9, 7, 7]);
  });

  it('go when they are older than the window, and nothing so old is vouched for', () => {
    const ids = window.make();
    ids.cover(-Infinity);
    ids.add(id(1), write(1));
    const first = now;
    now += 30_000;
    ids.add(id(2), write(2));
    now += 31_000;
    ids.expire();
    expect([ids.find(id(1)), ids.find(id(2))?.offset]).toEqual([undefined, 2]);
    expect([vouchesSince(ids, first), vouchesSince(ids, first + 1)]).toEqual([false, true]);
  });

  it('are vouched for by nobody who was not told since when they are complete', () => {
    const ids = window.make();
    expect(ids.vouchesFor(now)).toBe(false);
    ids.coverToo(now - 5_000);
    ids.coverToo(now - 9_000);
    expect([vouchesSince(ids, now - 5_000), vouchesSince(ids, now - 4_999)]).toEqual([false, true]);
  });

  it('are bounded over all copies: the largest gives way', () => {
    window = makeWindow(1000);
    const [busy, quiet] = [window.make(), window.make()];
    for (const ids of [busy, quiet]) ids.cover(-Infinity);
    for (let n = 0; n < 50; n++) quiet.add(id(1_000_000 + n), write(n));
    for (let n = 0; n < 5_000; n++) busy.add(id(n), write(n));
    expect(window.size).toBeLessThanOrEqual(1000);
    expect(quiet.size).toBe(50);
    expect(busy.find(id(4_999))).toBeDefined();
    expect([busy.since, quiet.since]).toEqual([now, -Infinity]);
    window.forget(busy);
    expect(window.size).toBe(50);
  });

  it('hold against a map, whatever comes and goes', () => {
    const action = fc.oneof(
      fc.record({ is: fc.constant('add' as const), n: fc.nat(60) }),
      fc.record({ is: fc.constant('remove' as const), n: fc.nat(60) }),
      fc.record({ is: fc.constant('cut' as const), n: fc.nat(200) }),
      fc.record({ is: fc.constant('drop' as const), n: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const ids = makeWindow().make();
        const model = new Map<number, number>();
        actions.forEach(({ is, n }, at) => {
          if (is === 'add') {
            ids.add(id(n), write(at));
            if (!model.has(n)) model.set(n, at);
          } else if (is === 'remove') {
            ids.remove(id(n));
            model.delete(n);
          } else if (is === 'cut') {
            ids.cut(n);
            for (const [key, offset] of model) if (offset > n) model.delete(key);
          } else {
            ids.dropOldest(n);
            for (const key of [...model.keys()].slice(0, n)) model.delete(key);
          }
        });
        expect(ids.size).toBe(model.size);
        for (let n = 0; n <= 60; n++) expect(ids.find(id(n))?.offset).toBe(model.get(n));
      }),
    );
  });
});

describe('what a child knows of its parents', () => {
  const seen = (child: WriteIds, after = 100): LogRecord[] => child.seenRecords({ after, epoch: 3, timeMs: 1_000_000_000 + now });

  it('is in its log, for followers and for after a restart', async () => {
    const [left, right, child, follower] = [window.make(), window.make(), window.make(), window.make()];
    left.cover(now - 50_000);
    right.cover(-Infinity);
    left.add(id(1), write(60));
    right.add(id(2), write(100));
    child.adopt(left);
    child.adopt(right);
    expect(child.find(id(1))).toEqual(write(60));
    expect(child.since).toBe(now - 50_000);

    const records = seen(child);
    expect(records.map(({ offset, key }) => [offset, key.length])).toEqual([[101, 0]]);
    child.seenWritten(100);
    expect(seen(child)).toEqual([]);
    expect(child.logStart(100)).toEqual({ offset: 100, knownForMs: 50_000 });

    now += 2_000;
    for (const record of records) follower.learn(record);
    expect([follower.find(id(1)), follower.find(id(2))]).toEqual([write(60), write(100)]);
    expect(follower.since).toBe(now - 50_000);

    const storage = new MemoryStorage('disk');
    await storage.commit({ appends: [{ range: 9, records }] });
    const restored = window.restore({ ...copyRecord(9), baseOffset: 100 }, storage);
    expect(restored.find(id(2))).toEqual(write(100));
    expect(restored.since).toBeLessThanOrEqual(now - 45_000);
    expect(restored.logStart(100).offset).toBe(100);
  });

  it('is of the newest in each child when there are too many for all', () => {
    window = makeWindow(40_000);
    const [parent, left, right] = [window.make(), window.make(), window.make()];
    parent.cover(-Infinity);
    for (let n = 0; n < 40_000; n++) {
      now += 0.25;
      parent.add(id(n), write(n));
    }
    left.adopt(parent);
    right.adopt(parent);
    for (const child of [left, right]) {
      expect([child.size, child.find(id(29_999)), child.find(id(30_000))?.offset, child.find(id(39_999))?.offset]).toEqual([10_000, undefined, 30_000, 39_999]);
      // What was dropped is not taken for what never was.
      expect(child.since).toBeGreaterThanOrEqual(now - 2_501);
    }
    expect(window.size).toBe(30_000);
  });

  it('fits many records when it is much', () => {
    window = makeWindow(200_000);
    const [parent, child, follower] = [window.make(), window.make(), window.make()];
    parent.cover(-Infinity);
    for (let n = 0; n < 40_000; n++) parent.add(id(n), write(n));
    child.adopt(parent);
    const records = seen(child, 40_000);
    expect(records.map(({ offset }) => offset)).toEqual([40_001, 40_002, 40_003]);
    for (const record of records.slice(1)) follower.learn(record);
    expect(follower.since).toBeUndefined();
    for (const record of records) follower.learn(record);
    expect([follower.size, follower.find(id(39_999))?.offset]).toEqual([40_000, 39_999]);
    expect(follower.vouchesFor(0)).toBe(true);
  });
});

describe('after a restart', () => {
  const record = (offset: number, timeMs?: number): LogRecord => ({ epoch: 1, offset, key: Buffer.from('k'), value: Buffer.from('v'), writeId: id(offset), timeMs });
  const wall = (): number => 1_000_000_000 + now;

  it('the ids of the window are read from the log, and all of them count as known when the log is whole', async () => {
    const storage = new MemoryStorage('disk');
    const records = [record(1, wall() - 300_000), record(2, wall() - 200_000), record(3, wall() - 40_000), record(5, wall() - 1_000)];
    await storage.commit({ appends: [{ range: 1, records }] });
    const ids = window.restore(copyRecord(1), storage);
    expect([1, 2, 3, 5].map((n) => ids.find(id(n))?.offset)).toEqual([undefined, undefined, 3, 5]);
    expect(vouchesSince(ids, now - 54_999)).toBe(true);
    expect(vouchesSince(ids, now - 55_000)).toBe(false);
  });

  it('of a log that was trimmed within the window only what came after its first record is known', async () => {
    const storage = new MemoryStorage('disk');
    await storage.commit({ appends: [{ range: 1, records: [record(7, wall() - 30_000), record(8, wall() - 20_000)] }] });
    const ids = window.restore(copyRecord(1), storage);
    expect(ids.find(id(7))?.offset).toBe(7);
    expect([vouchesSince(ids, now - 25_000), vouchesSince(ids, now - 24_999)]).toEqual([false, true]);
  });

  it('a log that followed a snapshot has what its source knew, as long as nothing of it is gone', async () => {
    const storage = new MemoryStorage('disk');
    await storage.commit({ appends: [{ range: 1, records: [record(7, wall() - 3_000), record(8, wall() - 2_000)] }] });
    const since = (after: number, baseOffset = after): number | undefined =>
      window.restore({ ...copyRecord(1), baseOffset, ids: { after, sinceMs: wall() - 40_000 } }, storage).since;
    expect(since(6)).toBe(now - 35_000);
    expect(since(5)).toBe(now);
    expect(since(6, 5)).toBe(now);
    now += 58_000;
    // The first of them is older than the window, so that tells it.
    expect(since(6)).toBe(now - 55_000);
  });

  it('a copy that was never written to knows everything, and one without its log nothing', () => {
    const storage = new MemoryStorage('disk');
    expect(window.restore(copyRecord(1), storage).vouchesFor(0)).toBe(true);
    expect(window.restore({ ...copyRecord(1), baseOffset: 5 }, storage).vouchesFor(now)).toBe(false);
    expect(window.restore({ ...copyRecord(1), owned: [] }, storage).vouchesFor(now)).toBe(false);
    expect(window.restore({ ...copyRecord(1), links: [{ ...EVERYTHING, range: 2, address: 'a', offset: 3 }] }, storage).vouchesFor(now)).toBe(false);
  });
});

function copyRecord(range: number): CopyRecord {
  return { meta: { id: range, ...EVERYTHING }, state: 'Active', logEpoch: 1, baseOffset: 0, owned: [EVERYTHING], handed: [], links: [], origins: [], dumped: false };
}
