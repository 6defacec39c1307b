import { describe, expect, it } from 'vitest';
import type { Clock } from '../../runtime/clock.js';
import { reportReadiness } from './readiness.js';

const planned = ['node.1', 'node.2'].map((name, i) => ({ name, entry: 'node', command: '', port: i, dataDir: '' }));

/** Time that passes only by being waited for. */
function quickClock(): Clock {
  let now = 0;
  return {
    now: () => now,
    wallMs: () => now,
    after: (ms, callback) => {
      now += ms;
      queueMicrotask(callback);
      return () => {};
    },
  };
}

describe('reportReadiness', () => {
  it('says when all were ready, asking each only until it was', async () => {
    const asked: number[] = [];
    const said: string[] = [];
    const ask = (port: number): Promise<string | undefined> => {
      asked.push(port);
      return Promise.resolve(port === 1 && asked.length < 6 ? 'starting' : undefined);
    };
    await reportReadiness({ planned, ask, clock: quickClock(), signal: new AbortController().signal, say: (text) => said.push(text) });
    expect(said).toEqual(['all ready after 0.8 s']);
    expect(asked).toEqual([0, 1, 1, 1, 1, 1]);
  });

  it('says once what is waited for', async () => {
    const said: string[] = [];
    const over = new AbortController();
    let asked = 0;
    const ask = (port: number): Promise<string | undefined> => {
      if (++asked > 400) over.abort();
      return Promise.resolve(port === 1 ? 'no leader' : undefined);
    };
    await reportReadiness({ planned, ask, clock: quickClock(), signal: over.signal, say: (text) => said.push(text) });
    expect(said).toEqual(['not ready yet: node.2 (no leader)']);
  });
});
