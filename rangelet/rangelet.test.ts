import { describe, expect, test, vi } from 'vitest';
import type { Key } from '../model/key.js';
import type { RangeMeta } from '../model/range.js';
import type { RangesEvent } from '../model/report.js';
import { AppError } from '../runtime/errors.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import { type EpochFences, memoryFences } from './fences.js';
import type { RangeletOptions } from './options.js';
import { type CommandRequest, Rangelet } from './rangelet.js';
import { streamRanges } from './server.js';
import { FakeService } from './testing/fake-service.js';

const R1: RangeMeta = { id: 1, start: '' as Key, end: 'm' as Key };
const R2: RangeMeta = { id: 2, start: 'm' as Key, end: '' as Key };

const prepare = (meta: RangeMeta, epoch = 1): CommandRequest => ({ command: 'Prepare', meta, epoch, parents: [], initial: true });
const activate = (id: number, epoch = 1): CommandRequest => ({ command: 'Activate', id, epoch, force: false, sources: [], initial: true });
const deactivate = (id: number, epoch = 1): CommandRequest => ({ command: 'Deactivate', id, epoch });
const drop = (id: number, epoch = 1): CommandRequest => ({ command: 'Drop', id, epoch, force: false });

function world(options: Partial<RangeletOptions> = {}): { clock: ManualClock; service: FakeService; rangelet: Rangelet } {
  const clock = new ManualClock();
  const service = new FakeService();
  return { clock, service, rangelet: new Rangelet({ service, clock, ident: 'n1', incarnation: 'i1', ...options }) };
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'OK',
    (thrown: unknown) => (thrown as AppError).code,
  );

describe('fences', () => {
  /** Keeps an epoch only when the test says so. */
  function slowFences(): EpochFences & { writes: { id: number; epoch: number; done: () => void; fail: (error: Error) => void }[] } {
    const kept = new Map<number, number>();
    const writes: { id: number; epoch: number; done: () => void; fail: (error: Error) => void }[] = [];
    return {
      writes,
      get: (id) => kept.get(id) ?? 0,
      raise: (id, epoch) =>
        new Promise((resolve, reject) => {
          const done = (): void => {
            kept.set(id, Math.max(epoch, kept.get(id) ?? 0));
            resolve();
          };
          writes.push({ id, epoch, done, fail: reject });
        }),
    };
  }

  test('are kept before the command acts', async () => {
    const fences = slowFences();
    const { rangelet, service } = world({ fences });
    const answer = rangelet.execute(prepare(R1, 3));
    await settle();
    expect(service.calls).toEqual([]);
    expect(rangelet.stateOf(1)).toBe('NotFound');
    fences.writes[0]?.done();
    await settle();
    expect(service.calls.map((call) => call.command)).toEqual(['Prepare']);
    service.last.succeed();
    expect((await answer).info?.epoch).toBe(3);
  });

  test('slower than the grace period: the command does not act late', async () => {
    const fences = slowFences();
    const { rangelet, service, clock } = world({ fences });
    const answer = rangelet.execute(prepare(R1, 3));
    await clock.advance(1000);
    expect((await answer).state).toBe('NotFound');
    fences.writes[0]?.done();
    await settle();
    expect(service.calls).toEqual([]);
    void rangelet.execute(prepare(R1, 3));
    await settle();
    expect(rangelet.stateOf(1)).toBe('Preparing');
  });

  test('the same epoch is written once for many callers', async () => {
    const fences = slowFences();
    const { rangelet, service } = world({ fences });
    const answers = [1, 2, 3].map(() => rangelet.execute(prepare(R1, 3)));
    await settle();
    expect(fences.writes).toHaveLength(1);
    fences.writes[0]?.done();
    await settle();
    expect(service.calls).toHaveLength(1);
    service.last.succeed();
    expect((await Promise.all(answers)).map((answer) => answer.state).sort()).toEqual(['Inactive', 'Preparing', 'Preparing']);
  });

  test('that cannot be kept refuse the command', async () => {
    const fences = slowFences();
    const { rangelet, service } = world({ fences });
    const answer = codeOf(rangelet.execute(prepare(R1, 3)));
    await settle();
    fences.writes[0]?.fail(new AppError('RESOURCE_EXHAUSTED', 'the disk is full'));
    expect(await answer).toBe('RESOURCE_EXHAUSTED');
    expect(service.calls).toEqual([]);
  });

  test('that forget are found out', async () => {
    const { rangelet } = world({ fences: { get: () => 0, raise: () => Promise.resolve() } });
    expect(await codeOf(rangelet.execute(prepare(R1, 3)))).toBe('INTERNAL');
  });

  test('a command overtaken while its epoch was written is refused', async () => {
    const fences = slowFences();
    const { rangelet, service } = world({ fences });
    const older = codeOf(rangelet.execute(prepare(R1, 3)));
    const newer = rangelet.execute(drop(1, 4));
    await settle();
    fences.writes[1]?.done();
    expect((await newer).state).toBe('NotFound');
    fences.writes[0]?.done();
    expect(await older).toBe('FAILED_PRECONDITION');
    expect(service.calls).toEqual([]);
  });

  test('outlive the range, so that a late Prepare does not bring it back', async () => {
    const { rangelet } = world();
    expect((await rangelet.execute(drop(1, 4))).state).toBe('NotFound');
    expect(await codeOf(rangelet.execute(prepare(R1, 3)))).toBe('FAILED_PRECONDITION');
  });

  test('in memory stay bounded', async () => {
    const fences = memoryFences(2);
    for (const id of [1, 2, 1, 3]) await fences.raise(id, id * 10);
    expect([fences.get(1), fences.get(2), fences.get(3)]).toEqual([10, 0, 30]);
    await fences.raise(3, 5);
    expect(fences.get(3)).toBe(30);
  });
});

