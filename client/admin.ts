import * as grpc from '@grpc/grpc-js';
import { type Key, keyToBytes } from '../model/key.js';
import type { NodeIdent, RangeId, RangeMeta } from '../model/range.js';
import type { RangeInfo } from '../model/report.js';
import type { PlacementState, RangeState } from '../model/states.js';
import { channelOptions } from '../proto/channel.js';
import {
  type ClusterEvent,
  DebugService,
  type DrainEvent,
  type NodeResponse,
  OperationsService,
  OrchestratorService,
  type RangeResponse,
  type RunEvent,
  RunRequest,
  type StatusResponse,
  TransferRequest,
} from '../proto/gen/ranger/controller.js';
import type { VerifyReport } from '../proto/gen/ranger/types.js';
import type { JsonValue } from '../proto/protojson.js';
import { fromServiceError } from '../proto/status.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError, unreachable } from '../runtime/errors.js';
import { nodeView, operationEvent, rangeView } from './admin-views.js';

/** What can be asked of a controller. Plain data, so that it can be shown instead of sent. */
export type Query =
  | { readonly kind: 'ranges' }
  | { readonly kind: 'range'; readonly range: RangeId }
  | { readonly kind: 'nodes' }
  | { readonly kind: 'node'; readonly node: NodeIdent }
  | { readonly kind: 'status' };

/** What an operator can say of a node, or of a range whose data is lost; answered when it is written down. */
export type Order =
  | { readonly kind: 'drain' | 'undrain' | 'cordon' | 'uncordon' | 'adopt'; readonly node: NodeIdent }
  | { readonly kind: 'reset'; readonly range: RangeId; readonly acceptDataLoss: boolean }
  /** Without a range: all. */
  | { readonly kind: 'verify'; readonly range?: RangeId };

export { type ClusterEvent, type DrainEvent, type StatusItem, type StatusResponse, StatusResponse_Health } from '../proto/gen/ranger/controller.js';
export type { VerifyReport } from '../proto/gen/ranger/types.js';

/** What can be ordered. Where a node is left out, the controller chooses. */
export type Operation =
  | { readonly kind: 'move'; readonly range: RangeId; readonly node?: NodeIdent | undefined; readonly from?: NodeIdent | undefined }
  | { readonly kind: 'transfer'; readonly range: RangeId; readonly node: NodeIdent }
  | { readonly kind: 'split'; readonly range: RangeId; readonly boundary: Key; readonly left?: NodeIdent | undefined; readonly right?: NodeIdent | undefined }
  | { readonly kind: 'join'; readonly left: RangeId; readonly right: RangeId; readonly node?: NodeIdent | undefined };

/** A range as the controller wants it, beside what the nodes say. */
export interface RangeView {
  readonly meta: RangeMeta;
  /** Unknown: a state that this version has no word for. */
  readonly state: RangeState | 'Unknown';
  readonly parents: readonly RangeId[];
  readonly children: readonly RangeId[];
  readonly placements: readonly PlacementView[];
  readonly epoch: number;
  /** Why nothing happens, when something should; empty when all is well. */
  readonly waiting: string;
  /** For how long its keys cannot be read or written; undefined when they can. */
  readonly unavailableMs: number | undefined;
  /** Undefined where there is one copy, and no more are wanted. */
  readonly copies: CopiesView | undefined;
}

export interface CopiesView {
  readonly wanted: number;
  /** On nodes that are there; the primary among them. */
  readonly inSync: number;
  readonly catchingUp: number;
  readonly missing: number;
  /** With fewer in sync writes are refused. */
  readonly minInSync: number;
}

export interface PlacementView {
  readonly node: NodeIdent;
  readonly index: number;
  readonly state: PlacementState | 'Unknown';
  /** The node's own report; undefined when it gave none. */
  readonly report: RangeInfo | undefined;
  readonly primary: boolean;
  /** It has every acknowledged write; the primary among them. */
  readonly inSync: boolean;
  readonly lagBytes: number;
}

export interface NodeView {
  readonly ident: NodeIdent;
  readonly address: string;
  readonly wantDrain: boolean;
  readonly reachable: boolean;
  readonly incarnation: string;
  readonly cordoned: boolean;
  /** Why it is not reachable; empty when it is. */
  readonly trouble: string;
  /** What fails together with it; empty when it does not say. */
  readonly zone: string;
  readonly ranges: readonly NodeRangeView[];
}

export interface NodeRangeView {
  readonly meta: RangeMeta;
  readonly state: PlacementState | 'Unknown';
  readonly report: RangeInfo | undefined;
}

