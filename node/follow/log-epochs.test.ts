import { describe, expect, it } from 'vitest';
import { meta } from '../testing/local-cluster.js';
import { Copy } from '../range/copy.js';
import { DEFAULT_WRITE_ID_WINDOW, WriteIdWindow } from '../range/write-ids.js';
import { MemoryStorage } from '../storage/memory.js';
import type { CopyRecord } from '../storage/copy-record.js';
import { logEpochs, partingOffset } from './log-epochs.js';

const ends = (...pairs: [number, number][]): { epoch: number; endOffset: number }[] => pairs.map(([epoch, endOffset]) => ({ epoch, endOffset }));

async function copyWith(records: [epoch: number, offset: number][], over: Partial<CopyRecord> = {}): Promise<{ storage: MemoryStorage; copy: Copy }> {
  const storage = new MemoryStorage('disk');
  const value = Buffer.from('v');
  await storage.commit({ appends: [{ range: 1, records: records.map(([epoch, offset]) => ({ epoch, offset, key: Buffer.from('k'), value })) }] });
  const record: CopyRecord = { meta: meta(1), state: 'Inactive', logEpoch: 0, baseOffset: 0, owned: [], handed: [], links: [], origins: [], dumped: false, ...over };
  return { storage, copy: new Copy(record, { lastOffset: records[records.length - 1]?.[1] ?? record.baseOffset, trimmedThrough: 0, fetching: false, writeIds: new WriteIdWindow({ ...DEFAULT_WRITE_ID_WINDOW, now: () => 0, wallMs: () => 0 }).make() }) };
}

describe('the epochs of a log', () => {
  it('are found with their ends, however long the log', async () => {
    const records: [number, number][] = [];
    for (let offset = 1; offset <= 1000; offset++) records.push([offset < 700 ? 3 : offset < 702 ? 5 : 9, offset]);
    const { storage, copy } = await copyWith(records);
    expect(logEpochs(storage, copy)).toEqual(ends([0, 0], [3, 699], [5, 701], [9, 1000]));
  });

  it('begin where a snapshot ended, and go on with the activation that wrote nothing yet', async () => {
    const { storage, copy } = await copyWith([], { baseOffset: 40, baseEpoch: 4, state: 'Active', logEpoch: 7 });
    expect(logEpochs(storage, copy)).toEqual(ends([4, 40], [7, 40]));
  });

  it('count the offsets of writes that failed', async () => {
    const { storage, copy } = await copyWith([[2, 5]]);
    copy.advance(9);
    expect(logEpochs(storage, copy)).toEqual(ends([0, 0], [2, 9]));
  });
});

describe('where two logs part', () => {
  it.each([
    ['the same log', ends([1, 5]), ends([1, 5]), 5],
    ['one that lags', ends([1, 3]), ends([1, 5], [2, 9]), 3],
    ['a tail that nobody else has', ends([1, 8]), ends([1, 5], [2, 9]), 5],
    ['an epoch that nobody else has', ends([1, 5], [2, 9]), ends([1, 5], [3, 7]), 5],
    ['nothing in common', ends([4, 5]), ends([7, 9]), undefined],
  ])('%s', (_, follower, source, offset) => {
    expect(partingOffset(follower, source)).toBe(offset);
  });
});
