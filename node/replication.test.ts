import { afterEach, describe, expect, it } from 'vitest';
import type { Member, Membership, Parent } from '../model/report.js';
import { ManualClock } from '../test/cluster/manual-clock.js';
import { LocalCluster, at, command, get, meta, put } from './testing/local-cluster.js';
import type { KvNode } from './node.js';

const whole = meta(1);
const LEASE_MS = 1_500;

describe('a range with three copies', () => {
  let cluster: LocalCluster;
  let clock: ManualClock;
  afterEach(() => {
    cluster.killAll();
  });

  const member = (ident: string): Member => ({ node: ident, incarnation: cluster.node(ident).sources.storage.incarnation, address: ident });
  const membership = (idents: string[], more: Partial<Membership> = {}): Membership => ({ members: idents.map(member), minInSync: 2, fork: 0, promote: false, ...more });
  const inSync = (node: KvNode): string[] => (node.rangelet.rangeInfo(1)?.replica?.followers ?? []).filter((f) => f.inSync).map((f) => f.member.node).sort();

  /** A moment passes; disks and messages take turns, not time. */
  async function pass(ms: number): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    await clock.advance(ms);
  }

  /** Time passes until `condition` holds. */
  async function until(condition: () => boolean, maxMs = 20_000): Promise<void> {
    for (let ms = 0; ms < maxMs && !condition(); ms += 20) await pass(20);
    expect(condition()).toBe(true);
  }

  async function given(): Promise<{ a: KvNode; b: KvNode; c: KvNode }> {
    clock = new ManualClock();
    cluster = new LocalCluster({ clock });
    const [a, b, c] = [cluster.start('A'), cluster.start('B'), cluster.start('C')] as const;
    await command(a, { command: 'Prepare', meta: whole, epoch: 1, parents: [], initial: true });
    await command(a, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true, membership: membership(['A'], { minInSync: 1 }) });
    for (const follower of [b, c]) await prepare(follower, 2, 'A');
    await until(() => inSync(a).length === 2);
    await command(a, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [], initial: false, membership: membership(['A', 'B', 'C']) });
    await until(() => a.rangelet.rangeInfo(1)?.replica?.configEpoch === 3);
    return { a, b, c };
  }

  /** Time passes while a command is at work. */
  async function during<T>(work: Promise<T>): Promise<T> {
    const done = { is: false };
    void work.finally(() => {
      done.is = true;
    }).catch(() => undefined);
    await until(() => done.is, 60_000);
    return work;
  }

  function prepare(node: KvNode, epoch: number, from: string, fork = 0): Promise<unknown> {
    return during(command(node, { command: 'Prepare', meta: whole, epoch, parents: [at(whole, from)], initial: false, fork }));
  }

  const promote = (node: KvNode, epoch: number, idents: string[]): Promise<unknown> =>
    during(command(node, { command: 'Activate', id: 1, epoch, force: false, sources: [], initial: false, membership: membership(idents, { promote: true, fork: epoch }) }));

  it('has every acknowledged write on each, before it is acknowledged', async () => {
    const { a, b, c } = await given();
    await during(put(a, 'k', '1'));
    for (const node of [b, c]) expect(node.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('1');
  });

  it('acknowledges nothing while a member is away, until the controller takes it out', async () => {
    const { a } = await given();
    cluster.kill('C');
    const writing = { done: false };
    const write = put(a, 'k', '1').then((answer) => {
      writing.done = true;
      return answer;
    });
    for (let ms = 0; ms < 5_000; ms += 50) await pass(50);
    expect(writing.done).toBe(false);
    await during(command(a, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: { ...membership(['A', 'B']) } }));
    await during(write);
    expect(inSync(a)).toEqual(['B']);
  });

  it('refuses a safe write with too few copies, and says why', async () => {
    const { a } = await given();
    await during(command(a, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: membership(['A'], { minInSync: 3 }) }));
    await until(() => a.rangelet.rangeInfo(1)?.replica?.configEpoch === 4);
    cluster.cut('A', 'B');
    cluster.cut('A', 'C');
    await expect(async () => put(a, 'k', '1')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('has a new copy in sync although nobody writes: a snapshot is acknowledged by itself', async () => {
    const { a } = await given();
    await during(put(a, 'k', '1'));
    // Until no log goes with a snapshot for the ids of writes that were made of late.
    for (let ms = 0; ms < 120_000; ms += 500) await pass(500);
    await prepare(cluster.start('D'), 4, 'A');
    await until(() => inSync(a).includes('D'));
    expect(cluster.node('D').sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('1');
  });

  it('makes a copy anew whose snapshot had what the new primary does not have', async () => {
    const { a, b } = await given();
    await during(put(a, 'k', '1'));
    // Until no log goes with a snapshot for the ids of writes that were made of late.
    for (let ms = 0; ms < 120_000; ms += 500) await pass(500);
    cluster.cut('A', 'B');
    const lost = put(a, 'k', 'never').catch((thrown: unknown) => thrown);
    await until(() => a.copies.get(1)?.durableOffset === 2);
    const d = cluster.start('D');
    await prepare(d, 4, 'A');
    expect(d.copies.get(1)?.record.baseOffset).toBe(2);
    cluster.kill('A');
    await promote(b, 5, ['B']);
    await prepare(d, 5, 'B', 5);
    await until(() => inSync(b).includes('D'));
    await during(put(b, 'other', '2'));
    expect(d.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('1');
    void lost;
  });

  it('fails over with every acknowledged write, and the old primary cuts off what nobody else has', async () => {
    const { a, b, c } = await given();
    for (let i = 0; i < 50; i++) await during(put(a, `k${i}`, 'acknowledged'));
    cluster.cut('A', 'B');
    cluster.cut('A', 'C');
    // On A's disk alone; it never answers.
    const lost = put(a, 'k7', 'never').catch((thrown: unknown) => thrown);
    const fresh = put(a, 'fresh', 'never').catch((thrown: unknown) => thrown);
    await until(() => a.copies.get(1)?.durableOffset === 52);
    expect(() => get(a, 'k7')).toThrow(/cannot be read consistently/);
    expect(await promote(b, 4, ['B', 'C'])).toMatchObject({ state: 'Active' });
    await prepare(c, 4, 'B', 4);
    await during(put(b, 'k8', 'newer'));
    expect(get(b, 'k7')).toBe('acknowledged');
    expect(() => get(a, 'k8')).toThrow(/cannot be read consistently/);
    cluster.heal();
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 4 }));
    await prepare(a, 4, 'B', 4);
    await until(() => inSync(b).length === 2);
    expect(await lost).toMatchObject({ code: 'UNKNOWN' });
    expect(await fresh).toMatchObject({ code: 'UNKNOWN' });
    const stored = (key: string): string | undefined => a.sources.storage.get(Buffer.from(key))?.value.toString();
    expect([stored('k7'), stored('k8'), stored('fresh')]).toEqual(['acknowledged', 'newer', undefined]);
    // From its log, not by a snapshot.
    expect(a.copies.get(1)?.record.baseOffset).toBe(0);
  });

  it('has a follower that was restarted take back what the new primary does not have', async () => {
    const { a, c } = await given();
    await during(put(a, 'k', '1'));
    await during(put(a, 'k', '2'));
    cluster.cut('A', 'C');
    const lost = put(a, 'lost', 'never').catch((thrown: unknown) => thrown);
    await until(() => cluster.node('B').copies.get(1)?.durableOffset === 3);
    for (const ident of ['A', 'B']) cluster.kill(ident);
    const b = cluster.start('B');
    await promote(c, 4, ['C', 'B']);
    await prepare(b, 4, 'C', 4);
    await during(put(c, 'other', '3'));
    expect(['k', 'lost', 'other'].map((name) => b.sources.storage.get(Buffer.from(name))?.value.toString())).toEqual(['2', undefined, '3']);
    void lost;
  });

  it('applies a write once that is tried again after a fail-over, whether the old primary had it or not', async () => {
    const { a, b, c } = await given();
    const id = (n: number): Buffer => Buffer.alloc(16, n);
    const again = (n: number, ageMs: number): { writeId: Buffer; firstSentAt: number } => ({ writeId: id(n), firstSentAt: clock.now() - ageMs });
    const position = await during(put(a, 'had', 'first', { writeId: id(1) }));
    cluster.cut('A', 'B');
    cluster.cut('A', 'C');
    const lost = put(a, 'lacked', 'first', { writeId: id(2) }).catch((thrown: unknown) => thrown);
    await until(() => a.copies.get(1)?.durableOffset === 2);
    await promote(b, 4, ['B', 'C']);
    await prepare(c, 4, 'B', 4);
    await during(put(b, 'had', 'second'));
    expect(await during(put(b, 'had', 'first', again(1, 3_000)))).toEqual(position);
    expect(await during(put(b, 'lacked', 'first', again(2, 3_000)))).toMatchObject({ epoch: 4 });
    expect([get(b, 'had'), get(b, 'lacked')]).toEqual(['second', 'first']);
    // The old one cuts off what it had alone, and its id with it.
    cluster.heal();
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 4 }));
    await prepare(a, 4, 'B', 4);
    await until(() => inSync(b).length === 2);
    expect(await lost).toMatchObject({ code: 'UNKNOWN' });
    expect(a.copies.get(1)?.writeIds.find(id(2))).toMatchObject({ epoch: 4 });
  });

  it('does not make a follower primary before its leases are over, nor lets the old one read after', async () => {
    const { a, b } = await given();
    await during(put(a, 'k', '1'));
    cluster.cut('A', 'B');
    const promoting = { done: false };
    const from = clock.now();
    const promotion = command(b, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: membership(['B', 'C'], { promote: true, fork: 4 }) }).then(() => {
      promoting.done = true;
    });
    await until(() => promoting.done);
    await promotion;
    expect(clock.now() - from).toBeLessThan(LEASE_MS * 1.1);
    expect(() => get(a, 'k')).toThrow(/cannot be read consistently/);
  });

  it('follows a node that had no copy when it was asked, once that has one and is primary', async () => {
    const { a, b, c } = await given();
    await during(command(a, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: membership(['A', 'C']) }));
    await during(command(b, { command: 'Drop', id: 1, epoch: 4, force: false }));
    await prepare(c, 5, 'B');
    await pass(100);
    await prepare(b, 6, 'A');
    cluster.kill('A');
    await promote(b, 7, ['B']);
    await until(() => inSync(b).includes('C'));
  });

  it('makes a parent\'s copy anew beside which a child wrote that a fail-over of the parent went past', async () => {
    const { a, c } = await given();
    await during(put(a, 'k', '1'));
    await during(put(a, 'other', '1'));
    const left = meta(2, '', 'm');
    await during(command(c, { command: 'Prepare', meta: left, epoch: 4, parents: [at(whole, 'A')], initial: false }));
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 5 }));
    await during(command(c, { command: 'Activate', id: 2, epoch: 5, force: false, sources: [at(whole, 'A')], initial: false, membership: membership(['A', 'B', 'C']) }));
    const lost = put(c, 'k', 'never').catch((thrown: unknown) => thrown);
    await until(() => c.sources.storage.get(Buffer.from('k'))?.value.toString() === 'never');
    await promote(a, 6, ['A', 'B']);
    await during(command(c, { command: 'Deactivate', id: 2, epoch: 6 }));
    await during(command(c, { command: 'Drop', id: 2, epoch: 6, force: true }));
    await prepare(c, 6, 'A', 6);
    await until(() => inSync(a).includes('C'));
    expect(c.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('1');
    void lost;
  });

  it('is not served with a right that a fail-over of a child went past, but with what the child took', async () => {
    const { a, b } = await given();
    await during(put(a, 'k', '1'));
    await during(put(a, 'z', '1'));
    const left = meta(2, '', 'm');
    await during(command(b, { command: 'Prepare', meta: left, epoch: 4, parents: [at(whole, 'A')], initial: false }));
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 5 }));
    // The node that was to hand over stands still, so the child's copy makes the right anew.
    await during(command(b, { command: 'Activate', id: 2, epoch: 6, force: false, sources: [], initial: false, membership: membership(['B'], { minInSync: 1, promote: true, fork: 6 }) }));
    await during(put(b, 'k', '2'));
    await during(command(b, { command: 'Deactivate', id: 2, epoch: 7 }));
    const sources = [{ ...at(left, 'B'), fork: 6 }];
    expect(await during(command(a, { command: 'Activate', id: 1, epoch: 7, force: false, sources, initial: false, membership: membership(['A'], { minInSync: 1 }) }))).toMatchObject({ state: 'Active' });
    expect(['k', 'z'].map((key) => get(a, key))).toEqual(['2', '1']);
  });

  it('lets a member adopt its keys from one that has done so, and became primary before the member began', async () => {
    const { a, b, c } = await given();
    await during(put(a, 'k', '1'));
    const left = meta(2, '', 'm');
    const prepareLeft = (node: KvNode, epoch: number, ...parents: Parent[]): Promise<unknown> => during(command(node, { command: 'Prepare', meta: left, epoch, parents, initial: false }));
    const activateLeft = (node: KvNode, epoch: number, source: Parent): Promise<unknown> =>
      during(command(node, { command: 'Activate', id: 2, epoch, force: false, sources: [source], initial: false, membership: membership(['A', 'B', 'C']) }));
    for (const node of [a, b, c]) await prepareLeft(node, 4, at(whole, 'A'));
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 5 }));
    await activateLeft(a, 5, at(whole, 'A'));
    await prepareLeft(b, 6, at(left, 'A'));
    await until(() => b.copies.get(2)?.lastEpoch === 5);
    await during(command(a, { command: 'Deactivate', id: 2, epoch: 7 }));
    expect(await activateLeft(b, 7, at(left, 'A'))).toMatchObject({ state: 'Active' });
    await prepareLeft(a, 8, at(left, 'B'));
    await prepareLeft(c, 8, at(left, 'B'));
    await during(put(b, 'k', '2'));
    expect(c.sources.storage.get(Buffer.from('k'))?.value.toString()).toBe('2');
    expect(c.copies.get(2)?.record.origins).toEqual(b.copies.get(2)?.record.origins);
  });

  it('lets a member of a join adopt keys that it fetched, because one parent has no copy where it is', async () => {
    clock = new ManualClock();
    cluster = new LocalCluster({ clock });
    const [a, b] = [cluster.start('A'), cluster.start('B'), cluster.start('C')] as const;
    const [left, right, joined] = [meta(2, '', 'm'), meta(3, 'm'), meta(4)];
    for (const [parent, other] of [[left, 'B'], [right, 'C']] as const) {
      await command(a, { command: 'Prepare', meta: parent, epoch: 1, parents: [], initial: true });
      await command(a, { command: 'Activate', id: parent.id, epoch: 1, force: false, sources: [], initial: true, membership: membership(['A'], { minInSync: 1 }) });
      await during(command(cluster.node(other), { command: 'Prepare', meta: parent, epoch: 2, parents: [at(parent, 'A')], initial: false }));
      await during(command(a, { command: 'Activate', id: parent.id, epoch: 3, force: false, sources: [], initial: false, membership: membership(['A', other], { minInSync: 1 }) }));
    }
    await during(put(a, 'k', '1'));
    await during(put(a, 'z', '2'));
    const parents = [at(left, 'A'), at(right, 'A')];
    for (const node of [a, b]) await during(command(node, { command: 'Prepare', meta: joined, epoch: 4, parents, initial: false }));
    for (const { id } of [left, right]) await during(command(a, { command: 'Deactivate', id, epoch: 5 }));
    await during(command(a, { command: 'Activate', id: 4, epoch: 5, force: false, sources: parents, initial: false, membership: membership(['A', 'B'], { minInSync: 1 }) }));
    await during(command(b, { command: 'Prepare', meta: joined, epoch: 6, parents: [at(joined, 'A')], initial: false }));
    await during(put(a, 'z', '3'));
    expect(['k', 'z'].map((name) => b.sources.storage.get(Buffer.from(name))?.value.toString())).toEqual(['1', '3']);
    // Nothing was copied a second time.
    expect(b.copies.get(4)?.record).toMatchObject({ origins: a.copies.get(4)?.record.origins });
    expect(b.copies.get(4)?.record.wholeAt).toBeUndefined();
  });

  it('is not made active for a disk that the node no longer has', async () => {
    const { b } = await given();
    cluster.kill('A');
    const other = { ...member('B'), incarnation: 'lost' };
    const refused = during(command(b, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: { ...membership([], { promote: true, fork: 4 }), members: [other] } }));
    await expect(refused).resolves.toMatchObject({ lastError: expect.stringContaining('another disk of B') as unknown });
    expect(b.rangelet.rangeInfo(1)?.state).toBe('Inactive');
  });

  it('serves again by itself when every node was killed and came back', async () => {
    const { a } = await given();
    await during(put(a, 'k', '1'));
    for (const ident of ['A', 'B', 'C']) cluster.kill(ident);
    const again = cluster.start('A');
    cluster.start('B');
    const read = again.data.value(Buffer.from('k'));
    cluster.start('C');
    expect((await during(read))?.value.toString()).toBe('1');
    await during(put(again, 'k', '2'));
  });

  it('says who follows, how far, and when the source is lost', async () => {
    const { a, b } = await given();
    await during(put(a, 'k', '1'));
    expect(b.rangelet.rangeInfo(1)?.replica).toMatchObject({ source: 'A', sourceLost: false, lastOffset: 1, damaged: false });
    expect(a.rangelet.rangeInfo(1)?.replica).toMatchObject({ leased: true, committedOffset: 1, lastOffset: 1 });
    cluster.kill('A');
    await until(() => b.rangelet.rangeInfo(1)?.replica?.sourceLost === true);
  });
});
