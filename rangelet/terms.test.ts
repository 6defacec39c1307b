import { describe, expect, test } from 'vitest';
import type { Key } from '../model/key.js';
import type { RangeMeta } from '../model/range.js';
import type { Command } from '../model/states.js';
import { AppError } from '../runtime/errors.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import { type CommandRequest, Rangelet } from './rangelet.js';
import { type TermFence, memoryTermFence } from './terms.js';
import { FakeService } from './testing/fake-service.js';

const R1: RangeMeta = { id: 1, start: 'a' as Key, end: 'm' as Key };
const COMMANDS: Command[] = ['Prepare', 'Activate', 'Deactivate', 'Drop'];

function request(command: Command, term: number, epoch = 5): CommandRequest {
  switch (command) {
    case 'Prepare':
      return { command, meta: R1, epoch, term, parents: [], initial: true };
    case 'Activate':
      return { command, id: 1, epoch, term, force: false, sources: [], initial: true };
    case 'Deactivate':
      return { command, id: 1, epoch, term };
    case 'Drop':
      return { command, id: 1, epoch, term, force: false };
  }
}

interface World {
  readonly clock: ManualClock;
  readonly service: FakeService;
  readonly rangelet: Rangelet;
}

function world(terms: TermFence = memoryTermFence()): World {
  const clock = new ManualClock();
  const service = new FakeService();
  service.willing = true;
  return { clock, service, rangelet: new Rangelet({ service, clock, terms, graceMs: 1000 }) };
}

/** A fence whose writes end when the test says so. */
class SlowFence implements TermFence {
  readonly writes: { readonly term: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  private newest = 0;

  get(): number {
    return this.newest;
  }

  raise(term: number): Promise<void> {
    this.newest = Math.max(this.newest, term);
    return new Promise((resolve, reject) => {
      this.writes.push({ term, resolve, reject });
    });
  }
}

describe('the term of a command', () => {
  test.each(COMMANDS)('%s of an older one is refused, naming both, whatever its epoch, and changes nothing', async (command) => {
    const { rangelet, service } = world();
    await rangelet.execute(request('Prepare', 7));
    await rangelet.execute(request('Activate', 7));
    service.calls.length = 0;
    const thrown = await rangelet.execute(request(command, 6, 99)).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(AppError);
    expect(thrown).toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringMatching(/term 6 .*term 7/) as string });
    expect(service.calls).toEqual([]);
    expect(rangelet.info().ranges).toMatchObject([{ state: 'Active', epoch: 5 }]);
  });

  test('the same term goes on, a newer one is obeyed from then on, and 0 is never fenced', async () => {
    const { rangelet } = world();
    expect((await rangelet.execute(request('Prepare', 3))).state).toBe('Inactive');
    expect((await rangelet.execute(request('Activate', 3))).state).toBe('Active');
    expect((await rangelet.execute(request('Deactivate', 4, 6))).state).toBe('Inactive');
    await expect(rangelet.execute(request('Activate', 3, 7))).rejects.toThrow('term 4');
    expect((await rangelet.execute(request('Activate', 0, 7))).state).toBe('Active');
    const { command: _command, ...plain } = request('Deactivate', 0, 8);
    expect((await rangelet.execute({ command: 'Deactivate', id: 1, epoch: plain.epoch })).state).toBe('Inactive');
  });

  test('nothing is done for a newer one before it is kept', async () => {
    const fence = new SlowFence();
    const { rangelet, service } = world(fence);
    const first = rangelet.execute(request('Prepare', 2));
    const again = rangelet.execute(request('Prepare', 2));
    await settle();
    expect(fence.writes.map(({ term }) => term)).toEqual([2]);
    expect(service.calls).toEqual([]);
    fence.writes[0]?.resolve();
    expect((await first).state).toBe('Inactive');
    expect(['Preparing', 'Inactive']).toContain((await again).state);
    expect(service.calls).toHaveLength(1);
  });

  test('one that is kept too slowly is postponed: the caller asks again', async () => {
    const fence = new SlowFence();
    const { rangelet, service, clock } = world(fence);
    const answer = rangelet.execute(request('Prepare', 2));
    await settle();
    await clock.advance(1000);
    expect((await answer).state).toBe('NotFound');
    expect(service.calls).toEqual([]);
    fence.writes[0]?.resolve();
    await settle();
    expect((await rangelet.execute(request('Prepare', 2))).state).toBe('Inactive');
  });

  test('one that cannot be kept is refused with the reason', async () => {
    const fence = new SlowFence();
    const { rangelet, service } = world(fence);
    const answer = rangelet.execute(request('Prepare', 2));
    await settle();
    fence.writes[0]?.reject(new AppError('RESOURCE_EXHAUSTED', 'the disk is full'));
    await expect(answer).rejects.toThrow('the disk is full');
    expect(service.calls).toEqual([]);
  });

  test('a newer one that comes while an older is being kept wins', async () => {
    const fence = new SlowFence();
    const { rangelet, service } = world(fence);
    const older = rangelet.execute(request('Prepare', 2));
    const newer = rangelet.execute(request('Prepare', 3));
    await settle();
    for (const write of fence.writes) write.resolve();
    await expect(older).rejects.toThrow('Prepare of term 2 is refused');
    expect((await newer).state).toBe('Inactive');
    expect(service.calls).toHaveLength(1);
  });
});
