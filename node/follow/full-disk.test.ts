import { afterEach, describe, expect, it } from 'vitest';
import { AppError } from '../../runtime/errors.js';
import { MemoryStorage } from '../storage/memory.js';
import type { Commit } from '../storage/storage.js';
import { LocalCluster, at, command, get, meta, put } from '../testing/local-cluster.js';

const whole = meta(1);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A disk that is full for the commits that `isTooMuch` says. */
class FullDisk extends MemoryStorage {
  isTooMuch: (commit: Commit) => boolean = () => false;
  /** What a commit that is too much waits for before it fails. */
  until: Promise<void> | undefined;

  override async commit(commit: Commit): Promise<void> {
    const refused = this.isTooMuch(commit);
    await super.commit(refused ? {} : commit);
    if (refused) await this.until;
    if (refused) throw new AppError('RESOURCE_EXHAUSTED', 'the disk is full');
  }
}

describe('a disk that is full for a while', () => {
  let cluster: LocalCluster;
  afterEach(() => {
    cluster.killAll();
  });

  async function following(): Promise<{ disk: FullDisk; sourceDisk: FullDisk; third: FullDisk }> {
    const disk = new FullDisk('disk B', turn);
    const sourceDisk = new FullDisk('disk A', turn);
    const third = new FullDisk('disk C', turn);
    cluster = new LocalCluster({ storage: (ident) => ({ A: sourceDisk, B: disk })[ident] ?? third });
    const a = cluster.start('A');
    await command(a, { command: 'Prepare', meta: whole, epoch: 1, parents: [], initial: true });
    await command(a, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true });
    const b = cluster.start('B');
    await command(b, { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false });
    return { disk, sourceDisk, third };
  }

  it('costs a follower nothing, also when it dies before it could begin again', async () => {
    const { disk } = await following();
    const a = cluster.node('A');
    let refused = false;
    disk.isTooMuch = ({ appends }) => {
      const isLost = appends?.some(({ records }) => records.some(({ key }) => key.toString() === 'lost')) ?? false;
      refused ||= isLost;
      return isLost && refused;
    };
    const writes = [put(a, 'lost', '1')];
    await turn();
    writes.push(put(a, 'kept', '2'));
    await Promise.all(writes);
    await expect.poll(() => refused).toBe(true);
    cluster.kill('B');
    disk.isTooMuch = () => false;
    const b = cluster.start('B');
    await command(a, { command: 'Deactivate', id: 1, epoch: 3 });
    expect(await command(b, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [at(whole, 'A')], initial: false })).toMatchObject({ state: 'Active' });
    expect([get(b, 'lost'), get(b, 'kept')]).toEqual(['1', '2']);
  });

  it('refuses writes, not reads, and followers still catch up behind the refused ones', async () => {
    const { sourceDisk } = await following();
    const a = cluster.node('A');
    await put(a, 'k', '1');
    sourceDisk.isTooMuch = () => true;
    await expect(put(a, 'k', '2')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(get(a, 'k')).toBe('1');
    sourceDisk.isTooMuch = () => false;
    const c = cluster.start('C');
    expect(await command(c, { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false })).toMatchObject({ state: 'Inactive' });
    expect(await put(a, 'k', '3')).toEqual({ epoch: 1, offset: 2 });
    expect(get(a, 'k')).toBe('3');
  });

  it('has no follower pass an offset that is given again after a crash', async () => {
    const { sourceDisk } = await following();
    const b = cluster.node('B');
    await put(cluster.node('A'), 'k', '1');
    sourceDisk.isTooMuch = () => true;
    await expect(put(cluster.node('A'), 'k', '2')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    sourceDisk.isTooMuch = () => false;
    await expect.poll(() => b.copies.get(1)?.durableOffset).toBe(1);
    for (let turns = 0; turns < 20; turns++) await turn();
    cluster.cut('A', 'B');
    cluster.kill('A');
    const a = cluster.start('A');
    expect(await put(a, 'k', '3')).toEqual({ epoch: 1, offset: 2 });
    cluster.heal();
    await expect.poll(() => b.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('3');
  });

  it('ends a snapshot that was read while a write was on its way, which failed', async () => {
    const { sourceDisk } = await following();
    const a = cluster.node('A');
    await put(a, 'k', '1');
    let fail = (): void => undefined;
    sourceDisk.until = new Promise((resolve) => {
      fail = resolve;
    });
    sourceDisk.isTooMuch = ({ appends }) => appends !== undefined;
    const write = put(a, 'k', '2');
    const prepared = command(cluster.start('C'), { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false });
    for (let turns = 0; turns < 20; turns++) await turn();
    fail();
    await expect(write).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(await prepared).toMatchObject({ state: 'Inactive' });
    expect(cluster.node('C').copies.get(1)?.isWhole).toBe(true);
  });

  it('begins anew with a snapshot whose end could not be noted', async () => {
    const { third } = await following();
    await put(cluster.node('A'), 'k', '1');
    const c = cluster.start('C');
    let refusals = 1;
    // A copy that is being made is not on the disk yet, so its record changes with a commit of nothing.
    third.isTooMuch = ({ copies, pairs, trims }) => copies?.length === 0 && !pairs && !trims && refusals-- > 0;
    expect(await command(c, { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false })).toMatchObject({ state: 'Inactive' });
    expect(refusals).toBeLessThan(1);
    await expect.poll(() => c.copies.get(1)?.isWhole).toBe(true);
  });

  it('does not make a member begin anew, which none may', async () => {
    const { disk } = await following();
    const [a, b] = [cluster.node('A'), cluster.node('B')];
    const member = { node: 'B', incarnation: disk.incarnation, address: 'B' };
    await command(a, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [], initial: false, membership: { members: [member], minInSync: 1, fork: 0, promote: false } });
    await put(a, 'k', '1');
    const { baseOffset } = (b.copies.get(1) as { record: { baseOffset: number } }).record;
    let refusals = 2;
    disk.isTooMuch = ({ appends }) => appends !== undefined && refusals-- > 0;
    expect(await put(a, 'k', '2')).toEqual({ epoch: 1, offset: 2 });
    expect(refusals).toBeLessThan(1);
    expect(b.copies.get(1)?.record.baseOffset).toBe(baseOffset);
    expect(b.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('2');
  });

  it('does not leave a key unread whose failed write waited for a copy', async () => {
    const { disk, sourceDisk } = await following();
    const a = cluster.node('A');
    const member = { node: 'B', incarnation: disk.incarnation, address: 'B' };
    await command(a, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [], initial: false, membership: { members: [member], minInSync: 1, fork: 0, promote: false } });
    await put(a, 'k', '1');
    sourceDisk.isTooMuch = () => true;
    await expect(put(a, 'k', '2')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(get(a, 'k')).toBe('1');
  });

  it('keeps a right that was handed over, when its new owner could not be active yet and a fail-over was before', async () => {
    const { disk } = await following();
    const [a, b] = [cluster.node('A'), cluster.node('B')];
    await put(a, 'k', '1');
    await command(a, { command: 'Deactivate', id: 1, epoch: 3 });
    const activate = () => command(b, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [at(whole, 'A')], initial: false, membership: { members: [], minInSync: 1, fork: 1, promote: false } });
    disk.isTooMuch = ({ copies }) => copies?.some(({ state }) => state === 'Active') ?? false;
    expect(await activate()).toMatchObject({ state: 'Inactive', lastError: 'the disk is full' });
    cluster.kill('A');
    cluster.loseDisk('A');
    disk.isTooMuch = () => false;
    expect(await activate()).toMatchObject({ state: 'Active' });
    expect(get(b, 'k')).toBe('1');
  });

  it('keeps an epoch from counting as kept', async () => {
    const { sourceDisk } = await following();
    const a = cluster.node('A');
    sourceDisk.isTooMuch = ({ fences }) => fences !== undefined;
    await expect(command(a, { command: 'Deactivate', id: 1, epoch: 7 })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    await expect(command(a, { command: 'Deactivate', id: 1, epoch: 7 })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(a.rangelet.stateOf(1)).toBe('Active');
    sourceDisk.isTooMuch = () => false;
    expect(await command(a, { command: 'Deactivate', id: 1, epoch: 7 })).toMatchObject({ state: 'Inactive' });
    expect(sourceDisk.fences().get(1)).toBe(7);
  });
});
