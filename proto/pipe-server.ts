import * as grpc from '@grpc/grpc-js';
import type { Clock } from '../runtime/clock.js';
import type { Turn } from '../runtime/turn.js';
import { CODE } from './codes.js';
import { AppError, messageOf } from '../runtime/errors.js';
import {
  CANCEL,
  decodePipeRequests,
  encodePipeResponses,
  GET,
  KNOWS_WRITE_IDS,
  NO_BYTES,
  pipeFrameLength,
  PUT,
  type PipeRequestFrame,
  type PipeResponseFrame,
} from './kv-codec.js';
import { failCall } from './serve.js';

export type PipeReply = Omit<PipeResponseFrame, 'id'> & {
  /** Called once when the answer has left this process, or never will. */
  readonly left?: (() => void) | undefined;
};

/**
 * Begins to work on a get or put, and calls `reply` once when it is done, at once or
 * later. The result, when there is one, is called when nobody wants the reply any
 * more; a reply after that is ignored. Key and value point into a larger message:
 * copy what is kept.
 */
export type PipeHandler = (
  request: PipeRequestFrame,
  reply: (answer: PipeReply) => void,
  /** How long the caller waits at most; undefined when it did not say. */
  timeoutMs?: number,
) => (() => void) | undefined;

/** The handler, with each answer's action, code and time told to `observe`. */
export function observed(handler: PipeHandler, clock: Clock, observe: (action: number, code: number, ms: number) => void): PipeHandler {
  return (request, reply, timeoutMs) => {
    const startedAt = clock.now();
    return handler(
      request,
      (answer) => {
        observe(request.action, answer.code, clock.now() - startedAt);
        reply(answer);
      },
      timeoutMs,
    );
  };
}

export interface PipeServerOptions {
  readonly handler: PipeHandler;
  readonly turn: Turn;
  /** When it is aborted, streams take no more requests, answer those they have, and end. */
  readonly closing?: AbortSignal;
  /** A stream with this many requests at work, or this many bytes of them, is not read on. */
  readonly requestsMax?: number;
  readonly bytesMax?: number;
}

const REQUESTS_MAX = 8192;
const BYTES_MAX = 16 * 1024 * 1024;
/** Answers go out at these sizes even before the turn ends; one of 8 MiB on top still fits a message. */
const BATCH_BYTES = 1024 * 1024;
const BATCH_ANSWERS = 512;
const UNWRITTEN_BYTES_MAX = 1024 * 1024;
const UNWRITTEN_MESSAGES_MAX = 4;

type RawCall = grpc.ServerDuplexStream<Buffer, Buffer>;

