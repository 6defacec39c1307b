import type * as grpc from '@grpc/grpc-js';
import type { Clock } from '../runtime/clock.js';
import { CODE } from './codes.js';
import { AppError } from '../runtime/errors.js';
import { decodeGetRequest, decodePutRequest, encodeGetResponse, encodePutResponse, GET, PUT, type PipeRequestFrame, type ValueFrame } from './kv-codec.js';
import type { PipeHandler, PipeReply } from './pipe-server.js';
import { toServiceError } from './status.js';

export interface KvServerOptions {
  /** The same that serves a pipe; ids are 0. */
  readonly handler: PipeHandler;
  readonly clock: Clock;
  /** Dump, in bytes of its messages; refused when not given. */
  readonly dump?: grpc.handleUnaryCall<Buffer, Buffer>;
  /** Of every call, how it ended and how long it took. */
  readonly observe?: (action: number, code: number, ms: number) => void;
}

type RawRequest = PipeRequestFrame | AppError;
type Call = grpc.ServerUnaryCall<RawRequest, ValueFrame>;
type Callback = grpc.sendUnaryData<ValueFrame>;

/** Should grpc-js ever fail to say that a call is over, its answer counts as gone after this. */
const DEPARTURE_MS_MAX = 60_000;
/** A caller's deadline must not pass before the answer that says why has travelled. */
const AHEAD_MS_MAX = 50;

/**
 * Serves Get and Put of kv.KV by one handler, with as little as grpc-js allows
 * around each call: no promise, no abort controller, no generated codec.
 */
export function addKvServer(server: grpc.Server, options: KvServerOptions): void {
  const serve = (action: number) => (call: Call, callback: Callback) => {
    new ServedCall(options, action, call, callback).start();
  };
  server.addService(RAW_KV_SERVICE, { get: serve(GET), put: serve(PUT), dump: options.dump ?? refuseDump });
}

class ServedCall {
  private readonly startedAt: number;
  private readonly cancelled: boolean;
  private answered = false;
  private left: (() => void) | undefined;
  private cancel: (() => void) | undefined;

  constructor(
    private readonly options: KvServerOptions,
    private readonly action: number,
    private readonly call: Call,
    private readonly callback: Callback,
  ) {
    this.startedAt = options.clock.now();
    this.cancelled = call.cancelled;
  }

  start(): void {
    const { request } = this.call;
    if (request instanceof AppError) {
      this.callback(toServiceError(request));
      this.observe(CODE.INVALID_ARGUMENT);
      return;
    }
    if (this.cancelled) return;
    this.call.once('cancelled', this.onOver);
    this.cancel = this.options.handler(request, this.reply, this.timeoutMs());
  }

  private readonly reply = (answer: PipeReply): void => {
    if (this.answered) {
      answer.left?.();
      return;
    }
    this.answered = true;
    this.observe(answer.code);
    if (answer.left) this.expectDeparture(answer.left);
    if (answer.code === CODE.OK) this.callback(null, answer);
    else this.callback(toServiceStatus(answer));
  };

  /** grpc-js emits `cancelled` at the end of every call, also when its answer was sent. */
  private readonly onOver = (): void => {
    if (this.answered) {
      this.left?.();
      return;
    }
    this.answered = true;
    this.observe(this.hasTime() ? CODE.CANCELLED : CODE.DEADLINE_EXCEEDED);
    this.cancel?.();
  };

  private expectDeparture(left: () => void): void {
    let gone = false;
    const once = (): void => {
      if (gone) return;
      gone = true;
      forget();
      left();
    };
    const forget = this.options.clock.after(DEPARTURE_MS_MAX, once, { unref: true });
    this.left = once;
  }

  private hasTime(): boolean {
    const timeoutMs = this.timeoutMs();
    return timeoutMs === undefined || timeoutMs > 0;
  }

  private timeoutMs(): number | undefined {
    const deadline = this.call.getDeadline();
    if (deadline === Infinity) return undefined;
    const leftMs = (typeof deadline === 'number' ? deadline : deadline.getTime()) - this.options.clock.wallMs();
    return leftMs - Math.min(AHEAD_MS_MAX, leftMs / 10);
  }

  private observe(code: number): void {
    this.options.observe?.(this.action, code, this.options.clock.now() - this.startedAt);
  }
}

function toServiceStatus(answer: PipeReply): { code: number; details: string } {
  // Texts from the wire have no half surrogates; only their length can be too much for a header.
  return { code: answer.code, details: answer.message.length > 2048 ? `${answer.message.slice(0, 2000)}…` : answer.message };
}

function refuseDump(_call: unknown, callback: grpc.sendUnaryData<Buffer>): void {
  callback(toServiceError(new AppError('UNIMPLEMENTED', 'Dump is answered by the node that has the range: ask it there')));
}

/** Damage is found here, but can only be answered by the handler: grpc-js would call it INTERNAL. */
function decodedBy(decode: (bytes: Buffer) => PipeRequestFrame): (bytes: Buffer) => RawRequest {
  return (bytes) => {
    try {
      return decode(bytes);
    } catch (thrown) {
      return AppError.from(thrown);
    }
  };
}

const UNARY = { requestStream: false, responseStream: false, requestSerialize: asIs, responseDeserialize: asIs } as const;

const RAW_KV_SERVICE = {
  get: { path: '/kv.KV/Get', ...UNARY, requestDeserialize: decodedBy(decodeGetRequest), responseSerialize: encodeGetResponse },
  put: { path: '/kv.KV/Put', ...UNARY, requestDeserialize: decodedBy(decodePutRequest), responseSerialize: encodePutResponse },
  dump: { path: '/kv.KV/Dump', ...UNARY, requestDeserialize: asIs, responseSerialize: asIs },
} as unknown as grpc.ServiceDefinition;

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
