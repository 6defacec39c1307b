import type * as grpc from '@grpc/grpc-js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError, assert, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { toServiceError } from './status.js';

/** What a handler knows of its call besides the request. */
export interface CallContext {
  /**
   * Aborted when nobody waits for the answer any more: the caller cancelled, hung
   * up, or its deadline passed (the reason is an AppError). A stream's is aborted
   * when the call is over, however it ended.
   */
  readonly signal: AbortSignal;
  /** What is left of the caller's deadline, at the moment of reading; undefined when it has none. */
  readonly deadlineMs: number | undefined;
  readonly metadata: grpc.Metadata;
}

export type UnaryHandler<Request, Response> = (request: Request, ctx: CallContext) => Promise<Response>;

/**
 * The handler ends the call itself (`call.end()`). A throw or a rejection ends it
 * with that error's status.
 */
export type ServerStreamHandler<Request, Response> = (
  call: grpc.ServerWritableStream<Request, Response>,
  ctx: CallContext,
) => void | Promise<void>;

export type BidiHandler<Request, Response> = (
  call: grpc.ServerDuplexStream<Request, Response>,
  ctx: CallContext,
) => void | Promise<void>;

type RequestOf<M> = M extends { requestDeserialize: (bytes: Buffer) => infer R } ? R : never;
type ResponseOf<M> = M extends { responseDeserialize: (bytes: Buffer) => infer R } ? R : never;

export type HandlerOf<M> = M extends { requestStream: false; responseStream: false }
  ? UnaryHandler<RequestOf<M>, ResponseOf<M>>
  : M extends { requestStream: false; responseStream: true }
    ? ServerStreamHandler<RequestOf<M>, ResponseOf<M>>
    : M extends { requestStream: true; responseStream: true }
      ? BidiHandler<RequestOf<M>, ResponseOf<M>>
      : never;

/** One handler a method of a service definition that ts-proto made. */
export type HandlersOf<D> = { readonly [K in keyof D]: HandlerOf<D[K]> };

export interface ServeDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
  /**
   * Ends every server stream with the signal's reason: such streams have no end of
   * their own, and would hold up a server that closes. Bidirectional ones, which
   * may have answers to give first, see to it themselves.
   */
  readonly closing?: AbortSignal;
}

/**
 * Adds a service whose handlers are plain async functions. Bytes that cannot be
 * decoded are answered with INVALID_ARGUMENT, AppErrors with their status, and
 * anything else with INTERNAL, logged: a handler cannot take the process down.
 */
export function addService<D extends grpc.ServiceDefinition>(
  server: grpc.Server,
  definition: D,
  handlers: HandlersOf<D>,
  deps: ServeDeps,
): void {
  const guarded: Record<string, grpc.MethodDefinition<unknown, unknown>> = {};
  const implementation: grpc.UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries<grpc.MethodDefinition<unknown, unknown>>(definition)) {
    guarded[name] = { ...method, requestDeserialize: guardDecoding(method) };
    const handler = (handlers as Record<string, unknown>)[name];
    assert(typeof handler === 'function', `a handler for ${method.path}`);
    implementation[name] = implement(method, handler as AnyHandler, deps);
  }
  server.addService(guarded, implementation);
}

/**
 * Writes one message, and resolves when the stream wants the next, so that a slow
 * reader holds its writer instead of filling memory. Rejects with the signal's
 * reason once the call is over.
 */
