import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Change, Persister } from '../interfaces.js';
import { NO_OUTAGE, ONE_AT_A_TIME, type PersisterHarness, SEVERAL } from './harness.js';

const put = (key: string, value: string): Change => ({ key, value });
const remove = (key: string): Change => ({ key, value: undefined });
const asObject = async (persister: Persister): Promise<Record<string, string>> => Object.fromEntries(await persister.load());

/** What every Persister does. */
export function persisterContract(name: string, makeHarness: () => Promise<PersisterHarness>): void {
  describe(`${name}: persister`, () => {
    let harness: PersisterHarness;
    let persister: Persister;

    beforeEach(async () => {
      harness = await makeHarness();
      persister = await harness.open();
    });
    afterEach(async () => {
      await persister.close();
      await harness.close();
    });

    test('starts empty', async () => {
      expect(await asObject(persister)).toEqual({});
    });

    test('keeps what was written, changed and removed, also for who opens it later', async () => {
      await persister.load();
      await persister.write([[put('1', '{"a":1}'), put('2', 'zwei ✓ \u0000')]]);
      await persister.write([[put('1', '{"a":2}')], [put('3', '')], [remove('2')]]);
      expect(await asObject(persister)).toEqual({ 1: '{"a":2}', 3: '' });
      await persister.close();
      persister = await harness.open();
      expect(await asObject(persister)).toEqual({ 1: '{"a":2}', 3: '' });
      await persister.write([[remove('1'), remove('3')]]);
      expect(await asObject(persister)).toEqual({});
    });

    test('writes without loading first, and a document made, changed and removed in one call', async () => {
      await persister.write([[put('1', 'a')], [put('1', 'b')], [remove('1')], [put('1', 'c'), remove('none')]]);
      expect(await asObject(persister)).toEqual({ 1: 'c' });
      await persister.write([[remove('1')], [remove('1')]]);
      expect(await asObject(persister)).toEqual({});
    });

    test('nothing to write is fine', async () => {
      await persister.write([]);
      await persister.write([[], []]);
      expect(await asObject(persister)).toEqual({});
    });

    test('writes that overlap happen one after the other', async () => {
      await Promise.all(Array.from({ length: 20 }, (_, i) => persister.write([[put('1', String(i)), put(`n${i}`, 'x')]])));
      const documents = await asObject(persister);
      expect(documents['1']).toBe('19');
      expect(Object.keys(documents)).toHaveLength(21);
    });

    test('many groups, and groups of many bytes, are more than one transaction takes', async () => {
      const groups = Array.from({ length: 150 }, (_, i) => [put(`a${i}`, 'x'.repeat(10_000)), put(`b${i}`, 'y')]);
      await persister.write(groups);
      const documents = await persister.load();
      expect(documents.size).toBe(300);
      expect(documents.get('a149')).toBe('x'.repeat(10_000));
      await persister.write(groups.map(([first]) => [remove(first?.key ?? '')]));
      expect((await persister.load()).size).toBe(150);
    });

    test('a bad key, a key twice in a group, and a group that no transaction holds are refused, and nothing is written', async () => {
      const code = { code: 'INVALID_ARGUMENT' };
      await expect(persister.write([[put('ok', '1')], [put('', '1')]])).rejects.toMatchObject(code);
      await expect(persister.write([[put('ok', '1')], [put('a b', '1')]])).rejects.toMatchObject(code);
      await expect(persister.write([[put('ok', '1')], [put('a', '1'), put('a', '2')]])).rejects.toMatchObject(code);
      const big = Array.from({ length: 64 }, (_, i) => put(`k${i}`, '1'));
      await expect(persister.write([[put('ok', '1')], big])).rejects.toMatchObject(code);
      expect(await asObject(persister)).toEqual({});
      await persister.write([[put('ok', '2')]]);
      expect(await asObject(persister)).toEqual({ ok: '2' });
    });

    sharingTests(
      () => harness,
      () => persister,
    );
    outageTests(
      () => harness,
      () => persister,
    );
  });
}

function sharingTests(harness: () => PersisterHarness, first: () => Persister): void {
  test('a second opener is refused where only one is allowed', async ({ skip }) => {
    if (harness().shared) return skip(SEVERAL);
    await expect(harness().open()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    await first().write([[put('1', 'still works')]]);
    expect(await asObject(first())).toEqual({ 1: 'still works' });
  });

  test("a change of somebody else's is not overwritten until it was loaded", async ({ skip }) => {
    if (!harness().shared) return skip(ONE_AT_A_TIME);
    const second = await harness().open();
    await first().write([[put('1', 'one'), put('2', 'one')]]);
    await second.load();
    await first().write([[put('1', 'mine')]]);

    await expect(second.write([[put('0', 'x'), put('1', 'theirs')]])).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(second.write([[put('0', 'x')]]), 'it must load first').rejects.toMatchObject({ code: 'ABORTED' });
    expect(await asObject(first())).toEqual({ 1: 'mine', 2: 'one' });

    await second.load();
    await second.write([[put('1', 'theirs')]]);
    expect(await asObject(first())).toEqual({ 1: 'theirs', 2: 'one' });
    await second.close();
  });

  test.for([
    ['makes a document that another made', put('1', 'b')],
    ['removes a document that another made', remove('1')],
  ] as const)('ABORTED for who %s since', async ([, change], { skip }) => {
    if (!harness().shared) return skip(ONE_AT_A_TIME);
    const second = await harness().open();
    await second.load();
    await first().write([[put('1', 'a')]]);
    await expect(second.write([[change]])).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await asObject(first())).toEqual({ 1: 'a' });
    await second.close();
  });

  // Removing what is gone already may succeed: Consul cannot tell, and the outcome is the wanted one.
  test('ABORTED for who changes a document that another removed since', async ({ skip }) => {
    if (!harness().shared) return skip(ONE_AT_A_TIME);
    const second = await harness().open();
    await first().write([[put('1', 'a')]]);
    await second.load();
    await first().write([[remove('1')]]);
    await expect(second.write([[put('1', 'b')]])).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await asObject(first())).toEqual({});
    await second.close();
  });

  test('of two who race, each group is written by one', async ({ skip }) => {
    if (!harness().shared) return skip(ONE_AT_A_TIME);
    const second = await harness().open();
    await second.load();
    await first().load();
    const results = await Promise.allSettled([first().write([[put('1', 'a'), put('2', 'a')]]), second.write([[put('1', 'b'), put('2', 'b')]])]);
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const winner = results[0].status === 'fulfilled' ? 'a' : 'b';
    expect(await asObject(first())).toEqual({ 1: winner, 2: winner });
    await second.close();
  });
}

function outageTests(harness: () => PersisterHarness, persister: () => Persister): void {
  test('UNAVAILABLE while the backend is away; afterwards load, and all is as before', async ({ skip }) => {
    const { faults } = harness();
    if (!faults) return skip(NO_OUTAGE);
    await persister().write([[put('1', 'kept')]]);
    await faults.stop();
    await expect(persister().load()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(persister().write([[put('1', 'x')]])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await faults.start();
    await expect(persister().write([[put('1', 'x')]]), 'it must load first').rejects.toMatchObject({ code: 'ABORTED' });
    const documents = await asObject(persister());
    expect(documents).toEqual({ 1: 'kept' });
    await persister().write([[put('1', 'new')]]);
    expect(await asObject(persister())).toEqual({ 1: 'new' });
  });
}
