import { Subject } from 'rxjs';
import { type Key, keyFromText } from '../../model/key.js';
import { CANCEL, decodePipeRequests, encodePipeResponses, NO_BYTES, type PipeRequestFrame, type PipeResponseFrame, type ValueFrame } from '../../proto/kv-codec.js';
import type { Turn } from '../../runtime/turn.js';
import type { Owner, Owners } from '../owners.js';
import type { EndStatus, NodeTransport, PipeEvents, PipeStream, UnaryRequest } from '../transport.js';

/* Stand-ins for the network and the cluster, for unit tests of what routes. */

/** A turn that ends when the test says so. */
export class ManualTurn {
  private callbacks: (() => void)[] = [];

  readonly turn: Turn = (callback) => {
    this.callbacks.push(callback);
  };

  /** Ends turn after turn until nothing waits for one. */
  end(): void {
    while (this.callbacks.length > 0) {
      const due = this.callbacks;
      this.callbacks = [];
      for (const callback of due) callback();
    }
  }
}

/** One attempt to open a pipe, as the node sees it. */
export class FakeStream implements PipeStream {
  readonly messages: PipeRequestFrame[][] = [];
  readonly messageBytes: number[] = [];
  paused = false;
  cancelled = false;
  private unwritten: (() => void)[] = [];

  constructor(
    private readonly node: FakeNode,
    private readonly events: PipeEvents,
  ) {}

  /** Everything received, batch boundaries aside. */
  get requests(): readonly PipeRequestFrame[] {
    return this.messages.flat();
  }

  write(message: Buffer, written: () => void): void {
    this.messageBytes.push(message.length);
    this.messages.push(decodePipeRequests(message));
    if (this.node.stalled) this.unwritten.push(written);
    else written();
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
  }

  cancel(): void {
    this.cancelled = true;
  }

  /** The connection has taken what it was given. */
  drain(): void {
    const written = this.unwritten;
    this.unwritten = [];
    for (const callback of written) callback();
  }

  accept(): void {
    this.events.onOpen(this.node.knowsWriteIds);
  }

  answer(...answers: (Partial<PipeResponseFrame> & { readonly id: number })[]): void {
    this.sendBytes(encodePipeResponses(answers.map((answer) => ({ code: 0, message: '', value: NO_BYTES, epoch: 1, offset: 1, ...answer }))));
  }

  /** Answers every get or put that was received and not cancelled. */
  answerAll(reply: Partial<PipeResponseFrame> = {}): void {
    const open = new Map<number, PipeRequestFrame>();
    for (const request of this.requests) {
      if (request.action === CANCEL) open.delete(request.id);
      else open.set(request.id, request);
    }
    this.messages.length = 0;
    this.answer(...[...open.keys()].map((id) => ({ ...reply, id })));
  }

  sendBytes(bytes: Buffer): void {
    this.events.onMessage(bytes);
  }

  end(status: EndStatus): void {
    this.events.onEnd(status);
  }
}

export class FakeUnaryCall {
  givenUp = false;

  constructor(
    readonly request: UnaryRequest,
    readonly timeoutMs: number,
    private readonly done: (status: EndStatus, answer: ValueFrame) => void,
  ) {}

  answer(value: Buffer = NO_BYTES, code = 0, details = ''): void {
    this.done({ code, details }, { value, epoch: 1, offset: 1 });
  }

  giveUp(): void {
    this.givenUp = true;
  }
}

/** A node that does what the test says. Accepts pipes by itself unless told otherwise. */
export class FakeNode implements NodeTransport {
  readonly streams: FakeStream[] = [];
  readonly calls: FakeUnaryCall[] = [];
  connected = true;
  acceptsAtOnce = true;
  knowsWriteIds = true;
  stalled = false;
  closed = false;

  /** The latest attempt. */
  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (!stream) throw new Error('no pipe was opened');
    return stream;
  }

  openPipe(events: PipeEvents): PipeStream {
    const stream = new FakeStream(this, events);
    this.streams.push(stream);
    if (this.acceptsAtOnce) queueMicrotask(() => { stream.accept(); });
    return stream;
  }

  unary(request: UnaryRequest, timeoutMs: number, done: (status: EndStatus, answer: ValueFrame) => void): () => void {
    const call = new FakeUnaryCall(request, timeoutMs, done);
    this.calls.push(call);
    return () => {
      call.giveUp();
    };
  }

  isConnected(): boolean {
    return this.connected;
  }

  close(): void {
    this.closed = true;
  }
}

/** A map of owners that tests draw: ranges as [start, end), in text. */
export class FakeOwners implements Owners {
  readonly changes = new Subject<void>();
  private owners: { start: Key; end: Key; owner: Owner }[] = [];
  private nodes: string[] = [];
  private followers: { start: Key; end: Key; owner: Owner }[] = [];

  /** As `draw`, of copies that only follow. */
  drawFollowers(...lines: string[]): void {
    const owners = this.owners;
    this.draw(...lines);
    this.followers = this.owners;
    this.owners = owners;
  }

  /** `start end node epoch`, one a line; `-` is infinity. Tells nobody. */
  draw(...lines: string[]): void {
    this.owners = lines.map((line, index) => {
      const [start = '-', end = '-', node = '', epoch = '1'] = line.split(' ');
      const owner = { node, address: `localhost:${node}`, range: index + 1, epoch: Number(epoch) };
      return { start: bound(start), end: bound(end), owner };
    });
    this.nodes = [...new Set([...this.nodes, ...this.owners.map(({ owner }) => owner.address)])];
  }

  change(...lines: string[]): void {
    this.draw(...lines);
    this.changes.next();
  }

  vanish(address: string): void {
    this.nodes = this.nodes.filter((node) => node !== address);
    this.owners = this.owners.filter(({ owner }) => owner.address !== address);
    this.changes.next();
  }

  find(key: Key): Owner | undefined {
    return this.owners.find(({ start, end }) => key >= start && (end === '' || key < end))?.owner;
  }

  copies(key: Key): readonly Owner[] {
    const followers = this.followers.filter(({ start, end }) => key >= start && (end === '' || key < end)).map(({ owner }) => owner);
    const owner = this.find(key);
    return owner ? [owner, ...followers] : followers;
  }

  addresses(): readonly string[] {
    return this.nodes;
  }
}

function bound(text: string): Key {
  return keyFromText(text === '-' ? '' : text);
}
