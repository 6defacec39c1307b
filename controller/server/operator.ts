import type * as grpc from '@grpc/grpc-js';
import type { NodeIdent } from '../../model/range.js';
import { countToWire, rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import {
  type ClusterEvent,
  type DrainEvent,
  type DrainRequest,
  type EventsRequest,
  type NodeOrderRequest,
  type NodeOrderResponse,
  type OperationsService,
  type StatusResponse,
  StatusResponse_Health,
} from '../../proto/gen/ranger/controller.js';
import type { HandlersOf } from '../../proto/serve.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import type { NewsItem } from '../news.js';
import { isDraining } from '../orchestrator/choose.js';
import { type DrainItem, drainOrder, drainReport } from '../orchestrator/drain.js';
import { planReset } from '../orchestrator/reset.js';
import { type NodeOrder, planNodeOrder } from '../orchestrator/wishes.js';
import type { Health, StatusItem } from '../status.js';
import type { Peer } from './peer.js';
import { verifyRanges } from './verify.js';

/** How often a drain is looked at for those who watch it. */
const DRAIN_LOOK_MS = 200;
/** What a watcher may lag behind before events are left out. */
const EVENTS_WAITING_MAX = 1000;

type OperatorHandlers = Omit<HandlersOf<typeof OperationsService>, 'run'>;

/** What operators need besides moves, splits and joins. */
export function operatorHandlers(controller: Controller, clock: Clock, connect: (address: string) => Peer): OperatorHandlers {
  const order = (kind: NodeOrder) => async (request: NodeOrderRequest): Promise<NodeOrderResponse> => {
    const adjustment = await controller.adjust((world) => planNodeOrder(world, kind, request.node));
    return { changed: adjustment.description !== '' };
  };
  return {
    drain: (call, { signal }) => drainAndTell(controller, clock, call, signal),
    undrain: order('undrain'),
    cordon: order('cordon'),
    uncordon: order('uncordon'),
    reset: async (request) => {
      const range = rangeIdFromWire(request.range, 'range');
      const done = await controller.adjust((world) => planReset(world, { range, acceptDataLoss: request.acceptDataLoss }));
      return { lost: done.description };
    },
    verify: (call, { signal }) => verifyRanges(controller, { clock, connect }, call, signal),
    status: () => Promise.resolve(statusToWire(controller, undefined)),
    watch: (call, { signal }) => watch(controller, clock, call, signal),
  };
}

// --- draining ----------------------------------------------------------------------

type DrainCall = grpc.ServerWritableStream<DrainRequest, DrainEvent>;

async function drainAndTell(controller: Controller, clock: Clock, call: DrainCall, signal: AbortSignal): Promise<void> {
  const { node } = call.request;
  await controller.adjust((world) => planNodeOrder(world, 'drain', node));
  let last = '';
  let moved = 0;
  let before = new Set(drainOrder(controller.world, node));
  for (;;) {
    if (signal.aborted) return;
    if (!controller.leader.leading) throw new AppError('UNAVAILABLE', 'this controller leads no more; the drain goes on under the next one');
    if (!isOrdered(controller, node)) throw new AppError('ABORTED', `${node} is drained no more: somebody ended it`);
    const now = new Set(drainOrder(controller.world, node));
    moved += [...before].filter((id) => !now.has(id)).length;
    before = now;
    const event = drainEvent(controller, node, moved);
    const text = JSON.stringify({ ...event, remaining: event.remaining.map(({ range, to, waiting }) => `${range} ${to} ${waiting}`) }, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    if (text !== last && !call.cancelled) call.write(event);
    last = text;
    if (event.done) {
      call.end();
      return;
    }
    await sleep(clock, DRAIN_LOOK_MS, signal).catch(() => undefined);
  }
}

function isOrdered(controller: Controller, node: NodeIdent): boolean {
  const seen = controller.roster.nodes.get(node);
  return seen ? isDraining(controller.world, seen) : controller.keyspace.wish(node).drain;
}

function drainEvent(controller: Controller, node: NodeIdent, moved: number): DrainEvent {
  const { left, items } = drainReport(controller.world, node);
  return { node, moved: countToWire(moved), left: countToWire(left), done: left === 0, remaining: items.map(drainItemToWire) };
}

function drainItemToWire({ range, leaving, requestsPerSecond, keys }: DrainItem): DrainEvent['remaining'][number] {
  return {
    range: rangeIdToWire(range),
    to: leaving.kind === 'moving' ? leaving.to : '',
    waiting: leaving.kind === 'waiting' ? leaving.because : '',
    requestsPerSecond,
    keys: countToWire(keys),
  };
}

// --- status and watching -------------------------------------------------------------

const HEALTH: Readonly<Record<Health, StatusResponse_Health>> = {
  healthy: StatusResponse_Health.HEALTHY,
  busy: StatusResponse_Health.BUSY,
  degraded: StatusResponse_Health.DEGRADED,
};

/** `leaderless`: why it is not the leader who says so. */
export function statusToWire(controller: Controller, leaderless: string | undefined): StatusResponse {
  const status = controller.status(leaderless);
  const { term } = controller.leader;
  return {
    health: HEALTH[status.health],
    ranges: countToWire(status.ranges),
    rangesUnavailable: countToWire(status.rangesUnavailable),
    nodes: countToWire(status.nodes),
    nodesReachable: countToWire(status.nodesReachable),
    items: status.items.map(itemToWire),
    itemsLeftOut: countToWire(status.itemsLeftOut),
    controller: leaderless === undefined ? `leads in term ${term}` : 'that answers follows, and nobody leads',
  };
}

function itemToWire({ health, subject, waiting, forMs, todo, range, node }: StatusItem): StatusResponse['items'][number] {
  const wireRange = range === undefined ? 0n : rangeIdToWire(range);
  return { health: HEALTH[health], subject, waiting, forMs: countToWire(Math.round(forMs)), todo, range: wireRange, node: node ?? '' };
}

/** A watcher that does not keep up is told how much it missed, instead of being held for. */
function watch(controller: Controller, clock: Clock, call: grpc.ServerWritableStream<EventsRequest, ClusterEvent>, signal: AbortSignal): Promise<void> {
  let skipped = 0;
  const write = (kind: string, text: string, about: { readonly range?: number | undefined; readonly node?: string | undefined } = {}): void => {
    const range = about.range === undefined ? 0n : rangeIdToWire(about.range);
    call.write({ wallMs: countToWire(clock.wallMs()), kind, text, range, node: about.node ?? '' });
  };
  write('leader', `watching; this controller leads in term ${controller.leader.term}`);
  return new Promise((resolve, reject) => {
    const stop = controller.news.follow((item) => {
      if (item.kind === 'leader' && !controller.leader.leading) reject(new AppError('UNAVAILABLE', 'this controller leads no more; another does'));
      else tell(item);
    });
    signal.addEventListener('abort', () => {
      stop();
      resolve();
    });
  });
  function tell(item: NewsItem): void {
    if (call.writableLength >= EVENTS_WAITING_MAX) {
      skipped += 1;
      return;
    }
    if (skipped > 0) write('skipped', `${skipped} events were left out: they came quicker than they were read`);
    skipped = 0;
    write(item.kind, item.text, item);
  }
}
