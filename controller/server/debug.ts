import type * as grpc from '@grpc/grpc-js';
import { type NodeIdent, type RangeId } from '../../model/range.js';
import {
  countToWire,
  epochToWire,
  placementStateToWire,
  rangeIdFromWire,
  rangeIdToWire,
  rangeInfoToWire,
  rangeMetaToWire,
  rangeStateToWire,
} from '../../proto/convert.js';
import { DebugService, type NodeResponse, type RangeResponse } from '../../proto/gen/ranger/controller.js';
import { addService } from '../../proto/serve.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Controller } from '../controller.js';
import { type RangeRecord, isGivenUp, isInSync, placementOn } from '../keyspace/record.js';
import { availabilityOf } from '../orchestrator/availability.js';
import { isDraining } from '../orchestrator/choose.js';
import { copiesOf, lagBytes } from '../orchestrator/copies.js';
import { explain } from '../orchestrator/progress.js';
import { unknownNode, unknownRange } from '../orchestrator/request.js';
import { isOutage } from '../outages.js';
import { type RosterNode, isReachable } from '../roster/roster.js';
import { troubleOf } from '../status.js';

/** Puts the Debug service on the wire: what is wanted and what is reported, side by side. */
export function addDebugService(server: grpc.Server, controller: Controller, deps: { readonly logger: Logger }): void {
  addService(
    server,
    DebugService,
    {
      rangesList: () => Promise.resolve({ ranges: visible(controller).map((range) => describeRange(controller, range)) }),

      range: async (request) => {
        const id = rangeIdFromWire(request.range, 'range');
        const range = controller.keyspace.get(id);
        await Promise.resolve();
        if (!range) throw new AppError('NOT_FOUND', unknownRange(controller.keyspace, id));
        return describeRange(controller, range);
      },

      nodesList: () => {
        const nodes = [...controller.roster.nodes.values()].sort((a, b) => (a.ident < b.ident ? -1 : 1));
        return Promise.resolve({ nodes: nodes.map((node) => describeNode(controller, node)) });
      },

      node: async (request) => {
        if (request.node === '') throw new AppError('INVALID_ARGUMENT', "node: a node's name is missing");
        const node = controller.roster.nodes.get(request.node);
        await Promise.resolve();
        if (!node) throw new AppError('NOT_FOUND', unknownNode([...controller.roster.nodes.keys()], request.node));
        return describeNode(controller, node);
      },
    },
    deps,
  );
}

/** By id; history that is kept only so that its id is not given out again does not show. */
function visible(controller: Controller): RangeRecord[] {
  return controller.keyspace.sorted().filter((range) => range.state !== 'Obsolete' || range.placements.some((p) => !isGivenUp(p)));
}

function describeRange(controller: Controller, range: RangeRecord): RangeResponse {
  const { roster, world } = controller;
  const now = availabilityOf(world, range);
  const forMs = world.nowMs - (controller.outageSinceMs(range.id) ?? world.nowMs);
  const copies = copiesOf(world, range);
  const unavailable = now !== undefined && isOutage(now, forMs);
  const because = controller.waiting(range.id)?.because ?? (now?.available === false ? now.because : undefined);
  return {
    meta: rangeMetaToWire(range),
    state: rangeStateToWire(range.state),
    parents: range.parents.map(rangeIdToWire),
    children: range.children.map(rangeIdToWire),
    placements: range.placements.map((placement) => {
      const report = roster.nodes.get(placement.node)?.ranges.get(range.id);
      return {
        placement: { node: placement.node, state: placementStateToWire(placement.state), index: placement.index },
        rangeInfo: report ? rangeInfoToWire(report) : undefined,
        primary: placement.index === range.primary,
        inSync: isInSync(range, placement),
        lagBytes: countToWire(lagBytes(world, range, placement)),
      };
    }),
    epoch: epochToWire(range.epoch),
    waiting: explain(range, because),
    unavailable,
    unavailableMs: countToWire(unavailable ? forMs : 0),
    copies: copies && { ...copies, minInSync: world.tuning.minInSync },
  };
}

function describeNode(controller: Controller, node: RosterNode): NodeResponse {
  return {
    node: {
      ident: node.ident,
      address: node.address,
      wantDrain: isDraining(controller.world, node),
      reachable: isReachable(node),
      incarnation: node.incarnation ?? '',
      cordoned: controller.keyspace.wish(node.ident).cordon,
      drainOrdered: controller.keyspace.wish(node.ident).drain,
      trouble: troubleOf(node) ?? '',
      zone: node.zone ?? '',
    },
    ranges: rangesOn(controller, node.ident).flatMap((range) => {
      const placement = placementOn(range, node.ident);
      const report = node.ranges.get(range.id);
      if (!placement) return [];
      const state = placementStateToWire(placement.state);
      return [{ meta: rangeMetaToWire(range), state, info: report ? rangeInfoToWire(report) : undefined, primary: placement.index === range.primary, inSync: isInSync(range, placement) }];
    }),
  };
}

function rangesOn(controller: Controller, node: NodeIdent): RangeRecord[] {
  return [...controller.keyspace.on(node)]
    .sort((a, b) => a - b)
    .map((id: RangeId) => controller.keyspace.get(id))
    .filter((range) => range !== undefined);
}
