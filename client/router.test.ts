import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CANCEL } from '../proto/kv-codec.js';
import { silentLogger } from '../runtime/log.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import type { Answer } from './pipe.js';
import { Router, type RouterOptions } from './router.js';
import { FakeNode, FakeOwners, ManualTurn } from './testing/fakes.js';

let clock: ManualClock;
let turn: ManualTurn;
let owners: FakeOwners;
let nodes: Map<string, FakeNode>;
/** Nodes that know no write ids. */
let plain: boolean;
let router: Router;

function start(options: Partial<RouterOptions> = {}): void {
  const transports = (address: string): FakeNode => {
    const made = new FakeNode();
    made.knowsWriteIds = !plain;
    nodes.set(address.replace('localhost:', ''), made);
    return made;
  };
  router = new Router({ owners, transports, clock, logger: silentLogger, turn: turn.turn, ...options });
}

beforeEach(() => {
  clock = new ManualClock();
  turn = new ManualTurn();
  owners = new FakeOwners();
  nodes = new Map();
  plain = false;
});

afterEach(() => {
  router.close();
});

function node(name: string): FakeNode {
  const found = nodes.get(name);
  if (!found) throw new Error(`no connection to ${name} was made`);
  return found;
}

/** What the node has in hand: keys, in order. */
function received(name: string): string[] {
  return node(name).stream.requests.filter((r) => r.action !== CANCEL).map((r) => r.key.toString());
}

/** Lets connections open and turns end. */
async function run(): Promise<void> {
  await settle();
  turn.end();
  await settle();
  turn.end();
}

class Caller {
  answer: Answer | undefined;
  readonly done = (answer: Answer): void => {
    expect(this.answer).toBeUndefined();
    this.answer = answer;
  };

  get(key: string, timeoutMs?: number): this {
    this.ticket = router.get(Buffer.from(key), timeoutMs, this.done);
    return this;
  }

  put(key: string, value: string | Buffer | undefined = 'v', timeoutMs?: number): this {
    this.ticket = router.put(Buffer.from(key), typeof value === 'string' ? Buffer.from(value) : value, timeoutMs, this.done);
    return this;
  }

  ticket: { cancel(): void } | undefined;
}

const get = (key: string, timeoutMs?: number): Caller => new Caller().get(key, timeoutMs);
const put = (key: string, value?: string | Buffer, timeoutMs?: number): Caller => new Caller().put(key, value, timeoutMs);
const broken = { code: status.UNAVAILABLE, details: 'Connection dropped' };

describe('routing', () => {
  it('sends each key to its owner', async () => {
    owners.draw('- m 5200', 'm - 5201');
    start();
    const callers = [get('a'), put('z'), get('m')];
    await run();
    expect([received('5200'), received('5201')]).toEqual([['a'], ['z', 'm']]);
    node('5200').stream.answerAll({ value: Buffer.from('A') });
    node('5201').stream.answerAll();
    expect(callers.map((c) => c.answer)).toMatchObject([{ code: 0, value: Buffer.from('A') }, { code: 0 }, { code: 0 }]);
    expect(router.stats()).toMatchObject({ inFlight: 0, held: 0, bytesInFlight: 0 });
  });

  it('refuses keys and values that no node would take, naming limit and size', async () => {
    owners.draw('- - 5200');
    start();
    const callers = [get(''), get('k'.repeat(1025)), put('k', Buffer.alloc(8 * 1024 * 1024 + 1)), put('', undefined)];
    expect(callers.map((c) => [c.answer?.code, c.answer?.message])).toEqual([
      [status.INVALID_ARGUMENT, 'key is empty: give a key of 1 to 1024 bytes'],
      [status.INVALID_ARGUMENT, 'key of 1025 bytes is too long: the limit is 1024 bytes (1 KiB)'],
      [status.INVALID_ARGUMENT, 'value of 8388609 bytes is too long: the limit is 8388608 bytes (8 MiB)'],
      [status.INVALID_ARGUMENT, 'key is empty: give a key of 1 to 1024 bytes'],
    ]);
    await run();
    expect(received('5200')).toEqual([]);
  });

  it('passes on what a node finally answers', async () => {
    owners.draw('- - 5200');
    start();
    const callers = [get('a')];
    await run();
    node('5200').stream.answerAll({ code: status.NOT_FOUND, message: 'no such key' });
    expect(callers[0]?.answer).toMatchObject({ code: status.NOT_FOUND, message: 'no such key' });
  });
});

