import { CODE } from '../proto/codes.js';
import { formatKey, type Key, keyFromBytes } from '../model/key.js';
import { keyProblem, valueProblem, writeIdProblem } from '../model/limits.js';
import { GET, NO_BYTES, PUT, type RequestOptions } from '../proto/kv-codec.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { unreachable } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { type Random, systemRandom } from '../runtime/random.js';
import { endOfTurn, type Turn } from '../runtime/turn.js';
import { ByteBudget } from './budget.js';
import { DeadlineWheel } from './deadlines.js';
import { formatOwner, type Owner, type Owners, sameOwner } from './owners.js';
import type { Answer, Loss, Pipe } from './pipe.js';
import { Pipes } from './pipes.js';
import { NO_OWNER, type Obstacle, type RequestEvents, RoutedRequest, type Ticket } from './request.js';
import { NOTHING_APPLIED, saysUnknown } from './store/failures.js';
import type { TransportFactory } from './transport.js';
import { WriteIdSource } from './write-id.js';

export interface RouterOptions {
  readonly owners: Owners;
  readonly transports: TransportFactory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly turn?: Turn;
  /** Makes the ids of writes. */
  readonly random?: Random;
  /** How long a request without a deadline of its own may take. */
  readonly timeoutMs?: number;
  /** Requests and answers on their way may hold this much; what goes beyond is answered RESOURCE_EXHAUSTED. */
  readonly maxBytesInFlight?: number;
  /** What the limit is called where it is set, for the message. */
  readonly limitName?: string;
}

/** For metrics. Totals only grow. */
export interface RouterStats {
  readonly inFlight: number;
  readonly held: number;
  readonly bytesInFlight: number;
  readonly nodes: number;
  /** Times that a request had to wait before it could be sent (again), by why. */
  readonly holds: Readonly<Record<Obstacle['is'], number>>;
  /** Requests refused because of `maxBytesInFlight`. */
  readonly shed: number;
  /** Times that a write was sent again because nobody knew what became of it. */
  readonly repeated: number;
}

export const DEFAULT_TIMEOUT_MS = 10_000;
export const DEFAULT_MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024;

/** What a request weighs besides its key and value. */
const REQUEST_BYTES = 512;
const ANSWER_BYTES_MIN = 1024;
/** Held requests look again by themselves, in case the map was right already: seldom, and ever more so. */
const RETRY_MIN_MS = 25;
const RETRY_MAX_MS = 500;

/**
 * How long an owner that was replaced may still answer what it was sent. One that handed over has answered
 * before its successor serves; one that stands still, or is cut off, never does.
 */
const LAST_WORD_MS = 250;

/**
 * Brings each request to the node that owns its key. While there is none, or it
 * cannot be reached, or it says it is not the one, the request is held, and tried
 * again when the map of owners changes or a connection comes up, until its
 * deadline. A write has an id, its own or one made here. One whose fate nobody knows is
 * sent again with it, to nodes that know ids, and so applied once; where a node knows
 * none it is never sent twice unless the first is known to have had no effect.
 *
 * `get` and `put` call `done` once with a gRPC status code, not with an error: most
 * answers only travel through.
 *
 * What a replaced owner leaves unanswered is taken back and sent to its successor: the
 * connection to one that stands still may take long to break.
 */
export class Router {
  /** Counts what is on its way; a proxy adds the answers that its clients have not read yet. */
  readonly budget: ByteBudget;
  private readonly clock: Clock;
  private readonly turn: Turn;
  private readonly timeoutMs: number;
  private readonly pipes: Pipes;
  private readonly wheel: DeadlineWheel<RoutedRequest>;
  /** In order of arrival. */
  private readonly held = new Set<RoutedRequest>();
  private readonly holds = { noOwner: 0, refused: 0, unreachable: 0, unavailable: 0 };
  private readonly ids: WriteIdSource;
  private readonly subscription: { unsubscribe(): void };
  private readonly events: RequestEvents;
  private inFlight = 0;
  private shed = 0;
  private repeated = 0;
  /** Stale reads take turns. */
  private turns = 0;
  private answerBytes = ANSWER_BYTES_MIN;
  private wakeDue = false;
  private cancelReview: Cancel | undefined;
  /** The map changed while a review was due already. */
  private reviewAgain = false;
  private closed = false;

