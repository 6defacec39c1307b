import { describe, expect, test } from 'vitest';
import type { Key } from '../model/key.js';
import type { RangeMeta } from '../model/range.js';
import { type Command, REMOTE_TRANSITIONS, type RemoteState, remoteTransition } from '../model/states.js';
import { AppError } from '../runtime/errors.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import type { RangeletHooks } from './options.js';
import { type CommandAnswer, type CommandRequest, type RangeChange, Rangelet } from './rangelet.js';
import { FakeService } from './testing/fake-service.js';

const COMMANDS: Command[] = ['Prepare', 'Activate', 'Deactivate', 'Drop'];
const STATES: RemoteState[] = ['NotFound', 'Preparing', 'Inactive', 'Activating', 'Active', 'Deactivating', 'Dropping'];
const R1: RangeMeta = { id: 1, start: 'a' as Key, end: 'm' as Key };
const GRACE_MS = 1000;

function request(command: Command, epoch: number, meta = R1): CommandRequest {
  switch (command) {
    case 'Prepare':
      return { command, meta, epoch, parents: [], initial: true };
    case 'Activate':
      return { command, id: meta.id, epoch, force: false, sources: [], initial: true };
    case 'Deactivate':
      return { command, id: meta.id, epoch };
    case 'Drop':
      return { command, id: meta.id, epoch, force: false };
  }
}

interface World {
  readonly clock: ManualClock;
  readonly service: FakeService;
  readonly rangelet: Rangelet;
  readonly changes: RangeChange[];
}

function world(hooks: RangeletHooks = {}): World {
  const clock = new ManualClock();
  const service = new FakeService();
  const rangelet = new Rangelet({ service, clock, graceMs: GRACE_MS, ident: 'n1', incarnation: 'x', hooks });
  const changes: RangeChange[] = [];
  rangelet.changes.subscribe((change) => changes.push(change));
  return { clock, service, rangelet, changes };
}

/** Commands a range into a state by the shortest way. */
async function bring(state: RemoteState, epoch = 5): Promise<World> {
  const made = world();
  const { service, rangelet } = made;
  const run = async (command: Command, finish: boolean): Promise<void> => {
    const answer = rangelet.execute(request(command, epoch));
    await settle();
    if (finish) service.last.succeed();
    else void answer;
    if (finish) await answer;
  };
  const way: Readonly<Record<RemoteState, readonly (readonly [Command, boolean])[]>> = {
    NotFound: [],
    Preparing: [['Prepare', false]],
    Inactive: [['Prepare', true]],
    Activating: [['Prepare', true], ['Activate', false]],
    Active: [['Prepare', true], ['Activate', true]],
    Deactivating: [['Prepare', true], ['Activate', true], ['Deactivate', false]],
    Dropping: [['Prepare', true], ['Drop', false]],
  };
  for (const [command, finish] of way[state]) await run(command, finish);
  expect(rangelet.stateOf(1)).toBe(state);
  service.calls.length = 0;
  made.changes.length = 0;
  return made;
}

