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
  only<D extends grpc.ServiceDefinition>(definition: D, handlers: HandlersOf<D>): HandlersOf<D> {
    const routed: Record<string, AnyHandler> = {};
    for (const [name, method] of Object.entries<PeerMethod>(definition)) {
      const here = (handlers as unknown as Record<string, AnyHandler>)[name] as AnyHandler;
      routed[name] = method.responseStream
        ? (call, ctx) => this.stream(method, here, call as AnyStream, ctx)
        : (request, ctx) => this.unary(method, here, request, ctx);
    }
    return routed as unknown as HandlersOf<D>;
  }

  close(): void {
    this.peer?.connection.close();
    this.peer = undefined;
  }

  private unary(method: PeerMethod, here: AnyHandler, request: unknown, ctx: CallContext): unknown {
    if (this.options.leadership.value.leading) return here(request, ctx);
    return this.route(
      ctx,
      () => here(request, ctx),
      (peer, options) => peer.unary(method, request, options),
    );
  }

  private stream(method: PeerMethod, here: AnyHandler, call: AnyStream, ctx: CallContext): unknown {
    if (this.options.leadership.value.leading) return here(call, ctx);
    return this.route(
      ctx,
      () => here(call, ctx),
      async (peer, options) => {
        await peer.stream(method, call.request, options, (message) => {
          if (!call.cancelled) call.write(message);
        });
        call.end();
      },
    );
  }

  private async route(ctx: CallContext, here: () => unknown, there: Elsewhere<unknown>): Promise<unknown> {
    if (ctx.metadata.get(FORWARDED).length > 0) throw new AppError('UNAVAILABLE', NOT_HERE);
    const { clock, waitMs = WAIT_MS, logger } = this.options;
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

/** The leader was not reached, or was none: another may be asked the same. */
function neverBegan({ message }: AppError): boolean {
  return message === NOT_HERE || message.startsWith('No connection established');
}

function lost(address: string, why: string): AppError {
  return new AppError('UNAVAILABLE', `the controller at ${address}, which led, is gone (${why}); an operation that began goes on under the next one`);
}
