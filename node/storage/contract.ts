import { afterEach, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { type Key, keyFromText } from '../../model/key.js';
import { pack, unpackRecords } from '../log/pack.js';
import type { LogRecord, Storage } from './storage.js';

const k = (text: string): Buffer => Buffer.from(text);
const span = (start: string, end: string): { start: Key; end: Key } => ({ start: keyFromText(start), end: keyFromText(end) });
const write = (offset: number, key: string, value?: string): LogRecord => ({
  epoch: 7,
  offset,
  key: k(key),
  value: value === undefined ? undefined : Buffer.from(value),
});
const noLimit = { countMax: 1000, bytesMax: Infinity };

/** What every storage does; `open` gives a fresh one, `reopen` the same again after a close. */
export function storageContract(name: string, harness: { open(): Storage; reopen?(): Storage; cleanUp(): Promise<void> }): void {
  describe(`storage: ${name}`, () => {
    let storage: Storage;
    afterEach(async () => {
      await storage.close();
      await harness.cleanUp();
    });

    it('keeps a write in the log and among the pairs', async () => {
      storage = harness.open();
      await storage.commit({ appends: [{ range: 1, records: [write(1, 'a', 'x'), write(2, 'b', ''), write(3, 'a')] }] });
      expect(storage.get(k('a'))).toBeUndefined();
      expect(storage.get(k('b'))).toMatchObject({ epoch: 7, offset: 2, value: Buffer.alloc(0) });
      expect(storage.readLog(1, 0, 1000).map(({ offset, value }) => [offset, value?.toString()])).toEqual([[1, 'x'], [2, ''], [3, undefined]]);
      expect(storage.logBounds(1)).toEqual({ first: 1, last: 3 });
      expect(storage.logBounds(2)).toBeUndefined();
      expect(storage.loggedRanges()).toEqual([1]);
    });

    it('applies commits in the order of the calls', async () => {
      storage = harness.open();
      const commits = Array.from({ length: 20 }, (_, i) => storage.commit({ apply: [write(i, 'k', String(i))] }));
      await Promise.all(commits);
      expect(storage.get(k('k'))?.value.toString()).toBe('19');
    });

    it('scans in byte order, within the span, up to a limit, and says where to go on', async () => {
      storage = harness.open();
      const keys = ['a', 'a\0', 'b', '\xff', 'ü', 'z'];
      await storage.commit({ apply: keys.map((key, i) => write(i + 1, key, key)) });
      const all = storage.scan(EVERYTHING, noLimit);
      expect(all.pairs.map(({ key }) => key.toString('hex'))).toEqual([...keys.map((key) => k(key).toString('hex'))].sort());
      expect(all.next).toBeUndefined();
      const first = storage.scan(span('a', 'z'), { countMax: 2, bytesMax: Infinity });
      expect(first.pairs.map(({ key }) => key.toString())).toEqual(['a', 'a\0']);
      const rest = storage.scan({ start: first.next ?? keyFromText('?'), end: keyFromText('z') }, noLimit);
      expect(rest.pairs.map(({ key }) => key.toString())).toEqual(['b']);
      expect(storage.scan(EVERYTHING, { countMax: 100, bytesMax: 1 }).pairs).toHaveLength(1);
      expect(storage.keys(span('a', 'b'), 10)).toEqual([keyFromText('a'), keyFromText('a\0')]);
    });

    it('scans backwards, and goes on where it says', async () => {
      storage = harness.open();
      const keys = ['a', 'a\0', 'b', 'c', 'd'];
      await storage.commit({ apply: keys.map((key, i) => write(i + 1, key, key)) });
      const names = (pairs: readonly { key: Buffer }[]): string[] => pairs.map(({ key }) => key.toString());
      expect(names(storage.scanBack(EVERYTHING, noLimit).pairs)).toEqual([...keys].reverse());
      expect(names(storage.scanBack(span('a\0', 'd'), noLimit).pairs)).toEqual(['c', 'b', 'a\0']);
      const first = storage.scanBack(EVERYTHING, { countMax: 2, bytesMax: Infinity });
      expect([names(first.pairs), first.next]).toEqual([['d', 'c'], 'c']);
      const rest = storage.scanBack({ start: keyFromText(''), end: first.next ?? keyFromText('?') }, noLimit);
      expect([names(rest.pairs), rest.next]).toEqual([['b', 'a\0', 'a'], undefined]);
      expect(storage.scanBack(EVERYTHING, { countMax: 100, bytesMax: 1 }).pairs).toHaveLength(1);
      expect(storage.keysBack(span('a', 'c'), 2)).toEqual([keyFromText('b'), keyFromText('a\0')]);
    });

    it('keeps what a value is, among the pairs, in the log and packed', async () => {
      storage = harness.open();
      const typed = { ...write(2 ** 40, 'a', 'x'), epoch: 2 ** 46, contentType: 'text/plain; charset=utf-8' };
      await storage.commit({ appends: [{ range: 1, records: [typed, write(2 ** 40 + 1, 'b', 'y')] }] });
      const stored = { epoch: 2 ** 46, offset: 2 ** 40, value: k('x'), contentType: 'text/plain; charset=utf-8' };
      expect(storage.get(k('a'))).toMatchObject(stored);
      expect(storage.get(k('b'))?.contentType).toBeUndefined();
      expect(unpackRecords(pack(storage.readLog(1, 0, 1000)))).toMatchObject([{ ...stored, key: k('a') }, { value: k('y') }]);
      expect(storage.scan(EVERYTHING, noLimit).pairs).toMatchObject([stored, { value: k('y') }]);
      const { pairs } = storage.scanPacked(EVERYTHING, noLimit);
      await storage.commit({ removeKeys: [keyFromText('a'), keyFromText('b')] });
      await storage.commit({ pairs });
      expect(storage.get(k('a'))).toMatchObject(stored);
    });

    it('scans packed what a commit takes packed, small and large, up to a limit', async () => {
      storage = harness.open();
      const sizes = [0, 1, 40, 100, 5_000, 70_000, 300_000, 17];
      const records = sizes.map((size, i) => write(i + 1, `k${i}`, String(i).repeat(size)));
      await storage.commit({ apply: records });
      const all = (): string[] => storage.scan(EVERYTHING, noLimit).pairs.map(({ key, epoch, offset, value }) => `${key.toString()} ${epoch} ${offset} ${value.toString()}`);
      const expected = all();
      const few = storage.scanPacked(EVERYTHING, { countMax: 2, bytesMax: Infinity });
      expect(few.pairs.count).toBe(2);
      expect(few.next).toBe(keyFromText('k1\0'));
      expect(storage.scanPacked(EVERYTHING, { countMax: 100, bytesMax: 80_000 }).next).toBe(keyFromText('k6\0'));
      const { pairs, next } = storage.scanPacked(EVERYTHING, noLimit);
      expect([pairs.count, next]).toEqual([sizes.length, undefined]);
      await storage.commit({ removeKeys: storage.keys(EVERYTHING, 100) });
      expect(storage.keys(EVERYTHING, 100)).toEqual([]);
      await storage.commit({ pairs });
      expect(all()).toEqual(expected);
    });

    it('keeps the newest term', async () => {
      storage = harness.open();
      expect(storage.term()).toBe(0);
      await storage.commit({ term: 3 });
      await storage.commit({ apply: [write(1, 'a', 'x')] });
      expect(storage.term()).toBe(3);
    });

    it('strides over keys', async () => {
      storage = harness.open();
      await storage.commit({ apply: Array.from({ length: 10 }, (_, i) => write(i + 1, `k${i}`, 'v')) });
      expect(storage.stride(EVERYTHING, 4)).toEqual({ key: keyFromText('k4'), skipped: 4 });
      expect(storage.stride(span('k2', 'k9'), 3)).toEqual({ key: keyFromText('k5'), skipped: 3 });
      expect(storage.stride(span('k2', 'k9'), 100)).toEqual({ key: undefined, skipped: 7 });
    });

    it('reads the log from an offset, in bounded pieces, one range at a time', async () => {
      storage = harness.open();
      await storage.commit({
        appends: [
          { range: 1, records: Array.from({ length: 300 }, (_, i) => write(i + 1, `k${i}`, 'v'.repeat(50))) },
          { range: 2, records: [write(1, 'other', 'v')] },
        ],
      });
      const first = storage.readLog(1, 250, 200);
      expect(first[0]?.offset).toBe(251);
      expect(first.length).toBeLessThan(10);
      expect(storage.readLog(1, 300, 200)).toEqual([]);
      await storage.commit({ trims: [{ range: 1, through: 299, countMax: 200 }] });
      expect(storage.logBounds(1)).toEqual({ first: 201, last: 300 });
      expect(storage.logBounds(2)).toEqual({ first: 1, last: 1 });
      await storage.commit({ trims: [{ range: 1, through: 300, countMax: 1000 }] });
      expect(storage.logBounds(1)).toBeUndefined();
    });

    it('keeps the name and the time of a write with its record', async () => {
      storage = harness.open();
      const writeId = Buffer.from('0123456789abcdef');
      const records: LogRecord[] = [
        { ...write(1, 'a', 'x'), writeId, timeMs: 1_700_000_000_000, contentType: 'text/plain' },
        { ...write(2, 'a'), writeId, timeMs: 1 },
        { ...write(3, 'a', ''), timeMs: 2 },
        write(4, 'b', 'y'),
      ];
      await storage.commit({ appends: [{ range: 1, records }] });
      const kept = storage.readLog(1, 0, 1000);
      expect(kept).toMatchObject(records);
      expect(unpackRecords(pack(kept))).toMatchObject(records);
      expect(storage.get(k('a'))).toMatchObject({ offset: 3, value: Buffer.alloc(0) });
    });

    it('keeps a record without a key in the log alone', async () => {
      storage = harness.open();
      const record: LogRecord = { epoch: 7, offset: 1, key: Buffer.alloc(0), value: k('ids'), timeMs: 5 };
      await storage.commit({ appends: [{ range: 1, records: [record] }] });
      expect(unpackRecords(pack(storage.readLog(1, 0, 1000)))).toMatchObject([record]);
      expect(storage.keys(EVERYTHING, 10)).toEqual([]);
    });

    it('keeps values of 8 MiB, keys of 1 KiB, and any bytes', async () => {
      storage = harness.open();
      const key = Buffer.alloc(1024, 0xff);
      const value = Buffer.alloc(8 * 1024 * 1024, 7);
      await storage.commit({ appends: [{ range: 1, records: [{ epoch: 1, offset: 1, key, value }] }] });
      expect(storage.get(key)?.value.equals(value)).toBe(true);
      expect(storage.scan(EVERYTHING, noLimit).pairs).toHaveLength(1);
      expect(storage.readLog(1, 0, 10)[0]?.value?.length).toBe(value.length);
    });

    it('shows a write as soon as it is durable, however many came before', async () => {
      storage = harness.open();
      for (let i = 0; i < 200; i++) {
        storage.get(k('k'));
        await storage.commit({ apply: [write(i, 'k', String(i))] });
        expect(storage.get(k('k'))?.value.toString()).toBe(String(i));
      }
    });

    const reopen = harness.reopen?.bind(harness);
    if (reopen) {
      it('has everything again after a restart', async () => {
        storage = harness.open();
        const { incarnation } = storage;
        const meta = { id: 3, start: keyFromText('a'), end: keyFromText('\xff') };
        const record = {
          meta,
          state: 'Active' as const,
          logEpoch: 4,
          baseOffset: 9,
          owned: [span('a', 'b')],
          handed: [{ ...span('b', ''), range: 4, node: 'n', incarnation: 'i', address: 'h:1', epoch: 5, offset: 8 }],
          links: [{ ...span('', 'c'), range: 2, address: 'h:2', offset: 77 }],
          origins: [{ ...span('b', 'c'), range: 1, offset: 6 }],
          dumped: false,
        };
        await storage.commit({ copies: [record], fences: [{ range: 3, epoch: 12 }], term: 7, apply: [write(1, 'a', 'v')] });
        await storage.close();
        storage = reopen();
        expect(storage.incarnation).toBe(incarnation);
        expect(storage.copies()).toEqual([record]);
        expect(storage.fences()).toEqual(new Map([[3, 12]]));
        expect(storage.term()).toBe(7);
        expect(storage.get(k('a'))?.value.toString()).toBe('v');
        await storage.commit({ removeCopies: [3] });
        expect(storage.copies()).toEqual([]);
      });
    }
  });
}