describe('a handover', () => {
  it('is not seen by callers: what the old owner refuses goes to the new one', async () => {
    owners.draw('- - 5200');
    start();
    const callers = [put('a'), get('b'), put('c')];
    await run();
    node('5200').stream.answerAll({ code: status.FAILED_PRECONDITION, message: 'R1 is not writable' });
    const late = put('d');
    await run();
    expect(router.stats()).toMatchObject({ held: 3, inFlight: 4, holds: { refused: 3 } });
    expect(received('5200')).toEqual(['d']);

    owners.change();
    await run();
    owners.change('- - 5201 2');
    await run();
    expect(received('5201')).toEqual(['a', 'b', 'c']);
    node('5201').stream.answerAll();
    node('5200').stream.answerAll({ code: status.ABORTED, message: 'no range here holds the key' });
    await run();
    expect(received('5201')).toEqual(['d']);
    node('5201').stream.answerAll();
    expect([...callers, late].map((c) => c.answer?.code)).toEqual([0, 0, 0, 0]);
  });

  it('costs no wait when the map was ahead of the refusal', async () => {
    owners.draw('- - 5200', '- - 5201 9');
    start();
    await run();
    const caller = put('a');
    await run();
    owners.change('- - 5201 2');
    await run();
    node('5200').stream.answerAll({ code: status.ABORTED });
    await run();
    expect(received('5201')).toEqual(['a']);
    expect(router.stats().held).toBe(0);
    node('5201').stream.answerAll();
    expect(caller.answer?.code).toBe(0);
  });

  it('does not ask an owner again that refused, whatever else changes', async () => {
    owners.draw('- m 5200', 'm - 5201');
    start();
    await run();
    get('a');
    await run();
    node('5200').stream.answerAll({ code: status.ABORTED });
    for (let epoch = 2; epoch < 50; epoch++) {
      owners.change('- m 5200', `m - 5201 ${epoch}`);
      await run();
    }
    expect(received('5200')).toEqual([]);
  });

  it('asks the same owner again when its range came back, at once', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const caller = put('a');
    await run();
    node('5200').stream.answerAll({ code: status.FAILED_PRECONDITION });
    owners.change();
    await run();
    owners.change('- - 5200');
    await run();
    expect(received('5200')).toEqual(['a']);
    node('5200').stream.answerAll();
    expect(caller.answer?.code).toBe(0);
  });

  it('tries again by itself, seldom, in case the map was right all along', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const caller = get('a');
    let tries = 0;
    for (let ms = 0; ms < 9900; ms += 10) {
      await run();
      if (received('5200').length > 0) {
        tries++;
        node('5200').stream.answerAll({ code: status.ABORTED, message: 'not mine' });
      }
      await clock.advance(10);
    }
    expect(tries).toBeGreaterThan(10);
    expect(tries).toBeLessThan(40);
    expect(caller.answer).toBeUndefined();
    await clock.advance(200);
    expect(caller.answer).toMatchObject({
      code: status.FAILED_PRECONDITION,
      message: 'waited 10 s for node 5200, which refuses: not mine',
    });
  });

  it('releases what waited for an owner in the order of arrival', async () => {
    start();
    const keys = Array.from({ length: 2000 }, (_, i) => `key ${i % 7}`);
    for (const key of keys) put(key);
    owners.change('- - 5200');
    await run();
    expect(received('5200')).toEqual(keys);
    expect(Math.max(...node('5200').stream.messages.map((m) => m.length))).toBeLessThanOrEqual(512);
  });
});