/** What an operation reports while it runs. */
export type OperationEvent =
  | { readonly kind: 'started'; readonly description: string; readonly ranges: readonly RangeId[] }
  | { readonly kind: 'step'; readonly text: string; readonly range: RangeId; readonly node: NodeIdent; readonly elapsedMs: number }
  | {
      readonly kind: 'progress';
      readonly range: RangeId;
      readonly node: NodeIdent;
      readonly keys: number;
      readonly bytes: number;
      /** 0 when unknown. */
      readonly keysTotal: number;
      readonly elapsedMs: number;
    }
  /** The controller knows no step reports; the operation is under way all the same. */
  | { readonly kind: 'unreported' };

export interface OperationResult {
  readonly elapsedMs: number;
  /** Copied between nodes; 0 when everything stayed in place, or the controller does not say. */
  readonly keys: number;
  readonly bytes: number;
  /** The ranges that serve the keys now; empty when the controller does not say. */
  readonly ranges: readonly RangeId[];
}

export interface AdminOptions {
  /** host:port of a controller. */
  readonly address: string;
  readonly clock?: Clock;
}

export interface AdminCallOptions {
  /** Without it the call takes as long as it takes. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RunOptions extends AdminCallOptions {
  readonly onEvent?: ((event: OperationEvent) => void) | undefined;
}

/** The controller's services, for operators and their tools. Rejects with AppErrors. */
export class AdminClient {
  readonly #client: grpc.Client;
  readonly #clock: Clock;

  constructor(options: AdminOptions) {
    this.#client = new grpc.Client(options.address, grpc.credentials.createInsecure(), channelOptions());
    this.#clock = options.clock ?? systemClock;
  }

  async ranges(options: AdminCallOptions = {}): Promise<RangeView[]> {
    const answer = await this.#query({ kind: 'ranges' }, options);
    return DebugService.rangesList.responseDeserialize(answer).ranges.map((range: RangeResponse, i) => rangeView(range, `ranges[${i}]`));
  }

  async range(range: RangeId, options: AdminCallOptions = {}): Promise<RangeView> {
    const answer = await this.#query({ kind: 'range', range }, options);
    return rangeView(DebugService.range.responseDeserialize(answer), 'range');
  }

  async nodes(options: AdminCallOptions = {}): Promise<NodeView[]> {
    const answer = await this.#query({ kind: 'nodes' }, options);
    return DebugService.nodesList.responseDeserialize(answer).nodes.map((node: NodeResponse, i) => nodeView(node, `nodes[${i}]`));
  }

  async node(node: NodeIdent, options: AdminCallOptions = {}): Promise<NodeView> {
    const answer = await this.#query({ kind: 'node', node }, options);
    return nodeView(DebugService.node.responseDeserialize(answer), 'node');
  }