describe('after a restart', () => {
  test('ranges are there in their state, fenced at their epoch', async () => {
    const { rangelet, service } = world({
      restored: [{ meta: R1, state: 'Active', epoch: 7 }, { meta: R2, state: 'Inactive', epoch: 3 }],
    });
    expect(rangelet.info()).toMatchObject({
      ident: 'n1', incarnation: 'i1', wantDrain: false,
      ranges: [{ meta: R1, state: 'Active', epoch: 7, serving: true }, { meta: R2, state: 'Inactive', epoch: 3, serving: false }],
    });
    expect(await codeOf(rangelet.execute(deactivate(1, 6)))).toBe('FAILED_PRECONDITION');
    expect((await rangelet.execute(activate(1, 7))).state).toBe('Active');
    void rangelet.execute(deactivate(1, 8));
    await settle();
    expect(service.last.context.epoch).toBe(8);
  });
});

describe('what the service says of itself', () => {
  test('goes into the report', async () => {
    const { rangelet, service } = world({ restored: [{ meta: R1, state: 'Inactive', epoch: 1 }] });
    service.load = () => ({ keys: 5, bytes: 6, readsPerSecond: 1, writesPerSecond: 2, splits: ['b' as Key] });
    service.progressOf.set(1, { keys: 1, bytes: 2, keysTotal: 3, caughtUp: true });
    expect(rangelet.rangeInfo(1)).toMatchObject({ load: { keys: 5, splits: ['b'] }, progress: { keysTotal: 3 }, serving: false });
  });

  test('a service that throws is reported without', () => {
    const { rangelet, service } = world({ restored: [{ meta: R1, state: 'Active', epoch: 1 }] });
    service.load = () => {
      throw new Error('unknown range');
    };
    expect(rangelet.rangeInfo(1)).toMatchObject({ state: 'Active', load: { keys: 0 } });
  });

  test('wanting to be drained', () => {
    const { rangelet } = world();
    rangelet.setWantDrain(true);
    expect(rangelet.info().wantDrain).toBe(true);
  });
});

