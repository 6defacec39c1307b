import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Key } from '../model/key.js';
import type { RangeId, RangeMeta } from '../model/range.js';
import { type Command, REMOTE_TRANSITIONS, type RemoteState } from '../model/states.js';
import { AppError } from '../runtime/errors.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import { Rangelet } from './rangelet.js';
import { FakeService } from './testing/fake-service.js';

/** Every step that the table allows; the rangelet must take no other, whatever it is told. */
const STEPS = new Set(REMOTE_TRANSITIONS.flatMap(({ from, via, done, failed }) => [`${from}>${via}`, `${via}>${done}`, `${via}>${failed}`]));

/** What the outside may expect: nothing but what was told to it. */
interface Model {
  readonly states: Map<RangeId, RemoteState>;
  readonly fences: Map<RangeId, number>;
}

interface Real {
  readonly clock: ManualClock;
  readonly service: FakeService;
  readonly rangelet: Rangelet;
  readonly told: Map<RangeId, RemoteState>;
  readonly illegal: string[];
}

const metaOf = (id: RangeId): RangeMeta => ({ id, start: `${id}` as Key, end: `${id + 1}` as Key });

class Give implements fc.AsyncCommand<Model, Real> {
  constructor(
    readonly command: Command,
    readonly id: RangeId,
    readonly epoch: number,
  ) {}

  check = (): boolean => true;

  async run(model: Model, { rangelet, told }: Real): Promise<void> {
    const fence = model.fences.get(this.id) ?? 0;
    const answer = rangelet.execute(this.request(), 0).then(
      (given) => given.state,
      (thrown: unknown) => thrown,
    );
    await settle();
    const stale = this.epoch > 0 && this.epoch < fence;
    if (stale) {
      const thrown = await answer;
      expect(thrown).toBeInstanceOf(AppError);
      expect((thrown as AppError).code).toBe('FAILED_PRECONDITION');
      expect(rangelet.stateOf(this.id)).toBe(model.states.get(this.id) ?? 'NotFound');
    }
    model.fences.set(this.id, Math.max(fence, this.epoch));
    model.states.set(this.id, told.get(this.id) ?? 'NotFound');
  }

  toString = (): string => `${this.command}(R${this.id}, epoch ${this.epoch})`;

  private request(): Parameters<Rangelet['execute']>[0] {
    const { command, id, epoch } = this;
    if (command === 'Prepare') return { command, meta: metaOf(id), epoch, parents: [], initial: true };
    if (command === 'Activate') return { command, id, epoch, force: false, sources: [], initial: true };
    return { command, id, epoch, force: false };
  }
}

class End implements fc.AsyncCommand<Model, Real> {
  constructor(
    readonly id: RangeId,
    readonly ok: boolean,
  ) {}

  check = (): boolean => true;

  async run(model: Model, { service, told }: Real): Promise<void> {
    const call = service.open.get(this.id);
    if (this.ok) call?.succeed();
    else call?.fail(new Error('no'));
    await settle();
    model.states.set(this.id, told.get(this.id) ?? 'NotFound');
  }

  toString = (): string => `R${this.id} ${this.ok ? 'succeeds' : 'fails'}`;
}

class Wait implements fc.AsyncCommand<Model, Real> {
  constructor(readonly ms: number) {}
  check = (): boolean => true;
  run = (_: Model, { clock }: Real): Promise<void> => clock.advance(this.ms);
  toString = (): string => `${this.ms} ms pass`;
}

const id = fc.constantFrom(1, 2);
const commands = [
  fc.tuple(fc.constantFrom<Command>('Prepare', 'Activate', 'Deactivate', 'Drop'), id, fc.integer({ min: 0, max: 6 })).map(([c, i, e]) => new Give(c, i, e)),
  fc.tuple(id, fc.boolean()).map(([i, ok]) => new End(i, ok)),
  fc.constantFrom(1, 999, 1000).map((ms) => new Wait(ms)),
];

function makeReal(): Real {
  const clock = new ManualClock();
  const service = new FakeService();
  const rangelet = new Rangelet({ service, clock });
  const told = new Map<RangeId, RemoteState>();
  const illegal: string[] = [];
  rangelet.changes.subscribe(({ from, info }) => {
    const { id: range } = info.meta;
    const step = `${from}>${info.state}`;
    if (from !== info.state && !STEPS.has(step)) illegal.push(`R${range}: ${step}`);
    if ((told.get(range) ?? 'NotFound') !== from) illegal.push(`R${range}: was told ${told.get(range)}, then a step from ${from}`);
    told.set(range, info.state);
  });
  return { clock, service, rangelet, told, illegal };
}

test('whatever is commanded and however it ends, no range leaves the table, and every step is told', async () => {
  await fc.assert(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 60 }), async (sequence) => {
      const real = makeReal();
      await fc.asyncModelRun(() => ({ model: { states: new Map(), fences: new Map() }, real }), sequence);
      expect(real.illegal).toEqual([]);
      for (const [range, state] of real.told) expect(real.rangelet.stateOf(range)).toBe(state);

      // From wherever this ended, everything can be dropped: nothing is ever stuck.
      for (const range of [1, 2]) {
        for (const command of ['Deactivate', 'Drop'] as const) {
          real.service.open.get(range)?.succeed();
          await settle();
          void real.rangelet.execute({ command, id: range, epoch: 0, force: false }).catch(() => undefined);
          await settle();
          real.service.open.get(range)?.succeed();
          await settle();
        }
        expect(real.rangelet.stateOf(range)).toBe('NotFound');
      }
      expect(real.illegal).toEqual([]);
    }),
    { numRuns: 300 },
  );
});
