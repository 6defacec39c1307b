import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Outbox } from './outbox.js';

test('while the reader keeps up it is told everything, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { maxLength: 50 }), (ids) => {
      const outbox = new Outbox<{ id: number; n: number }>(10, 8);
      const seen: number[] = [];
      ids.forEach((id, n) => {
        outbox.push({ id, n });
        for (let item = outbox.shift(); item; item = outbox.shift()) seen.push(item.n);
      });
      expect(seen).toEqual(ids.map((_, n) => n));
    }),
  );
});

test('however slow the reader is, the last word on each range comes, in order, and what waits is bounded', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(5), fc.constant('read' as const)), { maxLength: 300 }), (steps) => {
      const outbox = new Outbox<{ id: number; n: number }>(6, 8);
      const last = new Map<number, number>();
      const told = new Map<number, number>();
      let previous = -1;
      const take = (): boolean => {
        const item = outbox.shift();
        if (!item) return false;
        expect(item.n).toBeGreaterThan(previous);
        previous = item.n;
        told.set(item.id, item.n);
        return true;
      };
      steps.forEach((step, n) => {
        if (step === 'read') take();
        else {
          outbox.push({ id: step, n });
          last.set(step, n);
        }
        expect(outbox.size).toBeLessThanOrEqual(12);
      });
      while (take());
      expect(told).toEqual(last);
      expect(outbox.size).toBe(0);
    }),
  );
});

test('says when more ranges wait than it may hold', () => {
  const outbox = new Outbox<{ id: number }>(3, 2);
  expect([1, 2, 3, 4].map((id) => outbox.push({ id }))).toEqual([true, true, true, false]);
});
