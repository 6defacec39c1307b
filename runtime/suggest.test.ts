import { describe, expect, it } from 'vitest';
import { editDistance, suggest } from './suggest.js';

describe('suggest', () => {
  it.each([
    ['5021', '5201'],
    ['520', '5200'],
    ['5202x', '5202'],
    ['lisen', 'listen'],
  ])('%s meant %s', (word, meant) => {
    expect(suggest(word, ['5200', '5201', '5202', 'listen'])).toBe(meant);
  });

  it('is silent when nothing is close', () => {
    expect(suggest('9999', ['5200', '5201'])).toBeUndefined();
    expect(suggest('x', ['y'])).toBeUndefined();
    expect(suggest('abc', [])).toBeUndefined();
  });

  it('counts slips of the hand', () => {
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(editDistance('5021', '5201')).toBe(1);
    expect(editDistance('same', 'same')).toBe(0);
  });
});
