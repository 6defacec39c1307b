import type * as grpc from '@grpc/grpc-js';
import { formatStep } from '../../model/notation.js';
import type { NodeIdent } from '../../model/range.js';
import { boundFromWire, countToWire, rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import {
  type JoinRequest,
  type MoveRequest,
  OperationsService,
  OrchestratorService,
  type RunEvent,
  type RunRequest,
  type SplitRequest,
  type TransferRequest,
} from '../../proto/gen/ranger/controller.js';
import { addService } from '../../proto/serve.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Controller } from '../controller.js';
import type { Planner, Starter } from '../loop.js';
import type { OperationResult } from '../operations.js';
import type { Clock } from '../../runtime/clock.js';
import type { Leaders } from './leader.js';
import { type DrainCall, reattachDrain } from './drain.js';
import { operatorHandlers, statusToWire } from './operator.js';
import type { Peer } from './peer.js';
import { reattach } from './reattach.js';
import { planJoin, planMove, planSplit, planTransfer } from '../orchestrator/request.js';

export interface OperatorDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  /** To nodes, for what is passed on to them. */
  readonly connect: (address: string) => Peer;
  /** Aborted when the controller stops: what is told live ends then. */
  readonly closing: AbortSignal;
}

/** Puts the Orchestrator service and its reporting form on the wire. A follower passes on what it is asked. */
export function addOperatorServices(server: grpc.Server, controller: Controller, leaders: Leaders, deps: OperatorDeps): void {
  const complete = async (planner: Planner): Promise<Record<string, never>> => {
    const operation = await controller.run(planner);
    await operation.result;
    return {};
  };
  addService(
    server,
    OrchestratorService,
    leaders.only(OrchestratorService, {
      move: (request) => complete(readMove(request)),
      split: (request) => complete(readSplit(request)),
      join: (request) => complete(readJoin(request)),
    }),
    deps,
  );
  addService(
    server,
    OperationsService,
    leaders.only(
      OperationsService,
      {
        run: async (call) => {
          const operation = await controller.run(readOperation(call.request), reporter(call));
          const result = await operation.result;
          if (!call.cancelled) call.write(doneEvent(result));
          call.end();
        },
        ...operatorHandlers(controller, deps.clock, deps.connect),
      },
      {
        continued: {
          run: (call) => reattach(controller, deps.clock, call as OperationCall),
          drain: (call) => reattachDrain(controller, deps.clock, call as DrainCall),
        },
        known: { status: (why) => statusToWire(controller, why) },
      },
    ),
    deps,
  );
}

type OperationCall = grpc.ServerWritableStream<RunRequest, RunEvent>;

function readOperation({ operation }: RunRequest): Planner {
  switch (operation?.$case) {
    case 'move':
      return readMove(operation.move);
    case 'split':
      return readSplit(operation.split);
    case 'join':
      return readJoin(operation.join);
    case 'transfer':
      return readTransfer(operation.transfer);
    case undefined:
      throw new AppError('INVALID_ARGUMENT', 'operation: is missing; it is one of move, transfer, split and join');
  }
}

function readMove(wire: MoveRequest): Planner {
  const request = { range: rangeIdFromWire(wire.range, 'range'), node: nodeFromWire(wire.node), from: nodeFromWire(wire.from) };
  return (world) => planMove(world, request);
}

function readTransfer(wire: TransferRequest): Planner {
  const request = { range: rangeIdFromWire(wire.range, 'range'), node: wire.node };
  return (world) => planTransfer(world, request);
}

function readSplit(wire: SplitRequest): Planner {
  const request = {
    range: rangeIdFromWire(wire.range, 'range'),
    boundary: boundFromWire(wire.boundary, 'boundary'),
    left: nodeFromWire(wire.nodeLeft),
    right: nodeFromWire(wire.nodeRight),
  };
  return (world) => planSplit(world, request);
}

function readJoin(wire: JoinRequest): Planner {
  const request = {
    left: rangeIdFromWire(wire.rangeLeft, 'range_left'),
    right: rangeIdFromWire(wire.rangeRight, 'range_right'),
    node: nodeFromWire(wire.node),
  };
  return (world) => planJoin(world, request);
}

function nodeFromWire(text: string): NodeIdent | undefined {
  return text === '' ? undefined : text;
}

/** Reports are small and few; one that nobody reads is thrown away with its call. */
function reporter(call: OperationCall): Starter {
  const write = (event: RunEvent['event']): void => {
    if (!call.cancelled) call.write({ event });
  };
  return {
    started: ({ description, members, tracked }) => {
      const source = tracked.kind === 'move' ? BigInt(tracked.source) : 0n;
      const to = tracked.kind === 'transfer' ? BigInt(tracked.to) : 0n;
      write({ $case: 'started', started: { description, ranges: members.map(rangeIdToWire), source, to } });
    },
    step: (step, elapsedMs) => {
      write({
        $case: 'step',
        step: {
          text: formatStep(step),
          range: rangeIdToWire(step.range),
          placement: step.placement?.index ?? 0,
          node: step.placement?.node ?? '',
          from: step.from,
          to: step.to,
          elapsedMs: countToWire(elapsedMs),
        },
      });
    },
    progress: ({ range, node, progress }, elapsedMs) => {
      write({
        $case: 'progress',
        progress: {
          range: rangeIdToWire(range),
          node,
          keys: countToWire(progress.keys),
          bytes: countToWire(progress.bytes),
          keysTotal: countToWire(progress.keysTotal),
          elapsedMs: countToWire(elapsedMs),
        },
      });
    },
  };
}

function doneEvent({ ranges, elapsedMs, keys, bytes }: OperationResult): RunEvent {
  return {
    event: {
      $case: 'done',
      done: { elapsedMs: countToWire(elapsedMs), keys: countToWire(keys), bytes: countToWire(bytes), ranges: ranges.map(rangeIdToWire) },
    },
  };
}
