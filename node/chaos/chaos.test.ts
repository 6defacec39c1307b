import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../model/interval.js';
import type { CommandAnswer } from '../../rangelet/rangelet.js';
import type { CommandContext, RangeService } from '../../rangelet/service.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { NO_LOAD } from '../../model/report.js';
import { seededRandom } from '../../runtime/random.js';
import { ManualClock } from '../../test/cluster/manual-clock.js';
import { ChaoticService, chaoticCommands } from './chaos.js';

const ROUNDS = 1000;
const done: CommandAnswer = { state: 'Inactive', lastError: '', info: undefined };

interface Tally {
  readonly acted: number;
  readonly answered: number;
  readonly failedBefore: number;
  readonly failedAfter: number;
  readonly longestMs: number;
}

async function run(rate: number): Promise<Tally> {
  const clock = new ManualClock();
  let acted = 0;
  const execute = chaoticCommands(
    () => {
      acted++;
      return Promise.resolve(done);
    },
    { rate, delayMsMax: 500, clock, random: seededRandom(1), logger: silentLogger },
  );
  let answered = 0;
  let failedBefore = 0;
  let failedAfter = 0;
  let longestMs = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const before = { acted, ms: clock.now() };
    let over = false;
    const running = execute({ command: 'Drop', id: 1, epoch: 1, force: false }).then(
      () => {
        answered++;
      },
      (error: unknown) => {
        expect(error).toBeInstanceOf(AppError);
        if (acted === before.acted) failedBefore++;
        else failedAfter++;
      },
    ).finally(() => (over = true));
    while (!over) await clock.advance(10);
    await running;
    longestMs = Math.max(longestMs, clock.now() - before.ms);
  }
  return { acted, answered, failedBefore, failedAfter, longestMs };
}

describe('chaos among commands', () => {
  it('does nothing at rate 0', async () => {
    expect(await run(0)).toMatchObject({ acted: ROUNDS, answered: ROUNDS, failedBefore: 0, failedAfter: 0 });
  });

  it('at 0.5 refuses some, does some and says they failed, and delays others, within its limit', async () => {
    const { acted, answered, failedBefore, failedAfter, longestMs } = await run(0.5);
    expect(answered + failedBefore + failedAfter).toBe(ROUNDS);
    expect(acted).toBe(ROUNDS - failedBefore);
    for (const count of [failedBefore, failedAfter]) {
      expect(count).toBeGreaterThan(ROUNDS * 0.08);
      expect(count).toBeLessThan(ROUNDS * 0.18);
    }
    expect(longestMs).toBeGreaterThan(400);
    expect(longestMs).toBeLessThanOrEqual(520);
  });
});

describe('chaos in the service', () => {
  it('refuses before anything is done, and passes the rest on', async () => {
    const calls: string[] = [];
    const note = (name: string) => () => {
      calls.push(name);
      return Promise.resolve();
    };
    const service: Required<RangeService> = {
      prepare: note('prepare'), activate: note('activate'), deactivate: note('deactivate'), drop: note('drop'),
      loadInfo: () => NO_LOAD, progress: () => undefined, serving: () => true, updateSources: () => undefined, updateMembership: () => undefined, replica: () => undefined,
    };
    const clock = new ManualClock();
    const chaotic = new ChaoticService(service, { rate: 0.5, delayMsMax: 0, clock, random: seededRandom(2), logger: silentLogger });
    const context: CommandContext = { epoch: 1, force: false, signal: new AbortController().signal };
    let refused = 0;
    for (let i = 0; i < 100; i++) {
      const running = chaotic.deactivate({ id: 1, ...EVERYTHING }, context).catch(() => refused++);
      await clock.advance(1);
      await running;
    }
    expect(calls).toHaveLength(100 - refused);
    expect(refused).toBeGreaterThan(10);
    expect(refused).toBeLessThan(45);
    expect(chaotic.serving(1)).toBe(true);
  });
});
