import { status } from '@grpc/grpc-js';
import { beforeEach, describe, expect, it } from 'vitest';
import { CANCEL, GET, PUT } from '../proto/kv-codec.js';
import { silentLogger } from '../runtime/log.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import { type Answer, type Exchange, type Loss, Pipe } from './pipe.js';
import { FakeNode, ManualTurn } from './testing/fakes.js';

class TestExchange implements Exchange {
  pipeId = 0;
  pipeWritten = false;
  readonly deadlineAt = 10_000;
  readonly keyBytes: Buffer;
  readonly answers: (Answer | Loss)[] = [];

  constructor(
    key: string,
    readonly action: number,
    readonly value: Buffer | undefined,
  ) {
    this.keyBytes = Buffer.from(key);
  }

  onAnswer(answer: Answer): void {
    this.answers.push(answer);
  }

  onLost(loss: Loss): void {
    this.answers.push(loss);
  }
}

const get = (key: string): TestExchange => new TestExchange(key, GET, undefined);
const put = (key: string, value: Buffer): TestExchange => new TestExchange(key, PUT, value);
const broken = { code: status.UNAVAILABLE, details: 'Connection dropped' };

let clock: ManualClock;
let turn: ManualTurn;
let node: FakeNode;
let pipe: Pipe;
let usable: number;

beforeEach(() => {
  clock = new ManualClock();
  turn = new ManualTurn();
  node = new FakeNode();
  usable = 0;
  const onUsable = (): void => {
    usable++;
  };
  pipe = new Pipe({ address: 'localhost:5200', transport: node, clock, turn: turn.turn, logger: silentLogger, onUsable });
});

async function opened(): Promise<void> {
  pipe.open();
  await settle();
  expect(usable).toBe(1);
}