  constructor(private readonly options: RouterOptions) {
    this.clock = options.clock;
    this.turn = options.turn ?? endOfTurn;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.ids = new WriteIdSource(options.random ?? systemRandom);
    this.pipes = new Pipes({
      transports: options.transports,
      clock: options.clock,
      turn: this.turn,
      logger: options.logger,
      onUsable: () => {
        this.wakeLater();
      },
    });
    this.budget = new ByteBudget(options.maxBytesInFlight ?? DEFAULT_MAX_BYTES_IN_FLIGHT, (full) => {
      this.pipes.setPaused(full);
    });
    this.wheel = new DeadlineWheel(options.clock, (request) => {
      this.onDue(request);
    });
    this.events = {
      answered: (request, answer) => {
        this.onAnswer(request, answer);
      },
      lost: (request, loss) => {
        this.onLost(request, loss);
      },
      abandoned: (request) => {
        this.abandon(request);
      },
    };
    this.subscription = options.owners.changes.subscribe(() => {
      this.wake();
      this.reviewLater();
    });
    this.pipes.keep(options.owners.addresses());
  }

  /** `done` may be called from within, and is called at the latest when `timeoutMs` is over. */
  get(key: Buffer, timeoutMs: number | undefined, done: (answer: Answer) => void, options: RequestOptions = NO_OPTIONS): Ticket | undefined {
    return this.submit(GET, key, undefined, timeoutMs, done, options);
  }

  /** An undefined value deletes. */
  put(key: Buffer, value: Buffer | undefined, timeoutMs: number | undefined, done: (answer: Answer) => void, options: RequestOptions = NO_OPTIONS): Ticket | undefined {
    return this.submit(PUT, key, value, timeoutMs, done, options);
  }

  stats(): RouterStats {
    return {
      inFlight: this.inFlight,
      held: this.held.size,
      bytesInFlight: this.budget.used,
      nodes: this.pipes.size,
      holds: { ...this.holds },
      shed: this.shed,
      repeated: this.repeated,
    };
  }

