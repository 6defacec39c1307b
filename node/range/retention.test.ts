import { expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { MemoryStorage } from '../storage/memory.js';
import type { LogRecord } from '../storage/storage.js';
import { Copies } from './copies.js';
import { Retention } from './retention.js';
import { DEFAULT_WRITE_ID_WINDOW, WriteIdWindow } from './write-ids.js';

const record = (offset: number): LogRecord => ({ epoch: 1, offset, key: Buffer.from('k'), value: Buffer.from('v') });

it('keeps the newest record after a restart, however little is to be kept: its offset is where the log goes on', async () => {
  const storage = new MemoryStorage('disk');
  const copy = new Copies(storage, new WriteIdWindow({ ...DEFAULT_WRITE_ID_WINDOW, now: () => 0, wallMs: () => 0 })).addFetching({ id: 1, ...EVERYTHING });
  await storage.commit({ appends: [{ range: 1, records: [record(1), record(2)] }] });
  const retention = new Retention(storage, { keepBytes: 0, holdBytesMax: 0, keepAgeMs: 0 }, () => 0);
  await storage.commit({ appends: [{ range: 1, records: [record(3)] }] });
  retention.added(copy, [record(3)]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(storage.logBounds(1)).toEqual({ first: 3, last: 3 });
});

it('keeps what is young beyond its size, until it is old', async () => {
  const storage = new MemoryStorage('disk');
  const copy = new Copies(storage, new WriteIdWindow({ ...DEFAULT_WRITE_ID_WINDOW, now: () => 0, wallMs: () => 0 })).addFetching({ id: 1, ...EVERYTHING });
  let wallMs = 1_000;
  const retention = new Retention(storage, { keepBytes: 0, holdBytesMax: 0, keepAgeMs: 500 }, () => wallMs);
  const write = async (from: number, count: number): Promise<void> => {
    const records = Array.from({ length: count }, (_, i) => ({ ...record(from + i), timeMs: wallMs }));
    await storage.commit({ appends: [{ range: 1, records }] });
    retention.added(copy, records);
    await new Promise((resolve) => setImmediate(resolve));
  };
  await write(1, 2_000);
  wallMs = 1_400;
  await write(2_001, 2_000);
  expect(storage.logBounds(1)?.first).toBe(1);
  wallMs = 1_500;
  await write(4_001, 1);
  expect(storage.logBounds(1)?.first).toBe(2_001);
});

it('knows how old the log of an earlier process is', async () => {
  const storage = new MemoryStorage('disk');
  const copy = new Copies(storage, new WriteIdWindow({ ...DEFAULT_WRITE_ID_WINDOW, now: () => 0, wallMs: () => 0 })).addFetching({ id: 1, ...EVERYTHING });
  await storage.commit({ appends: [{ range: 1, records: [{ ...record(1), timeMs: 800 }, { ...record(2), timeMs: 900 }, { ...record(3), timeMs: 1_000 }] }] });
  const retention = new Retention(storage, { keepBytes: 0, holdBytesMax: 0, keepAgeMs: 500 }, () => 1_000);
  retention.added(copy, [{ ...record(3), timeMs: 1_000 }]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(storage.logBounds(1)).toEqual({ first: 1, last: 3 });
});
