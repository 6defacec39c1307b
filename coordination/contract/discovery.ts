import type { Subscription } from 'rxjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Instance } from '../interfaces.js';
import { NO_OUTAGE, type DiscoveryHarness, type DiscoveryProcess, pause, until } from './harness.js';

const idents = (instances: readonly Instance[]): string[] => instances.map((instance) => instance.ident);
const sees =
  (...expected: string[]) =>
  (instances: readonly Instance[]): boolean =>
    idents(instances).join() === expected.join();

/** What every Discovery does. */
export function discoveryContract(name: string, makeHarness: () => Promise<DiscoveryHarness>): void {
  describe(`${name}: discovery`, () => {
    let harness: DiscoveryHarness;
    let subscriptions: Subscription[];

    beforeEach(async () => {
      harness = await makeHarness();
      subscriptions = [];
    });
    afterEach(async () => {
      for (const subscription of subscriptions) subscription.unsubscribe();
      await harness.close();
    });

    /** Every list that a process is told of nodes, in order. */
    function record(process: DiscoveryProcess): (readonly Instance[])[] {
      const lists: (readonly Instance[])[] = [];
      subscriptions.push(process.discovery.watch('node').subscribe((list) => lists.push(list)));
      return lists;
    }

    async function registered(ident: string, incarnation?: string): Promise<DiscoveryProcess> {
      const process = await harness.process(ident, incarnation);
      await process.discovery.register(process.instance);
      return process;
    }

    test('starts with an empty list', async () => {
      const watcher = await harness.process('w');
      expect(await until(watcher.discovery.watch('node'), () => true)).toEqual([]);
    });

    test('shows instances whole, sorted by ident, to those who watched before and to those who come later', async () => {
      const watcher = await harness.process('w');
      const lists = record(watcher);
      const b = await registered('5202', 'b1');
      const a = await registered('5201', 'a1');
      await until(watcher.discovery.watch('node'), sees('5201', '5202'));
      expect(await until(b.discovery.watch('node'), sees('5201', '5202'))).toEqual([a.instance, b.instance]);
      expect(a.instance.meta['incarnation']).toBe('a1');
      await expect.poll(() => lists.at(-1)).toEqual([a.instance, b.instance]);
    });

    test('a new instance is seen by those who watched before', async () => {
      const watcher = await harness.process('w');
      const seen = until(watcher.discovery.watch('node'), sees('5201'));
      const node = await harness.process('5201');
      await node.discovery.register(node.instance);
      await seen;
    });

    test('keeps services apart', async () => {
      const process = await harness.process('5100');
      await process.discovery.register({ ...process.instance, service: 'proxy' });
      await process.discovery.register(process.instance);
      expect(await until(process.discovery.watch('proxy'), sees('5100'))).toEqual([{ ...process.instance, service: 'proxy' }]);
      await until(process.discovery.watch('node'), sees('5100'));
      expect(await until(process.discovery.watch('controller'), () => true)).toEqual([]);
    });

    test('deregister removes one, close removes all of a process', async () => {
      const watcher = await harness.process('w');
      const node = await harness.process('5201');
      const registration = await node.discovery.register(node.instance);
      const other = await registered('5202');
      await until(watcher.discovery.watch('node'), sees('5201', '5202'));
      await registration.deregister();
      await registration.deregister();
      await until(watcher.discovery.watch('node'), sees('5202'));
      await other.discovery.close();
      await until(watcher.discovery.watch('node'), sees());
    });

    test('close completes the watches', async () => {
      const watcher = await harness.process('w');
      let completed = false;
      subscriptions.push(watcher.discovery.watch('node').subscribe({ complete: () => (completed = true) }));
      await until(watcher.discovery.watch('node'), () => true);
      await watcher.discovery.close();
      expect(completed).toBe(true);
    });

    test('a killed process is gone', async () => {
      const watcher = await harness.process('w');
      const node = await registered('5201');
      await registered('5202');
      await until(watcher.discovery.watch('node'), sees('5201', '5202'));
      await node.kill();
      await until(watcher.discovery.watch('node'), sees('5202'));
    });

    test('a killed process that starts again at its address is itself again', async () => {
      const watcher = await harness.process('w');
      const node = await registered('5201', 'a1');
      await until(watcher.discovery.watch('node'), sees('5201'));
      await node.kill();
      const again = await harness.restart(node);
      await again.discovery.register(again.instance);
      // Whatever the watcher made of the death, it ends up seeing the living.
      await pause(harness.deathMs);
      expect(await until(watcher.discovery.watch('node'), sees('5201'))).toEqual([node.instance]);
    });

    test('the second of two processes with one ident is refused, by names', async () => {
      const first = await registered('5201', 'a1');
      const second = await harness.process('5201', 'b1');
      const refused = second.discovery.register(second.instance);
      await expect(refused).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
      await expect(refused).rejects.toThrow(first.instance.address);
      await expect(refused).rejects.toThrow(second.instance.address);
      expect(await until(second.discovery.watch('node'), sees('5201'))).toEqual([first.instance]);
    });

    test('the ident of a process that left is free', async () => {
      const first = await registered('5201', 'a1');
      await first.discovery.close();
      const second = await registered('5201', 'b1');
      await until(second.discovery.watch('node'), (list) => list[0]?.address === second.instance.address);
    });

    test('the ident of a process that was killed is free once its death is seen', async () => {
      const watcher = await harness.process('w');
      const first = await registered('5201', 'a1');
      await first.kill();
      await until(watcher.discovery.watch('node'), sees());
      const second = await registered('5201', 'b1');
      expect(await until(watcher.discovery.watch('node'), sees('5201'))).toEqual([second.instance]);
    });

    test.each([
      ['ident', { ident: '' }],
      ['ident', { ident: 'a b' }],
      ['address', { address: 'localhost' }],
      ['address', { address: 'localhost:0' }],
      ['meta', { meta: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`m${i}`, 'x'])) }],
    ])('refuses a bad %s: %j', async (field, wrong) => {
      const process = await harness.process('5201');
      const refused = process.discovery.register({ ...process.instance, ...wrong });
      await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await expect(refused).rejects.toThrow(field);
    });

    outageTests(() => harness, registered, record);
  });
}

