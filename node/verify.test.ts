import { afterEach, describe, expect, it } from 'vitest';
import { formatKey, keyFromText } from '../model/key.js';
import type { Member, Membership } from '../model/report.js';
import { ManualClock } from '../test/cluster/manual-clock.js';
import type { KvNode } from './node.js';
import { packPairs } from './storage/packed.js';
import { LocalCluster, at, command, meta, put } from './testing/local-cluster.js';
import type { VerifyReport } from './verify/messages.js';

const whole = meta(1);
const EVERY_MS = 10_000;

describe('copies that are compared', () => {
  let cluster: LocalCluster;
  let clock: ManualClock;
  afterEach(() => {
    cluster.killAll();
  });

  async function pass(ms: number): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    await clock.advance(ms);
  }

  async function until(condition: () => boolean, maxMs = 30_000): Promise<void> {
    for (let ms = 0; ms < maxMs && !condition(); ms += 20) await pass(20);
    expect(condition()).toBe(true);
  }

  async function during<T>(work: Promise<T>): Promise<T> {
    const done = { is: false };
    void work
      .finally(() => {
        done.is = true;
      })
      .catch(() => undefined);
    await until(() => done.is, 60_000);
    return work;
  }

  const member = (ident: string): Member => ({ node: ident, incarnation: cluster.node(ident).sources.storage.incarnation, address: ident });
  const membership = (idents: string[], more: Partial<Membership> = {}): Membership => ({ members: idents.map(member), minInSync: 1, fork: 0, promote: false, ...more });
  const inSync = (node: KvNode): number => (node.rangelet.rangeInfo(1)?.replica?.followers ?? []).filter((f) => f.inSync).length;
  const isDamaged = (node: KvNode): boolean | undefined => node.rangelet.rangeInfo(1)?.replica?.damaged;

  /** A primary A, and followers B and C in sync, with so many keys. */
  async function given(keys: number, everyMs = 0): Promise<{ a: KvNode; b: KvNode; c: KvNode }> {
    clock = new ManualClock();
    cluster = new LocalCluster({ clock, limits: { verify: { everyMs, bytesPerSecond: 0 } } });
    const [a, b, c] = [cluster.start('A'), cluster.start('B'), cluster.start('C')] as const;
    await during(command(a, { command: 'Prepare', meta: whole, epoch: 1, parents: [], initial: true }));
    await during(command(a, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true, membership: membership(['A']) }));
    for (const follower of [b, c]) await during(command(follower, { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false, fork: 0 }));
    await until(() => inSync(a) === 2);
    await during(command(a, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [], initial: false, membership: membership(['A', 'B', 'C']) }));
    await during(Promise.all(Array.from({ length: keys }, (_, i) => put(a, `k${i}`, `v${i}`))));
    return { a, b, c };
  }

  /** Changes what a node has of a key behind its back, at the same position. */
  async function damage(node: KvNode, key: string, value: string | undefined): Promise<void> {
    const { storage } = node.sources;
    const stored = storage.get(Buffer.from(key)) ?? { epoch: 1, offset: 1 };
    if (value === undefined) await during(storage.commit({ removeKeys: [keyFromText(key)] }));
    else await during(storage.commit({ pairs: packPairs([{ ...stored, key: Buffer.from(key), value: Buffer.from(value) }]) }));
  }

  async function verify(node: KvNode): Promise<VerifyReport> {
    let last: VerifyReport | undefined;
    await during(node.verify.verifier.run(1, (report) => (last = report), new AbortController().signal));
    expect(last?.done).toBe(true);
    return last as VerifyReport;
  }

  const wrong = ({ differences }: VerifyReport): string[] => differences.map(({ key, node, what }) => `${formatKey(key)}: ${node} ${what}`);

  it('are alike, over many chunks', async () => {
    const { a } = await given(2_500);
    expect(await verify(a)).toMatchObject({ keys: 2_500, unsettled: 0, problem: '', differences: [], copies: [{ node: 'A', skipped: '' }, { node: 'B', skipped: '' }, { node: 'C', skipped: '' }] });
  });

  it('differ where a follower is damaged, which then says so, also after a restart', async () => {
    const { a, b, c } = await given(1_500);
    await damage(b, 'k3', 'rotten');
    await damage(b, 'k700', undefined);
    await damage(b, 'zombie', 'undead');
    const report = await verify(a);
    expect(wrong(report).sort()).toEqual(['k3: B has another value', 'k700: B lacks it', 'zombie: B has it, though it was deleted']);
    expect(report.copies).toMatchObject([{ differences: 0, condemned: false }, { node: 'B', differences: 3, condemned: true }, { differences: 0, condemned: false }]);
    expect([a, b, c].map(isDamaged)).toEqual([false, true, false]);
    expect(() => b.data.getStale(Buffer.from('k3'))).toThrow(/no copy on this node/);
    cluster.kill('B');
    expect(isDamaged(cluster.start('B'))).toBe(true);
  });

  it('differ where the primary is damaged, which then says so', async () => {
    const { a, b, c } = await given(10);
    await damage(a, 'k3', 'rotten');
    expect(wrong(await verify(a))).toEqual(['k3: A has another value']);
    expect([a, b, c].map(isDamaged)).toEqual([true, false, false]);
  });

  it('are not made anew when none is right in all keys', async () => {
    const { a, b, c } = await given(10);
    for (const [i, node] of [a, b, c].entries()) await damage(node, `k${i}`, 'rotten');
    expect((await verify(a)).copies.map(({ differences, condemned }) => [differences, condemned])).toEqual([[1, false], [1, false], [1, false]]);
    expect([a, b, c].map(isDamaged)).toEqual([false, false, false]);
  });

  it('are alike while they are written', async () => {
    const { a } = await given(1_500);
    const writing = { on: true };
    const writes = (async () => {
      for (let i = 0; writing.on; i++) await put(a, `k${i % 300}`, i % 7 === 0 ? undefined : `again ${i}`);
    })();
    const report = await verify(a);
    writing.on = false;
    await during(writes);
    expect(report).toMatchObject({ differences: [], problem: '' });
  });

  it('leave out one that is away, and say so', async () => {
    const { a } = await given(10);
    cluster.cut('A', 'C');
    const report = await verify(a);
    expect(report.copies.map(({ node, skipped }) => [node, skipped])).toEqual([['A', ''], ['B', ''], ['C', 'C cannot be reached']]);
    expect(report.differences).toEqual([]);
  });

  it('are not compared with what a fail-over has yet to cut off', async () => {
    const { a, b, c } = await given(10);
    cluster.cut('A', 'B');
    const write = put(a, 'k3', 'on A and C alone').catch((thrown: unknown) => thrown);
    await until(() => c.copies.get(1)?.durableOffset === 11);
    cluster.kill('A');
    await during(command(b, { command: 'Activate', id: 1, epoch: 4, force: false, sources: [], initial: false, membership: membership(['B', 'C'], { promote: true, fork: 4 }) }));
    expect(await verify(b)).toMatchObject({ differences: [], copies: [{ node: 'B' }, { node: 'C', skipped: expect.stringContaining('log') as string }] });
    await during(command(c, { command: 'Prepare', meta: whole, epoch: 4, parents: [at(whole, 'B')], initial: false, fork: 4 }));
    await until(() => b.copies.get(1)?.committedOffset === 10 && inSync(b) === 1 && c.copies.get(1)?.durableOffset === 10);
    expect(await verify(b)).toMatchObject({ keys: 10, differences: [], copies: [{ skipped: '' }, { skipped: '' }] });
    void write;
  });

  it('are refused where the range is not active, and end when it becomes active elsewhere', async () => {
    const { a, b } = await given(2_500);
    await expect(b.verify.verifier.run(1, () => undefined, new AbortController().signal)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    const report = verify(a);
    await during(command(a, { command: 'Deactivate', id: 1, epoch: 4 }));
    expect(await report).toMatchObject({ done: true, problem: 'R1 is active elsewhere now' });
  });

  it('are compared by themselves, as often as was said, and a restart does not begin the time anew', async () => {
    const { a, b } = await given(10, EVERY_MS);
    await until(() => a.verify.verifier.totals.keys === 10);
    await until(() => a.copies.get(1)?.record.verifiedMs !== undefined);
    const { verifiedMs } = a.copies.get(1)?.record ?? {};
    await damage(b, 'k3', 'rotten');
    cluster.kill('A');
    const again = cluster.start('A');
    expect(again.copies.get(1)?.record.verifiedMs).toBe(verifiedMs);
    await until(() => isDamaged(b) === true);
    expect(clock.wallMs() - (verifiedMs ?? 0)).toBeGreaterThanOrEqual(EVERY_MS);
  });
});