async function refusalOf(answer: Promise<CommandAnswer>): Promise<AppError> {
  const thrown: unknown = await answer.then(
    () => {
      throw new Error('the command was not refused');
    },
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(AppError);
  return thrown as AppError;
}

const everywhere = STATES.flatMap((state) => COMMANDS.map((command) => ({ state, command })));

describe('every command in every state', () => {
  test.each(everywhere)('$command in $state', async ({ state, command }) => {
    const { rangelet, service, clock, changes } = await bring(state);
    const row = remoteTransition(command);
    const answer = rangelet.execute(request(command, 5));

    if (state === row.from) {
      await settle();
      expect(rangelet.stateOf(1)).toBe(row.via);
      expect(service.calls.map((call) => call.command)).toEqual([command]);
      service.last.succeed();
      expect(await answer).toMatchObject({ state: row.done, lastError: '' });
      expect(changes.map(({ from, info }) => [from, info.state])).toEqual([[row.from, row.via], [row.via, row.done]]);
    } else if (state === row.via || state === row.done) {
      expect((await answer).state).toBe(state);
      expect(service.calls).toEqual([]);
      expect(changes).toEqual([]);
    } else {
      const error = await refusalOf(answer);
      expect(error.code).toBe('INVALID_ARGUMENT');
      expect(error.message).toContain(`R1 cannot take ${command}`);
      expect(service.calls).toEqual([]);
      expect(changes).toEqual([]);
      expect(rangelet.stateOf(1)).toBe(state);
    }
    expect(clock.now()).toBe(0);
  });

  test.each(everywhere)('$command in $state, at an older epoch', async ({ state, command }) => {
    const { rangelet, service, changes } = await bring(state, 5);
    if (state === 'NotFound') {
      void rangelet.execute(request('Drop', 5));
      await settle();
    }
    const error = await refusalOf(rangelet.execute(request(command, 4)));
    expect(error.code).toBe('FAILED_PRECONDITION');
    expect(error.message).toContain('older than epoch 5');
    expect(rangelet.stateOf(1)).toBe(state);
    expect(service.calls).toEqual([]);
    expect(changes).toEqual([]);
  });

  test.each(everywhere)('$command in $state, of a controller without epochs', async ({ state, command }) => {
    const { rangelet, service } = await bring(state, 5);
    const row = remoteTransition(command);
    const answer = rangelet.execute(request(command, 0));
    if (state === row.from) {
      await settle();
      service.last.succeed();
      expect((await answer).state).toBe(row.done);
    } else if (state === row.via || state === row.done) {
      expect((await answer).state).toBe(state);
    } else {
      expect((await refusalOf(answer)).code).toBe('INVALID_ARGUMENT');
    }
  });
});

describe('every transition', () => {
  const rows = REMOTE_TRANSITIONS;

  test.each(rows)('$command refused by the service', async ({ command, from, failed }) => {
    const { rangelet, service, changes } = await bring(from);
    const answer = rangelet.execute(request(command, 5));
    await settle();
    service.last.fail(new Error('disk on fire'));
    expect(await answer).toMatchObject({ state: failed, lastError: 'disk on fire' });
    expect(rangelet.stateOf(1)).toBe(failed);
    expect(changes.at(-1)?.info).toMatchObject({ state: failed, lastError: 'disk on fire' });
  });

  test.each(rows)('$command refused with something that is no error', async ({ command, from, failed }) => {
    const { rangelet, service } = await bring(from);
    const answer = rangelet.execute(request(command, 5));
    await settle();
    service.last.fail('' as never);
    expect(await answer).toMatchObject({ state: failed, lastError: 'the service gave no reason' });
  });

  test.each(rows)('$command thrown at once by the service', async ({ command, from, failed }) => {
    const { rangelet, service } = await bring(from);
    const method = command.toLowerCase() as 'prepare' | 'activate' | 'deactivate' | 'drop';
    service[method] = () => {
      throw new Error('not today');
    };
    expect(await rangelet.execute(request(command, 5))).toMatchObject({ state: failed, lastError: 'not today' });
  });

  test.each(rows)('$command slower than the grace period', async ({ command, from, via, done }) => {
    const { rangelet, service, clock, changes } = await bring(from);
    let answered: CommandAnswer | undefined;
    void rangelet.execute(request(command, 5)).then((answer) => (answered = answer));
    await clock.advance(GRACE_MS - 1);
    expect(answered).toBeUndefined();
    await clock.advance(1);
    expect(answered?.state).toBe(via);

    expect((await rangelet.execute(request(command, 5))).state).toBe(via);
    expect(service.calls).toHaveLength(1);
    service.last.succeed();
    await settle();
    expect(rangelet.stateOf(1)).toBe(done);
    expect(changes.at(-1)?.info.state).toBe(done);
  });

  test.each(rows)('$command failing after the grace period', async ({ command, from, failed }) => {
    const { rangelet, service, clock, changes } = await bring(from);
    void rangelet.execute(request(command, 5));
    await clock.advance(GRACE_MS);
    service.last.fail(new Error('too bad'));
    await settle();
    expect(rangelet.stateOf(1)).toBe(failed);
    expect(changes.at(-1)?.info).toMatchObject({ state: failed, lastError: 'too bad' });
  });

  test.each(rows)('$command twice at once', async ({ command, from, via, done }) => {
    const { rangelet, service } = await bring(from);
    const first = rangelet.execute(request(command, 5));
    const second = rangelet.execute(request(command, 5));
    expect((await second).state).toBe(via);
    service.last.succeed();
    expect((await first).state).toBe(done);
    expect(service.calls).toHaveLength(1);
  });

  test.each(rows)('$command once more after it failed', async ({ command, from, failed, done }) => {
    const { rangelet, service } = await bring(from);
    const first = rangelet.execute(request(command, 5));
    await settle();
    service.last.fail(new Error('once'));
    expect((await first).state).toBe(failed);
    const second = rangelet.execute(request(command, 5));
    await settle();
    service.last.succeed();
    expect(await second).toMatchObject({ state: done, lastError: '' });
  });

  test.each(rows)('$command leaves no timer behind', async ({ command, from }) => {
    const { rangelet, service, clock } = await bring(from);
    await clock.advance(GRACE_MS);
    const answer = rangelet.execute(request(command, 5));
    await settle();
    service.last.succeed();
    await answer;
    await clock.advance(GRACE_MS);
    expect(clock.pending).toBe(0);
  });
});

describe('commands of several ranges', () => {
  test('run side by side', async () => {
    const { rangelet, service } = world();
    const R2: RangeMeta = { id: 2, start: 'm' as Key, end: '' as Key };
    const first = rangelet.execute(request('Prepare', 1));
    const second = rangelet.execute(request('Prepare', 1, R2));
    await settle();
    expect([...service.open.keys()].sort()).toEqual([1, 2]);
    service.open.get(2)?.succeed();
    expect((await second).state).toBe('Inactive');
    expect(rangelet.stateOf(1)).toBe('Preparing');
    service.open.get(1)?.succeed();
    expect((await first).state).toBe('Inactive');
  });
});

describe('identity', () => {
  test.each(STATES.filter((state) => state !== 'NotFound'))('Prepare with other bounds, in %s', async (state) => {
    const { rangelet, service } = await bring(state);
    const error = await refusalOf(rangelet.execute(request('Prepare', 5, { ...R1, end: 'n' as Key })));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('range: R1 [a, n) is known here as R1 [a, m)');
    expect(service.calls).toEqual([]);
  });
});

describe('what a command carries', () => {
  test('reaches the service', async () => {
    const { rangelet, service } = await bring('Inactive');
    const sources = [{ range: R1, parents: [], placements: [{ node: 'h:1', state: 'Active' as const, index: 0 }] }];
    void rangelet.execute({ command: 'Activate', id: 1, epoch: 7, force: true, sources, initial: false });
    await settle();
    expect(service.last.range).toEqual(R1);
    expect(service.last.context).toMatchObject({ epoch: 7, force: true, sources, initial: false });
    expect(service.last.context.signal.aborted).toBe(false);
  });

  test.each(['Preparing', 'Inactive'] as const)('a repeated Prepare brings its sources, in %s', async (state) => {
    const { rangelet, service } = await bring(state);
    const parents = [{ range: R1, parents: [], placements: [{ node: 'h:2', state: 'Active' as const, index: 1 }] }];
    expect((await rangelet.execute({ command: 'Prepare', meta: R1, epoch: 6, parents, initial: false })).state).toBe(state);
    expect(service.sources).toEqual([{ range: R1, parents }]);
    expect(service.calls).toEqual([]);
  });
});

describe('a command of a newer decision stops what an older one began', () => {
  const overtakes: { under: RemoteState; command: Command; ends: RemoteState }[] = [
    { under: 'Preparing', command: 'Drop', ends: 'NotFound' },
    { under: 'Activating', command: 'Drop', ends: 'Dropping' },
    { under: 'Activating', command: 'Activate', ends: 'Activating' },
    { under: 'Deactivating', command: 'Activate', ends: 'Active' },
  ];

  test.each(overtakes)('$command while $under', async ({ under, command, ends }) => {
    const { rangelet, service } = await bring(under);
    const stopped = service.open.get(1);
    const answer = rangelet.execute(request(command, 6));
    await settle();
    expect(stopped?.context.signal.aborted).toBe(true);
    expect(service.calls).toEqual([]);
    stopped?.fail(stopped.context.signal.reason as Error);
    await settle();
    expect(rangelet.stateOf(1)).toBe(ends);
    if (service.open.size > 0) service.last.succeed();
    await answer;
  });

  test('not at the same epoch', async () => {
    const { rangelet, service } = await bring('Activating');
    expect((await refusalOf(rangelet.execute(request('Drop', 5)))).code).toBe('INVALID_ARGUMENT');
    expect(service.open.get(1)?.context.signal.aborted).toBe(false);
  });

  test('a service that does not stop: the state is the answer, and nothing happens behind its back', async () => {
    const { rangelet, service, clock } = await bring('Activating');
    const answer = rangelet.execute(request('Drop', 6));
    await clock.advance(GRACE_MS);
    expect((await answer).state).toBe('Activating');
    service.open.get(1)?.succeed();
    await settle();
    expect(rangelet.stateOf(1)).toBe('Active');
    expect(service.calls).toEqual([]);
  });

  test('a Drop is not called back', async () => {
    const { rangelet, service } = await bring('Dropping');
    expect((await refusalOf(rangelet.execute(request('Prepare', 9)))).code).toBe('INVALID_ARGUMENT');
    expect(service.open.get(1)?.context.signal.aborted).toBe(false);
  });
});

describe('metrics', () => {
  test('every command and every transition is told', async () => {
    const seen: string[] = [];
    const { rangelet, service } = world({
      answered: ({ command, outcome }) => seen.push(`${command} ${outcome}`),
      settled: ({ command, ok }) => seen.push(`${command} ${ok ? 'ok' : 'failed'}`),
      moved: ({ from, to }) => seen.push(`${from} -> ${to}`),
    });
    const first = rangelet.execute(request('Prepare', 1));
    await settle();
    service.last.succeed();
    await first;
    await rangelet.execute(request('Prepare', 1));
    await refusalOf(rangelet.execute(request('Deactivate', 0, { ...R1, id: 9 })));
    expect(seen).toEqual([
      'NotFound -> Preparing', 'Prepare ok', 'Preparing -> Inactive', 'Prepare started', 'Prepare repeated', 'Deactivate refused',
    ]);
  });

  test('a hook that throws harms nobody', async () => {
    const { rangelet } = world({
      answered: () => {
        throw new Error('metrics are down');
      },
    });
    expect((await rangelet.execute(request('Drop', 0))).state).toBe('NotFound');
  });
});
