import { expect, test } from 'vitest';
import { type Figure, meetsAim, renderFigures } from './report.js';

const under: Figure = { what: 'gap', value: 30, unit: 'ms', aim: { is: 'under', value: 30 } };
const least: Figure = { what: 'proxy / node', value: 0.75, unit: '', aim: { is: 'at least', value: 0.75 } };

test('an aim says itself whether the value that equals it is enough', () => {
  expect(meetsAim(under)).toBe(false);
  expect(meetsAim(least)).toBe(true);
  expect(meetsAim({ what: 'plain', value: 1, unit: '' })).toBe(true);
});

test('a figure that could not be measured meets no aim', () => {
  expect(meetsAim({ ...under, value: NaN })).toBe(false);
  expect(meetsAim({ ...least, value: NaN })).toBe(false);
});

test('figures are printed in columns, each beside its aim', () => {
  const text = renderFigures([under, least, { what: 'moved', value: 1234567.8, unit: 'keys/s', note: 'of 10' }]);
  expect(text.split('\n')).toEqual([
    'gap                      30 ms  under 30 ms    MISSED',
    'proxy / node              0.75  at least 0.75  met',
    'moved         1,234,568 keys/s                         of 10',
    '',
  ]);
});
