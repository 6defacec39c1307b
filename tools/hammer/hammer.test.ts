import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { UnaryKv } from '../../client/unary.js';
import { WriteIdSource } from '../../client/write-id.js';
import { KVService } from '../../proto/gen/kv/kv.js';
import { addService } from '../../proto/serve.js';
import { sleep, systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { seededRandom, systemRandom } from '../../runtime/random.js';
import { Hammer, type Load, type Results } from './hammer.js';
import { EXIT, judge } from './report.js';

type Lie = 'none' | 'lose writes' | 'read stale' | 'resurrect deleted' | 'change values' | 'mix up keys' | 'lie about failure' | 'fail some' | 'lose answers';

/** A store in this process behind real gRPC, which tells the lie that it is asked for now and then. */
class LyingStore {
  readonly server = new grpc.Server();
  readonly #now = new Map<string, Buffer>();
  readonly #before = new Map<string, Buffer>();
  readonly #lie: Lie;
  readonly #known = new Set<string>();
  #answers = 0;
  #puts = 0;
  #gets = 0;
  lies = 0;

  constructor(lie: Lie) {
    this.#lie = lie;
    addService(
      this.server,
      KVService,
      {
        get: async ({ key }) => ({ value: this.#get(key.toString('latin1')), epoch: 1n, offset: 1n, stale: false, atOffset: 0n }),
        put: async ({ key, value, writeId }) => {
          const knowsIds = lie === 'lose answers';
          const id = writeId.toString('hex');
          if (lie !== 'lose answers' || !this.#known.has(id)) this.#put(key.toString('latin1'), value);
          this.#known.add(id);
          if (knowsIds && ++this.#answers % 7 === 0) throw new AppError('UNAVAILABLE', 'the answer is lost');
          return { epoch: 1n, offset: knowsIds ? 1n : 0n };
        },
        dump: async () => ({ pairs: [] }),
      },
      { logger: silentLogger },
    );
  }

  #put(key: string, value: Buffer | undefined): void {
    const turn = ++this.#puts;
    const old = this.#now.get(key);
    if (this.#lie === 'fail some' && turn % 5 === 0) {
      if (turn % 2 === 0) this.#store(key, value);
      throw new AppError('UNAVAILABLE', `the node went away after ${turn} ms`);
    }
    if (this.#lie === 'lose writes' && turn % 20 === 0) {
      this.lies++;
      return;
    }
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

  #get(key: string): Buffer {
    const turn = ++this.#gets;
    const value = this.#now.get(key);
    const old = this.#before.get(key);
    const lying = turn % 10 === 0;
    if (lying && this.#lie === 'read stale' && value && old) return this.#lieWith(old);
    if (this.#lie === 'resurrect deleted' && !value && old) return this.#lieWith(old);
    if (lying && this.#lie === 'change values' && value) return this.#lieWith(Buffer.from(value.map((byte, i) => (i === 60 ? byte ^ 1 : byte))));
    if (lying && this.#lie === 'mix up keys' && this.#now.size > 1) {
      const other = [...this.#now].find(([name]) => name !== key);
      if (other) return this.#lieWith(other[1]);
    }
    if (!value) throw new AppError('NOT_FOUND', 'key is absent');
    return value;
  }

  #lieWith(value: Buffer): Buffer {
    this.lies++;
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

async function serve(store: LyingStore): Promise<string> {
  const port = await new Promise<number>((resolve, reject) => {
    store.server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  cleanups.push(() => {
    store.server.forceShutdown();
  });
  return `127.0.0.1:${port}`;
}

async function hammer(address: string, load: Load, options: { stale?: boolean; verify?: boolean; requests?: number; run?: string; until?: (results: Results) => boolean } = {}): Promise<Results> {
  const target = new UnaryKv({ addresses: [address], connections: 2 });
  cleanups.push(() => {
    target.close();
  });
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
    clock: systemClock,
    random: seededRandom(5),
    ids: new WriteIdSource(systemRandom),
  });
  run.start();
  const done = (): boolean => {
    const results = run.results();
    const { all } = results.tally;
    return all.ok + all.errors >= (options.requests ?? 1500) && (options.until?.(results) ?? true);
  };
  while (!done()) await sleep(systemClock, 20);
  await run.stop();
  if (options.verify !== false) await run.verify(new AbortController().signal);
  return run.results();
}

describe('a store that tells the truth', () => {
  for (const load of [WORKERS, { kind: 'closed', callers: 16 } as const]) {
    it(`passes with ${load.kind}`, async () => {
      const results = await hammer(await serve(new LyingStore('none')), load);
      expect(results.violations).toEqual([]);
      expect(results.tally.errors).toEqual([]);
      expect(results.wrong + results.missing + results.tally.all.errors).toBe(0);
      expect(results.verification).toEqual({ asked: true, keys: results.keys, verified: results.keys, unreadable: 0 });
      expect(judge(results, { maxErrors: 0 })).toEqual({ exitCode: EXIT.ok, because: [] });
    });
  }

  it('passes a second run over what the first left behind', async () => {
    const address = await serve(new LyingStore('none'));
    const first = await hammer(address, WORKERS, { requests: 300, run: 'one' });
    const second = await hammer(address, WORKERS, { requests: 300, run: 'two' });
    expect([first.violations, second.violations]).toEqual([[], []]);
  });

  it('passes when writes fail with and without effect, and the errors are told', async () => {
    const results = await hammer(await serve(new LyingStore('fail some')), WORKERS, { requests: 1000 });
    expect(results.violations).toEqual([]);
    expect(results.unknownOutcomes).toBeGreaterThan(0);
    expect(results.tally.errors.map((error) => error.code)).toContain('UNAVAILABLE');
    expect(results.tally.errors.length).toBeLessThan(4);
    expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.ok);
    expect(judge(results, { maxErrors: 0 }).exitCode).toBe(EXIT.unfinished);
  });

  it('is sent writes again of which it lost the answer: no outcome is left unknown', async () => {
    const results = await hammer(await serve(new LyingStore('lose answers')), WORKERS, { requests: 1000 });
    expect(results.violations).toEqual([]);
    expect(results.retries).toBeGreaterThan(0);
    expect([results.unknownOutcomes, results.tally.all.errors]).toEqual([0, 0]);
  });

  it('may answer stale reads with what was there before, but not with what never was', async () => {
    const old = await hammer(await serve(new LyingStore('read stale')), WORKERS, { requests: 800, stale: true, verify: false });
    expect(old.violations).toEqual([]);
    const foreign = await hammer(await serve(new LyingStore('change values')), WORKERS, { requests: 800, stale: true, verify: false });
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
      const store = new LyingStore(lie);
      const results = await hammer(await serve(store), WORKERS, { requests: 500, until: (so) => so.violations.some((violation) => looksLike.test(violation.looksLike)) });
      if (kind === 'any') expect(results.wrong + results.missing).toBeGreaterThan(0);
      else expect(results[kind]).toBeGreaterThan(0);
      expect(results.violations.map((violation) => violation.looksLike).join('; ')).toMatch(looksLike);
      expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.wrong);
    });
  }

  it('a write lost for good is caught by the final verification, if not before', async () => {
    const results = await hammer(await serve(new LyingStore('lose writes')), {
      kind: 'workers',
      plan: { workers: [{ prefix: 'a', qps: { create: 500, read: 0, update: 0, delete: 0 } }] },
    }, { requests: 50 });
    expect(results.missing).toBeGreaterThan(0);
    expect(results.violations.every((violation) => violation.during === 'verification')).toBe(true);
  });
});

describe('nobody there', () => {
  it('fails the run, and names the reason', async () => {
    const store = new LyingStore('none');
    const address = await serve(store);
    store.server.forceShutdown();
    const results = await hammer(address, WORKERS, { requests: 100, verify: false });
    expect(results.tally.all.ok).toBe(0);
    expect(results.unknownOutcomes).toBe(0);
    expect(results.tally.errors.map(({ code }) => code)).toContain('UNAVAILABLE');
    expect(judge(results, { maxErrors: undefined }).exitCode).toBe(EXIT.unfinished);
  });
});
