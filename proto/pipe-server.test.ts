import { EventEmitter } from 'node:events';
import type * as grpc from '@grpc/grpc-js';
import { beforeEach, describe, expect, it } from 'vitest';
import { CODE } from './codes.js';
import { CANCEL, decodePipeResponses, encodePipeRequests, GET, NO_BYTES, PUT } from './kv-codec.js';
import { addPipeService, type PipeReply, type PipeServerOptions } from './pipe-server.js';

/** The server's side of a stream, as grpc-js hands it out. */
class FakeCall extends EventEmitter {
  headersSent = false;
  paused = false;
  ended = false;
  stalled = false;
  failed: unknown;
  readonly messages: Buffer[] = [];
  private unwritten: (() => void)[] = [];

  constructor() {
    super();
    this.on('error', (error: unknown) => {
      this.failed = error;
    });
  }

  sendMetadata(): void {
    this.headersSent = true;
  }

  write(message: Buffer, written: () => void): boolean {
    this.messages.push(message);
    if (this.stalled) this.unwritten.push(written);
    else written();
    return true;
  }

  drain(): void {
    const written = this.unwritten;
    this.unwritten = [];
    for (const callback of written) callback();
  }

  end(): void {
    this.ended = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  isPaused(): boolean {
    return this.paused;
  }

  receive(...requests: [id: number, action: number, key?: string, value?: string][]): void {
    const frames = requests.map(([id, action, key = '', value]) => ({ id, action, key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) }));
    this.emit('data', encodePipeRequests(frames));
  }

  /** What was answered: `id code`, one text a message. */
  get answered(): string[] {
    return this.messages.map((message) => decodePipeResponses(message).map(({ id, code }) => `${id}:${code}`).join(' '));
  }
}

interface Work {
  readonly key: string;
  readonly reply: (answer?: Partial<PipeReply>) => void;
}

let work: Work[];
let cancelled: string[];
let turns: (() => void)[];
let closing: AbortController;

beforeEach(() => {
  work = [];
  cancelled = [];
  turns = [];
  closing = new AbortController();
});

function open(options: Partial<PipeServerOptions> = {}): FakeCall {
  const call = new FakeCall();
  const handler: PipeServerOptions['handler'] = (request, reply) => {
    const key = request.key.toString();
    work.push({ key, reply: (answer) => { reply({ code: 0, message: '', value: NO_BYTES, epoch: 1, offset: 1, ...answer }); } });
    return () => cancelled.push(key);
  };
  const server = { addService: (_: unknown, { open: serve }: { open: (call: unknown) => void }) => { serve(call); } };
  addPipeService(server as unknown as grpc.Server, { handler, turn: (callback) => turns.push(callback), closing: closing.signal, ...options });
  return call;
}

function endTurn(): void {
  for (const callback of turns.splice(0)) callback();
}

