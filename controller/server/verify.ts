import type * as grpc from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import type { RangeId } from '../../model/range.js';
import { rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import { VerifyService } from '../../proto/gen/kv/verify.js';
import type { VerifyOrder } from '../../proto/gen/ranger/controller.js';
import type { VerifyReport } from '../../proto/gen/ranger/types.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import { type RangeRecord, primaryOf } from '../keyspace/record.js';
import type { Peer, PeerMethod } from './peer.js';

export interface VerifyDeps {
  readonly clock: Clock;
  /** To nodes. */
  readonly connect: (address: string) => Peer;
}

/** How long a range that is not active where it should be is waited for. */
const PATIENCE_MS = 10_000;
const AGAIN_MS = 250;

export type VerifyCall = grpc.ServerWritableStream<VerifyOrder, VerifyReport>;

/** Has the copies of one range compared, or those of all ranges one after the other, each by its primary, and passes on what these tell. */
export async function verifyRanges(controller: Controller, deps: VerifyDeps, call: VerifyCall, signal: AbortSignal): Promise<void> {
  const report = (message: unknown): void => {
    if (!call.cancelled) call.write(message as VerifyReport);
  };
  const ids = rangesOf(controller, call.request);
  // Those that take over from a range meanwhile are put behind it.
  for (const id of ids) {
    const instead = await verifyRange(controller, deps, id, report, signal);
    if (signal.aborted) return;
    ids.push(...instead.filter((other) => !ids.includes(other)));
  }
  call.end();
}

/** Tries until it begins: a range that is being moved, split or joined is back in a moment. Answers which ranges took over from it. */
async function verifyRange(controller: Controller, { clock, connect }: VerifyDeps, id: RangeId, report: (message: unknown) => void, signal: AbortSignal): Promise<readonly RangeId[]> {
  const untilMs = clock.now() + PATIENCE_MS;
  for (;;) {
    const record = controller.keyspace.get(id);
    if (!record || record.state === 'Obsolete') return record?.children ?? [];
    // Its keys are its parents' still.
    if (!record.established) return [];
    try {
      await askPrimary(controller, connect, record, report, signal);
      return [];
    } catch (thrown) {
      if (signal.aborted) return [];
      if (clock.now() >= untilMs) {
        report(failed(id, messageOf(thrown)));
        return [];
      }
    }
    await sleep(clock, AGAIN_MS, signal).catch(() => undefined);
  }
}

function rangesOf({ keyspace }: Controller, { range }: VerifyOrder): RangeId[] {
  if (range === 0n) return [...keyspace.values()].filter(({ state }) => state !== 'Obsolete').map(({ id }) => id);
  const id = rangeIdFromWire(range, 'range');
  const record = keyspace.get(id);
  if (!record) throw new AppError('NOT_FOUND', `there is no range ${id}; \`rangerctl ranges\` lists them`);
  if (record.state === 'Obsolete') throw new AppError('FAILED_PRECONDITION', `R${id} is obsolete: ${record.children.map((child) => `R${child}`).join(' and ')} took over`);
  return [id];
}

async function askPrimary(controller: Controller, connect: VerifyDeps['connect'], range: RangeRecord, report: (message: unknown) => void, signal: AbortSignal): Promise<void> {
  const peer = connect(addressOf(controller, range));
  try {
    const method = VerifyService.run as unknown as PeerMethod;
    await peer.stream(method, { range: rangeIdToWire(range.id) }, { metadata: new Metadata(), deadline: Infinity, signal }, report);
  } finally {
    peer.close();
  }
}

function addressOf({ roster }: Controller, range: RangeRecord): string {
  const primary = primaryOf(range);
  if (!primary) throw new AppError('UNAVAILABLE', 'it is active nowhere at the moment');
  const node = roster.nodes.get(primary.node);
  if (!node) throw new AppError('UNAVAILABLE', `${primary.node}, which has its primary, is not registered`);
  return node.address;
}

function failed(id: RangeId, problem: string): VerifyReport {
  return { range: rangeIdToWire(id), keys: 0n, bytes: 0n, keysTotal: 0n, elapsedMs: 0n, copies: [], differences: [], unsettled: 0n, done: true, problem };
}
