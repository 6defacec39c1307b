import type * as grpc from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import type { RangeId } from '../../model/range.js';
import { rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import { VerifyService } from '../../proto/gen/kv/verify.js';
import type { VerifyOrder } from '../../proto/gen/ranger/controller.js';
import type { VerifyReport } from '../../proto/gen/ranger/types.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import { type RangeRecord, primaryOf } from '../keyspace/record.js';
import type { Peer, PeerMethod } from './peer.js';

export type VerifyCall = grpc.ServerWritableStream<VerifyOrder, VerifyReport>;

/** Has the copies of one range compared, or those of all ranges one after the other, each by its primary, and passes on what these tell. */
export async function verifyRanges(controller: Controller, connect: (address: string) => Peer, call: VerifyCall, signal: AbortSignal): Promise<void> {
  for (const id of rangesOf(controller, call.request)) {
    const report = (message: unknown): void => {
      if (!call.cancelled) call.write(message as VerifyReport);
    };
    try {
      await verifyRange(controller, connect, id, report, signal);
    } catch (thrown) {
      if (signal.aborted) return;
      report(failed(id, messageOf(thrown)));
    }
  }
  call.end();
}

function rangesOf({ keyspace }: Controller, { range }: VerifyOrder): RangeId[] {
  if (range === 0n) return [...keyspace.values()].filter(({ state }) => state !== 'Obsolete').map(({ id }) => id);
  const id = rangeIdFromWire(range, 'range');
  const record = keyspace.get(id);
  if (!record) throw new AppError('NOT_FOUND', `there is no range ${id}; \`rangerctl ranges\` lists them`);
  if (record.state === 'Obsolete') throw new AppError('FAILED_PRECONDITION', `R${id} is obsolete: ${record.children.map((child) => `R${child}`).join(' and ')} took over`);
  return [id];
}

async function verifyRange(controller: Controller, connect: (address: string) => Peer, id: RangeId, report: (message: unknown) => void, signal: AbortSignal): Promise<void> {
  const peer = connect(addressOf(controller, controller.keyspace.get(id)));
  try {
    const method = VerifyService.run as unknown as PeerMethod;
    await peer.stream(method, { range: rangeIdToWire(id) }, { metadata: new Metadata(), deadline: Infinity, signal }, report);
  } finally {
    peer.close();
  }
}

function addressOf({ roster }: Controller, range: RangeRecord | undefined): string {
  const primary = range && primaryOf(range);
  if (!primary) throw new AppError('UNAVAILABLE', 'it is active nowhere at the moment');
  const node = roster.nodes.get(primary.node);
  if (!node) throw new AppError('UNAVAILABLE', `${primary.node}, which has its primary, is not registered`);
  return node.address;
}

function failed(id: RangeId, problem: string): VerifyReport {
  return { range: rangeIdToWire(id), keys: 0n, bytes: 0n, keysTotal: 0n, elapsedMs: 0n, copies: [], differences: [], unsettled: 0n, done: true, problem };
}
