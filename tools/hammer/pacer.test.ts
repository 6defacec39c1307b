import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../runtime/random.js';
import { Pacer } from './pacer.js';
import type { Plan } from './plan.js';

const PLAN: Plan = {
  workers: [
    { prefix: 'a', qps: { create: 1, read: 50, update: 0, delete: 0 } },
    { prefix: 'b', qps: { create: 0, read: 0, update: 0.5, delete: 0 } },
  ],
};

function pacer(plan = PLAN): Pacer {
  return new Pacer({ plan, random: seededRandom(3), nowMs: 1000 });
}

describe('Pacer', () => {
  it('gives each worker its rates, whatever the ticks', () => {
    const counts = new Map<string, number>();
    const paced = pacer();
    for (let now = 1000, tick = 0; now < 61_000; tick++) {
      now = Math.min(61_000, now + 3 + (tick % 17));
      for (const due of paced.due(now)) counts.set(`${due.worker} ${due.action}`, (counts.get(`${due.worker} ${due.action}`) ?? 0) + 1);
    }
    expect(Object.fromEntries(counts)).toEqual({ '0 create': 60, '0 read': 3000, '1 update': expect.closeTo(30, 0) as number });
    expect(paced.skipped).toBe(0);
  });

  it('does not make up for a stall with a flood', () => {
    const paced = pacer();
    const due = paced.due(11_000);
    expect(due.length).toBeLessThanOrEqual(13 + 1 + 1);
    expect(due.length + paced.skipped).toBeGreaterThan(500);
  });

  it('survives a clock that stands still', () => {
    const paced = pacer();
    paced.due(2000);
    expect(paced.due(2000)).toEqual([]);
  });
});
