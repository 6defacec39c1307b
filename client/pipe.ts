import { CODE } from '../proto/codes.js';
import {
  CANCEL,
  decodePipeResponses,
  encodePipeRequests,
  NO_BYTES,
  pipeFrameLength,
  type PipeRequestFrame,
  type PipeResponseFrame,
  type ValueFrame,
} from '../proto/kv-codec.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import type { Turn } from '../runtime/turn.js';
import type { EndStatus, NodeTransport, PipeStream } from './transport.js';

/** A node's answer to one request. Its `value` points into a larger message: copy what is kept. */
export interface Answer extends ValueFrame {
  /** A gRPC status code; 0 is OK. */
  readonly code: number;
  readonly message: string;
}

/** Why there will be no answer. */
export interface Loss {
  /** True: the request never reached the node. False: nobody knows what became of it. */
  readonly definitelyNotApplied: boolean;
  /** The node knows write ids: a write that is sent again with its id is applied once. */
  readonly repeatable: boolean;
  readonly reason: string;
}

/**
 * One request as a pipe carries it. It is the caller's own object, called back by
 * its methods, so that a request costs the pipe no allocation.
 */
export interface Exchange {
  /** GET or PUT. */
  readonly action: number;
  readonly keyBytes: Buffer;
  /** Of a put; undefined deletes. */
  readonly value: Buffer | undefined;
  /** As in {@link RequestOptions}. */
  readonly stale?: boolean | undefined;
  readonly level?: number | undefined;
  readonly writeId?: Buffer | undefined;
  /** On the pipe's clock. */
  readonly deadlineAt: number;
  /** On the pipe's clock: when the first try of unknown outcome was sent; undefined when there was none. */
  readonly firstSentAt?: number | undefined;
  /** The pipe's own: the request's number on the stream, 0 when it is on none. */
  pipeId: number;
  /** The pipe's own: whether the request has been given to the connection. */
  pipeWritten: boolean;
  /** Exactly one of the two is called, once, unless the exchange was cancelled; never from within `send`. */
  onAnswer(answer: Answer): void;
  onLost(loss: Loss): void;
}

export interface PipeOptions {
  readonly address: string;
  readonly transport: NodeTransport;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  /** Called whenever `send` may succeed after it did not. */
  readonly onUsable: () => void;
}

const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1000;
/** A batch is sent at these sizes even before the turn ends. One value of 8 MiB on top still fits a message. */
const BATCH_BYTES = 1024 * 1024;
const BATCH_REQUESTS = 512;
/** Messages that the connection has not taken yet; beyond them requests wait, and so travel in larger batches. */
const UNWRITTEN_BYTES_MAX = 1024 * 1024;
const UNWRITTEN_MESSAGES_MAX = 4;
/** A node that does not say that it accepted the stream gets requests after this, as one that is known to. */
const SILENT_OPEN_MS = 500;

type State =
  | { readonly is: 'idle' }
  | { readonly is: 'opening'; readonly stream: PipeStream }
  | { readonly is: 'open'; readonly stream: PipeStream; readonly knowsWriteIds: boolean }
  /** The node knows no pipes: every request is a call of its own. */
  | { readonly is: 'unary' }
  /** The stream broke; the next attempt comes by itself. */
  | { readonly is: 'waiting'; readonly cancel: Cancel }
  | { readonly is: 'closed' };

/**
 * The connection to one node: a long-lived stream on which all requests of one
 * event-loop turn travel as one message, or unary calls where the node knows no
 * streams. It never holds a request back: `send` says at once when it cannot.
 */
export class Pipe {
  readonly address: string;
  private state: State = { is: 'idle' };
  private readonly inFlight = new Map<number, Exchange>();
  private readonly unaryCalls = new Map<Exchange, () => void>();
  private queue: Exchange[] = [];
  private cancelled: number[] = [];
  private queuedBytes = 0;
  /** Entries of the queue that were cancelled. */
  private abandoned = 0;
  private flushDue = false;
  private unwrittenBytes = 0;
  private unwrittenMessages = 0;
  private lastId = 0;
  private backoffMs = BACKOFF_MIN_MS;
  private paused = false;
  private retired = false;
  private failure = 'not connected yet';

