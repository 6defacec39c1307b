import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { UnaryKv } from '../../client/unary.js';
import { WriteIdSource } from '../../client/write-id.js';
import type { Key } from '../../model/key.js';
import { KVService } from '../../proto/gen/kv/kv.js';
import { addService } from '../../proto/serve.js';
import { type Clock, sleep, systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { seededRandom, systemRandom } from '../../runtime/random.js';
import { ManualClock } from '../../test/cluster/manual-clock.js';
import { Hammer, type Load, type Results, type Target } from './hammer.js';
import { EXIT, judge } from './report.js';

type Lie = 'none' | 'lose writes' | 'read stale' | 'resurrect deleted' | 'change values' | 'mix up keys' | 'lie about failure' | 'fail some' | 'lose answers';

/** A store that tells the lie that it is asked for now and then. */
class LyingStore {
  readonly #now = new Map<string, Buffer>();
  readonly #before = new Map<string, Buffer>();
  readonly #lie: Lie;
  readonly #known = new Set<string>();
  #answers = 0;
  #puts = 0;
  #gets = 0;

  constructor(lie: Lie) {
    this.#lie = lie;
  }

  get knowsIds(): boolean {
    return this.#lie === 'lose answers';
  }

  put(key: string, value: Buffer | undefined, writeId: Buffer): void {
    if (!this.knowsIds) {
      this.#put(key, value);
      return;
    }
    const id = writeId.toString('hex');
    if (!this.#known.has(id)) this.#put(key, value);
    this.#known.add(id);
    if (++this.#answers % 7 === 0) throw new AppError('UNAVAILABLE', 'the answer is lost');
  }

  #put(key: string, value: Buffer | undefined): void {
    const turn = ++this.#puts;
    const old = this.#now.get(key);
    if (this.#lie === 'fail some' && turn % 5 === 0) {
      if (turn % 2 === 0) this.#store(key, value);
      throw new AppError('UNAVAILABLE', `the node went away after ${turn} ms`);
    }
    if (this.#lie === 'lose writes' && turn % 20 === 0) return;
    if (this.#lie === 'lie about failure' && turn % 20 === 0) {
      this.#store(key, value);
      throw new AppError('INVALID_ARGUMENT', 'refused, it says');
    }
    this.#store(key, value);
    if (old) this.#before.set(key, old);
  }

  #store(key: string, value: Buffer | undefined): void {
    if (value) this.#now.set(key, value);
    else this.#now.delete(key);
  }

  get(key: string): Buffer | undefined {
    const turn = ++this.#gets;
    const value = this.#now.get(key);
    const old = this.#before.get(key);
    const lying = turn % 10 === 0;
    if (lying && this.#lie === 'read stale' && value && old) return old;
    if (this.#lie === 'resurrect deleted' && !value && old) return old;
    if (lying && this.#lie === 'change values' && value) return Buffer.from(value.map((byte, i) => (i === 60 ? byte ^ 1 : byte)));
    if (lying && this.#lie === 'mix up keys') return [...this.#now].find(([name]) => name !== key)?.[1] ?? value;
    return value;
  }
}

const WORKERS: Load = {
  kind: 'workers',
  plan: { workers: ['a', 'm'].map((prefix) => ({ prefix, qps: { create: 60, read: 400, update: 150, delete: 60 } })) },
};

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** The store behind real gRPC; gives its address. */
async function serve(store: LyingStore): Promise<string> {
  const server = new grpc.Server();
  addService(
    server,
    KVService,
    {
      get: async ({ key }) => {
        const value = store.get(key.toString('latin1'));
        if (!value) throw new AppError('NOT_FOUND', 'key is absent');
        return { value, epoch: 1n, offset: 1n, stale: false, atOffset: 0n };
      },
      put: async ({ key, value, writeId }) => {
        store.put(key.toString('latin1'), value, writeId);
        return { epoch: 1n, offset: 0n };
      },
      dump: async () => ({ pairs: [] }),
    },
    { logger: silentLogger },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  cleanups.push(() => {
    server.forceShutdown();
  });
  return `127.0.0.1:${port}`;
}

function overGrpc(address: string): Target {
  const target = new UnaryKv({ addresses: [address], connections: 2 });
  cleanups.push(() => {
    target.close();
  });
  return target;
}

/** The store a few milliseconds away, by the test's clock. */
function away(store: LyingStore, clock: Clock): Target {
  const random = seededRandom(3);
  const onTheWay = (): Promise<void> => sleep(clock, random.next() * 3);
  const put = async (key: Key, value: Buffer | undefined, { writeId }: { writeId: Buffer }): Promise<void> => {
    await onTheWay();
    store.put(key, value, writeId);
    await onTheWay();
  };
  return {
    repeatable: store.knowsIds,
    get: async (key) => {
      await onTheWay();
      const value = store.get(key);
      await onTheWay();
      return value && { value };
    },
    put,
    delete: (key, options) => put(key, undefined, options),
  };
}

interface Run {
  readonly stale?: boolean;
  readonly verify?: boolean;
  readonly requests?: number;
  readonly run?: string;
}

/** By the test's clock: what is asked, when, and what is answered is the same each time. */
async function hammer(store: LyingStore, load: Load, options: Run = {}): Promise<Results> {
  const clock = new ManualClock();
  return runHammer(away(store, clock), load, options, clock, async (doing) => {
    let over = false;
    void doing.finally(() => {
      over = true;
    });
    while (!over) await clock.advance(1);
  });
}

/** By the computer's clock. */
function hammerFor(target: Target, load: Load, options: Run = {}): Promise<Results> {
  return runHammer(target, load, options, systemClock, (doing) => doing);
}

async function runHammer(target: Target, load: Load, options: Run, clock: Clock, until: (doing: Promise<void>) => Promise<void>): Promise<Results> {
  const run = new Hammer({
    target,
    load,
    run: options.run ?? 'test',
    keysMax: 50,
    valueBytes: 100,
    // A busy machine may keep a request waiting; that is not what is tested here.
    timeoutMs: 60_000,
    settleMs: 60_000,
    level: 'safe',
    stale: options.stale ?? false,
    clock,
    random: seededRandom(5),
    ids: new WriteIdSource(systemRandom),
  });
  run.start();
  const requests = (): number => {
    const { all } = run.results().tally;
    return all.ok + all.errors;
  };
  while (requests() < (options.requests ?? 1500)) await until(sleep(clock, 20));
  await until(run.stop());
  if (options.verify !== false) await until(run.verify(new AbortController().signal));
  return run.results();
}

describe('a store that tells the truth', () => {
  for (const load of [WORKERS, { kind: 'closed', callers: 16 } as const]) {
    it(`passes with ${load.kind}, over real gRPC`, async () => {
      const results = await hammerFor(overGrpc(await serve(new LyingStore('none'))), load);
      expect(results.violations).toEqual([]);
      expect(results.tally.errors).toEqual([]);
      expect(results.wrong + results.missing + results.tally.all.errors).toBe(0);
      expect(results.verification).toEqual({ asked: true, keys: results.keys, verified: results.keys, unreadable: 0 });
      expect(judge(results, { maxErrors: 0 })).toEqual({ exitCode: EXIT.ok, because: [] });
    });
  }

  it('passes a second run over what the first left behind', async () => {
    const store = new LyingStore('none');
    const first = await hammer(store, WORKERS, { requests: 300, run: 'one' });
    const second = await hammer(store, WORKERS, { requests: 300, run: 'two' });
    expect([first.violations, second.violations]).toEqual([[], []]);
  });

  it('passes when writes fail with and without effect, and the errors are told', async () => {
    const results = await hammer(new LyingStore('fail some'), WORKERS, { requests: 1000 });
    expect(results.violations).toEqual([]);
    expect(results.unknownOutcomes).toBeGreaterThan(0);
    expect(results.tally.errors.map((error) => error.code)).toContain('UNAVAILABLE');
    expect(results.tally.errors.length).toBeLessThan(4);
    expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.ok);
    expect(judge(results, { maxErrors: 0 }).exitCode).toBe(EXIT.unfinished);
  });

  it('is sent writes again of which it lost the answer: no outcome is left unknown', async () => {
    const results = await hammer(new LyingStore('lose answers'), WORKERS, { requests: 1000 });
    expect(results.violations).toEqual([]);
    expect(results.retries).toBeGreaterThan(0);
    expect([results.unknownOutcomes, results.tally.all.errors]).toEqual([0, 0]);
  });

  it('may answer stale reads with what was there before, but not with what never was', async () => {
    const old = await hammer(new LyingStore('read stale'), WORKERS, { requests: 800, stale: true, verify: false });
    expect(old.violations).toEqual([]);
    const foreign = await hammer(new LyingStore('change values'), WORKERS, { requests: 800, stale: true, verify: false });
    expect(foreign.wrong).toBeGreaterThan(0);
  });
});

describe('a store that lies is caught', () => {
  const cases: [Lie, 'wrong' | 'missing' | 'any', RegExp][] = [
    ['lose writes', 'any', /lost write/],
    ['read stale', 'wrong', /stale read/],
    ['resurrect deleted', 'wrong', /deleted value that came back/],
    ['change values', 'wrong', /never written/],
    ['mix up keys', 'wrong', /never written/],
    ['lie about failure', 'any', /stale read|never written|lost|came back/],
  ];
  for (const [lie, kind, looksLike] of cases) {
    it(lie, async () => {
      const results = await hammer(new LyingStore(lie), WORKERS);
      if (kind === 'any') expect(results.wrong + results.missing).toBeGreaterThan(0);
      else expect(results[kind]).toBeGreaterThan(0);
      expect(results.violations.map((violation) => violation.looksLike).join('; ')).toMatch(looksLike);
      expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.wrong);
    });
  }

  it('a write lost for good is caught by the final verification, if not before', async () => {
    const results = await hammer(new LyingStore('lose writes'), {
      kind: 'workers',
      plan: { workers: [{ prefix: 'a', qps: { create: 500, read: 0, update: 0, delete: 0 } }] },
    }, { requests: 50 });
    expect(results.missing).toBeGreaterThan(0);
    expect(results.violations.every((violation) => violation.during === 'verification')).toBe(true);
  });
});

describe('nobody there', () => {
  it('fails the run, and names the reason', async () => {
    const address = await serve(new LyingStore('none'));
    for (const cleanup of cleanups.splice(0)) cleanup();
    const results = await hammerFor(overGrpc(address), WORKERS, { requests: 100, verify: false });
    expect(results.tally.all.ok).toBe(0);
    expect(results.unknownOutcomes).toBe(0);
    expect(results.tally.errors.map(({ code }) => code)).toContain('UNAVAILABLE');
    expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.unfinished);
  });
});