export function send<T>(call: { write(message: T): boolean } & NodeJS.EventEmitter, message: T, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  if (call.write(message)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    const onAbort = (): void => {
      call.removeListener('drain', onDrain);
      reject(signal.reason as Error);
    };
    call.once('drain', onDrain);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * As `send`, for messages that may be large: resolves once the connection has taken this
 * one. A stream holds sixteen messages before it says that it is full, however large.
 */
export function sendLarge<T>(call: { write(message: T, taken: () => void): boolean }, message: T, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    call.write(message, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}

/** Ends a call with the status of `thrown`. (grpc-js sends no status from a stream that is destroyed.) */
export function failCall(call: NodeJS.EventEmitter, thrown: unknown): void {
  call.emit('error', toServiceError(thrown));
}

/** Stands in for a request whose bytes could not be decoded. */
class Undecodable {
  constructor(readonly error: AppError) {}
}

function guardDecoding(method: grpc.MethodDefinition<unknown, unknown>): (bytes: Buffer) => unknown {
  return (bytes) => {
    try {
      return method.requestDeserialize(bytes);
    } catch (thrown) {
      const message = `the request of ${method.path} cannot be decoded: ${messageOf(thrown)}`;
      return new Undecodable(new AppError('INVALID_ARGUMENT', message, { cause: thrown }));
    }
  };
}

type AnyHandler = (first: unknown, ctx: CallContext) => unknown;
type AnyCall = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'cancelled' | 'metadata' | 'getDeadline'> & NodeJS.EventEmitter;

function implement(
  method: grpc.MethodDefinition<unknown, unknown>,
  handler: AnyHandler,
  deps: ServeDeps,
): grpc.UntypedHandleCall {
  const clock = deps.clock ?? systemClock;
  const note = (thrown: unknown): void => {
    logUnexpected(deps.logger, method.path, thrown);
  };
  if (!method.requestStream && !method.responseStream) return implementUnary(handler, clock, note);
  assert(method.responseStream, `${method.path}: client streams without a server stream are not supported`);
  return method.requestStream ? implementBidi(handler, clock, note) : implementServerStream(handler, clock, note, deps.closing);
}

type Note = (thrown: unknown) => void;

function implementUnary(handler: AnyHandler, clock: Clock, note: Note): grpc.handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    if (call.request instanceof Undecodable) {
      callback(toServiceError(call.request.error));
      return;
    }
    const ctx = new Context(call, clock);
    const fail = (thrown: unknown): void => {
      ctx.finish();
      note(thrown);
      callback(toServiceError(thrown));
    };
    let answer: Promise<unknown>;
    try {
      answer = handler(call.request, ctx) as Promise<unknown>;
    } catch (thrown) {
      fail(thrown);
      return;
    }
    answer.then((response) => {
      ctx.finish();
      callback(null, response);
    }, fail);
  };
}

function implementServerStream(
  handler: AnyHandler,
  clock: Clock,
  note: Note,
  closing: AbortSignal | undefined,
): grpc.handleServerStreamingCall<unknown, unknown> {
  const endWhenClosing = endingWith(closing);
  return (call) => {
    if (call.request instanceof Undecodable) {
      failCall(call, call.request.error);
      return;
    }
    endWhenClosing(call);
    runStream(call, handler, clock, note);
  };
}

/** One listener for all calls: a signal is not made for as many as there may be. */
function endingWith(closing: AbortSignal | undefined): (call: AnyCall) => void {
  if (!closing) return () => {};
  const open = new Set<AnyCall>();
  closing.addEventListener('abort', () => {
    for (const call of open) failCall(call, closing.reason);
  });
  return (call) => {
    if (closing.aborted) {
      failCall(call, closing.reason);
      return;
    }
    open.add(call);
    // Said by grpc-js however a call ends.
    call.once('cancelled', () => open.delete(call));
  };
}

function implementBidi(handler: AnyHandler, clock: Clock, note: Note): grpc.handleBidiStreamingCall<unknown, unknown> {
  return (call) => {
    const push = call.push.bind(call);
    call.push = (message: unknown) => {
      if (!(message instanceof Undecodable)) return push(message);
      failCall(call, message.error);
      return false;
    };
    runStream(call, handler, clock, note);
  };
}

function runStream(
  call: grpc.ServerWritableStream<unknown, unknown> | grpc.ServerDuplexStream<unknown, unknown>,
  handler: AnyHandler,
  clock: Clock,
  note: Note,
): void {
  const fail = (thrown: unknown): void => {
    // A handler that stops because its call is over rejects with the signal's reason: no news.
    if (call.cancelled) return;
    note(thrown);
    failCall(call, thrown);
  };
  try {
    const running = handler(call, new Context(call, clock));
    if (running instanceof Promise) running.catch(fail);
  } catch (thrown) {
    fail(thrown);
  }
}

/** The signal is made only for handlers that look at it: most unary calls never do. */
class Context implements CallContext {
  private controller: AbortController | undefined;
  private finished = false;

  constructor(
    private readonly call: AnyCall,
    private readonly clock: Clock,
  ) {}

  get metadata(): grpc.Metadata {
    return this.call.metadata;
  }

  get deadlineMs(): number | undefined {
    const deadline = this.call.getDeadline();
    const at = typeof deadline === 'number' ? deadline : deadline.getTime();
    return at === Infinity ? undefined : at - this.clock.wallMs();
  }

  get signal(): AbortSignal {
    if (this.controller) return this.controller.signal;
    const controller = new AbortController();
    this.controller = controller;
    if (this.call.cancelled) {
      controller.abort(this.reason());
    } else {
      this.call.once('cancelled', () => {
        if (!this.finished) controller.abort(this.reason());
      });
    }
    return controller.signal;
  }

  /** The answer is given; grpc-js says 'cancelled' after that too. */
  finish(): void {
    this.finished = true;
  }

  /** A caller hangs up at its deadline by its own clock, which may be a moment before it passes here: that is a cancel. */
  private reason(): AppError {
    const left = this.deadlineMs;
    return left !== undefined && left <= 0
      ? new AppError('DEADLINE_EXCEEDED', "the caller's deadline passed")
      : new AppError('CANCELLED', 'the caller does not wait for the answer any more');
  }
}

function logUnexpected(logger: Logger, method: string, thrown: unknown): void {
  if (thrown instanceof AppError && thrown.code !== 'INTERNAL') return;
  logger.error('a request handler failed', { method, error: messageOf(thrown), stack: thrown instanceof Error ? thrown.stack : undefined });
}