describe('the stream of ranges', () => {
  interface Reader {
    readonly seen: string[];
    readonly events: RangesEvent[];
    readonly done: Promise<unknown>;
    readonly abort: AbortController;
    /** Lets a held reader take one more message. */
    next(): Promise<void>;
    release(): void;
  }

  function read(rangelet: Rangelet, held = false): Reader {
    const events: RangesEvent[] = [];
    const seen: string[] = [];
    const abort = new AbortController();
    let free = !held;
    let wake = (): void => {};
    const tell = async (event: RangesEvent): Promise<void> => {
      if (!free) await new Promise<void>((resolve) => (wake = resolve));
      abort.signal.throwIfAborted();
      events.push(event);
      seen.push(event.type === 'synced' ? 'synced' : `R${event.meta.id} ${event.state}`);
    };
    const done = streamRanges(rangelet, tell, abort.signal).catch((thrown: unknown) => thrown);
    return {
      seen, events, done, abort,
      async next() {
        wake();
        await settle();
      },
      release() {
        free = true;
        wake();
      },
    };
  }

  test('lists every range, then says so, then tells each change', async () => {
    const { rangelet, service } = world({ restored: [{ meta: R1, state: 'Active', epoch: 7 }] });
    const reader = read(rangelet);
    await settle();
    expect(reader.seen).toEqual(['R1 Active', 'synced']);
    void rangelet.execute(prepare(R2));
    await settle();
    service.last.succeed();
    await settle();
    void rangelet.execute(drop(2));
    await settle();
    service.last.succeed();
    await settle();
    expect(reader.seen.slice(2)).toEqual(['R2 Preparing', 'R2 Inactive', 'R2 Dropping', 'R2 NotFound']);
    expect(reader.events[0]).toMatchObject({ epoch: 7, info: { meta: R1, serving: true, epoch: 7 } });
  });

  test('tells why a slow Prepare failed', async () => {
    const { rangelet, service, clock } = world();
    const reader = read(rangelet);
    void rangelet.execute(prepare(R1));
    await clock.advance(1000);
    service.last.fail(new Error('the source is gone'));
    await settle();
    expect(reader.events.at(-1)).toMatchObject({ state: 'NotFound', info: { lastError: 'the source is gone' } });
  });

  test('a change while the listing goes on is told once, and never backwards', async () => {
    const { rangelet, service } = world({
      restored: [{ meta: R1, state: 'Active', epoch: 1 }, { meta: R2, state: 'Inactive', epoch: 1 }],
    });
    const reader = read(rangelet, true);
    await settle();
    void rangelet.execute(activate(2));
    await settle();
    service.last.succeed();
    await settle();
    reader.release();
    await settle();
    expect(reader.seen).toEqual(['R1 Active', 'R2 Active', 'synced']);
  });

  test('a slow reader costs bounded memory, and misses no last word', async () => {
    const { rangelet, service } = world({ restored: [{ meta: R1, state: 'Inactive', epoch: 1 }] });
    const reader = read(rangelet, true);
    await reader.next();
    for (let i = 0; i < 1000; i++) {
      for (const command of [activate(1, 1), deactivate(1, 1)]) {
        void rangelet.execute(command);
        await settle(2);
        service.last.succeed();
        await settle(2);
      }
    }
    void rangelet.execute(activate(1, 1));
    await settle();
    service.last.succeed();
    reader.release();
    await settle(400);
    expect(reader.seen.at(-1)).toBe('R1 Active');
    expect(reader.seen.length).toBeLessThan(300);
  });

  test('a reader so slow that too many ranges wait is told to begin again', async () => {
    const { rangelet, service } = world({ rangesMax: 150 });
    const reader = read(rangelet);
    await settle();
    const stuck = read(rangelet, true);
    await settle();
    for (let i = 1; i <= 400; i++) {
      void rangelet.execute(prepare({ id: i, start: '' as Key, end: '' as Key }));
      await settle(2);
      service.open.get(i)?.fail(new Error('no'));
      await settle(2);
    }
    stuck.release();
    expect(await stuck.done).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(reader.seen).toHaveLength(801);
  });

  test('progress of a Prepare is told a few times a second, and only when it moves', async () => {
    const { rangelet, service, clock } = world();
    const reader = read(rangelet);
    void rangelet.execute(prepare(R1));
    await clock.advance(1000);
    expect(reader.seen).toEqual(['synced', 'R1 Preparing']);
    for (let ms = 0; ms < 1000; ms += 10) {
      service.progressOf.set(1, { keys: ms, bytes: ms, keysTotal: 1000, caughtUp: false });
      await clock.advance(10);
    }
    expect(reader.seen.slice(2)).toEqual(Array(4).fill('R1 Preparing'));
    service.last.succeed();
    await clock.advance(5000);
    expect(reader.seen.slice(6)).toEqual(['R1 Inactive']);
    expect(clock.pending).toBe(0);
  });

  test('ends for a reader that leaves, and leaves nothing behind', async () => {
    const { rangelet } = world();
    const reader = read(rangelet);
    await settle();
    reader.abort.abort(new Error('gone'));
    expect(await reader.done).toMatchObject({ message: 'gone' });
  });

  test('ends when the rangelet closes', async () => {
    const { rangelet } = world({ restored: [{ meta: R1, state: 'Active', epoch: 1 }] });
    const reader = read(rangelet);
    await rangelet.close();
    expect(await reader.done).toBeUndefined();
    expect(reader.seen).toEqual(['R1 Active', 'synced']);
  });
});