describe('deadlines', () => {
  it('says that nobody serves the key', async () => {
    start();
    const caller = get('greeting');
    await clock.advance(9990);
    expect(caller.answer).toBeUndefined();
    await clock.advance(30);
    expect(caller.answer).toMatchObject({
      code: status.FAILED_PRECONDITION,
      message: 'no node serves key greeting, waited 10 s for one: no node is known: are any running?',
    });
    expect(router.stats()).toMatchObject({ held: 0, inFlight: 0, bytesInFlight: 0 });
    expect(clock.pending).toBe(0);
  });

  it("takes the caller's own", async () => {
    start({ timeoutMs: 500 });
    const [short, own, none] = [get('a', 100), get('b'), get('c', -5)];
    expect(none.answer).toMatchObject({ code: status.DEADLINE_EXCEEDED, message: 'the deadline had passed when the request arrived' });
    await clock.advance(20);
    expect(short.answer).toBeUndefined();
    await clock.advance(100);
    expect(short.answer?.message).toContain('waited 100 ms');
    expect(own.answer).toBeUndefined();
    await clock.advance(400);
    expect(own.answer?.message).toContain('waited 500 ms');
  });

  it('gives up on a node that does not answer, tells it so, and says what is unknown', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const [read, write] = [get('a', 1000), put('b', 'v', 1000)];
    await run();
    await clock.advance(1020);
    turn.end();
    expect(read.answer).toMatchObject({ code: status.DEADLINE_EXCEEDED, message: 'no answer from node 5200 within 1 s' });
    expect(write.answer?.message).toBe('no answer from node 5200 within 1 s: whether the write was applied is unknown');
    expect(node('5200').stream.requests.filter((r) => r.action === CANCEL)).toHaveLength(2);
    expect(router.stats()).toMatchObject({ inFlight: 0, bytesInFlight: 0 });
  });

  it('says that the owner cannot be reached', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    node('5200').acceptsAtOnce = false;
    node('5200').stream.end(broken);
    const caller = put('a', 'v', 300);
    await clock.advance(400);
    expect(caller.answer).toMatchObject({
      code: status.UNAVAILABLE,
      message: 'waited 300 ms for node 5200, which cannot be reached: the connection failed: Connection dropped. Nothing was applied',
    });
  });
});