describe('a pipe', () => {
  it('sends all requests of one turn as one message', async () => {
    await opened();
    const exchanges = [get('a'), put('b', Buffer.from('1')), get('c')];
    for (const exchange of exchanges) expect(pipe.send(exchange)).toBe(true);
    expect(node.stream.messages).toHaveLength(0);
    turn.end();
    expect(node.stream.messages).toHaveLength(1);
    expect(node.stream.requests.map((r) => [r.action, r.key.toString()])).toEqual([[GET, 'a'], [PUT, 'b'], [GET, 'c']]);

    const ids = node.stream.requests.map((r) => r.id);
    node.stream.answer({ id: ids[2] as number, value: Buffer.from('C') }, { id: ids[0] as number, code: status.NOT_FOUND });
    expect(exchanges.map((e) => e.answers)).toMatchObject([[{ code: status.NOT_FOUND }], [], [{ code: 0, value: Buffer.from('C') }]]);
    expect(pipe.pending).toBe(1);
  });

  it('does not take a request before the node accepted the stream', async () => {
    node.acceptsAtOnce = false;
    expect(pipe.send(get('a'))).toBe(false);
    node.stream.accept();
    expect(usable).toBe(1);
    expect(pipe.send(get('a'))).toBe(true);
  });

  it('sends to a node that never says that it accepted, once it is connected', async () => {
    node.acceptsAtOnce = false;
    node.connected = false;
    pipe.open();
    await clock.advance(2000);
    expect(usable).toBe(0);
    node.connected = true;
    await clock.advance(500);
    expect(usable).toBe(1);
  });

  it('sends before the turn ends when a batch is large', async () => {
    await opened();
    for (let i = 0; i < 512; i++) pipe.send(get(`key ${i}`));
    expect(node.stream.messages).toHaveLength(1);
    pipe.send(put('large', Buffer.alloc(1024 * 1024)));
    expect(node.stream.messages).toHaveLength(2);
  });

  it('never makes a message larger than its peers take, whatever the values', async () => {
    await opened();
    const value = Buffer.alloc(8 * 1024 * 1024);
    node.stalled = true;
    for (let i = 0; i < 3; i++) {
      pipe.send(put(`small ${i}`, Buffer.alloc(900_000)));
      pipe.send(put(`large ${i}`, value));
    }
    for (let i = 0; i < 10; i++) {
      turn.end();
      node.stream.drain();
    }
    expect(node.stream.requests).toHaveLength(6);
    for (const bytes of node.stream.messageBytes) expect(bytes).toBeLessThan(10 * 1024 * 1024);
  });

  it('waits for a connection that does not take more, then sends what came in as one batch', async () => {
    await opened();
    node.stalled = true;
    pipe.send(put('first', Buffer.alloc(2 * 1024 * 1024)));
    for (let i = 0; i < 100; i++) {
      pipe.send(get(`key ${i}`));
      turn.end();
    }
    expect(node.stream.messages).toHaveLength(1);
    node.stream.drain();
    expect(node.stream.messages.map((m) => m.length)).toEqual([1, 100]);
  });

  it('tells, when the stream breaks, what may have been applied from what cannot have been', async () => {
    await opened();
    node.stalled = true;
    const written = put('written', Buffer.alloc(2 * 1024 * 1024));
    const waiting = put('waiting', Buffer.from('v'));
    pipe.send(written);
    pipe.send(waiting);
    turn.end();
    node.stream.end(broken);
    expect(written.answers).toEqual([{ definitelyNotApplied: false, repeatable: true, reason: 'the connection failed: Connection dropped' }]);
    expect(waiting.answers).toEqual([{ definitelyNotApplied: true, repeatable: true, reason: 'the connection failed: Connection dropped' }]);
    expect(pipe.pending).toBe(0);
    expect(pipe.send(get('a'))).toBe(false);
  });

  it('says how old a write is that is sent again, and who would apply it twice', async () => {
    await opened();
    expect(pipe.forgetsWrites).toBe(false);
    const write = Object.assign(put('k', Buffer.from('v')), { writeId: Buffer.from('0123456789abcdef'), firstSentAt: clock.now(), level: 2 });
    await clock.advance(120);
    pipe.send(write);
    turn.end();
    expect(node.stream.requests).toMatchObject([{ writeId: write.writeId, retryAgeMs: 120, level: 2 }]);
    node.knowsWriteIds = false;
    node.stream.end(broken);
    await clock.advance(60);
    await settle();
    expect(pipe.forgetsWrites).toBe(true);
  });

  it('believes a node that ends the stream in order: what it did not answer it did not do', async () => {
    await opened();
    const exchange = put('k', Buffer.from('v'));
    pipe.send(exchange);
    turn.end();
    node.stream.end({ code: status.OK, details: '' });
    expect(exchange.answers).toMatchObject([{ definitelyNotApplied: true, reason: 'the node ended the connection' }]);
  });

  it('reconnects with growing pauses, and begins anew once the node answers', async () => {
    node.acceptsAtOnce = false;
    pipe.open();
    const pauses: number[] = [];
    for (let i = 0; i < 7; i++) {
      node.stream.end(broken);
      pauses.push(clock.nextMs ?? -1);
      await clock.advance(clock.nextMs ?? 0);
    }
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1000, 1000]);
    expect(node.streams).toHaveLength(8);

    node.stream.accept();
    const exchange = get('a');
    pipe.send(exchange);
    turn.end();
    node.stream.answerAll();
    node.stream.end(broken);
    expect(clock.nextMs).toBe(50);
  });

  it('falls back to unary calls where the node knows no pipe, and asks again after it was away', async () => {
    node.acceptsAtOnce = false;
    pipe.open();
    node.stream.end({ code: status.UNIMPLEMENTED, details: 'unknown method' });
    expect(usable).toBe(1);

    const [read, write, missing] = [get('a'), put('b', Buffer.from('v')), get('none')];
    for (const exchange of [read, write, missing]) expect(pipe.send(exchange)).toBe(true);
    expect(node.calls.map((call) => [call.request.keyBytes.toString(), call.timeoutMs])).toEqual([['a', 10_000], ['b', 10_000], ['none', 10_000]]);
    node.calls[0]?.answer(Buffer.from('A'));
    node.calls[2]?.answer(Buffer.alloc(0), status.NOT_FOUND, 'no such key');
    expect(read.answers).toMatchObject([{ code: 0, value: Buffer.from('A') }]);
    expect(missing.answers).toMatchObject([{ code: status.NOT_FOUND, message: 'no such key' }]);

    node.calls[1]?.answer(Buffer.alloc(0), status.UNAVAILABLE, 'Connection dropped');
    expect(write.answers).toEqual([{ definitelyNotApplied: false, repeatable: false, reason: 'the connection failed: Connection dropped' }]);
    node.connected = false;
    expect(pipe.send(get('a'))).toBe(false);
    expect(node.streams).toHaveLength(2);
  });

  it('passes cancellation on for what was sent, and drops what was not', async () => {
    await opened();
    const [sent, queued] = [get('sent'), get('queued')];
    pipe.send(sent);
    turn.end();
    const id = node.stream.requests[0]?.id as number;
    pipe.send(queued);
    pipe.cancel(sent);
    pipe.cancel(queued);
    turn.end();
    expect(node.stream.messages.slice(1)).toMatchObject([[{ id, action: CANCEL }]]);
    node.stream.answer({ id });
    expect([...sent.answers, ...queued.answers]).toEqual([]);
    expect(pipe.pending).toBe(0);
  });

  it('gives up unary calls that are cancelled', async () => {
    node.acceptsAtOnce = false;
    pipe.open();
    node.stream.end({ code: status.UNIMPLEMENTED, details: '' });
    const exchange = get('a');
    pipe.send(exchange);
    pipe.cancel(exchange);
    expect(node.calls[0]?.givenUp).toBe(true);
    node.calls[0]?.answer(Buffer.alloc(0), status.CANCELLED);
    expect(exchange.answers).toEqual([]);
  });

  it('does not keep the values of those that gave up while the connection stalls', async () => {
    await opened();
    node.stalled = true;
    pipe.send(put('first', Buffer.alloc(2 * 1024 * 1024)));
    for (let i = 0; i < 1000; i++) {
      const exchange = put(`k${i}`, Buffer.alloc(100));
      pipe.send(exchange);
      pipe.cancel(exchange);
    }
    const queue = (pipe as unknown as { queue: unknown[] }).queue;
    expect(queue.length).toBeLessThan(100);
    node.stalled = false;
    node.stream.drain();
    turn.end();
    expect(node.stream.requests).toHaveLength(1);
  });

  it('breaks with a node that sends what is no answer', async () => {
    await opened();
    const exchange = get('a');
    pipe.send(exchange);
    turn.end();
    node.stream.sendBytes(Buffer.from([0xff, 0xff, 0xff]));
    expect(node.stream.cancelled).toBe(true);
    expect(exchange.answers).toMatchObject([{ definitelyNotApplied: false }]);
    expect(clock.pending).toBeGreaterThan(0);
  });

  it('ignores answers to nobody', async () => {
    await opened();
    node.stream.answer({ id: 77 });
    const exchange = get('a');
    pipe.send(exchange);
    turn.end();
    node.stream.answerAll({ value: Buffer.from('A') });
    expect(exchange.answers).toMatchObject([{ value: Buffer.from('A') }]);
  });

  it('closes, when retired, only after the last answer, and does not come back', async () => {
    await opened();
    const exchange = get('a');
    pipe.send(exchange);
    turn.end();
    pipe.retire();
    expect(node.closed).toBe(false);
    node.stream.answerAll();
    expect(exchange.answers).toMatchObject([{ code: 0 }]);
    expect([node.closed, node.stream.cancelled]).toEqual([true, true]);
    await clock.advance(5000);
    expect(node.streams).toHaveLength(1);
  });

  it('uses numbers again only when nobody waits for them', async () => {
    await opened();
    const first = get('first');
    pipe.send(first);
    (pipe as unknown as { lastId: number }).lastId = 0xffffffff;
    const second = get('second');
    pipe.send(second);
    expect([first.pipeId, second.pipeId]).toEqual([1, 2]);
  });
});