  constructor(private readonly options: PipeOptions) {
    this.address = options.address;
  }

  /** Requests without an answer. */
  get pending(): number {
    return this.inFlight.size + this.unaryCalls.size;
  }

  /** Why `send` answers false at the moment. */
  get problem(): string {
    return this.failure;
  }

  /** There is a connection, and what is sent again over it may be applied twice. */
  get forgetsWrites(): boolean {
    return this.state.is === 'unary' || (this.state.is === 'open' && !this.state.knowsWriteIds);
  }

  /** There is a connection, and a write that is sent again over it with its id is applied once. */
  get knowsWriteIds(): boolean {
    return this.state.is === 'open' && this.state.knowsWriteIds;
  }

  /** Connects ahead of the first request. */
  open(): void {
    if (this.state.is === 'idle') this.connect();
  }

  /** False when there is no connection now: the request was not taken, and `onUsable` will tell when to try again. */
  send(exchange: Exchange): boolean {
    if (this.state.is === 'open') {
      this.enqueue(exchange);
      return true;
    }
    if (this.state.is === 'unary') return this.sendUnary(exchange);
    if (this.state.is === 'idle') this.connect();
    return false;
  }

  /** Forgets the exchange, and tells the node when it may be working on it. */
  cancel(exchange: Exchange): void {
    const giveUp = this.unaryCalls.get(exchange);
    if (giveUp) {
      this.unaryCalls.delete(exchange);
      giveUp();
    } else if (exchange.pipeId !== 0 && this.inFlight.delete(exchange.pipeId)) {
      if (exchange.pipeWritten) this.cancelled.push(exchange.pipeId);
      else this.abandon();
      exchange.pipeId = 0;
      this.flushLater();
    }
    this.closeIfDone();
  }

  /** One more entry of the queue is void. A stalled queue must not keep the values of those that gave up. */
  private abandon(): void {
    this.abandoned++;
    if (this.abandoned < 64 || this.abandoned * 2 < this.queue.length) return;
    this.queue = this.queue.filter((exchange) => this.isQueued(exchange));
    this.queuedBytes = this.queue.reduce((sum, exchange) => sum + frameLength(exchange), 0);
    this.abandoned = 0;
  }

  private isQueued(exchange: Exchange): boolean {
    return this.inFlight.get(exchange.pipeId) === exchange && !exchange.pipeWritten;
  }

  /** While paused no answers are read, and the node is held back. */
  setPaused(paused: boolean): void {
    this.paused = paused;
    if (this.state.is === 'open' || this.state.is === 'opening') this.state.stream.setPaused(paused);
  }

  /** Ends the connection once nothing on it waits for an answer. To be sent nothing more. */
  retire(): void {
    this.retired = true;
    this.closeIfDone();
  }

  /** Ends the connection; what is on it is lost. */
  close(): void {
    const { state } = this;
    if (state.is === 'closed') return;
    this.state = { is: 'closed' };
    this.failure = 'the connection was closed here';
    if (state.is === 'waiting') state.cancel();
    if (state.is === 'opening' || state.is === 'open') state.stream.cancel();
    this.loseStream({ notApplied: false, repeatable: false, reason: this.failure });
    this.loseCalls();
    this.options.transport.close();
  }

  private closeIfDone(): void {
    if (this.retired && this.pending === 0) this.close();
  }

  private connect(): void {
    const { transport, clock } = this.options;
    let cancelSilence: Cancel = () => undefined;
    const stream = transport.openPipe({
      onOpen: (knowsWriteIds) => {
        cancelSilence();
        this.onOpen(stream, knowsWriteIds);
      },
      onMessage: (bytes) => {
        this.onMessage(stream, bytes);
      },
      onEnd: (end) => {
        cancelSilence();
        this.onEnd(stream, end);
      },
    });
    this.state = { is: 'opening', stream };
    if (this.paused) stream.setPaused(true);
    const onSilence = (): void => {
      if (transport.isConnected()) this.onOpen(stream, false);
      else cancelSilence = clock.after(SILENT_OPEN_MS, onSilence, { unref: true });
    };
    cancelSilence = clock.after(SILENT_OPEN_MS, onSilence, { unref: true });
  }