describe('an owner that was replaced and does not answer', () => {
  const cancels = (name: string): number => node(name).stream.requests.filter((r) => r.action === CANCEL).length;

  async function sentThenReplaced(): Promise<Caller[]> {
    owners.draw('- - 5200');
    start();
    await run();
    const callers = [get('a'), put('b')];
    await run();
    owners.change('- - 5201 2');
    await run();
    return callers;
  }

  it('is given up after a moment: its successor gets what it was sent, a write with its id and its age', async () => {
    const callers = await sentThenReplaced();
    const [, first] = node('5200').stream.requests;
    await clock.advance(240);
    await run();
    expect(received('5201')).toEqual([]);
    await clock.advance(20);
    await run();
    expect(received('5201')).toEqual(['a', 'b']);
    expect(node('5201').stream.requests[1]).toMatchObject({ writeId: first?.writeId, retryAgeMs: 260 });
    expect(cancels('5200')).toBe(2);
    expect(router.stats()).toMatchObject({ inFlight: 2, held: 0, repeated: 1 });
    node('5201').stream.answerAll();
    expect(callers.map((c) => c.answer?.code)).toEqual([0, 0]);
    expect(router.stats()).toMatchObject({ inFlight: 0, bytesInFlight: 0 });
  });

  it('may answer until then, and nothing is sent twice', async () => {
    const callers = await sentThenReplaced();
    node('5200').stream.answerAll();
    await clock.advance(1000);
    await run();
    expect(received('5201')).toEqual([]);
    expect(callers.map((c) => c.answer?.code)).toEqual([0, 0]);
    expect(router.stats()).toMatchObject({ inFlight: 0, bytesInFlight: 0, repeated: 0 });
    expect(clock.pending).toBe(0);
  });

  it('is not listened to afterwards', async () => {
    const callers = await sentThenReplaced();
    const ids = node('5200').stream.requests.map(({ id }) => id);
    await clock.advance(260);
    await run();
    node('5200').stream.answer(...ids.map((id) => ({ id, code: status.NOT_FOUND })));
    expect(callers.map((c) => c.answer)).toEqual([undefined, undefined]);
    node('5200').stream.end(broken);
    node('5201').stream.answerAll();
    expect(callers.map((c) => c.answer?.code)).toEqual([0, 0]);
    expect(router.stats()).toMatchObject({ inFlight: 0, bytesInFlight: 0 });
  });

  it('takes nothing along that its address alone keeps: other keys, and a range of its own again', async () => {
    owners.draw('- m 5200', 'm - 5200');
    start();
    await run();
    get('a');
    put('z');
    await run();
    owners.change('- m 5200 2', 'm - 5201 1');
    await clock.advance(600);
    await run();
    expect(received('5200')).toEqual(['a', 'z']);
    expect(received('5201')).toEqual([]);
  });

  it('is left at once by what never reached it, whatever it knows', async () => {
    plain = true;
    owners.draw('- - 5200');
    start();
    await run();
    node('5200').stalled = true;
    for (let i = 0; i < 4; i++) {
      put(`${i}`);
      await run();
    }
    put('late');
    await run();
    owners.change('- - 5201 2');
    await clock.advance(300);
    await run();
    expect(received('5201')).toEqual(['late']);
    node('5200').stream.drain();
    await run();
    expect(received('5200')).toEqual(['0', '1', '2', '3']);
  });

  it('keeps writes that it would not know again, and those that its successor would not', async () => {
    plain = true;
    const forgotten = await sentThenReplaced();
    plain = false;
    await clock.advance(600);
    await run();
    expect(received('5201')).toEqual(['a']);
    node('5200').stream.answerAll();
    node('5201').stream.answerAll();
    expect(forgotten.map((c) => c.answer?.code)).toEqual([0, 0]);

    const write = put('c');
    await run();
    plain = true;
    owners.change('- - 5202 3');
    await clock.advance(600);
    await run();
    expect(received('5202')).toEqual([]);
    node('5201').stream.answerAll();
    expect(write.answer?.code).toBe(0);
  });

  it('hands a write over as soon as its successor can be reached', async () => {
    owners.draw('- - 5200', '- - 5201 1');
    start();
    await run();
    node('5201').acceptsAtOnce = false;
    node('5201').stream.end(broken);
    await clock.advance(60);
    const write = put('b');
    await run();
    owners.change('- - 5201 2');
    await clock.advance(900);
    expect(cancels('5200')).toBe(0);
    node('5201').stream.accept();
    await clock.advance(260);
    await run();
    expect(received('5201')).toEqual(['b']);
    node('5201').stream.answerAll();
    expect(write.answer?.code).toBe(0);
  });

  it('is found again after changes in a row', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const read = get('a');
    await run();
    owners.change('- - 5200');
    await clock.advance(240);
    owners.change('- - 5201 2');
    await clock.advance(20);
    await run();
    owners.change('- - 5202 3');
    await clock.advance(800);
    await run();
    expect(received('5202')).toEqual(['a']);
    node('5202').stream.answerAll();
    expect(read.answer?.code).toBe(0);
  });
});

