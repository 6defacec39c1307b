import type * as grpc from '@grpc/grpc-js';
import type { NodeIdent } from '../../model/range.js';
import { countToWire, rangeIdToWire } from '../../proto/convert.js';
import type { DrainEvent, DrainRequest } from '../../proto/gen/ranger/controller.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import { isDraining } from '../orchestrator/choose.js';
import { type DrainItem, drainOrder, drainReport } from '../orchestrator/drain.js';
import { planNodeOrder } from '../orchestrator/wishes.js';
import type { Continuation } from './leader.js';

/** How often a drain is looked at for those who watch it. */
const LOOK_MS = 200;

export type DrainCall = grpc.ServerWritableStream<DrainRequest, DrainEvent>;

/** Orders the drain, and tells how it goes until nothing is left there. */
export async function drainAndTell(controller: Controller, clock: Clock, call: DrainCall, signal: AbortSignal): Promise<void> {
  await controller.adjust((world) => planNodeOrder(world, 'drain', call.request.node));
  const lead = (): void => {
    if (!controller.leader.leading) throw new AppError('UNAVAILABLE', 'this controller leads no more; the drain goes on under the next one');
  };
  await tell(controller, clock, call, signal, { movedBefore: 0, check: lead });
  if (!signal.aborted) call.end();
}

/** Goes on telling of a drain whose leader is gone. Whoever leads next goes on with it, and what is left can be seen from here. */
export function reattachDrain(controller: Controller, clock: Clock, call: DrainCall): Continuation {
  let last: DrainEvent | undefined;
  return {
    saw: (message) => {
      last = message as DrainEvent;
    },
    goOn: async (signal) => {
      // Without a word of the leader nobody knows whether the order was taken.
      if (!last) return false;
      const lostMs = clock.now();
      // What was read before may be from before the order.
      while (controller.keyspaceReadMs <= lostMs) await sleep(clock, LOOK_MS, signal);
      await tell(controller, clock, call, signal, { movedBefore: Number(last.moved), check: () => undefined });
      return true;
    },
  };
}

interface Telling {
  /** Ranges that had left when it began. */
  readonly movedBefore: number;
  /** Throws when it cannot go on being told from here. */
  readonly check: () => void;
}

/** Resolves when nothing is left, or nobody listens any more. */
async function tell(controller: Controller, clock: Clock, call: DrainCall, signal: AbortSignal, { movedBefore, check }: Telling): Promise<void> {
  const { node } = call.request;
  let last = '';
  let moved = movedBefore;
  let before = new Set(drainOrder(controller.world, node));
  for (;;) {
    if (signal.aborted) return;
    check();
    if (!isOrdered(controller, node)) throw new AppError('ABORTED', `${node} is drained no more: somebody ended it`);
    const now = new Set(drainOrder(controller.world, node));
    moved += [...before].filter((id) => !now.has(id)).length;
    before = now;
    const event = eventOf(controller, node, moved);
    const text = JSON.stringify({ ...event, remaining: event.remaining.map(({ range, to, waiting }) => `${range} ${to} ${waiting}`) }, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    if (text !== last && !call.cancelled) call.write(event);
    last = text;
    if (event.done) return;
    await sleep(clock, LOOK_MS, signal).catch(() => undefined);
  }
}

function isOrdered(controller: Controller, node: NodeIdent): boolean {
  const seen = controller.roster.nodes.get(node);
  return seen ? isDraining(controller.world, seen) : controller.keyspace.wish(node).drain;
}

function eventOf(controller: Controller, node: NodeIdent, moved: number): DrainEvent {
  const { left, items } = drainReport(controller.world, node);
  return { node, moved: countToWire(moved), left: countToWire(left), done: left === 0, remaining: items.map(itemToWire) };
}

function itemToWire({ range, leaving, requestsPerSecond, keys }: DrainItem): DrainEvent['remaining'][number] {
  return {
    range: rangeIdToWire(range),
    to: leaving.kind === 'moving' ? leaving.to : '',
    waiting: leaving.kind === 'waiting' ? leaving.because : '',
    requestsPerSecond,
    keys: countToWire(keys),
  };
}
