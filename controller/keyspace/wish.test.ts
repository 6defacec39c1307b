import { describe, expect, it } from 'vitest';
import { Keyspace, firstRange, toPersisted, wishesToPersisted } from './keyspace.js';
import { NO_WISH, parseWish, printWish, wishKey } from './wish.js';

describe('what operators want of a node', () => {
  it.each(['5201', 'host-1:5200', '[::1]:5200', 'näme', 'a/b', ''])('is a document of its own: %s', (node) => {
    const change = { node, wish: { drain: true, cordon: false } };
    expect(wishKey(node)).toMatch(/^nodes\/[A-Za-z0-9._:-]*$/);
    expect(parseWish(wishKey(node), printWish(change))).toEqual(change);
  });

  it('different nodes never share one', () => {
    expect(new Set(['a_b', 'a/b', 'a_5f_b', 'ab'].map(wishKey)).size).toBe(4);
  });

  it.each([
    ['not json', 'DATA_LOSS'],
    ['[]', 'DATA_LOSS'],
    ['{"format":1,"node":"5202","drain":true,"cordon":false}', 'DATA_LOSS'],
    ['{"format":1,"node":"5201","drain":1,"cordon":false}', 'DATA_LOSS'],
    ['{"format":2}', 'FAILED_PRECONDITION'],
  ])('is refused when it is damaged or too new: %s', (text, code) => {
    expect(() => parseWish('nodes/5201', text)).toThrow(expect.objectContaining({ code }) as Error);
  });

  it('is there after a restart, and gone when nothing is wanted any more', () => {
    const changes = [{ id: 1, record: firstRange() }];
    const drained = [{ node: '5201', wish: { drain: true, cordon: false } }];
    const documents = new Map([...toPersisted(changes), ...wishesToPersisted(drained)].map(({ key, value }) => [key, value ?? '']));
    const loaded = Keyspace.load(documents);
    expect(loaded.size).toBe(1);
    expect(loaded.wish('5201')).toEqual({ drain: true, cordon: false });
    expect(loaded.wish('5202')).toEqual(NO_WISH);
    loaded.applyWishes([{ node: '5201', wish: NO_WISH }]);
    expect(loaded.wished().size).toBe(0);
    expect(wishesToPersisted([{ node: '5201', wish: NO_WISH }])).toEqual([{ key: 'nodes/5201', value: undefined }]);
  });
});
