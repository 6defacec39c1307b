import { describe, expect, it } from 'vitest';
import { type Key, keyFromText } from '../../model/key.js';
import { packPairs } from '../storage/packed.js';
import { ABSENT, type KeyState, condemned, deviations, digestOf, judge, stateOf, statesOf, unlike } from './compare.js';

const key = (text: string): Key => keyFromText(text);
const pair = (text: string, value: string, offset = 7, contentType?: string): Parameters<typeof packPairs>[0][number] => ({ key: Buffer.from(text), epoch: 3, offset, value: Buffer.from(value), contentType });
const states = (entries: Record<string, KeyState>): Map<Key, KeyState> => new Map(Object.entries(entries).map(([text, state]) => [key(text), state]));

describe('what a copy has', () => {
  it('has one state by whatever way it is read', () => {
    const listed = statesOf(packPairs([pair('a', '1'), pair('b', '2', 9, 'text/plain')]));
    expect([...listed.values()]).toEqual([stateOf(pair('a', '1')), stateOf(pair('b', '2', 9, 'text/plain'))]);
    expect(stateOf(undefined)).toBe(ABSENT);
  });

  it.each([
    ['value', pair('a', '2')],
    ['position', pair('a', '1', 8)],
    ['content type', pair('a', '1', 7, 'text/plain')],
    ['key', pair('b', '1')],
  ])('is another with another %s', (_, other) => {
    expect(digestOf(packPairs([other]))).not.toEqual(digestOf(packPairs([pair('a', '1')])));
  });

  it('is unlike where either has a key that the other lacks, or has otherwise', () => {
    expect(unlike(states({ a: '1', b: '1', c: '1' }), states({ a: '1', b: '2', d: '1' }))).toEqual(['b', 'c', 'd'].map(key));
  });
});

describe('a key', () => {
  const reading = (before: KeyState, after: KeyState, ...followers: KeyState[]): Parameters<typeof judge>[0] => ({ before, after, followers: new Map(followers.map((state, i) => [`n${i}`, state])) });

  it.each([
    ['alike', reading('1', '1', '1', '1')],
    ['alike, at one before the write and at one after it', reading('1', '2', '1', '2')],
    ['alike, with nobody to ask', reading('1', '1')],
    ['different', reading('1', '1', '1', '2')],
    ['different when a follower has what was deleted', reading(ABSENT, ABSENT, '1')],
    ['unsettled while it is written', reading('1', '3', '2', '3')],
  ])('is %s', (words, given) => {
    expect(judge(given)).toBe(words.split(/[ ,]/)[0]);
  });

  it.each<[string, Parameters<typeof deviations>, object[]]>([
    ['the follower that stands alone', ['p', '1', new Map([['a', '2'], ['b', '1']]), undefined], [{ node: 'a', what: 'has another value' }]],
    ['the primary that stands alone', ['p', '1', new Map([['a', '2'], ['b', '2']]), undefined], [{ node: 'p', what: 'has another value' }]],
    ['one that lacks it', ['p', '1', new Map([['a', ABSENT], ['b', '1']]), undefined], [{ node: 'a', what: 'lacks it' }]],
    ['one that has too much', ['p', ABSENT, new Map([['a', '2'], ['b', ABSENT]]), undefined], [{ node: 'a', what: 'has it, though it was deleted' }]],
    ['of two, the follower', ['p', '1', new Map([['a', '2']]), undefined], [{ node: 'a', what: 'has another value' }]],
    ['of two, the primary whose own log says otherwise', ['p', '1', new Map([['a', '2']]), '2'], [{ node: 'p', what: 'has another value' }]],
    ['of two, the follower when the log agrees with neither', ['p', '1', new Map([['a', '2']]), '3'], [{ node: 'a', what: 'has another value' }]],
    ['of three that all differ, the followers', ['p', '1', new Map([['a', '2'], ['b', '3']]), undefined], [{ node: 'a', what: 'has another value' }, { node: 'b', what: 'has another value' }]],
  ])('that is different is the fault of %s', (_, given, wrong) => {
    expect(deviations(...given)).toEqual(wrong);
  });
});

describe('copies that are made anew', () => {
  const found = (node: string, differences: number, compared = true): Parameters<typeof condemned>[0] => ({ node, differences, compared });

  it.each([
    ['none when none is wrong', found('p', 0), [found('a', 0)], []],
    ['each follower that is wrong', found('p', 0), [found('a', 1), found('b', 2)], ['a', 'b']],
    ['the primary, after the followers, so that none of these takes its place', found('p', 1), [found('a', 1), found('b', 0)], ['a', 'p']],
    ['none when every copy is wrong somewhere', found('p', 1), [found('a', 1), found('b', 1)], []],
    ['not the primary when no other was compared to the end', found('p', 1), [found('a', 0, false)], []],
  ])('are %s', (_, primary, followers, nodes) => {
    expect(condemned(primary, followers)).toEqual(nodes);
  });
});
