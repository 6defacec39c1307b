import { Subject } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LogPage, LogRequest } from '../../model/log.js';
import { LocalCluster, at, command, meta, put } from '../../node/testing/local-cluster.js';
import { systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { RangePlaces, RangePrimary } from '../owners.js';
import { RoutedLogs } from './routed-logs.js';

const whole = meta(1);

/** Where the test says that the ranges are. */
class Places implements RangePlaces {
  readonly changes = new Subject<void>();
  primary: RangePrimary | undefined;
  heir: number | undefined;
  held: boolean | undefined = true;

  set(node: string | undefined, epoch = 1): void {
    this.primary = node === undefined ? undefined : { node, address: node, range: 1, epoch, start: whole.start };
    this.changes.next();
  }

  primaryOf(range: number): RangePrimary | undefined {
    return range === 1 ? this.primary : undefined;
  }

  find(): ReturnType<RangePlaces['find']> {
    return this.heir === undefined ? undefined : { node: 'C', address: 'C', range: this.heir, epoch: 9, interval: whole };
  }

  isHeld(range: number): boolean | undefined {
    return range === 1 ? this.held : false;
  }
}

describe('a log by way of a proxy', () => {
  let cluster: LocalCluster;
  let places: Places;
  let asked: string[];
  /** Instead of a node's own answer. */
  let instead: ((address: string, request: LogRequest, signal: AbortSignal) => AsyncIterable<LogPage>) | undefined;
  let logs: RoutedLogs;
  /** Connections. */
  let held: number;
  const ask = (address: string, request: LogRequest, signal: AbortSignal): AsyncIterable<LogPage> => {
    asked.push(`${address} from ${request.from ?? 'its oldest'}`);
    return instead?.(address, request, signal) ?? cluster.node(address).log.read(request, { signal });
  };

  beforeEach(async () => {
    cluster = new LocalCluster();
    places = new Places();
    asked = [];
    held = 0;
    instead = undefined;
    logs = new RoutedLogs({
      places,
      hold: (address) => {
        held++;
        return { store: { log: (request, { signal } = {}) => ask(address, request, signal as AbortSignal) }, release: () => held-- };
      },
      clock: systemClock,
      timeoutMs: 20_000,
    });
    const node = cluster.start('A');
    await command(node, { command: 'Prepare', meta: whole, epoch: 1, parents: [], initial: true });
    await command(node, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true });
    places.set('A');
  });
  afterEach(() => {
    expect(held).toBe(0);
    cluster.killAll();
  });

  /** The offsets that are told, as they come. */
  function follow(request: Partial<LogRequest> = {}, options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {}): { readonly told: string[]; readonly ended: Promise<void> } {
    const told: string[] = [];
    const ended = (async () => {
      for await (const { entries } of logs.read({ range: 1, ...request }, options)) told.push(...entries.map(({ offset, key }) => `${offset} ${key}`));
    })();
    ended.catch(() => undefined);
    return { told, ended };
  }

  async function move(from: string, to: string, epoch: number): Promise<void> {
    const [source, destination] = [cluster.node(from), cluster.start(to)];
    await command(destination, { command: 'Prepare', meta: whole, epoch, parents: [at(whole, from)], initial: false });
    await command(source, { command: 'Deactivate', id: 1, epoch });
    places.set(undefined);
    await command(destination, { command: 'Activate', id: 1, epoch, force: false, sources: [at(whole, from)], initial: false });
    places.set(to, epoch);
    await command(source, { command: 'Drop', id: 1, epoch, force: false });
  }

  it('is what the primary has, to its end', async () => {
    await put(cluster.node('A'), 'a', '1');
    await put(cluster.node('A'), 'b', '2');
    const { told, ended } = follow();
    await ended;
    expect(told).toEqual(['1 a', '2 b']);
    const behind = follow({ from: 2 });
    await behind.ended;
    expect(behind.told).toEqual(['2 b']);
  });

  it('goes on at the next primary, each write once', async () => {
    await put(cluster.node('A'), 'a', '1');
    const leaving = new AbortController();
    const { told, ended } = follow({ follow: true }, { signal: leaving.signal });
    await expect.poll(() => told).toEqual(['1 a']);
    await put(cluster.node('A'), 'b', '2');
    await move('A', 'B', 2);
    await put(cluster.node('B'), 'c', '3');
    await expect.poll(() => told).toEqual(['1 a', '2 b', '3 c']);
    expect([asked[0], asked.at(-1)]).toEqual(['A from its oldest', 'B from 3']);
    leaving.abort(new Error('enough'));
    await expect(ended).rejects.toThrow('enough');
  });

  it('leaves a primary that was passed by, and says nothing any more', async () => {
    let left = false;
    instead = async function* (address, _, signal) {
      if (address === 'B') return yield* [];
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve);
      });
      left = true;
      throw AppError.from(signal.reason);
    };
    const { ended } = follow({ from: 1 });
    await expect.poll(() => asked).toEqual(['A from 1']);
    places.set('B', 2);
    await ended;
    expect([asked, left]).toEqual([['A from 1', 'B from 1'], true]);
  });

  it('asks again when the connection breaks, or the map is late', async () => {
    await put(cluster.node('A'), 'a', '1');
    const failures = [new AppError('UNAVAILABLE', 'cut'), new AppError('NOT_FOUND', 'R1 is not on this node')];
    instead = (address, request, signal) => {
      const failure = failures.shift();
      if (failure) throw failure;
      return cluster.node(address).log.read(request, { signal });
    };
    const { told, ended } = follow();
    await ended;
    expect([told, asked.length]).toEqual([['1 a'], 3]);
  });

  it('says where to go on when no primary comes in time', async () => {
    await put(cluster.node('A'), 'a', '1');
    const { told, ended } = follow({ follow: true }, { timeoutMs: 300 });
    await expect.poll(() => told).toEqual(['1 a']);
    places.set(undefined);
    await command(cluster.node('A'), { command: 'Deactivate', id: 1, epoch: 2 });
    await expect(ended).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringMatching(/^waited 300 ms: node A.*not served here any more.*Go on with offset 2$/) as string });
  });

  it('ends when the range is no more, or never was', async () => {
    await put(cluster.node('A'), 'a', '1');
    const { told, ended } = follow({ follow: true });
    await expect.poll(() => told).toEqual(['1 a']);
    places.set(undefined);
    places.held = false;
    places.heir = 7;
    await command(cluster.node('A'), { command: 'Deactivate', id: 1, epoch: 2 });
    await expect(ended).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'R1 is no more, R7 has its keys: its log was told up to offset 1' });
    await expect(follow({ range: 2 }).ended).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'R2 is on no node that is there' });
  });

  it('passes on what no waiting helps', async () => {
    await put(cluster.node('A'), 'a', '1');
    await expect(follow({ from: 9 }).ended).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('beyond the end') as string });
    expect(asked.length).toBe(1);
  });

  it('reads no page before it is asked for it', async () => {
    let pages = 0;
    instead = async function* () {
      for (;;) yield await Promise.resolve({ entries: [{ key: whole.start, value: undefined, contentType: undefined, epoch: 1, offset: ++pages, timeMs: undefined }], end: 100 });
    };
    const reader = logs.read({ range: 1, follow: true })[Symbol.asyncIterator]();
    await reader.next();
    await reader.next();
    expect(pages).toBe(2);
    await reader.return();
  });
});
