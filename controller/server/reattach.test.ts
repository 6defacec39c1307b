import type * as grpc from '@grpc/grpc-js';
import { beforeEach, describe, expect, it } from 'vitest';
import { keyFromText } from '../../model/key.js';
import type { OperationStarted, RunEvent, RunRequest } from '../../proto/gen/ranger/controller.js';
import { FakeCluster } from '../../test/scenarios/fake-cluster.js';
import type { Controller } from '../controller.js';
import { planMove, planSplit } from '../orchestrator/request.js';
import { reattach } from './reattach.js';

const MOVE: RunRequest = { operation: { $case: 'move', move: { range: 1n, node: '5201', from: '' } } };
const SPLIT: RunRequest = { operation: { $case: 'split', split: { range: 1n, boundary: Buffer.from('m'), nodeLeft: '', nodeRight: '5201' } } };
const MOVED: OperationStarted = { description: 'move R1 5200 -> 5201', ranges: [1n], source: 0n, to: 0n };
const SPLITTED: OperationStarted = { description: 'split R1 at m -> R2@5200 R3@5201', ranges: [1n, 2n, 3n], source: 0n, to: 0n };
const LEADS = { leading: true, term: 2, leaderAddress: 'host:5001' };

describe('an operation whose leader went away', () => {
  let cluster: FakeCluster;
  let leader: Controller;
  let second: Controller;
  let written: RunEvent[];
  let caller: AbortController;

  beforeEach(async () => {
    cluster = new FakeCluster();
    written = [];
    caller = new AbortController();
    leader = (await cluster.startLeader('5200', '5201')).controller;
    second = cluster.startController().controller;
    await cluster.clock.advance(2000);
  });

  function goOn(request: RunRequest, started: OperationStarted | undefined): Promise<boolean> {
    const call = { request, cancelled: false, write: (event: RunEvent) => written.push(event) };
    const continuation = reattach(second, cluster.clock, call as unknown as grpc.ServerWritableStream<RunRequest, RunEvent>);
    if (started) continuation.saw({ event: { $case: 'started', started } });
    return continuation.goOn(caller.signal);
  }

  /** The first answer to it does not come before the next leader leads. */
  function hold(): void {
    cluster.intercept = () => Promise.resolve({ error: 'not yet' });
    void cluster.clock.advance(0);
  }

  it('is told done once the next leader has done it', async () => {
    hold();
    await leader.run((world) => planMove(world, { range: 1, node: '5201' }));
    leader.close();
    const told = goOn(MOVE, MOVED);
    await cluster.clock.advance(3000);
    expect(written).toEqual([]);
    cluster.intercept = (_command, perform) => Promise.resolve(perform());
    second.lead(LEADS);
    await cluster.clock.advance(120_000);
    expect(await told).toBe(true);
    expect(written.map(({ event }) => event?.$case)).toEqual(['done']);
  });

  it('is told with the reason when the next leader takes it back', async () => {
    hold();
    await leader.run((world) => planSplit(world, { range: 1, boundary: keyFromText('m'), left: undefined, right: '5201' }));
    leader.close();
    const told = expect(goOn(SPLIT, SPLITTED)).rejects.toMatchObject({ code: 'ABORTED', message: 'split R1 at m -> R2@5200 R3@5201: the split was taken back' });
    cluster.intercept = (command, perform) => Promise.resolve(command.node === '5201' ? { error: 'no' } : perform());
    second.lead(LEADS);
    await cluster.clock.advance(120_000);
    await told;
    expect(written).toEqual([]);
  });

  it('is told done when it was a transfer, and the copy named is the primary', async () => {
    leader.close();
    const transfer: RunRequest = { operation: { $case: 'transfer', transfer: { range: 1n, node: '5200' } } };
    const told = goOn(transfer, { description: 'transfer R1 5201 -> 5200', ranges: [1n], source: 0n, to: 0n });
    await cluster.clock.advance(3000);
    expect(await told).toBe(true);
    expect(written.map(({ event }) => event?.$case)).toEqual(['done']);
  });

  it('is not guessed at when nobody knows whether it began, nor told to a caller who is gone', async () => {
    expect(await goOn(MOVE, undefined)).toBe(false);
    const told = expect(goOn(MOVE, MOVED)).rejects.toThrow('hung up');
    caller.abort(new Error('hung up'));
    await told;
  });
});