describe('a connection that breaks', () => {
  it('costs only time: what was sent is sent again, a write with its id and its age', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const [read, write] = [get('a'), put('b')];
    await run();
    const [, before] = node('5200').stream.requests;
    node('5200').stream.end(broken);
    await clock.advance(60);
    await run();
    const [, again] = node('5200').stream.requests;
    expect(received('5200')).toEqual(['a', 'b']);
    expect([before?.retryAgeMs, again?.retryAgeMs]).toEqual([0, 60]);
    expect(before?.writeId).toHaveLength(16);
    expect(again?.writeId).toEqual(before?.writeId);
    node('5200').stream.answerAll();
    expect([read.answer?.code, write.answer?.code]).toEqual([0, 0]);
    expect(router.stats().repeated).toBe(1);
  });

  it('leaves a write unknown that cannot be sent again until its deadline', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const write = put('b', 'v', 300);
    await run();
    node('5200').acceptsAtOnce = false;
    node('5200').stream.end(broken);
    await clock.advance(400);
    expect(write.answer).toMatchObject({
      code: status.DEADLINE_EXCEEDED,
      message: 'waited 300 ms for node 5200, which cannot be reached: the connection failed: Connection dropped. Whether the write was applied is unknown',
    });
  });

  it('never brings a write that may have been applied to a node that knows no ids', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const write = put('b');
    await run();
    node('5200').stream.end(broken);
    plain = true;
    owners.change('- - 5201 2');
    await run();
    expect(received('5201')).toEqual([]);
    expect(write.answer).toMatchObject({ code: status.UNAVAILABLE, message: expect.stringContaining('knows no write ids') as string });
  });

  it('takes an answer to a second try for what it is: nothing is known of the first', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const write = put('b');
    await run();
    node('5200').stream.end(broken);
    await clock.advance(60);
    await run();
    node('5200').stream.answerAll({ code: status.RESOURCE_EXHAUSTED, message: 'full' });
    expect(write.answer).toMatchObject({ code: status.UNAVAILABLE, message: 'full. Whether an earlier try of the write was applied is unknown' });
  });

  it('asks again when the node does not know what became of a write', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const write = put('b', 'v', 70);
    await run();
    node('5200').stream.answerAll({ code: status.UNKNOWN, message: 'it is primary no more' });
    await clock.advance(30);
    await run();
    expect(node('5200').stream.requests).toMatchObject([{ retryAgeMs: 30 }]);
    node('5200').stream.answerAll({ code: status.UNKNOWN, message: 'it is primary no more' });
    await clock.advance(300);
    expect(write.answer).toMatchObject({ code: status.DEADLINE_EXCEEDED, message: 'waited 70 ms for node 5200, which cannot answer: it is primary no more. Whether the write was applied is unknown' });
  });

  it('takes the id and the age that the caller gives', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const caller = new Caller();
    const writeId = Buffer.from('0123456789abcdef');
    router.put(Buffer.from('a'), undefined, undefined, caller.done, { writeId, retryAgeMs: 500, level: 2 });
    await run();
    expect(node('5200').stream.requests).toMatchObject([{ writeId, retryAgeMs: 500, level: 2 }]);
    const wrong = new Caller();
    router.put(Buffer.from('a'), undefined, undefined, wrong.done, { writeId: Buffer.from('short') });
    expect(wrong.answer).toMatchObject({ code: status.INVALID_ARGUMENT, message: expect.stringContaining('write id has 5 bytes') as string });
  });

  it('leaves writes unknown that were sent to a node that knows no ids', async () => {
    plain = true;
    owners.draw('- - 5200');
    start();
    await run();
    const [read, write] = [get('a'), put('b')];
    await run();
    node('5200').stream.end(broken);
    const after = put('c');
    expect(write.answer).toMatchObject({
      code: status.UNAVAILABLE,
      message: 'node 5200: the connection failed: Connection dropped after the write was sent: whether it was applied is unknown',
    });
    await clock.advance(60);
    await run();
    expect(received('5200')).toEqual(['a', 'c']);
    node('5200').stream.answerAll();
    expect([read.answer?.code, after.answer?.code]).toEqual([0, 0]);
  });

  it('sends writes again that had not left', async () => {
    plain = true;
    owners.draw('- - 5200');
    start();
    await run();
    node('5200').stalled = true;
    const sent = put('sent', Buffer.alloc(2 * 1024 * 1024));
    const waiting = put('waiting');
    await run();
    node('5200').stream.end(broken);
    expect(sent.answer?.code).toBe(status.UNAVAILABLE);
    await clock.advance(60);
    await run();
    expect(received('5200')).toEqual(['waiting']);
    node('5200').stream.answerAll();
    expect(waiting.answer?.code).toBe(0);
  });

  it('sends elsewhere what can go elsewhere', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const read = get('a');
    await run();
    owners.change('- - 5201 2');
    await run();
    node('5200').stream.end(broken);
    await run();
    expect(received('5201')).toEqual(['a']);
    node('5201').stream.answerAll({ value: Buffer.from('A') });
    expect(read.answer).toMatchObject({ code: 0 });
  });

  it('asks again when a node says UNAVAILABLE', async () => {
    owners.draw('- - 5200');
    start();
    await run();
    const [read, write] = [get('a'), put('b', 'v', 70)];
    await run();
    node('5200').stream.answerAll({ code: status.UNAVAILABLE, message: 'too few copies' });
    await clock.advance(30);
    await run();
    const { stream } = node('5200');
    expect(stream.requests).toMatchObject([{ retryAgeMs: 0 }, { retryAgeMs: 0 }]);
    stream.answer(...stream.requests.map(({ id, key }) => ({ id, code: key.toString() === 'a' ? status.OK : status.UNAVAILABLE, message: 'too few copies' })));
    await clock.advance(300);
    expect(read.answer?.code).toBe(0);
    expect(write.answer).toMatchObject({ code: status.UNAVAILABLE, message: 'waited 70 ms for node 5200, which cannot answer: too few copies. Nothing was applied' });
  });

  it('passes on what a node that knows no ids says, but for reads', async () => {
    plain = true;
    owners.draw('- - 5200');
    start();
    await run();
    const [read, write] = [get('a'), put('b')];
    await run();
    node('5200').stream.answerAll({ code: status.UNAVAILABLE, message: 'closing' });
    expect(write.answer).toMatchObject({ code: status.UNAVAILABLE, message: 'closing' });
    await clock.advance(50);
    await run();
    node('5200').stream.answerAll();
    expect(read.answer?.code).toBe(0);
  });
});

