import {
  countFromWire,
  epochFromWire,
  placementStateFromWire,
  rangeIdFromWire,
  rangeInfoFromWire,
  rangeMetaFromWire,
  rangeStateFromWire,
} from '../proto/convert.js';
import type { NodeRange, NodeResponse, PlacementWithRangeInfo, RangeResponse, RunEvent } from '../proto/gen/ranger/controller.js';
import type { RangeInfo as WireRangeInfo } from '../proto/gen/ranger/types.js';
import type { RangeInfo } from '../model/report.js';
import { AppError } from '../runtime/errors.js';
import type { NodeRangeView, NodeView, OperationEvent, OperationResult, PlacementView, RangeView } from './admin.js';

/*
 * A controller's answers as model values. Other controllers leave fields out and
 * know states that this project does not; what they do say is shown.
 */

export function rangeView(wire: RangeResponse, field: string): RangeView {
  const ours = wire.epoch > 0n;
  return {
    meta: rangeMetaFromWire(wire.meta, `${field}.meta`),
    state: orUnknown(() => rangeStateFromWire(wire.state, `${field}.state`)),
    parents: wire.parents.map((id, i) => rangeIdFromWire(id, `${field}.parents[${i}]`)),
    children: wire.children.map((id, i) => rangeIdFromWire(id, `${field}.children[${i}]`)),
    // Controllers that number no placements list them in their order.
    placements: wire.placements.map((placement, i) => placementView(placement, ours ? undefined : i, `${field}.placements[${i}]`)),
    epoch: epochFromWire(wire.epoch, `${field}.epoch`),
    waiting: wire.waiting,
    unavailableMs: wire.unavailable ? countFromWire(wire.unavailableMs, `${field}.unavailable_ms`) : undefined,
    copies: wire.copies,
  };
}

function placementView(wire: PlacementWithRangeInfo, position: number | undefined, field: string): PlacementView {
  const { placement } = wire;
  if (!placement) throw new AppError('INVALID_ARGUMENT', `${field}.placement: is missing`);
  return {
    node: placement.node,
    index: position ?? placement.index,
    state: orUnknown(() => placementStateFromWire(placement.state, `${field}.state`)),
    report: reportOf(wire.rangeInfo),
    primary: wire.primary,
    inSync: wire.inSync,
    lagBytes: countFromWire(wire.lagBytes, `${field}.lag_bytes`),
  };
}

export function nodeView(wire: NodeResponse, field: string): NodeView {
  if (!wire.node) throw new AppError('INVALID_ARGUMENT', `${field}.node: is missing`);
  const { ident, address, wantDrain, reachable, incarnation, cordoned, trouble, zone } = wire.node;
  return { ident, address, wantDrain, reachable, incarnation, cordoned, trouble, zone, ranges: wire.ranges.map((range, i) => nodeRangeView(range, `${field}.ranges[${i}]`)) };
}

function nodeRangeView(wire: NodeRange, field: string): NodeRangeView {
  return {
    meta: rangeMetaFromWire(wire.meta, `${field}.meta`),
    state: orUnknown(() => placementStateFromWire(wire.state, `${field}.state`)),
    report: reportOf(wire.info),
  };
}

/** A node's report is an extra here: one that makes no sense is as good as none. */
function reportOf(wire: WireRangeInfo | undefined): RangeInfo | undefined {
  if (!wire) return undefined;
  try {
    return rangeInfoFromWire(wire, 'info');
  } catch {
    return undefined;
  }
}

function orUnknown<S>(read: () => S): S | 'Unknown' {
  try {
    return read();
  } catch {
    return 'Unknown';
  }
}

/** Undefined for an event that this version does not know. */
export function operationEvent(wire: RunEvent): OperationEvent | { readonly kind: 'done'; readonly result: OperationResult } | undefined {
  const { event } = wire;
  switch (event?.$case) {
    case 'started':
      return { kind: 'started', description: event.started.description, ranges: event.started.ranges.map((id) => rangeIdFromWire(id, 'started.ranges')) };
    case 'step': {
      const { text, range, node, elapsedMs } = event.step;
      return { kind: 'step', text, range: countFromWire(range, 'step.range'), node, elapsedMs: countFromWire(elapsedMs, 'step.elapsed_ms') };
    }
    case 'progress': {
      const { range, node, keys, bytes, keysTotal, elapsedMs } = event.progress;
      return {
        kind: 'progress',
        range: countFromWire(range, 'progress.range'),
        node,
        keys: countFromWire(keys, 'progress.keys'),
        bytes: countFromWire(bytes, 'progress.bytes'),
        keysTotal: countFromWire(keysTotal, 'progress.keys_total'),
        elapsedMs: countFromWire(elapsedMs, 'progress.elapsed_ms'),
      };
    }
    case 'done': {
      const { elapsedMs, keys, bytes, ranges } = event.done;
      const result = {
        elapsedMs: countFromWire(elapsedMs, 'done.elapsed_ms'),
        keys: countFromWire(keys, 'done.keys'),
        bytes: countFromWire(bytes, 'done.bytes'),
        ranges: ranges.map((id) => rangeIdFromWire(id, 'done.ranges')),
      };
      return { kind: 'done', result };
    }
    default:
      return undefined;
  }
}
