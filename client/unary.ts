import * as grpc from '@grpc/grpc-js';
import { type Key, keyToBytes } from '../model/key.js';
import { channelOptions } from '../proto/channel.js';
import { ASYNC, SAFE, type ValueFrame, decodeValue, encodeGetRequest, encodePutRequest } from '../proto/kv-codec.js';
import { fromServiceError } from '../proto/status.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';

/** A value, and where the write that made it stands in its range's log. */
export interface StoredValue extends Position {
  readonly value: Buffer;
  /** Of a stale read: the copy that answered has every write up to this offset. */
  readonly atOffset?: number | undefined;
}

/** Where a write stands in its range's log. */
export interface Position {
  readonly epoch: number;
  readonly offset: number;
}

export interface UnaryKvOptions {
  /** Proxies or nodes, as host:port; calls take turns. */
  readonly addresses: readonly string[];
  /** Connections to each. */
  readonly connections?: number;
  readonly clock?: Clock;
}

export type WriteLevel = 'safe' | 'async';

export interface ReadOptions extends CallOptions {
  /** Any copy may answer, with what it has. */
  readonly stale?: boolean | undefined;
}

export interface WriteOptions extends CallOptions {
  readonly level?: WriteLevel | undefined;
  /** 16 bytes that no other write has; with the same, the write may be tried again. */
  readonly writeId?: Buffer | undefined;
  /** How long ago the first try was sent of which the outcome is unknown. */
  readonly retryAgeMs?: number | undefined;
}

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * kv.KV as it is, one call a request, to addresses that are given: for tools that
 * want to see exactly what a proxy or node answers. It knows no routes and does not
 * try again. Applications want the SDK.
 */
export class UnaryKv {
  readonly #clients: readonly grpc.Client[];
  readonly #clock: Clock;
  #next = 0;
  #answersWithPositions = false;

  constructor(options: UnaryKvOptions) {
    this.#clock = options.clock ?? systemClock;
    const each = Array.from({ length: options.connections ?? 1 });
    this.#clients = each.flatMap(() => options.addresses.map(dial));
  }

  /**
   * Whether a write may be tried again with its id. Servers that answer a write with its
   * place in the log know ids; others would apply it twice.
   */
  get repeatable(): boolean {
    return this.#answersWithPositions;
  }

  /** Undefined when the key is absent. */
  async get(key: Key, options: ReadOptions): Promise<StoredValue | undefined> {
    try {
      const { stale, atOffset, ...stored } = await this.#call('/kv.KV/Get', encodeGetRequest(keyToBytes(key), options), options);
      return stale ? { ...stored, atOffset } : stored;
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === 'NOT_FOUND') return undefined;
      throw thrown;
    }
  }

  put(key: Key, value: Buffer, options: WriteOptions): Promise<Position> {
    return this.#write(key, value, options);
  }

  /** Deleting what is absent is no error. */
  delete(key: Key, options: WriteOptions): Promise<Position> {
    return this.#write(key, undefined, options);
  }

  async #write(key: Key, value: Buffer | undefined, options: WriteOptions): Promise<Position> {
    const { writeId, retryAgeMs } = options;
    const level = options.level === 'async' ? ASYNC : SAFE;
    const { epoch, offset } = await this.#call('/kv.KV/Put', encodePutRequest(keyToBytes(key), value, { level, writeId, retryAgeMs: retryAgeMs && Math.ceil(retryAgeMs) }), options);
    if (offset > 0) this.#answersWithPositions = true;
    return { epoch, offset };
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  #call(path: string, request: Buffer, options: CallOptions): Promise<ValueFrame> {
    const client = this.#clients[this.#next++ % this.#clients.length];
    if (!client) return Promise.reject(new AppError('INVALID_ARGUMENT', 'no address is given'));
    return new Promise((resolve, reject) => {
      const deadline = this.#clock.wallMs() + options.timeoutMs;
      const call = client.makeUnaryRequest(path, asIs, decodeValue, request, { deadline }, (error, answer) => {
        options.signal?.removeEventListener('abort', cancel);
        if (error) reject(fromServiceError(error));
        else if (answer) resolve(answer);
        else reject(new AppError('INTERNAL', `${path} answered nothing`));
      });
      const cancel = (): void => {
        call.cancel();
      };
      if (options.signal?.aborted) cancel();
      else options.signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}

function dial(address: string): grpc.Client {
  return new grpc.Client(address, grpc.credentials.createInsecure(), {
    ...channelOptions(),
    // Else all connections to one address would be one.
    'grpc.use_local_subchannel_pool': 1,
  });
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