describe('a stale read', () => {
  const stale = (key: string): Caller => {
    const caller = new Caller();
    router.get(Buffer.from(key), 300, caller.done, { stale: true });
    return caller;
  };

  it('goes to any copy, in turns', async () => {
    owners.draw('- - 5200');
    owners.drawFollowers('- - 5201', '- - 5202');
    start();
    await run();
    for (let i = 0; i < 6; i++) stale(`k${i}`);
    await run();
    expect(['5200', '5201', '5202'].map((name) => received(name).length)).toEqual([2, 2, 2]);
    expect(node('5201').stream.requests[0]?.stale).toBe(true);
  });

  it('goes to another copy when one refuses, or breaks off, and without an owner too', async () => {
    owners.drawFollowers('- - 5201', '- - 5202');
    start();
    await run();
    const [a, b] = [stale('a'), stale('b')];
    await run();
    node('5201').stream.answerAll({ code: status.ABORTED, message: 'not here' });
    await run();
    expect(received('5202')).toEqual(['b', 'a']);
    node('5202').stream.end(broken);
    await run();
    await clock.advance(60);
    await run();
    node('5201').stream.answerAll({ stale: true, atOffset: 7 });
    node('5202').stream.answerAll({ stale: true, atOffset: 7 });
    expect([a.answer, b.answer]).toMatchObject([{ code: 0, atOffset: 7 }, { code: 0, atOffset: 7 }]);
  });

  it('waits when nobody has a copy, and says so', async () => {
    owners.draw();
    start();
    const caller = stale('a');
    await clock.advance(400);
    expect(caller.answer).toMatchObject({ code: status.FAILED_PRECONDITION });
  });
});

describe('nodes that come and go', () => {
  it('are connected to ahead of the first request, and let go of when they vanish', async () => {
    owners.draw('- m 5200', 'm - 5201');
    start();
    expect([...nodes.keys()]).toEqual(['5200', '5201']);
    await run();
    const waits = get('z');
    await run();
    const gone = node('5201');
    owners.vanish('localhost:5201');
    await run();
    expect([gone.closed, node('5200').closed]).toEqual([false, false]);
    gone.stream.answerAll();
    expect(waits.answer?.code).toBe(0);
    expect(gone.closed).toBe(true);
    expect(router.stats().nodes).toBe(1);
  });
});

