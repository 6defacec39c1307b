import { expect, it } from 'vitest';
import { ManualClock } from '../test/cluster/manual-clock.js';
import { silentLogger } from '../runtime/log.js';
import { drainNode } from './drain.js';

class FakeRangelet {
  ranges: { state: string }[] = [{ state: 'Active' }, { state: 'Inactive' }];
  wantDrain = false;

  setWantDrain(wantDrain: boolean): void {
    this.wantDrain = wantDrain;
  }

  info(): { readonly ranges: readonly { state: string }[] } {
    return { ranges: this.ranges };
  }
}

function begin(timeoutMs: number, primariesOnly = false): { rangelet: FakeRangelet; clock: ManualClock; isDone: () => boolean } {
  const rangelet = new FakeRangelet();
  const clock = new ManualClock();
  let done = false;
  void drainNode({ node: { rangelet } as never, primariesOnly, timeoutMs, clock, logger: silentLogger }).then(() => {
    done = true;
  });
  return { rangelet, clock, isDone: () => done };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('asks for the drain, and waits until nothing is left', async () => {
  const { rangelet, clock, isDone } = begin(60_000);
  expect(rangelet.wantDrain).toBe(true);
  await clock.advance(5000);
  await settle();
  expect(isDone()).toBe(false);
  rangelet.ranges = [];
  await clock.advance(100);
  await settle();
  expect(isDone()).toBe(true);
});

it('waits for the primaries alone, when told so', async () => {
  const { rangelet, clock, isDone } = begin(60_000, true);
  for (const state of ['Active', 'Deactivating']) {
    rangelet.ranges = [{ state }, { state: 'Inactive' }];
    await clock.advance(100);
    await settle();
    expect(isDone()).toBe(false);
  }
  rangelet.ranges = [{ state: 'Inactive' }, { state: 'Inactive' }];
  await clock.advance(100);
  await settle();
  expect(isDone()).toBe(true);
});

it('does not wait longer than it may', async () => {
  const { clock, isDone } = begin(300);
  for (let i = 0; i < 3; i++) {
    await clock.advance(100);
    await settle();
  }
  expect(isDone()).toBe(true);
});