describe('the serving side of a pipe', () => {
  it('says at once that it accepted the stream, and answers all of a turn in one message', () => {
    const call = open();
    expect(call.headersSent).toBe(true);
    call.receive([1, GET, 'a'], [2, PUT, 'b', 'v']);
    call.receive([3, GET, 'c']);
    for (const { reply } of work) reply();
    expect(call.messages).toEqual([]);
    endTurn();
    expect(call.answered).toEqual(['1:0 2:0 3:0']);
  });

  it('reads no further while it has enough at work', () => {
    const call = open({ requestsMax: 2 });
    call.receive([1, GET, 'a'], [2, GET, 'b'], [3, GET, 'c']);
    expect(work.map(({ key }) => key)).toEqual(['a', 'b']);
    expect(call.paused).toBe(true);
    work[0]?.reply();
    endTurn();
    expect(work.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect(call.paused).toBe(false);
  });

  it('reads no further while answers are not taken, and sends them in large batches then', () => {
    const call = open({ bytesMax: 100_000 });
    call.stalled = true;
    const value = Buffer.alloc(300_000);
    for (let id = 1; id <= 12; id++) {
      call.receive([id, GET, `k${id}`]);
      work.at(-1)?.reply({ value });
      endTurn();
    }
    expect(call.messages.length).toBeLessThanOrEqual(4);
    expect(call.paused).toBe(true);
    call.stalled = false;
    while (call.answered.join(' ').split(' ').length < 12) {
      call.drain();
      endTurn();
      for (const { reply } of work) reply({ value });
    }
    expect(call.answered.join(' ')).toBe('1:0 2:0 3:0 4:0 5:0 6:0 7:0 8:0 9:0 10:0 11:0 12:0');
    expect(call.paused).toBe(false);
  });

  it('tells the handler when nobody wants an answer any more, begun or not', () => {
    const call = open({ requestsMax: 1 });
    call.receive([1, GET, 'begun'], [2, GET, 'waiting'], [3, GET, 'last']);
    call.receive([2, CANCEL], [1, CANCEL]);
    expect(cancelled).toEqual(['begun']);
    expect(work.map(({ key }) => key)).toEqual(['begun', 'last']);
    work[0]?.reply();
    work[1]?.reply();
    endTurn();
    expect(call.answered).toEqual(['3:0']);
    call.receive([4, GET, 'hung up']);
    call.emit('cancelled');
    expect(cancelled).toEqual(['begun', 'hung up']);
  });

  it('ends with OK, when closing, after it answered what it began, and begins nothing else', () => {
    const call = open({ requestsMax: 1 });
    call.receive([1, PUT, 'begun', 'v'], [2, PUT, 'waiting', 'v']);
    closing.abort();
    call.receive([3, PUT, 'late', 'v']);
    expect(call.ended).toBe(false);
    work[0]?.reply();
    endTurn();
    expect(work.map(({ key }) => key)).toEqual(['begun']);
    expect([call.answered, call.ended, call.failed]).toEqual([['1:0'], true, undefined]);
    expect(open().ended).toBe(true);
  });

  it('answers everything that it received before the caller was done sending', () => {
    const call = open({ requestsMax: 1 });
    call.receive([1, GET, 'a'], [2, GET, 'b']);
    call.emit('end');
    work[0]?.reply();
    endTurn();
    expect(call.ended).toBe(false);
    work[1]?.reply();
    endTurn();
    expect([call.answered, call.ended]).toEqual([['1:0', '2:0'], true]);
  });

  it('fails the stream for damage and for numbers given twice, and only the request for actions it does not know', () => {
    const damaged = open();
    damaged.receive([1, GET, 'a']);
    damaged.emit('data', Buffer.from([0xff]));
    expect(damaged.failed).toMatchObject({ code: CODE.INVALID_ARGUMENT });
    expect(cancelled).toEqual(['a']);

    const twice = open();
    twice.receive([7, GET, 'a'], [7, GET, 'b']);
    expect(twice.failed).toMatchObject({ code: CODE.INVALID_ARGUMENT, details: 'requests.id 7 is given to a second request while the first is at work' });

    const newer = open();
    newer.receive([1, 99]);
    endTurn();
    expect([newer.answered, newer.failed]).toEqual([['1:12'], undefined]);
  });

  it('turns a handler that throws into an answer', () => {
    const call = open({ handler: () => { throw new Error('a bug'); } });
    call.receive([1, GET, 'a']);
    endTurn();
    expect(call.answered).toEqual([`1:${CODE.INTERNAL}`]);
  });

  it('says of each answer once that it has left, sent or not', () => {
    const left: string[] = [];
    const call = open();
    call.stalled = true;
    call.receive([1, GET, 'sent'], [2, GET, 'cancelled'], [3, GET, 'unsent']);
    work[0]?.reply({ left: () => left.push('sent') });
    endTurn();
    expect(left).toEqual([]);
    call.drain();
    expect(left).toEqual(['sent']);
    call.receive([2, CANCEL]);
    work[1]?.reply({ left: () => left.push('cancelled') });
    work[2]?.reply({ left: () => left.push('unsent') });
    call.emit('cancelled');
    call.drain();
    expect(left).toEqual(['sent', 'cancelled', 'unsent']);
  });
});
