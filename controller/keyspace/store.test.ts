import { describe, expect, it } from 'vitest';
import type { Change, Persister } from '../../coordination/interfaces.js';
import { AppError } from '../../runtime/errors.js';
import { type ChangeGroup, firstRange } from './keyspace.js';
import { KeyspaceStore } from './store.js';

/** Writes when it is told to. */
class SlowPersister implements Persister {
  readonly writes: string[][] = [];
  private waiting: { resolve: () => void; reject: (error: Error) => void } | undefined;

  load(): Promise<ReadonlyMap<string, string>> {
    return Promise.resolve(new Map());
  }

  write(groups: readonly (readonly Change[])[]): Promise<void> {
    this.writes.push(groups.map((group) => group.map((change) => change.key).join('+')));
    return new Promise((resolve, reject) => (this.waiting = { resolve, reject }));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async done(error?: Error): Promise<void> {
    const { waiting } = this;
    if (error) waiting?.reject(error);
    else waiting?.resolve();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function group(...ids: number[]): ChangeGroup {
  return { deferrable: false, changes: ids.map((id) => ({ id, record: { ...firstRange(), id } })) };
}

async function loaded(): Promise<{ persister: SlowPersister; store: KeyspaceStore }> {
  const persister = new SlowPersister();
  const store = new KeyspaceStore(persister);
  await store.load();
  return { persister, store };
}

describe('the keyspace on disk', () => {
  it('is written in order, what came meanwhile in one go', async () => {
    const { persister, store } = await loaded();
    const all = Promise.all([store.write([group(1)]), store.write([group(2), group(3, 4)]), store.write([group(5)])]);
    await persister.done();
    await persister.done();
    await all;
    expect(persister.writes).toEqual([['1'], ['2', '3+4', '5']]);
  });

  it('never has one document twice in one write', async () => {
    const { persister, store } = await loaded();
    const all = Promise.all([store.write([group(1)]), store.write([group(2)]), store.write([group(3, 2)])]);
    for (let i = 0; i < 3; i++) await persister.done();
    await all;
    expect(persister.writes).toEqual([['1'], ['2'], ['3+2']]);
  });

  it('takes nothing more after a failure until it was read again', async () => {
    const { persister, store } = await loaded();
    const first = store.write([group(1)]);
    const second = store.write([group(2)]);
    const failed = Promise.allSettled([first, second]);
    await persister.done(new AppError('UNAVAILABLE', 'the disk is away'));
    expect((await failed).map((r) => r.status)).toEqual(['rejected', 'rejected']);
    await expect(store.write([group(3)])).rejects.toThrow('the disk is away');
    expect(store.broken?.code).toBe('UNAVAILABLE');
    await store.load();
    const third = store.write([group(3)]);
    await persister.done();
    await third;
    expect(persister.writes).toEqual([['1'], ['3']]);
  });

  it('is not written before it was read', async () => {
    await expect(new KeyspaceStore(new SlowPersister()).write([group(1)])).rejects.toThrow('not loaded');
  });
});