  /** A query's whole answer, in the names of `proto/`. */
  async json(query: Query, options: AdminCallOptions = {}): Promise<JsonValue> {
    // Loaded while the controller thinks.
    const [answer, { loadProtoJson }] = await Promise.all([this.#query(query, options), import('../proto/protojson.js')]);
    return loadProtoJson().of(encodeQuery(query).responseType, answer);
  }

  /**
   * Runs an operation to its end, and tells of its steps. Aborting or running into
   * the time-out ends the reports, not the operation. Rejects with the controller's
   * reason when it was refused or failed.
   */
  async run(operation: Operation, options: RunOptions = {}): Promise<OperationResult> {
    const beginMs = this.#clock.now();
    try {
      return await this.#runReported(operation, options);
    } catch (thrown) {
      if (!(thrown instanceof AppError) || thrown.code !== 'UNIMPLEMENTED') throw thrown;
    }
    if (operation.kind === 'transfer') throw new AppError('UNIMPLEMENTED', 'this controller knows no transfers: it is one that keeps no replicas');
    options.onEvent?.({ kind: 'unreported' });
    const { path, bytes } = encodeOperation(operation);
    await this.#unary(path, bytes, options);
    return { elapsedMs: this.#clock.now() - beginMs, keys: 0, bytes: 0, ranges: [] };
  }

  async status(options: AdminCallOptions = {}): Promise<StatusResponse> {
    return OperationsService.status.responseDeserialize(await this.#query({ kind: 'status' }, options));
  }

  /** Answers what was done, for people; of a drain only that it was written down. */
  async order(order: Exclude<Order, { kind: 'verify' }>, options: AdminCallOptions = {}): Promise<{ readonly changed: boolean; readonly text: string }> {
    const { path, bytes } = encodeOrder(order);
    const answer = await this.#unary(path, bytes, options);
    if (order.kind === 'reset') return { changed: true, text: OperationsService.reset.responseDeserialize(answer).lost };
    if (order.kind === 'adopt') {
      const { taken } = OperationsService.adopt.responseDeserialize(answer);
      return { changed: taken !== '', text: taken };
    }
    return { changed: OperationsService.cordon.responseDeserialize(answer).changed, text: '' };
  }

  /** Drains a node, and tells how far that is until nothing is left on it. Aborting ends the reports, not the drain. */
  async drain(node: NodeIdent, options: AdminCallOptions & { readonly onEvent: (event: DrainEvent) => void }): Promise<void> {
    const progress = { done: false };
    const { drain } = OperationsService;
    await this.#follow(drain, drain.requestSerialize({ node }), options, (event) => {
      progress.done = event.done;
      options.onEvent(event);
    });
    if (!progress.done && options.signal?.aborted !== true) throw new AppError('UNAVAILABLE', 'the controller ended its report before the drain was done');
  }

  /** Compares the copies of a range, or of all; a report with `done` ends each range. Aborting ends the comparison. */
  verify(range: RangeId | undefined, options: AdminCallOptions & { readonly onEvent: (report: VerifyReport) => void }): Promise<void> {
    const { verify } = OperationsService;
    return this.#follow(verify, verify.requestSerialize({ range: BigInt(range ?? 0) }), options, options.onEvent);
  }

  /** What happens from now on, until it is aborted. */
  watch(options: AdminCallOptions & { readonly onEvent: (event: ClusterEvent) => void }): Promise<void> {
    const { watch } = OperationsService;
    return this.#follow(watch, watch.requestSerialize({}), options, options.onEvent);
  }

  #follow<R>(method: { readonly path: string; readonly responseDeserialize: (bytes: Buffer) => R }, request: Buffer, options: AdminCallOptions, next: (message: R) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const call = this.#client.makeServerStreamRequest(method.path, asIs, method.responseDeserialize, request, this.#deadline(options));
      const stopListening = onAbort(options.signal, () => {
        call.cancel();
      });
      call.on('data', next);
      call.on('error', (error: grpc.ServiceError) => {
        stopListening();
        reject(fromServiceError(error));
      });
      call.on('end', () => {
        stopListening();
        resolve();
      });
    });
  }

  close(): void {
    this.#client.close();
  }

  #query(query: Query, options: AdminCallOptions): Promise<Buffer> {
    const { path, bytes } = encodeQuery(query);
    return this.#unary(path, bytes, options);
  }

  #unary(path: string, request: Buffer, options: AdminCallOptions): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(path, asIs, asIs, request, this.#deadline(options), (error, answer) => {
        stopListening();
        if (error) reject(fromServiceError(error));
        else resolve(answer ?? Buffer.alloc(0));
      });
      const stopListening = onAbort(options.signal, () => {
        call.cancel();
      });
    });
  }

  #runReported(operation: Operation, options: RunOptions): Promise<OperationResult> {
    const { run } = OperationsService;
    const request = Buffer.from(RunRequest.encode(runRequest(operation)).finish());
    return new Promise((resolve, reject) => {
      let result: OperationResult | undefined;
      const call = this.#client.makeServerStreamRequest(run.path, asIs, run.responseDeserialize, request, this.#deadline(options));
      const stopListening = onAbort(options.signal, () => {
        call.cancel();
      });
      call.on('data', (wire: RunEvent) => {
        try {
          const event = operationEvent(wire);
          if (event?.kind === 'done') result = event.result;
          else if (event) options.onEvent?.(event);
        } catch (thrown) {
          reject(AppError.from(thrown));
          call.cancel();
        }
      });
      call.on('error', (error: grpc.ServiceError) => {
        stopListening();
        reject(fromServiceError(error));
      });
      call.on('end', () => {
        stopListening();
        if (result) resolve(result);
        else if (!options.signal?.aborted) reject(new AppError('UNKNOWN', 'the controller ended its report without saying how the operation ended'));
      });
    });
  }

  #deadline(options: AdminCallOptions): Partial<grpc.CallOptions> {
    return options.timeoutMs === undefined ? {} : { deadline: this.#clock.wallMs() + options.timeoutMs };
  }
}

/** The gRPC request that `request` would be sent as, in the names of `proto/`. */
export async function requestJson(request: Query | Operation | Order): Promise<JsonValue> {
  const { loadProtoJson } = await import('../proto/protojson.js');
  const { requestType, bytes } = isOperation(request) ? encodeOperation(request) : isOrder(request) ? encodeOrder(request) : encodeQuery(request);
  return loadProtoJson().of(requestType, bytes);
}

interface Encoded {
  readonly path: string;
  readonly requestType: string;
  readonly responseType: string;
  readonly bytes: Buffer;
}

