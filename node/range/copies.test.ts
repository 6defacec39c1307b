import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import { keyFromText } from '../../model/key.js';
import { AppError } from '../../runtime/errors.js';
import { MemoryStorage } from '../storage/memory.js';
import { Copies } from './copies.js';
import type { Copy } from './copy.js';
import { subtractAll } from './span-set.js';
import { DEFAULT_WRITE_ID_WINDOW, WriteIdWindow } from './write-ids.js';

const left = { start: keyFromText(''), end: keyFromText('m') };
const right = { start: keyFromText('m'), end: keyFromText('') };

/** A disk that is full for the first commit it gets while it may be. */
class FullOnce extends MemoryStorage {
  full = false;

  override async commit(commit: Parameters<MemoryStorage['commit']>[0]): Promise<void> {
    const refused = this.full;
    this.full = false;
    await super.commit(refused ? {} : commit);
    if (refused) throw new AppError('RESOURCE_EXHAUSTED', 'the disk is full');
  }
}

async function owner(): Promise<{ storage: FullOnce; copies: Copies; copy: Copy }> {
  const storage = new FullOnce('disk');
  const copies = new Copies(storage, new WriteIdWindow({ ...DEFAULT_WRITE_ID_WINDOW, now: () => 0, wallMs: () => 0 }));
  const copy = copies.addFetching({ id: 1, ...EVERYTHING });
  copy.fetching = false;
  await copies.save([{ copy, record: { ...copy.record, owned: [EVERYTHING] } }]);
  return { storage, copies, copy };
}

describe('changes of records', () => {
  it('are not built on one that the disk refuses: what it would have given away stays', async () => {
    const { storage, copies, copy } = await owner();
    const give = (span: typeof left): Promise<void> =>
      copies.change(
        () => [copy],
        () => copies.save([{ copy, record: { ...copy.record, owned: subtractAll(copy.record.owned, [span]) } }]),
      );
    storage.full = true;
    const outcomes = await Promise.allSettled([give(left), give(right)]);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    expect(copy.record.owned).toEqual([left]);
    expect(storage.copies()[0]?.owned).toEqual([left]);
  });

  it('wait for each other, whoever waits with them', async () => {
    const { storage, copies, copy } = await owner();
    const change = (): Promise<void> =>
      copies.change(
        () => [copy],
        () => copies.save([{ copy, record: { ...copy.record, logEpoch: copy.record.logEpoch + 1 } }]),
      );
    await Promise.all([change(), change(), change()]);
    expect(copy.record.logEpoch).toBe(3);
    expect(storage.copies()[0]?.logEpoch).toBe(3);
  });
});
