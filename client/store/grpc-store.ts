import * as grpc from '@grpc/grpc-js';
import { type Key, keyToBytes } from '../../model/key.js';
import type { LogPage, LogRequest } from '../../model/log.js';
import type { AskOptions, Condition, Operation, OperationAnswer, ScanPage, ScanRequest, Value, WatchEvent, WatchRequest, WriteOptions, WriteOutcome } from '../../model/store.js';
import { channelOptions } from '../../proto/channel.js';
import { LogClient } from '../../proto/gen/kv/log.js';
import { type StoreBatchResponse, StoreClient } from '../../proto/gen/kv/store.js';
import { logPageFromWire, logRequestToWire } from '../../proto/log-server.js';
import { fromServiceError } from '../../proto/status.js';
import { answerFromWire, conditionToWire, eventFromWire, operationToWire, outcomeFromWire, pageFromWire, scanToWire, tryToWire, valueFromWire, watchToWire } from '../../proto/store-wire.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { NodeStore } from './node-store.js';

const DEFAULT_TIMEOUT_MS = 10_000;

/** kv.Store and kv.Log of one proxy or node, call by call. It does not try again by itself. */
export class GrpcStore implements NodeStore {
  private readonly client: StoreClient;
  private readonly logs: LogClient;

  constructor(
    readonly address: string,
    private readonly clock: Clock,
  ) {
    this.client = new StoreClient(address, grpc.credentials.createInsecure(), {
      ...channelOptions(),
      // A channel of its own, so that closing it closes the connection.
      'grpc.use_local_subchannel_pool': 1,
    });
    this.logs = new LogClient(address, grpc.credentials.createInsecure(), { channelOverride: this.client.getChannel() });
  }

  async get(key: Key, options: AskOptions = {}): Promise<Value | undefined> {
    try {
      return valueFromWire(await this.unary(options, (metadata, call, done) => this.client.get({ key: keyToBytes(key) }, metadata, call, done)));
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === 'NOT_FOUND') return undefined;
      throw thrown;
    }
  }

  async put(key: Key, value: Buffer, { condition, contentType, ...given }: WriteOptions = {}, options: AskOptions = {}): Promise<WriteOutcome> {
    const request = { key: keyToBytes(key), value, contentType: contentType ?? '', condition: conditionToWire(condition), ...tryToWire(given) };
    return outcomeFromWire(await this.unary(options, (metadata, call, done) => this.client.put(request, metadata, call, done)));
  }

  async delete(key: Key, condition?: Condition, options: AskOptions = {}): Promise<WriteOutcome> {
    const request = { key: keyToBytes(key), condition: conditionToWire(condition), ...tryToWire({}) };
    return outcomeFromWire(await this.unary(options, (metadata, call, done) => this.client.delete(request, metadata, call, done)));
  }

  async batch(operations: readonly Operation[], options: AskOptions = {}): Promise<OperationAnswer[]> {
    const request = { operations: operations.map(operationToWire) };
    const { answers } = await this.unary<StoreBatchResponse>(options, (metadata, call, done) => this.client.batch(request, metadata, call, done));
    return operations.map((_, i) => answerFromWire(answers[i] ?? { is: undefined }));
  }

  scan(request: ScanRequest, { signal }: AskOptions = {}): AsyncIterable<ScanPage> {
    return streamed(() => this.client.scan(scanToWire(request)), pageFromWire, signal);
  }

  watch(request: WatchRequest, { signal }: AskOptions = {}): AsyncIterable<WatchEvent> {
    return streamed(() => this.client.watch(watchToWire(request)), eventFromWire, signal);
  }

  /** A range's log as the proxy or node has it. */
  log(request: LogRequest, { signal }: AskOptions = {}): AsyncIterable<LogPage> {
    return streamed(() => this.logs.read(logRequestToWire(request)), logPageFromWire, signal);
  }

  /** Resolves once there is a connection; rejects with UNAVAILABLE when there is none in time. */
  ready(timeoutMs: number): Promise<void> {
    const channel = this.client.getChannel();
    if (channel.getConnectivityState(true) === grpc.connectivityState.READY) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.client.waitForReady(this.clock.wallMs() + timeoutMs, (error) => {
        if (error) reject(new AppError('UNAVAILABLE', `${this.address} cannot be reached`, { cause: error }));
        else resolve();
      });
    });
  }

  close(): void {
    this.client.close();
  }

  private unary<T>(options: AskOptions, start: (metadata: grpc.Metadata, call: grpc.CallOptions, done: (error: grpc.ServiceError | null, answer: T) => void) => grpc.ClientUnaryCall): Promise<T> {
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(AppError.from(signal.reason));
        return;
      }
      const call = start(new grpc.Metadata(), { deadline: this.clock.wallMs() + timeoutMs }, (error, answer) => {
        signal?.removeEventListener('abort', cancel);
        if (error) reject(signal?.aborted === true ? AppError.from(signal.reason) : fromServiceError(error));
        else resolve(answer);
      });
      const cancel = (): void => {
        call.cancel();
      };
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}

/** The messages of a stream as they are wanted: the server waits for who is slow. */
async function* streamed<Wire, T>(open: () => grpc.ClientReadableStream<Wire>, read: (message: Wire) => T, signal: AbortSignal | undefined): AsyncGenerator<T, void, undefined> {
  if (signal?.aborted) throw AppError.from(signal.reason);
  const call = open();
  // Else it reads sixteen messages ahead, however large.
  (call as unknown as { _readableState: { highWaterMark: number } })._readableState.highWaterMark = 1;
  const cancel = (): void => {
    call.cancel();
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const message of call) yield read(message as Wire);
  } catch (thrown) {
    throw signal?.aborted === true ? AppError.from(signal.reason) : fromServiceError(thrown);
  } finally {
    signal?.removeEventListener('abort', cancel);
    // What comes once nobody reads any more is nobody's.
    call.on('error', () => undefined);
    call.cancel();
  }
}
