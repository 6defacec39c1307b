import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LogEntry, LogRequest } from '../../model/log.js';
import { NO_MEMBERSHIP } from '../../model/report.js';
import type { KvNode } from '../node.js';
import { LocalCluster, at, command, meta, put } from '../testing/local-cluster.js';

const whole = meta(1);

describe("a range's log", () => {
  let cluster: LocalCluster;
  let node: KvNode;
  beforeEach(async () => {
    cluster = new LocalCluster({ limits: { retention: { keepBytes: 1000, holdBytesMax: 1000, keepAgeMs: 0 } } });
    node = cluster.start('A');
    await command(node, { command: 'Prepare', meta: whole, epoch: 1, parents: [], initial: true });
    const members = [{ node: 'A', incarnation: node.sources.storage.incarnation, address: 'A' }];
    await command(node, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true, membership: { ...NO_MEMBERSHIP, members } });
  });
  afterEach(() => {
    cluster.killAll();
  });

  const text = ({ epoch, offset, key, value }: LogEntry): string => `${epoch}-${offset} ${key}=${value?.toString() ?? 'deleted'}`;

  async function read(request: Partial<LogRequest> = {}, from = node): Promise<string[]> {
    const lines: string[] = [];
    for await (const { entries } of from.log.read({ range: 1, ...request })) lines.push(...entries.map(text));
    return lines;
  }

  it('has every write in order, from any offset on, and when it was made', async () => {
    await put(node, 'a', '1');
    await put(node, 'b', '2');
    await put(node, 'a', undefined);
    expect(await read()).toEqual(['1-1 a=1', '1-2 b=2', '1-3 a=deleted']);
    expect(await read({ from: 3 })).toEqual(['1-3 a=deleted']);
    expect(await read({ from: 4 })).toEqual([]);
    for await (const { entries, end } of node.log.read({ range: 1 })) {
      expect(end).toBe(3);
      for (const { timeMs } of entries) expect(timeMs).toBeGreaterThan(0);
    }
    await expect(read({ from: 5 })).rejects.toThrow('from: 5 is beyond the end of the log of R1 [-inf, +inf), 3');
    await expect(read({ range: 2 })).rejects.toThrow('R2 is not on this node');
  });

  it('is followed while it is written, until the range is served no more', async () => {
    await put(node, 'a', '1');
    const lines: string[] = [];
    const following = (async () => {
      for await (const { entries } of node.log.read({ range: 1, follow: true })) lines.push(...entries.map(text));
    })();
    const ended = expect(following).rejects.toMatchObject({ code: 'ABORTED', message: expect.stringContaining('go on with offset 3') as string });
    await expect.poll(() => lines).toEqual(['1-1 a=1']);
    await put(node, 'b', '2');
    await expect.poll(() => lines).toEqual(['1-1 a=1', '1-2 b=2']);
    await command(node, { command: 'Deactivate', id: 1, epoch: 1 });
    await ended;
  });

  it('ends for a reader who leaves', async () => {
    const leaving = new AbortController();
    const following = node.log.read({ range: 1, follow: true }, { signal: leaving.signal }).next();
    leaving.abort(new Error('enough'));
    await expect(following).rejects.toThrow('enough');
  });

  it('says from where on it is kept when that is not far enough back', async () => {
    await put(node, 'first', '1');
    for (let i = 0; i < 2100; i++) void put(node, 'k', 'x'.repeat(1000));
    await put(node, 'last', '1');
    await expect.poll(() => node.sources.storage.logBounds(1)?.first).toBeGreaterThan(1);
    await expect(read({ from: 1 })).rejects.toMatchObject({ code: 'OUT_OF_RANGE', message: expect.stringMatching(/does not reach back to offset 1 here: the oldest that is kept is \d+/) as string });
    expect((await read()).at(-1)).toBe('1-2102 last=1');
  });

  it('is read from a follower too, as far as that knows it committed', async () => {
    await put(node, 'before', '1');
    const follower = cluster.start('B');
    await command(follower, { command: 'Prepare', meta: whole, epoch: 2, parents: [at(whole, 'A')], initial: false });
    await put(node, 'after', '2');
    const lines: string[] = [];
    const leaving = new AbortController();
    const following = (async () => {
      for await (const { entries } of follower.log.read({ range: 1, follow: true }, { signal: leaving.signal })) lines.push(...entries.map(text));
    })().catch(() => undefined);
    await expect.poll(() => lines.at(-1)).toBe('1-2 after=2');
    leaving.abort(new Error('enough'));
    await following;
  });
});