describe('closing', () => {
  test('refuses commands', async () => {
    const { rangelet } = world();
    await rangelet.close();
    expect(await codeOf(rangelet.execute(prepare(R1)))).toBe('UNAVAILABLE');
    expect(rangelet.close()).toBe(rangelet.close());
  });

  test('aborts a Prepare at once', async () => {
    const { rangelet, service } = world();
    const answer = rangelet.execute(prepare(R1));
    await settle();
    const closed = rangelet.close();
    expect(service.last.context.signal.aborted).toBe(true);
    service.last.fail(service.last.context.signal.reason as Error);
    await closed;
    expect((await answer).state).toBe('NotFound');
  });

  test('lets a Deactivate finish', async () => {
    const { rangelet, service, clock } = world({ restored: [{ meta: R1, state: 'Active', epoch: 1 }] });
    void rangelet.execute(deactivate(1));
    await settle();
    const closed = vi.fn();
    void rangelet.close().then(closed);
    await clock.advance(4999);
    expect(service.last.context.signal.aborted).toBe(false);
    expect(closed).not.toHaveBeenCalled();
    service.last.succeed();
    await settle();
    expect(closed).toHaveBeenCalled();
    expect(rangelet.stateOf(1)).toBe('Inactive');
  });

  test('aborts what does not end, and does not wait for ever', async () => {
    const { rangelet, service, clock } = world({ restored: [{ meta: R1, state: 'Active', epoch: 1 }] });
    void rangelet.execute(deactivate(1));
    await settle();
    const closed = vi.fn();
    void rangelet.close().then(closed);
    await clock.advance(5000);
    expect(service.last.context.signal.aborted).toBe(true);
    await clock.advance(5000);
    expect(closed).toHaveBeenCalled();
  });
});

describe('limits', () => {
  test('of ranges', async () => {
    const { rangelet } = world({ rangesMax: 1, restored: [{ meta: R1, state: 'Inactive', epoch: 1 }] });
    expect(await codeOf(rangelet.execute(prepare(R2)))).toBe('RESOURCE_EXHAUSTED');
    void rangelet.execute(drop(1));
    await settle();
    expect(rangelet.stateOf(1)).toBe('Dropping');
  });

  test('of commands at once', async () => {
    const { rangelet } = world({ commandsMax: 1 });
    void rangelet.execute(prepare(R1));
    expect(await codeOf(rangelet.execute(prepare(R2)))).toBe('RESOURCE_EXHAUSTED');
  });

  test('of what a report carries', async () => {
    const { rangelet, service } = world();
    const answer = rangelet.execute(prepare(R1));
    await settle();
    service.last.fail(new Error('x'.repeat(100_000)));
    expect((await answer).lastError).toHaveLength(1000);
  });
});

describe('the constructor', () => {
  test('lists every problem at once', () => {
    const make = (): Rangelet =>
      new Rangelet({
        service: { prepare() {} } as never,
        graceMs: Number.NaN,
        rangesMax: 0,
        restored: [
          { meta: { id: 0, start: 'b' as Key, end: 'a' as Key }, state: 'Preparing' as never, epoch: -1 },
          { meta: R1, state: 'Active', epoch: 1 },
          { meta: R1, state: 'Active', epoch: 1 },
        ],
      });
    expect(make).toThrow(AppError);
    for (const problem of [
      'service.activate has to be a method', 'service.loadInfo has to be a method', 'graceMs has to be between', 'rangesMax has to be',
      'restored range 0 needs', 'restored range 0 has to start below its end', 'restored range 0 has epoch -1', 'only Active and Inactive',
      'restored range 1 is given twice',
    ]) {
      expect(make).toThrow(problem);
    }
  });

  test('takes no service that is none', () => {
    expect(() => new Rangelet({ service: undefined as never })).toThrow('service has to be an object');
  });
});