  /** Every request still on its way is answered UNAVAILABLE. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.subscription.unsubscribe();
    this.cancelReview?.();
    this.pipes.close();
    for (const request of [...this.held]) this.finish(request, failure(CODE.UNAVAILABLE, 'shutting down'));
    this.wheel.close();
  }

  private submit(
    action: number,
    keyBytes: Buffer,
    value: Buffer | undefined,
    timeout: number | undefined,
    done: (answer: Answer) => void,
    options: RequestOptions,
  ): Ticket | undefined {
    const { writeId, retryAgeMs } = options;
    const problem = keyProblem(keyBytes.length) ?? (value && valueProblem(value.length)) ?? (writeId && writeIdProblem(writeId.length));
    if (problem !== undefined) {
      done(failure(CODE.INVALID_ARGUMENT, problem));
      return undefined;
    }
    const timeoutMs = timeout ?? this.timeoutMs;
    if (timeoutMs <= 0) {
      done(failure(CODE.DEADLINE_EXCEEDED, 'the deadline had passed when the request arrived'));
      return undefined;
    }
    const bytes = REQUEST_BYTES + keyBytes.length + (action === GET ? this.answerBytes : (value?.length ?? 0));
    if (this.closed || !this.budget.take(bytes)) {
      done(this.closed ? failure(CODE.UNAVAILABLE, 'shutting down') : this.overload(bytes));
      return undefined;
    }
    const now = this.clock.now();
    const key = keyFromBytes(keyBytes);
    const id = action === PUT ? (writeId ?? this.ids.next()) : undefined;
    const request = new RoutedRequest(this.events, action, key, keyBytes, value, now + timeoutMs, timeoutMs, bytes, done, options.level ?? 0, id, options.stale ?? false);
    if (writeId && retryAgeMs) request.firstSentAt = now - retryAgeMs;
    this.inFlight++;
    this.wheel.add(request);
    this.dispatch(request, false);
    return request;
  }

  private overload(bytes: number): Answer {
    this.shed++;
    const { used, maxBytes } = this.budget;
    const limit = this.options.limitName ?? 'maxBytesInFlight';
    return failure(
      CODE.RESOURCE_EXHAUSTED,
      `${used} bytes of requests and answers are on their way, and ${bytes} more would exceed the limit of ${maxBytes} (${limit}): try again later`,
    );
  }

  /**
   * Sends the request to the owner of its key, or holds it. Unless `insist`, an owner
   * that refused it is not asked again before the map says anything new of it.
   */
  private dispatch(request: RoutedRequest, insist: boolean): void {
    if (request.stale && this.dispatchStale(request)) return;
    const owner = this.options.owners.find(request.key);
    if (!owner) {
      this.hold(request, NO_OWNER);
      return;
    }
    const { obstacle } = request;
    if (!insist && obstacle.is === 'refused' && sameOwner(obstacle.by, owner)) {
      this.hold(request, obstacle);
      return;
    }
    const pipe = this.pipes.get(owner.address);
    if (request.firstSentAt !== undefined && pipe.forgetsWrites) {
      this.finish(request, failure(CODE.UNAVAILABLE, `${formatOwner(owner)} knows no write ids, so the write was not sent again: whether an earlier try was applied is unknown`));
      return;
    }
    if (!pipe.send(request)) {
      this.hold(request, { is: 'unreachable', node: owner, because: pipe.problem });
      return;
    }
    this.sent(request, owner, pipe);
  }

  /** To any copy, in turns, each asked once until the request is held. False when none takes it, and the owner is left. */
  private dispatchStale(request: RoutedRequest): boolean {
    const copies = this.options.owners.copies(request.key);
    const first = this.turns++;
    for (let i = 0; i < copies.length; i++) {
      const copy = copies[(first + i) % copies.length] as Owner;
      if (request.tried?.has(copy.address)) continue;
      (request.tried ??= new Set()).add(copy.address);
      const pipe = this.pipes.get(copy.address);
      if (!pipe.send(request)) continue;
      this.sent(request, copy, pipe);
      return true;
    }
    return false;
  }

  private sent(request: RoutedRequest, to: Owner, pipe: Pipe): void {
    request.owner = to;
    request.pipe = pipe;
    request.sentAt = this.clock.now();
    if (request.phase === 'held') this.release(request);
    request.phase = 'sent';
    if (request.firstSentAt !== undefined) this.repeated++;
  }

  /** Sets the request aside until something changes, or its next try by itself. */
  private hold(request: RoutedRequest, obstacle: Obstacle): void {
    request.obstacle = obstacle;
    request.pipe = undefined;
    request.tried = undefined;
    if (request.phase === 'held') return;
    request.phase = 'held';
    this.held.add(request);
    this.holds[obstacle.is]++;
    this.schedule(request);
  }

  private schedule(request: RoutedRequest): void {
    const delayMs = Math.min(RETRY_MIN_MS * 2 ** Math.min(request.holds, 10), RETRY_MAX_MS);
    request.holds++;
    this.wheel.remove(request);
    request.dueAt = Math.min(request.deadlineAt, this.clock.now() + delayMs);
    this.wheel.add(request);
  }

  private release(request: RoutedRequest): void {
    this.held.delete(request);
    this.wheel.remove(request);
    request.dueAt = request.deadlineAt;
    this.wheel.add(request);
  }

  /** Many changes of one turn wake the held ones once. */
  private wakeLater(): void {
    if (this.wakeDue || this.closed) return;
    this.wakeDue = true;
    this.turn(() => {
      this.wakeDue = false;
      if (!this.closed) this.wake();
    });
  }