  private onOpen(stream: PipeStream, knowsWriteIds: boolean): void {
    if (this.state.is === 'open' && this.state.stream === stream) this.state = { is: 'open', stream, knowsWriteIds };
    if (this.state.is !== 'opening' || this.state.stream !== stream) return;
    this.state = { is: 'open', stream, knowsWriteIds };
    this.unwrittenBytes = 0;
    this.unwrittenMessages = 0;
    this.options.onUsable();
  }

  private enqueue(exchange: Exchange): void {
    this.lastId = this.nextId();
    exchange.pipeId = this.lastId;
    exchange.pipeWritten = false;
    this.inFlight.set(this.lastId, exchange);
    this.queue.push(exchange);
    this.queuedBytes += frameLength(exchange);
    if (this.queuedBytes >= BATCH_BYTES || this.queue.length >= BATCH_REQUESTS) this.flush();
    else this.flushLater();
  }

  /** 1 to 2^32 - 1 and round again, past those that still wait for an answer. */
  private nextId(): number {
    let id = this.lastId;
    do id = id === 0xffffffff ? 1 : id + 1;
    while (this.inFlight.has(id));
    return id;
  }

  private flushLater(): void {
    if (this.flushDue) return;
    this.flushDue = true;
    this.options.turn(this.flushAtTurn);
  }

  private readonly flushAtTurn = (): void => {
    this.flushDue = false;
    this.flush();
  };

  /** Writes what is queued, as far as the connection takes it; the rest follows when it has. */
  private flush(): void {
    if (this.state.is !== 'open') return;
    const { stream } = this.state;
    while (this.queue.length > 0 || this.cancelled.length > 0) {
      if (this.unwrittenMessages >= UNWRITTEN_MESSAGES_MAX || this.unwrittenBytes >= UNWRITTEN_BYTES_MAX) return;
      this.write(stream, this.takeBatch());
    }
  }

  /** The front of the queue: within the limits of a batch, or a single request larger than them. */
  private takeBatch(): PipeRequestFrame[] {
    const batch: PipeRequestFrame[] = this.cancelled.map((id) => ({ id, action: CANCEL, key: NO_BYTES, value: undefined }));
    this.cancelled = [];
    let taken = 0;
    let bytes = 0;
    while (taken < this.queue.length && bytes < BATCH_BYTES && batch.length < BATCH_REQUESTS) {
      const exchange = this.queue[taken++] as Exchange;
      bytes += frameLength(exchange);
      if (!this.isQueued(exchange)) {
        this.abandoned--;
        continue;
      }
      exchange.pipeWritten = true;
      batch.push(this.frameOf(exchange));
    }
    this.queue = taken === this.queue.length ? [] : this.queue.slice(taken);
    this.queuedBytes -= bytes;
    return batch;
  }

  private frameOf(exchange: Exchange): PipeRequestFrame {
    const { pipeId, action, keyBytes, value, level, writeId, firstSentAt, stale } = exchange;
    // Counted at the last moment: a node must not take the first try for later than it was.
    const retryAgeMs = firstSentAt === undefined ? 0 : Math.max(1, Math.ceil(this.options.clock.now() - firstSentAt));
    return { id: pipeId, action, key: keyBytes, value, level, writeId, retryAgeMs, stale };
  }

  private write(stream: PipeStream, batch: readonly PipeRequestFrame[]): void {
    if (batch.length === 0) return;
    const message = encodePipeRequests(batch);
    this.unwrittenBytes += message.length;
    this.unwrittenMessages++;
    stream.write(message, () => {
      if (this.state.is !== 'open' || this.state.stream !== stream) return;
      this.unwrittenBytes -= message.length;
      this.unwrittenMessages--;
      this.flush();
    });
  }

