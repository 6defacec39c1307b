import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../test/cluster/manual-clock.js';
import { type Due, DeadlineWheel, OFF_WHEEL } from './deadlines.js';

interface Item extends Due {
  readonly name: number;
}

const item = (name: number, dueAt: number): Item => ({ name, dueAt, ...OFF_WHEEL });

describe('the wheel of deadlines', () => {
  it('calls back about every item that is still on it, in time, never early, once', () => {
    const step = fc.record({ waitMs: fc.integer({ min: 0, max: 400 }), dueInMs: fc.integer({ min: -50, max: 1500 }), removes: fc.option(fc.nat(30), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const clock = new ManualClock(12_345);
        const fired = new Map<number, number>();
        const wheel = new DeadlineWheel<Item>(
          clock,
          (due) => {
            expect(fired.has(due.name)).toBe(false);
            fired.set(due.name, clock.now());
          },
          { tickMs: 10, slots: 8 },
        );
        const items: { item: Item; addedAt: number; removedAt: number }[] = [];
        for (const { waitMs, dueInMs, removes } of steps) {
          clock.advanceSync(waitMs);
          const added = { item: item(items.length, clock.now() + dueInMs), addedAt: clock.now(), removedAt: Infinity };
          items.push(added);
          wheel.add(added.item);
          const removed = removes === undefined ? undefined : items[removes];
          if (removed && !fired.has(removed.item.name)) {
            wheel.remove(removed.item);
            removed.removedAt = clock.now();
          }
        }
        clock.advanceSync(5000);
        for (const { item: { name, dueAt }, addedAt, removedAt } of items) {
          const at = fired.get(name);
          if (removedAt !== Infinity) {
            expect(at).toBeUndefined();
            continue;
          }
          const from = Math.max(dueAt, addedAt);
          expect(at).toBeGreaterThanOrEqual(from);
          expect(at).toBeLessThanOrEqual(from + 20);
        }
        expect([wheel.size, clock.pending]).toEqual([0, 0]);
      }),
      // One taken off at once, and another put on before the timer of the first has fired.
      { examples: [[[{ waitMs: 0, dueInMs: 0, removes: 0 }, { waitMs: 6, dueInMs: 0, removes: undefined }]]] },
    );
  });

  it('skips what an earlier callback took off, or put off', () => {
    const clock = new ManualClock();
    const fired: number[] = [];
    const items = [item(0, 5), item(1, 6), item(2, 7)];
    const wheel: DeadlineWheel<Item> = new DeadlineWheel<Item>(clock, (due) => {
      fired.push(due.name);
      if (due.name !== 0) return;
      const [, second, third] = items as [Item, Item, Item];
      wheel.remove(second);
      wheel.remove(third);
      third.dueAt = 100;
      wheel.add(third);
    });
    for (const each of items) wheel.add(each);
    clock.advanceSync(50);
    expect(fired).toEqual([0]);
    clock.advanceSync(100);
    expect(fired).toEqual([0, 2]);
  });

  it('finds what is on it', () => {
    const wheel = new DeadlineWheel<Item>(new ManualClock(), () => undefined, { slots: 4 });
    const items = Array.from({ length: 20 }, (_, name) => item(name, name * 7));
    for (const each of items) wheel.add(each);
    for (const each of items.slice(0, 10)) wheel.remove(each);
    const found = wheel.filter(({ name }) => name % 2 === 0).map(({ name }) => name);
    expect(found.sort((a, b) => a - b)).toEqual([10, 12, 14, 16, 18]);
    wheel.close();
  });

  it('catches up after the process stood still', () => {
    let now = 0;
    const timers: (() => void)[] = [];
    const clock = { now: () => now, wallMs: () => now, after: (_ms: number, callback: () => void) => (timers.push(callback), () => undefined) };
    const fired: number[] = [];
    const wheel = new DeadlineWheel<Item>(clock, (due) => fired.push(due.name), { tickMs: 10, slots: 4 });
    for (let name = 9; name >= 0; name--) wheel.add(item(name, name * 17));
    now = 10_000;
    timers.shift()?.();
    expect(fired).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(timers).toEqual([]);
  });
});