  private wake(): void {
    this.pipes.keep(this.options.owners.addresses());
    for (const request of this.held) this.dispatch(request, false);
  }

  /** Many changes are looked through together, each at the earliest after what its old owners may still say. */
  private reviewLater(): void {
    if (this.closed || this.inFlight === this.held.size) return;
    if (this.cancelReview) {
      this.reviewAgain = true;
      return;
    }
    this.cancelReview = this.clock.after(
      LAST_WORD_MS,
      () => {
        this.cancelReview = undefined;
        const leftBehind = this.wheel.filter((request) => this.isLeftBehind(request));
        // In the order in which they were sent; a slot of the wheel has the latest first.
        leftBehind.reverse().sort((a, b) => a.sentAt - b.sentAt);
        for (const request of leftBehind) this.takeBack(request);
        if (!this.reviewAgain) return;
        this.reviewAgain = false;
        this.reviewLater();
      },
      { unref: true },
    );
  }

  /** It waits for an owner that the map knows a successor of elsewhere. */
  private isLeftBehind({ phase, owner, key }: RoutedRequest): boolean {
    if (phase !== 'sent' || !owner) return false;
    const successor = this.options.owners.find(key);
    return successor !== undefined && successor.epoch > owner.epoch && successor.address !== owner.address;
  }

  /** To its successor, unless that could apply the write a second time. */
  private takeBack(request: RoutedRequest): void {
    const { owner, pipe } = request;
    const successor = this.options.owners.find(request.key);
    if (request.phase !== 'sent' || !owner || !pipe || !successor) return;
    const unwritten = request.pipeId !== 0 && !request.pipeWritten;
    if (!unwritten && !request.isRead) {
      if (!pipe.knowsWriteIds) return;
      if (!this.pipes.get(successor.address).knowsWriteIds) {
        // Or not yet: it may not have said so, or not be connected to.
        this.reviewLater();
        return;
      }
      request.firstSentAt ??= request.sentAt;
    }
    pipe.cancel(request);
    request.obstacle = { is: 'unreachable', node: owner, because: `no answer from it, and ${formatOwner(successor)} has taken its place` };
    this.dispatch(request, false);
  }

  private onDue(request: RoutedRequest): void {
    if (request.phase === 'done') return;
    if (this.clock.now() >= request.deadlineAt) {
      this.expire(request);
      return;
    }
    this.dispatch(request, true);
    // It is held still: no try succeeded in being sent.
    if (request.phase === 'held') this.schedule(request);
  }

  private expire(request: RoutedRequest): void {
    if (request.phase === 'held') {
      const why = heldTooLong(request, this.options.owners.addresses().length);
      this.finish(request, request.firstSentAt === undefined ? why : { ...why, code: CODE.DEADLINE_EXCEEDED, message: `${why.message}. Whether the write was applied is unknown` });
      return;
    }
    request.pipe?.cancel(request);
    const node = request.owner ? formatOwner(request.owner) : 'the node';
    const fate = request.isRead ? '' : ': whether the write was applied is unknown';
    this.finish(request, failure(CODE.DEADLINE_EXCEEDED, `no answer from ${node} within ${describeMs(request.timeoutMs)}${fate}`));
  }

