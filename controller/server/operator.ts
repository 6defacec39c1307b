import type * as grpc from '@grpc/grpc-js';
import { countToWire, rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import {
  type ClusterEvent,
  type EventsRequest,
  type NodeOrderRequest,
  type NodeOrderResponse,
  type OperationsService,
  type StatusResponse,
  StatusResponse_Health,
} from '../../proto/gen/ranger/controller.js';
import type { HandlersOf } from '../../proto/serve.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Controller } from '../controller.js';
import type { NewsItem } from '../news.js';
import { planAdopt } from '../orchestrator/adopt.js';
import { planReset } from '../orchestrator/reset.js';
import { type NodeOrder, planNodeOrder } from '../orchestrator/wishes.js';
import type { Health, StatusItem } from '../status.js';
import { drainAndTell } from './drain.js';
import type { Peer } from './peer.js';
import { verifyRanges } from './verify.js';

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
    adopt: async ({ node }) => {
      const done = await controller.adjust((world) => planAdopt(world, node));
      return { taken: done.description };
    },
    verify: (call, { signal }) => verifyRanges(controller, { clock, connect }, call, signal),
    status: () => Promise.resolve(statusToWire(controller, undefined)),
    watch: (call, { signal }) => watch(controller, clock, call, signal),
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