function outageTests(
  harness: () => DiscoveryHarness,
  registered: (ident: string, incarnation?: string) => Promise<DiscoveryProcess>,
  record: (process: DiscoveryProcess) => (readonly Instance[])[],
): void {
  test('through an outage watchers keep what they know, and everybody is back after it', async ({ skip }) => {
    const { faults, recoveryMs } = harness();
    if (!faults) return skip(NO_OUTAGE);
    const watcher = await harness().process('w');
    const lists = record(watcher);
    const a = await registered('5201', 'a1');
    const b = await registered('5202', 'b1');
    await expect.poll(() => idents(lists.at(-1) ?? [])).toEqual(['5201', '5202']);
    const before = lists.length;
    await faults.stop();
    await pause(300);
    await faults.start();
    // Somebody new learns of them from the backend itself, so they have come back to it.
    const newcomer = await harness().process('n');
    await until(newcomer.discovery.watch('node'), sees('5201', '5202'));
    await pause(recoveryMs);
    expect(lists.slice(before)).toEqual([]);
    const c = await registered('5203', 'c1');
    await expect.poll(() => lists.at(-1)).toEqual([a.instance, b.instance, c.instance]);
  });

  test('who dies in an outage is gone after it', async ({ skip }) => {
    const { faults } = harness();
    if (!faults) return skip(NO_OUTAGE);
    const watcher = await harness().process('w');
    const lists = record(watcher);
    const node = await registered('5201');
    await registered('5202');
    await expect.poll(() => idents(lists.at(-1) ?? [])).toEqual(['5201', '5202']);
    await faults.stop();
    await node.kill();
    await faults.start();
    await expect.poll(() => idents(lists.at(-1) ?? [])).toEqual(['5202']);
  });

  test('a registration made while the backend is away holds once it is there', async ({ skip }) => {
    const { faults } = harness();
    if (!faults) return skip(NO_OUTAGE);
    const node = await harness().process('5201');
    await faults.stop();
    const registration = node.discovery.register(node.instance);
    const seen = until(node.discovery.watch('node'), sees('5201'));
    await pause(200);
    await faults.start();
    await registration;
    await seen;
  });

  test('deregister and close end even while the backend is away', async ({ skip }) => {
    const { faults } = harness();
    if (!faults) return skip(NO_OUTAGE);
    const node = await harness().process('5201');
    const registration = await node.discovery.register(node.instance);
    await faults.stop();
    await registration.deregister();
    const waiting = node.discovery.register(node.instance);
    const cancelled = expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    await node.discovery.close();
    await cancelled;
  });
}
