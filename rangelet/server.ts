import type * as grpc from '@grpc/grpc-js';
import type { RangeId, RangeMeta } from '../model/range.js';
import { NO_LOAD, type RangeInfo, type RangesEvent } from '../model/report.js';
import {
  countFromWire,
  epochFromWire,
  membershipFromWire,
  parentsFromWire,
  rangeIdFromWire,
  rangeInfoToWire,
  rangeMetaFromWire,
  rangesEventToWire,
  remoteStateToWire,
} from '../proto/convert.js';
import { NodeService, type PrepareResponse, type RangesResponse } from '../proto/gen/ranger/node.js';
import { type CallContext, addService, send } from '../proto/serve.js';
import { AppError } from '../runtime/errors.js';
import { Outbox } from './outbox.js';
import type { CommandAnswer, CommandRequest, Rangelet } from './rangelet.js';

/**
 * Callers give a command about as long as the grace period, and count an answer
 * that comes just after their deadline as a failure. So a part of it is kept for
 * the way back.
 */
const DEADLINE_SHARE = 0.8;

/** How a command is carried out; the same signature as `Rangelet.execute`. */
export type Execute = (request: CommandRequest, graceMs?: number) => Promise<CommandAnswer>;

/** Puts a rangelet on the wire. `wrap` may come between its commands and the rangelet, to test with. */
export function registerNodeService(server: grpc.Server, rangelet: Rangelet, wrap: (execute: Execute) => Execute = (execute) => execute): void {
  const { logger, clock, graceMs } = rangelet.settings;
  const execute = wrap((request, ms) => rangelet.execute(request, ms));
  const obey = (request: CommandRequest, ctx: CallContext): Promise<CommandAnswer> =>
    execute(request, Math.min(graceMs, (ctx.deadlineMs ?? Infinity) * DEADLINE_SHARE));
  let readers = 0;

  addService(
    server,
    NodeService,
    {
      async prepare(wire, ctx) {
        const meta = rangeMetaFromWire(wire.range, 'range');
        const request: CommandRequest = {
          command: 'Prepare',
          meta,
          epoch: epochFromWire(wire.epoch, 'epoch'),
          parents: parentsFromWire(wire.parents, 'parents'),
          initial: wire.initial,
          fork: epochFromWire(wire.fork, 'fork'),
          term: termFromWire(wire.term),
        };
        return prepared(meta, await obey(request, ctx));
      },

      async activate(wire, ctx) {
        const request: CommandRequest = {
          command: 'Activate',
          id: rangeIdFromWire(wire.range, 'range'),
          epoch: epochFromWire(wire.epoch, 'epoch'),
          force: wire.force,
          sources: parentsFromWire(wire.sources, 'sources'),
          initial: wire.initial,
          membership: membershipFromWire(wire),
          term: termFromWire(wire.term),
        };
        return answered(await obey(request, ctx));
      },

      async deactivate(wire, ctx) {
        const id = rangeIdFromWire(wire.range, 'range');
        const epoch = epochFromWire(wire.epoch, 'epoch');
        return answered(await obey({ command: 'Deactivate', id, epoch, term: termFromWire(wire.term) }, ctx));
      },

      async drop(wire, ctx) {
        const id = rangeIdFromWire(wire.range, 'range');
        const epoch = epochFromWire(wire.epoch, 'epoch');
        return answered(await obey({ command: 'Drop', id, epoch, force: wire.force, term: termFromWire(wire.term) }, ctx));
      },

      info() {
        const { ranges, ...rest } = rangelet.info();
        return Promise.resolve({ ranges: ranges.map(rangeInfoToWire), ...rest });
      },

      async ranges(call, ctx) {
        if (readers >= rangelet.settings.readersMax) {
          throw new AppError('RESOURCE_EXHAUSTED', `${readers} readers follow the ranges of this node already`);
        }
        readers++;
        try {
          await streamRanges(rangelet, (event) => send<RangesResponse>(call, rangesEventToWire(event), ctx.signal), ctx.signal);
          call.end();
        } finally {
          readers--;
        }
      },
    },
    { logger, clock },
  );
}

function termFromWire(value: bigint): number {
  return countFromWire(value, 'term');
}

/** Peers look into `range_info` without asking whether it is there. */
function prepared(meta: RangeMeta, { state, lastError, info }: CommandAnswer): PrepareResponse {
  const nothing = { meta, state, load: NO_LOAD, epoch: 0, progress: undefined, lastError, serving: false };
  return { rangeInfo: rangeInfoToWire(info ?? nothing) };
}

function answered({ state, lastError }: CommandAnswer): { state: ReturnType<typeof remoteStateToWire>; lastError: string } {
  return { state: remoteStateToWire(state), lastError };
}

interface Waiting {
  readonly id: RangeId;
  readonly info: RangeInfo;
  /** Counts the changes since the reader came. */
  readonly change: number;
}

/**
 * Tells a reader of every range, then that this was all, then of each change.
 * Resolves when the rangelet has closed; rejects when the reader is gone, or is so
 * slow that it had better begin again.
 */
export async function streamRanges(rangelet: Rangelet, tell: (event: RangesEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
  const outbox = new Outbox<Waiting>(2 * rangelet.settings.rangesMax);
  /** Changes up to this one were in what the listing told of a range; telling them again would go back in time. */
  const listedAt = new Map<RangeId, number>();
  const ids = rangelet.rangeIds();
  let changes = 0;
  const reader = { ended: false, tooSlow: false };
  let wake = (): void => {};
  const subscription = rangelet.changes.subscribe({
    next({ info }) {
      if (!outbox.push({ id: info.meta.id, info, change: ++changes })) reader.tooSlow = true;
      wake();
    },
    complete() {
      reader.ended = true;
      wake();
    },
  });
  const onAbort = (): void => {
    wake();
  };
  signal.addEventListener('abort', onAbort);
  try {
    for (const id of ids) {
      const info = rangelet.rangeInfo(id);
      if (!info) continue;
      if (outbox.size > 0) listedAt.set(id, changes);
      await tell(eventOf(info));
    }
    await tell({ type: 'synced' });
    for (;;) {
      signal.throwIfAborted();
      if (reader.tooSlow) throw new AppError('RESOURCE_EXHAUSTED', 'this reader is too slow; begin again');
      const next = outbox.shift();
      if (next) {
        if (next.change > (listedAt.get(next.id) ?? 0)) await tell(eventOf(next.info));
        continue;
      }
      if (reader.ended) return;
      listedAt.clear();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    subscription.unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}

function eventOf(info: RangeInfo): RangesEvent {
  return { type: 'range', meta: info.meta, state: info.state, epoch: info.epoch, info };
}
