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
  const retention = new Retention(storage, { keepBytes: 0, holdBytesMax: 0 });
  await storage.commit({ appends: [{ range: 1, records: [record(3)] }] });
  retention.added(copy, [record(3)]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(storage.logBounds(1)).toEqual({ first: 3, last: 3 });
});
