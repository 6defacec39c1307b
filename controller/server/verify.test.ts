import { describe, expect, it } from 'vitest';
import type { VerifyReport } from '../../proto/gen/ranger/types.js';
import { AppError } from '../../runtime/errors.js';
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

  async function verify(range: bigint): Promise<string[]> {
    asked.length = 0;
    closed = 0;
    let roster = updates.settled(EMPTY_ROSTER);
    for (const ident of ['5200', '5201']) roster = updates.discovered(roster, { ident, address: `localhost:${ident}`, incarnation: 'a' }, 0);
    const keyspace = new Keyspace([active(1, '5200'), active(2, '5201'), active(3, '5299'), newRange(meta(4), { established: true }), { ...active(5, '5200'), state: 'Obsolete', children: [1, 2] }]);
    const reports: VerifyReport[] = [];
    const call = { request: { range }, cancelled: false, write: (report: VerifyReport) => reports.push(report), end: () => undefined };
    await verifyRanges({ keyspace, roster } as unknown as Controller, connect, call as unknown as VerifyCall, new AbortController().signal);
    return reports.map((report) => `R${report.range}: ${report.problem === '' ? 'compared' : report.problem}`);
  }

  it('asks the primary of each range, and goes on where one cannot be compared', async () => {
    expect(await verify(0n)).toEqual([
      'R1: compared',
      'R2: the connection broke',
      'R3: 5299, which has its primary, is not registered',
      'R4: it is active nowhere at the moment',
    ]);
    expect(asked).toEqual(['R1 at localhost:5200', 'R2 at localhost:5201']);
    expect(closed).toBe(2);
  });

  it('asks for one range, if there is such a one', async () => {
    expect(await verify(1n)).toEqual(['R1: compared']);
    await expect(verify(9n)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(verify(5n)).rejects.toThrow('R5 is obsolete: R1 and R2 took over');
  });
});
