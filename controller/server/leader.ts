import * as grpc from '@grpc/grpc-js';
import type { BehaviorSubject } from 'rxjs';
import type { Leadership } from '../../coordination/interfaces.js';
import type { CallContext, HandlersOf } from '../../proto/serve.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Peer, PeerCallOptions, PeerMethod } from './peer.js';

export interface LeadersOptions {
  readonly leadership: BehaviorSubject<Leadership>;
  readonly connect: (address: string) => Peer;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long a command waits for somebody to lead: a change of leader takes about two seconds. */
  readonly waitMs?: number;
}

const WAIT_MS = 5000;
/** What a leader that just died is asked again after. */
const RETRY_MS = 100;
/** Marks a command that another controller passed on, so that none goes in circles. */
export const FORWARDED = 'keyranger-forwarded';
/** How a controller refuses one that was passed on to it in vain. Nothing was begun then. */
const NOT_HERE = 'this controller does not lead, and does not pass on what was passed on to it';

/** What a leader was about when it went away with a call. */
export interface Continuation {
  /** A message of the leader's passed through here. */
  saw(message: unknown): void;
  /** The leader is gone: sees it through from here. False when it cannot. */
  goOn(signal: AbortSignal): Promise<boolean>;
}

export interface WithoutLeader {
  /** Streams that a follower ends itself when the leader went away in the midst of them. */
  readonly continued?: Readonly<Record<string, (call: AnyStream) => Continuation>>;
  /** Questions that a follower answers itself when no leader does soon; `why` says why not. */
  readonly known?: Readonly<Record<string, (why: string) => unknown>>;
}

/** How long a question that a follower could answer too waits for a leader to be there, and for its answer. */
const KNOWN_WAIT_MS = 1000;
const KNOWN_ANSWER_MS = 2000;

type AnyStream = grpc.ServerWritableStream<unknown, unknown>;
type AnyHandler = (first: unknown, ctx: CallContext) => unknown;
type Elsewhere<T> = (peer: Peer, options: PeerCallOptions) => Promise<T>;
type Attempt<T> = { readonly done: true; readonly value: T } | { readonly done: false };

/**
 * Sends commands to where they are obeyed. A follower passes them on to the leader,
 * reports and all, so that an operator may ask any controller; while nobody leads it
 * waits a few seconds for somebody who does.
 */
export class Leaders {
  private peer: { readonly address: string; readonly connection: Peer } | undefined;

  constructor(private readonly options: LeadersOptions) {}

  /** The handlers, for a controller that leads; the same calls at the leader, for one that does not. */
  only<D extends grpc.ServiceDefinition>(definition: D, handlers: HandlersOf<D>, { continued = {}, known = {} }: WithoutLeader = {}): HandlersOf<D> {
    const routed: Record<string, AnyHandler> = {};
    for (const [name, method] of Object.entries<PeerMethod>(definition)) {
      const here = (handlers as unknown as Record<string, AnyHandler>)[name] as AnyHandler;
      routed[name] = method.responseStream
        ? (call, ctx) => this.stream(method, here, call as AnyStream, ctx, continued[name]?.(call as AnyStream))
        : (request, ctx) => this.unary(method, here, request, ctx, known[name]);
    }
    return routed as unknown as HandlersOf<D>;
  }

  close(): void {
    this.peer?.connection.close();
    this.peer = undefined;
  }

  private unary(method: PeerMethod, here: AnyHandler, request: unknown, ctx: CallContext, known?: (why: string) => unknown): unknown {
    if (this.options.leadership.value.leading) return here(request, ctx);
    const there: Elsewhere<unknown> = (peer, options) => peer.unary(method, request, options);
    if (known) return this.orKnown(ctx, () => here(request, ctx), there, known);
    return this.route(ctx, () => here(request, ctx), there);
  }

  /** The leader's answer, or what is known here when it does not come soon. */
  private async orKnown(ctx: CallContext, here: () => unknown, there: Elsewhere<unknown>, known: (why: string) => unknown): Promise<unknown> {
    const { clock, waitMs } = this.options;
    const late = new AbortController();
    const cancel = clock.after(KNOWN_ANSWER_MS, () => {
      late.abort();
    });
    const soon: CallContext = { deadlineMs: ctx.deadlineMs, metadata: ctx.metadata, signal: AbortSignal.any([ctx.signal, late.signal]) };
    try {
      return await this.route(soon, here, there, Math.min(KNOWN_WAIT_MS, waitMs ?? WAIT_MS));
    } catch (thrown) {
      if (ctx.signal.aborted || isForwarded(ctx)) throw thrown;
      if (!late.signal.aborted && AppError.from(thrown).code !== 'UNAVAILABLE') throw thrown;
      const { leaderAddress } = this.options.leadership.value;
      return known(leaderAddress === undefined ? 'no controller leads at the moment' : `the controller that leads, at ${leaderAddress}, does not answer`);
    } finally {
      cancel();
    }
  }