describe('cancellation', () => {
  it('takes a request off wherever it is', async () => {
    owners.draw('- m 5200');
    start();
    await run();
    const [sent, queued, held] = [get('a'), get('b'), get('z')];
    queued.ticket?.cancel();
    await run();
    expect(received('5200')).toEqual(['a']);
    sent.ticket?.cancel();
    held.ticket?.cancel();
    held.ticket?.cancel();
    await run();
    expect(node('5200').stream.requests.map((r) => r.action)).toContain(CANCEL);
    expect(router.stats()).toMatchObject({ inFlight: 0, held: 0, bytesInFlight: 0 });
    owners.change('- - 5200 2');
    await run();
    expect(received('5200')).toEqual(['a']);
    expect([sent, queued, held].map((c) => c.answer)).toEqual([undefined, undefined, undefined]);
  });
});

describe('memory', () => {
  const MIB = 1024 * 1024;

  it('is bounded: what does not fit is refused at once, and fits again later', async () => {
    owners.draw('- - 5200');
    start({ maxBytesInFlight: 20 * MIB, limitName: '--max-bytes-in-flight' });
    await run();
    const value = Buffer.alloc(8 * MIB);
    const callers = [put('a', value), put('b', value), put('c', value)];
    expect(callers.map((c) => c.answer?.code)).toEqual([undefined, undefined, status.RESOURCE_EXHAUSTED]);
    expect(callers[2]?.answer?.message).toMatch(/the limit of 20971520 \(--max-bytes-in-flight\): try again later$/);
    expect(router.stats()).toMatchObject({ inFlight: 2, shed: 1 });
    await run();
    node('5200').stream.answerAll();
    expect(router.stats().bytesInFlight).toBe(0);
    expect(put('c', value).answer).toBeUndefined();
  });

  it('is bounded for held requests too, however small', () => {
    start({ maxBytesInFlight: MIB });
    const callers = Array.from({ length: 3000 }, (_, i) => put(`key ${i}`));
    const refused = callers.filter((c) => c.answer?.code === status.RESOURCE_EXHAUSTED).length;
    expect(refused).toBeGreaterThan(500);
    expect(router.stats().held).toBe(3000 - refused);
    expect(router.stats().bytesInFlight).toBeLessThanOrEqual(MIB);
  });

  it('counts reads as what reads have brought of late', async () => {
    owners.draw('- - 5200');
    start({ maxBytesInFlight: 20 * MIB });
    await run();
    const before = router.stats().bytesInFlight;
    get('small');
    expect(router.stats().bytesInFlight - before).toBeLessThan(4096);
    for (let i = 0; i < 200; i++) {
      get('large');
      await run();
      node('5200').stream.answerAll({ value: Buffer.alloc(MIB) });
    }
    get('next');
    expect(router.stats().bytesInFlight).toBeGreaterThan(MIB * 0.9);
  });

  it('stops reading answers while far too many wait to be taken', async () => {
    owners.draw('- - 5200');
    start({ maxBytesInFlight: MIB });
    await run();
    router.budget.force(3 * MIB);
    expect(node('5200').stream.paused).toBe(true);
    router.budget.give(MIB);
    expect(node('5200').stream.paused).toBe(true);
    router.budget.give(2 * MIB);
    expect(node('5200').stream.paused).toBe(false);
  });
});

describe('closing', () => {
  it('answers everything that is still on its way, and lets go of every node', async () => {
    owners.draw('- m 5200');
    start();
    await run();
    const [sent, held] = [get('a'), put('z')];
    await run();
    router.close();
    expect([sent.answer?.code, held.answer?.code, get('b').answer?.code]).toEqual(Array(3).fill(status.UNAVAILABLE));
    expect(node('5200').closed).toBe(true);
    expect(router.stats()).toMatchObject({ inFlight: 0, held: 0, bytesInFlight: 0 });
    await clock.advance(60_000);
    expect(clock.pending).toBe(0);
  });
});