function isOrder(request: Query | Order): request is Order {
  return request.kind === 'reset' || request.kind === 'adopt' || request.kind === 'verify' || request.kind in ORDERS;
}

const ORDERS = { drain: OperationsService.drain, undrain: OperationsService.undrain, cordon: OperationsService.cordon, uncordon: OperationsService.uncordon };

function encodeOrder(order: Order): Encoded {
  if (order.kind === 'reset') {
    const { path, requestSerialize } = OperationsService.reset;
    const bytes = requestSerialize({ range: BigInt(order.range), acceptDataLoss: order.acceptDataLoss });
    return { path, requestType: 'ranger.ResetRequest', responseType: 'ranger.ResetResponse', bytes };
  }
  if (order.kind === 'adopt') {
    const { path, requestSerialize } = OperationsService.adopt;
    return { path, requestType: 'ranger.AdoptRequest', responseType: 'ranger.AdoptResponse', bytes: requestSerialize({ node: order.node }) };
  }
  if (order.kind === 'verify') {
    const { path, requestSerialize } = OperationsService.verify;
    return { path, requestType: 'ranger.VerifyOrder', responseType: 'ranger.VerifyReport', bytes: requestSerialize({ range: BigInt(order.range ?? 0) }) };
  }
  const { path, requestSerialize } = ORDERS[order.kind];
  const isDrain = order.kind === 'drain';
  const requestType = isDrain ? 'ranger.DrainRequest' : 'ranger.NodeOrderRequest';
  return { path, requestType, responseType: isDrain ? 'ranger.DrainEvent' : 'ranger.NodeOrderResponse', bytes: requestSerialize({ node: order.node }) };
}

function isOperation(request: Query | Operation | Order): request is Operation {
  return request.kind === 'move' || request.kind === 'transfer' || request.kind === 'split' || request.kind === 'join';
}

function encodeQuery(query: Query): Encoded {
  switch (query.kind) {
    case 'ranges':
      return encoded('RangesList', 'RangesListResponse', DebugService.rangesList, {});
    case 'range':
      return encoded('Range', 'RangeResponse', DebugService.range, { range: BigInt(query.range) });
    case 'nodes':
      return encoded('NodesList', 'NodesListResponse', DebugService.nodesList, {});
    case 'node':
      return encoded('Node', 'NodeResponse', DebugService.node, { node: query.node });
    case 'status':
      return encoded('Status', 'StatusResponse', OperationsService.status, {});
    default:
      return unreachable(query);
  }
}

function encodeOperation(operation: Operation): Encoded {
  const request = runRequest(operation).operation;
  switch (request?.$case) {
    case 'move':
      return encoded('Move', 'MoveResponse', OrchestratorService.move, request.move);
    case 'transfer':
      return { path: OperationsService.run.path, requestType: 'ranger.TransferRequest', responseType: 'ranger.RunEvent', bytes: Buffer.from(TransferRequest.encode(request.transfer).finish()) };
    case 'split':
      return encoded('Split', 'SplitResponse', OrchestratorService.split, request.split);
    case 'join':
      return encoded('Join', 'JoinResponse', OrchestratorService.join, request.join);
    default:
      throw new Error('an operation is a move, a transfer, a split or a join');
  }
}

function encoded<Q>(name: string, responseType: string, method: { readonly path: string; readonly requestSerialize: (request: Q) => Buffer }, request: Q): Encoded {
  return { path: method.path, requestType: `ranger.${name}Request`, responseType: `ranger.${responseType}`, bytes: method.requestSerialize(request) };
}

function runRequest(operation: Operation): RunRequest {
  switch (operation.kind) {
    case 'move':
      return { operation: { $case: 'move', move: { range: BigInt(operation.range), node: operation.node ?? '', from: operation.from ?? '' } } };
    case 'transfer':
      return { operation: { $case: 'transfer', transfer: { range: BigInt(operation.range), node: operation.node } } };
    case 'split': {
      const { range, boundary, left, right } = operation;
      const split = { range: BigInt(range), boundary: keyToBytes(boundary), nodeLeft: left ?? '', nodeRight: right ?? '' };
      return { operation: { $case: 'split', split } };
    }
    case 'join': {
      const join = { rangeLeft: BigInt(operation.left), rangeRight: BigInt(operation.right), node: operation.node ?? '' };
      return { operation: { $case: 'join', join } };
    }
    default:
      return unreachable(operation);
  }
}

function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => undefined;
  if (signal.aborted) callback();
  signal.addEventListener('abort', callback, { once: true });
  return () => {
    signal.removeEventListener('abort', callback);
  };
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
