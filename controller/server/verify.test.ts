import { describe, expect, it } from 'vitest';
import type { VerifyReport } from '../../proto/gen/ranger/types.js';
import { AppError } from '../../runtime/errors.js';
import { ManualClock } from '../../test/cluster/manual-clock.js';
import type { Controller } from '../controller.js';
import { Keyspace } from '../keyspace/keyspace.js';
import { newPlacement, newRange } from '../keyspace/record.js';
import { EMPTY_ROSTER } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import type { Peer } from './peer.js';
import { type VerifyCall, verifyRanges } from './verify.js';

const meta = (id: number): { id: number; start: never; end: never } => ({ id, start: '' as never, end: '' as never });
const active = (id: number, node: string): ReturnType<typeof newRange> => newRange(meta(id), { established: true, primary: 0, placements: [newPlacement(0, node, { state: 'Active' })] });

describe('verify', () => {
  const asked: string[] = [];
  let closed = 0;
  const connect = (address: string): Peer => ({
    unary: () => Promise.reject(new AppError('UNIMPLEMENTED', 'not asked for')),
    stream: async (_method, request, _options, onMessage) => {
      const { range } = request as { range: bigint };
      asked.push(`R${range} at ${address}`);
      if (range === 2n) throw new AppError('UNAVAILABLE', 'the connection broke');
      onMessage({ range, done: true, problem: '' });
    },
    close: () => {
      closed++;
    },
  });

  async function verify(range: bigint, meanwhile?: (controller: { keyspace: Keyspace }) => void): Promise<string[]> {
    asked.length = 0;
    closed = 0;
    let roster = updates.settled(EMPTY_ROSTER);
    for (const ident of ['5200', '5201']) roster = updates.discovered(roster, { ident, address: `localhost:${ident}`, incarnation: 'a' }, 0);
    const keyspace = new Keyspace([active(1, '5200'), active(2, '5201'), active(3, '5299'), newRange(meta(4), { established: true }), { ...active(5, '5200'), state: 'Obsolete', children: [1, 2] }, newRange(meta(8), {})]);
    const reports: VerifyReport[] = [];
    const call = { request: { range }, cancelled: false, write: (report: VerifyReport) => reports.push(report), end: () => undefined };
    const clock = new ManualClock();
    const controller = { keyspace, roster };
    const over = { is: false };
    const verifying = verifyRanges(controller as unknown as Controller, { clock, connect }, call as unknown as VerifyCall, new AbortController().signal).finally(() => {
      over.is = true;
    });
    verifying.catch(() => undefined);
    for (let ms = 0; ms < 60_000 && !over.is; ms += 250) {
      await new Promise(setImmediate);
      if (meanwhile && ms === 1_000) meanwhile(controller);
      await clock.advance(250);
    }
    await verifying;
    return reports.map((report) => `R${report.range}: ${report.problem === '' ? 'compared' : report.problem}`);
  }

  it('asks the primary of each range, and goes on where one cannot be compared', async () => {
    expect(await verify(0n)).toEqual([
      'R1: compared',
      'R2: the connection broke',
      'R3: 5299, which has its primary, is not registered',
      'R4: it is active nowhere at the moment',
    ]);
    expect([...new Set(asked)]).toEqual(['R1 at localhost:5200', 'R2 at localhost:5201']);
    expect(closed).toBe(asked.length);
  });

  it('goes on with the ranges that took over from one meanwhile', async () => {
    const split = (controller: { keyspace: Keyspace }): void => {
      controller.keyspace = new Keyspace([{ ...active(2, '5201'), state: 'Obsolete', children: [6, 7] }, active(6, '5200'), active(7, '5201')]);
    };
    expect(await verify(2n, split)).toEqual(['R6: compared', 'R7: compared']);
  });

  it('waits for one that is nowhere active for a moment, and asks for nothing that has no keys of its own yet', async () => {
    const activate = (controller: { keyspace: Keyspace }): void => {
      controller.keyspace = new Keyspace([active(4, '5200')]);
    };
    expect(await verify(4n, activate)).toEqual(['R4: compared']);
    expect(await verify(8n)).toEqual([]);
  });

  it('asks for one range, if there is such a one', async () => {
    expect(await verify(1n)).toEqual(['R1: compared']);
    await expect(verify(9n)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(verify(5n)).rejects.toThrow('R5 is obsolete: R1 and R2 took over');
  });
});