  private onMessage(stream: PipeStream, bytes: Buffer): void {
    if (this.state.is === 'opening') this.onOpen(stream, false);
    if (this.state.is !== 'open' || this.state.stream !== stream) return;
    let answers: PipeResponseFrame[];
    try {
      answers = decodePipeResponses(bytes);
    } catch (thrown) {
      stream.cancel();
      this.onEnd(stream, { code: CODE.INTERNAL, details: `it sent what is no answer: ${messageOf(thrown)}` });
      return;
    }
    this.backoffMs = BACKOFF_MIN_MS;
    for (const answer of answers) {
      const exchange = this.inFlight.get(answer.id);
      // Cancelled meanwhile.
      if (!exchange) continue;
      this.inFlight.delete(answer.id);
      exchange.pipeId = 0;
      exchange.onAnswer(answer);
    }
    this.closeIfDone();
  }

  private onEnd(stream: PipeStream, end: EndStatus): void {
    if ((this.state.is !== 'opening' && this.state.is !== 'open') || this.state.stream !== stream) return;
    if (end.code === CODE.UNIMPLEMENTED) {
      this.state = { is: 'unary' };
      this.options.logger.info('node knows no pipe, so it gets unary calls', { address: this.address });
      this.loseStream({ notApplied: true, repeatable: false, reason: 'the node knows no pipe' });
      this.options.onUsable();
      return;
    }
    const repeatable = this.state.is === 'open' && this.state.knowsWriteIds;
    this.waitToReconnect(end.code === CODE.OK ? 'the node ended the connection' : `the connection failed: ${end.details}`);
    this.loseStream({ notApplied: end.code === CODE.OK, repeatable, reason: this.failure });
    this.closeIfDone();
  }

  private waitToReconnect(failure: string): void {
    this.failure = failure;
    const delayMs = this.backoffMs;
    this.backoffMs = Math.min(delayMs * 2, BACKOFF_MAX_MS);
    this.options.logger.info('connection to node lost', { address: this.address, reason: failure, retryInMs: delayMs });
    const cancel = this.options.clock.after(
      delayMs,
      () => {
        this.connect();
      },
      { unref: true },
    );
    this.state = { is: 'waiting', cancel };
  }

  /** Requests that were not written yet never reached the node, however the stream ended. */
  private loseStream(end: { readonly notApplied: boolean; readonly repeatable: boolean; readonly reason: string }): void {
    const lost = [...this.inFlight.values()];
    this.inFlight.clear();
    this.queue = [];
    this.cancelled = [];
    this.queuedBytes = 0;
    this.abandoned = 0;
    for (const exchange of lost) exchange.pipeId = 0;
    for (const exchange of lost) {
      exchange.onLost({ definitelyNotApplied: end.notApplied || !exchange.pipeWritten, repeatable: end.repeatable, reason: end.reason });
    }
  }

  private loseCalls(): void {
    const calls = [...this.unaryCalls];
    this.unaryCalls.clear();
    for (const [exchange, giveUp] of calls) {
      giveUp();
      exchange.onLost({ definitelyNotApplied: false, repeatable: false, reason: this.failure });
    }
  }

  private sendUnary(exchange: Exchange): boolean {
    const { transport, clock } = this.options;
    if (!transport.isConnected()) {
      // A node that comes back may be a newer one: ask for a pipe again.
      this.connect();
      return false;
    }
    const timeoutMs = Math.max(1, exchange.deadlineAt - clock.now());
    const giveUp = transport.unary(exchange, timeoutMs, (end, answer) => {
      if (this.unaryCalls.get(exchange) !== giveUp) return;
      this.unaryCalls.delete(exchange);
      if (isConnectionLoss(end)) {
        this.failure = `the connection failed: ${end.details}`;
        exchange.onLost({ definitelyNotApplied: false, repeatable: false, reason: this.failure });
      } else {
        exchange.onAnswer({ code: end.code, message: end.details, ...answer });
      }
      this.closeIfDone();
    });
    this.unaryCalls.set(exchange, giveUp);
    return true;
  }
}

function frameLength(exchange: Exchange): number {
  return pipeFrameLength({ key: exchange.keyBytes, value: exchange.value });
}

/** Servers that die show as the first, servers that shut down sometimes as one of the others. */
function isConnectionLoss(end: EndStatus): boolean {
  return (
    end.code === CODE.UNAVAILABLE ||
    end.code === CODE.CANCELLED ||
    (end.code === CODE.INTERNAL && end.details.includes('RST_STREAM'))
  );
}