  private async stream(method: PeerMethod, here: AnyHandler, call: AnyStream, ctx: CallContext, continuation?: Continuation): Promise<void> {
    if (this.options.leadership.value.leading) {
      await here(call, ctx);
      return;
    }
    const there: Elsewhere<unknown> = async (peer, options) => {
      await peer.stream(method, call.request, options, (message) => {
        continuation?.saw(message);
        if (!call.cancelled) call.write(message);
      });
      call.end();
    };
    try {
      await this.route(ctx, () => here(call, ctx), there);
    } catch (thrown) {
      const lostIt = AppError.from(thrown).code === 'UNAVAILABLE' && !ctx.signal.aborted;
      if (!continuation || !lostIt || !(await continuation.goOn(ctx.signal))) throw thrown;
      call.end();
    }
  }

  private async route(ctx: CallContext, here: () => unknown, there: Elsewhere<unknown>, waitMs = this.options.waitMs ?? WAIT_MS): Promise<unknown> {
    if (isForwarded(ctx)) throw new AppError('UNAVAILABLE', NOT_HERE);
    const { clock, logger } = this.options;
    const until = clock.now() + waitMs;
    let asked: string | undefined;
    for (;;) {
      const leader = await this.leader(until, ctx.signal);
      if (leader.leading) return here();
      if (leader.leaderAddress !== asked) logger.info('passing a command on to the leader', { leader: leader.leaderAddress });
      asked = leader.leaderAddress;
      const attempt = await this.attempt(leader.leaderAddress, ctx, there, until);
      if (attempt.done) return attempt.value;
      // It is gone, and Consul has not noticed yet; the next one may be here soon.
      await this.change(Math.min(until, clock.now() + RETRY_MS), ctx.signal);
    }
  }

  /** Not done when nothing was begun, and there is time left to ask somebody else. */
  private async attempt<T>(address: string, ctx: CallContext, there: Elsewhere<T>, until: number): Promise<Attempt<T>> {
    const deposed = new AbortController();
    const watching = this.options.leadership.subscribe(({ leading, leaderAddress }) => {
      if (leading || (leaderAddress !== undefined && leaderAddress !== address)) deposed.abort();
    });
    const { clock } = this.options;
    const metadata = new grpc.Metadata();
    metadata.set(FORWARDED, '1');
    const { deadlineMs } = ctx;
    const signal = AbortSignal.any([ctx.signal, deposed.signal]);
    try {
      const deadline = deadlineMs === undefined ? Infinity : clock.wallMs() + deadlineMs;
      return { done: true, value: await there(this.peerAt(address), { metadata, deadline, signal }) };
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (ctx.signal.aborted) throw error;
      if (deposed.signal.aborted) throw lost(address, 'another leads now');
      if (error.code !== 'UNAVAILABLE') throw error;
      if (!neverBegan(error)) throw lost(address, error.message);
      if (clock.now() >= until) throw new AppError('UNAVAILABLE', `the controller that leads, at ${address}, cannot be reached; try again in a few seconds`, { cause: error });
      return { done: false };
    } finally {
      watching.unsubscribe();
    }
  }

  private peerAt(address: string): Peer {
    if (this.peer?.address !== address) {
      this.close();
      this.peer = { address, connection: this.options.connect(address) };
    }
    return this.peer.connection;
  }

  private async leader(until: number, signal: AbortSignal): Promise<{ leading: true } | { leading: false; leaderAddress: string }> {
    for (;;) {
      const { leading, leaderAddress } = this.options.leadership.value;
      if (leading) return { leading };
      if (leaderAddress !== undefined) return { leading, leaderAddress };
      if (signal.aborted) throw AppError.from(signal.reason);
      if (this.options.clock.now() >= until) throw new AppError('UNAVAILABLE', 'no controller leads at the moment; try again in a few seconds');
      await this.change(until, signal);
    }
  }

  /** Resolves when who leads changes, when the caller is gone, or at `until`. */
  private change(until: number, signal: AbortSignal): Promise<void> {
    const { clock, leadership } = this.options;
    const before = leadership.value;
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        watching.unsubscribe();
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const cancel = clock.after(Math.max(0, until - clock.now()), finish);
      const watching = leadership.subscribe((now) => {
        if (now !== before) finish();
      });
      signal.addEventListener('abort', finish);
    });
  }
}

function isForwarded({ metadata }: CallContext): boolean {
  return metadata.get(FORWARDED).length > 0;
}

/** The leader was not reached, or was none: another may be asked the same. */
function neverBegan({ message }: AppError): boolean {
  return message === NOT_HERE || message.startsWith('No connection established');
}

function lost(address: string, why: string): AppError {
  return new AppError('UNAVAILABLE', `the controller at ${address}, which led, is gone (${why}); an operation that began goes on under the next one`);
}
