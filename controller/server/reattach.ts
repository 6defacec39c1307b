import type * as grpc from '@grpc/grpc-js';
import { countToWire, rangeIdFromWire } from '../../proto/convert.js';
import type { OperationStarted, RunEvent, RunRequest } from '../../proto/gen/ranger/controller.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import { standing } from '../orchestrator/progress.js';
import type { Tracked } from '../orchestrator/request.js';
import type { Continuation } from './leader.js';

/** How often it is looked at. */
const LOOK_MS = 200;

/**
 * Tells the end of an operation whose leader is gone. Nothing of an operation is in the
 * leader's head alone: how it stands can be read off what is persisted, and what nodes report.
 */
export function reattach(controller: Controller, clock: Clock, call: grpc.ServerWritableStream<RunRequest, RunEvent>): Continuation {
  const startedMs = clock.now();
  let started: OperationStarted | undefined;
  return {
    saw: (message) => {
      const { event } = message as RunEvent;
      if (event?.$case === 'started') ({ started } = event);
    },
    goOn: async (signal) => {
      if (!started) return false;
      const { description } = started;
      const tracked = trackedBy(call.request, started);
      const lostMs = clock.now();
      for (;;) {
        // What was read before may be from before the operation.
        const now = controller.keyspaceReadMs > lostMs ? standing(controller.keyspace, controller.roster, tracked) : undefined;
        if (now?.state === 'ended') throw new AppError('ABORTED', `${description}: ${now.because}`);
        if (now?.state === 'done') {
          // How much was copied only the one that is gone knew: nothing is said of it.
          if (!call.cancelled) call.write({ event: { $case: 'done', done: { elapsedMs: countToWire(clock.now() - startedMs), keys: 0n, bytes: 0n, ranges: [] } } });
          return true;
        }
        await sleep(clock, LOOK_MS, signal);
      }
    },
  };
}

function trackedBy({ operation }: RunRequest, { ranges, source, to }: OperationStarted): Tracked {
  const ids = ranges.map((id, at) => rangeIdFromWire(id, `ranges[${at}]`));
  switch (operation?.$case) {
    case 'split':
      return { kind: 'split', parents: ids.slice(0, 1), children: ids.slice(1) };
    case 'join':
      return { kind: 'join', parents: ids.slice(0, 2), children: ids.slice(2) };
    case 'transfer':
      return { kind: 'transfer', range: ids[0] ?? 0, to: Number(to) };
    default:
      return { kind: 'move', range: ids[0] ?? 0, source: Number(source) };
  }
}
