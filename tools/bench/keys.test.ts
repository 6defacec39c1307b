import { expect, test } from 'vitest';
import { keyAt, middleKey } from './keys.js';

test.each([100, 1_000, 10_000, 100_000])('%d keys are written once each', (count) => {
  const keys = new Set(Array.from({ length: count }, (_, i) => keyAt(i, count).toString()));
  expect(keys.size).toBe(count);
});

test('the middle key halves them', () => {
  const keys = Array.from({ length: 1_000 }, (_, i) => keyAt(i, 1_000).toString());
  expect(keys.filter((key) => key < middleKey(1_000))).toHaveLength(500);
});
