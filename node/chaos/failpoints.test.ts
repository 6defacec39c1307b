import { afterEach, describe, expect, it } from 'vitest';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { ManualClock, settle } from '../../test/cluster/manual-clock.js';
import { LocalCluster, at, command, get, meta, put } from '../testing/local-cluster.js';
import { ArmedFailpoints, FAILPOINTS, type FailpointName, type Failpoints, NO_FAILPOINTS, checkFailpoints, parseFailpoints } from './failpoints.js';

const NAMES = Object.keys(FAILPOINTS) as FailpointName[];

describe('how failpoints are asked for', () => {
  it('names and actions', () => {
    expect([...parseFailpoints('before-prepare=error, after-prepare=delay:50,after-hand-over-commit=crash')]).toEqual([
      ['before-prepare', { kind: 'error' }],
      ['after-prepare', { kind: 'delay', ms: 50 }],
      ['after-hand-over-commit', { kind: 'crash' }],
    ]);
    expect(parseFailpoints('').size).toBe(0);
  });

  it.each([
    ['befor-prepare=error', 'did you mean before-prepare?'],
    ['nonsense=error', 'there is no failpoint nonsense'],
    ['before-prepare', 'the action is one of error, delay:MS'],
    ['before-prepare=explode', 'the action is one of error, delay:MS'],
    ['before-prepare=delay:soon', 'the action is one of error, delay:MS'],
    ['after-activate-commit=error', 'cannot be refused any more'],
  ])('%s is refused', (text, part) => {
    expect(checkFailpoints(text)).toContain(part);
  });
});

describe('an armed failpoint', () => {
  function arm(text: string): { failpoints: Failpoints; clock: ManualClock; crashes: () => number } {
    const clock = new ManualClock();
    let crashes = 0;
    const failpoints = new ArmedFailpoints(parseFailpoints(text), { clock, logger: silentLogger, crash: () => crashes++ });
    return { failpoints, clock, crashes: () => crashes };
  }

  it('fails, waits, or ends the process, and nothing else does', async () => {
    const { failpoints, clock, crashes } = arm('before-prepare=error,after-prepare=delay:50,before-drop-commit=crash');
    await expect(failpoints.reach('before-prepare')).rejects.toThrow('failpoint before-prepare');
    let over = false;
    void failpoints.reach('after-prepare')?.then(() => (over = true));
    await clock.advance(49);
    expect(over).toBe(false);
    await clock.advance(1);
    expect(over).toBe(true);
    let returned = false;
    void failpoints.reach('before-drop-commit')?.then(() => (returned = true));
    await settle();
    expect([crashes(), returned]).toEqual([1, false]);
    expect(failpoints.reach('before-activate-commit')).toBeUndefined();
  });

  it('by default there is none', () => {
    expect(NAMES.map((name) => NO_FAILPOINTS.reach(name))).toEqual(NAMES.map(() => undefined));
  });
});

describe('a move through a failure at', () => {
  const clusters: LocalCluster[] = [];
  afterEach(() => {
    for (const cluster of clusters.splice(0)) cluster.killAll();
  });

  const range = meta(1);

  it.each(NAMES.filter((name) => FAILPOINTS[name].mayFail))('%s loses nothing, and is done when it is tried again', async (armed) => {
    const hits: FailpointName[] = [];
    let failing = false;
    const failpoints: Failpoints = {
      reach(name) {
        if (!failing || name !== armed || hits.length > 0) return undefined;
        hits.push(name);
        return Promise.reject(new AppError('ABORTED', `failpoint ${name}`));
      },
    };
    const cluster = new LocalCluster({ failpoints });
    clusters.push(cluster);
    const a = cluster.start('A');
    const b = cluster.start('B');
    await command(a, { command: 'Prepare', meta: range, epoch: 1, parents: [], initial: true });
    await command(a, { command: 'Activate', id: 1, epoch: 1, force: false, sources: [], initial: true });
    await Promise.all(Array.from({ length: 100 }, (_, i) => put(a, `k${i}`, `v${i}`)));

    failing = true;
    const until = async (state: string, once: () => Promise<{ state: string }>): Promise<void> => {
      for (let i = 0; i < 5; i++) if ((await once()).state === state) return;
      throw new Error(`not ${state}`);
    };
    await until('Inactive', () => command(b, { command: 'Prepare', meta: range, epoch: 2, parents: [at(range, 'A')], initial: false }));
    await until('Inactive', () => command(a, { command: 'Deactivate', id: 1, epoch: 3 }));
    await until('Active', () => command(b, { command: 'Activate', id: 1, epoch: 3, force: false, sources: [at(range, 'A')], initial: false }));
    await until('NotFound', () => command(a, { command: 'Drop', id: 1, epoch: 3, force: false }));

    expect(hits).toEqual([armed]);
    expect(Array.from({ length: 100 }, (_, i) => get(b, `k${i}`))).toEqual(Array.from({ length: 100 }, (_, i) => `v${i}`));
    expect(a.rangelet.info().ranges).toEqual([]);
  });
});