/** kv.Pipe as it travels: the codec is called here, where damage can be answered. */
const RAW_PIPE_SERVICE = {
  open: {
    path: '/kv.Pipe/Open',
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
} satisfies grpc.ServiceDefinition;

/** Serves kv.Pipe: batches in, batches out, a bounded amount at work. */
export function addPipeService(server: grpc.Server, options: PipeServerOptions): void {
  server.addService(RAW_PIPE_SERVICE, {
    open: (call: RawCall) => {
      new PipeServerStream(call, options).start();
    },
  });
}

/** A request at work. */
interface Work {
  readonly bytes: number;
  cancel: (() => void) | undefined;
}

type QueuedAnswer = PipeResponseFrame & Pick<PipeReply, 'left'>;

class PipeServerStream {
  private readonly working = new Map<number, Work>();
  private workingBytes = 0;
  private answers: QueuedAnswer[] = [];
  private answersBytes = 0;
  /** What to call when messages that were given to the connection have been taken. */
  private readonly departing = new Set<readonly (() => void)[]>();
  private flushDue = false;
  private unwrittenBytes = 0;
  private unwrittenMessages = 0;
  private backlog: PipeRequestFrame[] = [];
  private phase: 'serving' | 'finishing' | 'over' = 'serving';

  constructor(
    private readonly call: RawCall,
    private readonly options: PipeServerOptions,
  ) {}

  start(): void {
    const { call } = this;
    const { closing } = this.options;
    // The headers tell the caller that the stream was accepted; see pipe.proto.
    const headers = new grpc.Metadata();
    headers.set(KNOWS_WRITE_IDS, '1');
    call.sendMetadata(headers);
    call.on('data', (message: Buffer) => {
      this.onMessage(message);
    });
    call.on('end', () => {
      this.finish();
    });
    call.on('cancelled', () => {
      closing?.removeEventListener('abort', this.drain);
      this.onOver();
    });
    if (closing?.aborted) this.drain();
    else closing?.addEventListener('abort', this.drain);
  }

  /** What was received but not begun is left alone: that the stream ends with OK tells the caller so. */
  private readonly drain = (): void => {
    this.backlog = [];
    this.finish();
  };

  /** No more requests are received; the stream ends when the last has been answered. */
  private finish(): void {
    if (this.phase !== 'serving') return;
    this.phase = 'finishing';
    this.endIfDone();
  }

  private endIfDone(): void {
    if (this.phase !== 'finishing') return;
    if (this.working.size > 0 || this.backlog.length > 0 || this.answers.length > 0) return;
    this.phase = 'over';
    this.call.end();
  }

  private fail(thrown: unknown): void {
    this.onOver();
    failCall(this.call, thrown);
  }

  private onOver(): void {
    this.phase = 'over';
    this.backlog = [];
    const unsent = this.answers;
    this.answers = [];
    const abandoned = [...this.working.values()];
    this.working.clear();
    for (const answer of unsent) answer.left?.();
    for (const departures of [...this.departing]) this.depart(departures);
    for (const work of abandoned) work.cancel?.();
  }

  private onMessage(message: Buffer): void {
    if (this.phase !== 'serving') return;
    let requests: PipeRequestFrame[];
    try {
      requests = decodePipeRequests(message);
    } catch (thrown) {
      this.fail(thrown);
      return;
    }
    for (const request of requests) {
      if (request.action === CANCEL) this.cancel(request.id);
      else this.backlog.push(request);
    }
    this.work();
  }

  /** Begins what was received, as far as the limits allow; the caller is held back while something is left. */
  private work(): void {
    let begun = 0;
    while (begun < this.backlog.length && this.hasRoom() && this.phase !== 'over') this.begin(this.backlog[begun++] as PipeRequestFrame);
    if (begun > 0) this.backlog = begun === this.backlog.length ? [] : this.backlog.slice(begun);
    if (this.backlog.length > 0) this.call.pause();
    else if (this.call.isPaused()) this.call.resume();
    this.endIfDone();
  }

  private hasRoom(): boolean {
    const { requestsMax = REQUESTS_MAX, bytesMax = BYTES_MAX } = this.options;
    return this.working.size < requestsMax && this.workingBytes < bytesMax && this.answersBytes < bytesMax;
  }

  private begin(request: PipeRequestFrame): void {
    const { id, action } = request;
    if (this.working.has(id)) {
      this.fail(new AppError('INVALID_ARGUMENT', `requests.id ${id} is given to a second request while the first is at work`));
      return;
    }
    if (action !== GET && action !== PUT) {
      this.answer(id, failure(CODE.UNIMPLEMENTED, `requests.action ${action} is not known here`));
      return;
    }
    const work: Work = { bytes: pipeFrameLength(request), cancel: undefined };
    this.working.set(id, work);
    this.workingBytes += work.bytes;
    const reply = (answer: PipeReply): void => {
      if (this.working.get(id) !== work) {
        answer.left?.();
        return;
      }
      this.release(id, work);
      this.answer(id, answer);
    };
    try {
      work.cancel = this.options.handler(request, reply);
    } catch (thrown) {
      reply(failure(CODE.INTERNAL, messageOf(thrown)));
    }
  }

  private cancel(id: number): void {
    const work = this.working.get(id);
    if (work) {
      this.release(id, work);
      work.cancel?.();
    } else {
      this.backlog = this.backlog.filter((request) => request.id !== id);
    }
  }

  private release(id: number, work: Work): void {
    this.working.delete(id);
    this.workingBytes -= work.bytes;
  }

  private answer(id: number, reply: PipeReply): void {
    this.answers.push({
      id,
      code: reply.code,
      message: reply.message,
      value: reply.value,
      epoch: reply.epoch,
      offset: reply.offset,
      stale: reply.stale,
      atOffset: reply.atOffset,
      left: reply.left,
    });
    this.answersBytes += pipeFrameLength(reply);
    if (this.answersBytes >= BATCH_BYTES || this.answers.length >= BATCH_ANSWERS) this.flush();
    else this.flushLater();
  }

  private flushLater(): void {
    if (this.flushDue) return;
    this.flushDue = true;
    this.options.turn(() => {
      this.flushDue = false;
      this.flush();
      if (this.backlog.length > 0) this.work();
    });
  }

  private flush(): void {
    while (this.phase !== 'over' && this.answers.length > 0) {
      if (this.unwrittenMessages >= UNWRITTEN_MESSAGES_MAX || this.unwrittenBytes >= UNWRITTEN_BYTES_MAX) return;
      this.write(this.takeBatch());
    }
    this.endIfDone();
  }

  private takeBatch(): QueuedAnswer[] {
    let taken = 0;
    let bytes = 0;
    while (taken < this.answers.length && taken < BATCH_ANSWERS && bytes < BATCH_BYTES) {
      bytes += pipeFrameLength(this.answers[taken++] as QueuedAnswer);
    }
    const batch = this.answers.slice(0, taken);
    this.answers = this.answers.slice(taken);
    this.answersBytes -= bytes;
    return batch;
  }

  private write(batch: readonly QueuedAnswer[]): void {
    const message = encodePipeResponses(batch);
    const departures = batch.flatMap(({ left }) => (left ? [left] : []));
    this.unwrittenBytes += message.length;
    this.unwrittenMessages++;
    if (departures.length > 0) this.departing.add(departures);
    this.call.write(message, () => {
      this.depart(departures);
      this.unwrittenBytes -= message.length;
      this.unwrittenMessages--;
      if (this.phase === 'over') return;
      this.flush();
      if (this.backlog.length > 0) this.work();
    });
  }

  private depart(departures: readonly (() => void)[]): void {
    if (!this.departing.delete(departures)) return;
    for (const left of departures) left();
  }
}

function failure(code: number, message: string): PipeReply {
  return { code, message, value: NO_BYTES, epoch: 0, offset: 0 };
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
