import { beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../test/cluster/manual-clock.js';
import type { Instance } from './interfaces.js';
import { SteadyList } from './steady-list.js';

const SETTLE_MS = 1000;
let clock: ManualClock;
let lists: string[];
let list: SteadyList;

/** `a b@2` names two instances, the second at another port. */
function instances(text: string): readonly Instance[] {
  return text.split(' ').filter(Boolean).map((word) => {
    const [ident = '', port = '1'] = word.split('@');
    return { service: 'node', ident, address: `localhost:${port}`, meta: {} };
  });
}

function print(shown: readonly Instance[]): string {
  return shown.map(({ ident, address }) => (address === 'localhost:1' ? ident : `${ident}@${address.split(':')[1] ?? ''}`)).join(' ');
}

beforeEach(() => {
  clock = new ManualClock();
  lists = [];
  list = new SteadyList({ clock, settleMs: SETTLE_MS, emit: (shown) => lists.push(print(shown)) });
});

test('without interruption it shows what the backend says, each change once', () => {
  for (const text of ['', 'b a', 'a b', 'a', '']) list.update(instances(text));
  expect(lists).toEqual(['', 'a b', 'a', '']);
});

test('an empty backend that comes back is believed only after a while', async () => {
  list.update(instances('a b'));
  list.lost();
  list.update(instances(''));
  list.update(instances('a'));
  await clock.advance(SETTLE_MS - 1);
  expect(lists).toEqual(['a b']);
  await clock.advance(1);
  expect(lists).toEqual(['a b', 'a']);
});

test('when everybody comes back nothing is told at all', async () => {
  list.update(instances('a b'));
  list.lost();
  list.update(instances('b'));
  list.update(instances('a b'));
  await clock.advance(2 * SETTLE_MS);
  expect(lists).toEqual(['a b']);
});

test('newcomers, new addresses and deaths after the return are told at once', () => {
  list.update(instances('a b'));
  list.lost();
  list.update(instances('c'));
  list.update(instances('b@2 c'));
  list.update(instances('b@2'));
  list.update(instances(''));
  expect(lists).toEqual(['a b', 'a b c', 'a b@2 c', 'a b@2', 'a']);
});

test('a second outage while settling starts over', async () => {
  list.update(instances('a b'));
  list.lost();
  list.update(instances('a'));
  await clock.advance(SETTLE_MS / 2);
  list.lost();
  await clock.advance(SETTLE_MS);
  expect(lists).toEqual(['a b']);
  list.update(instances(''));
  await clock.advance(SETTLE_MS - 1);
  expect(lists).toEqual(['a b']);
  await clock.advance(1);
  expect(lists).toEqual(['a b', '']);
});

test('who was never told anything has nothing to keep', () => {
  list.lost();
  list.update(instances('a'));
  expect(lists).toEqual(['a']);
});

test('closed, it tells no more', async () => {
  list.update(instances('a'));
  list.lost();
  list.update(instances(''));
  list.close();
  await clock.advance(SETTLE_MS);
  expect(lists).toEqual(['a']);
  expect(clock.pending).toBe(0);
});