  private onAnswer(request: RoutedRequest, answer: Answer): void {
    if (request.phase !== 'sent') return;
    const { owner } = request;
    if (owner && (answer.code === CODE.ABORTED || answer.code === CODE.FAILED_PRECONDITION)) {
      request.obstacle = { is: 'refused', by: owner, because: answer.message };
      this.dispatch(request, false);
      return;
    }
    if (owner && answer.code === CODE.UNAVAILABLE && (request.isRead || request.pipe?.forgetsWrites === false)) {
      // A proxy tries by itself, and may not know how that ended.
      if (!request.isRead && saysUnknown(answer)) request.firstSentAt ??= request.sentAt;
      this.hold(request, { is: 'unavailable', node: owner, because: answer.message });
      return;
    }
    if (owner && !request.isRead && answer.code === CODE.UNKNOWN && request.pipe?.forgetsWrites === false) {
      request.firstSentAt ??= request.sentAt;
      this.hold(request, { is: 'unavailable', node: owner, because: answer.message });
      return;
    }
    // The mean of late is what a read is taken to bring; one large value must not shed a crowd of small ones.
    if (request.isRead) {
      const mean = this.answerBytes + (answer.value.length - this.answerBytes) / 32;
      this.answerBytes = Math.max(ANSWER_BYTES_MIN, Math.round(mean));
    }
    if (request.firstSentAt !== undefined && answer.code !== CODE.OK && answer.code !== CODE.INVALID_ARGUMENT) {
      // It tells of this try alone.
      this.finish(request, failure(CODE.UNAVAILABLE, `${answer.message}. Whether an earlier try of the write was applied is unknown`));
      return;
    }
    this.finish(request, answer);
  }

  private onLost(request: RoutedRequest, loss: Loss): void {
    if (request.phase !== 'sent') return;
    const { owner } = request;
    const repeatable = loss.definitelyNotApplied || request.isRead || (loss.repeatable && request.writeId !== undefined);
    if (owner && !this.closed && repeatable) {
      if (!loss.definitelyNotApplied && !request.isRead) request.firstSentAt ??= request.sentAt;
      request.obstacle = { is: 'unreachable', node: owner, because: loss.reason };
      this.dispatch(request, false);
      return;
    }
    const node = owner ? formatOwner(owner) : 'the node';
    const fate = request.isRead ? '' : ' after the write was sent: whether it was applied is unknown';
    this.finish(request, failure(CODE.UNAVAILABLE, `${node}: ${loss.reason}${fate}`));
  }

  private abandon(request: RoutedRequest): void {
    if (request.phase === 'done') return;
    request.pipe?.cancel(request);
    this.settle(request);
  }

  private finish(request: RoutedRequest, answer: Answer): void {
    this.settle(request);
    request.done(answer);
  }

  private settle(request: RoutedRequest): void {
    if (request.phase === 'held') this.held.delete(request);
    request.phase = 'done';
    request.pipe = undefined;
    this.inFlight--;
    this.wheel.remove(request);
    this.budget.give(request.bytes);
  }
}

/** Why the request could not be sent by its deadline, in words that say where to look. */
function heldTooLong(request: RoutedRequest, nodes: number): Answer {
  const waited = `waited ${describeMs(request.timeoutMs)}`;
  const fate = request.firstSentAt === undefined ? `. ${NOTHING_APPLIED}` : '';
  const { obstacle } = request;
  switch (obstacle.is) {
    case 'noOwner': {
      const hint = nodes === 0 ? 'no node is known: are any running?' : '`rangerctl ranges` shows which range waits for what';
      return failure(CODE.FAILED_PRECONDITION, `no node serves key ${shortKey(request.key)}, ${waited} for one: ${hint}`);
    }
    case 'refused':
      return failure(CODE.FAILED_PRECONDITION, `${waited} for ${formatOwner(obstacle.by)}, which refuses: ${obstacle.because}`);
    case 'unreachable':
      return failure(CODE.UNAVAILABLE, `${waited} for ${formatOwner(obstacle.node)}, which cannot be reached: ${obstacle.because}${fate}`);
    case 'unavailable':
      return failure(CODE.UNAVAILABLE, `${waited} for ${formatOwner(obstacle.node)}, which cannot answer: ${obstacle.because}${fate}`);
    default:
      return unreachable(obstacle);
  }
}

const NO_OPTIONS: RequestOptions = {};

function failure(code: number, message: string): Answer {
  return { code, message, value: NO_BYTES, epoch: 0, offset: 0 };
}

/** Keys may have 1 KiB; a message needs enough to tell them apart. */
function shortKey(key: Key): string {
  const text = formatKey(key);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function describeMs(ms: number): string {
  return ms >= 1000 ? `${Math.round(ms / 100) / 10} s` : `${Math.round(ms)} ms`;
}
