import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { formatKey, type Key, keyFromBytes } from '../../model/key.js';
import { containsKey } from '../../model/interval.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import { NO_LOAD } from '../../model/report.js';
import { serverOptions } from '../../proto/channel.js';
import { CODE } from '../../proto/codes.js';
import { rangeMetaToWire } from '../../proto/convert.js';
import { NodeClient, type ServeRequest } from '../../proto/gen/ranger/node.js';
import { GET, NO_BYTES, type PipeRequestFrame } from '../../proto/kv-codec.js';
import { addKvServer } from '../../proto/kv-server.js';
import { addPipeService, type PipeHandler, type PipeReply } from '../../proto/pipe-server.js';
import { Rangelet } from '../../rangelet/rangelet.js';
import { systemClock } from '../../runtime/clock.js';
import { endOfTurn } from '../../runtime/turn.js';

/* A cluster of small nodes over real sockets, for the tests of what stands before nodes. */

/** What all nodes of a test hold, as if handing over took no time; only the active node of a range may touch it. */
export class SharedData {
  readonly values = new Map<Key, Buffer>();
  writes = 0;
  /** The answers to writes that had an id. */
  readonly known = new Map<string, PipeReply>();
}

export interface TestNodeOptions {
  readonly ident: string;
  readonly data: SharedData;
  /** False: a node that knows unary calls only. */
  readonly pipe?: boolean;
  /** How long a read or write takes. */
  readonly delayMs?: number;
}

/** A node that serves kv.KV, kv.Pipe and ranger.Node, and can be killed and frozen. */
export class TestNode {
  readonly rangelet: Rangelet;
  /** Answered with this instead of being served, when set. */
  fault: { readonly code: number; readonly message: string } | undefined;
  served = 0;
  cancelled = 0;
  frozen = false;
  private readonly ranges = new Map<RangeId, RangeMeta>();
  private readonly active = new Set<RangeId>();
  private readonly grpcServer = new grpc.Server(serverOptions());
  private readonly sockets = new Set<Socket>();
  private readonly closing = new AbortController();
  private readonly listener = createServer({ noDelay: true });
  private readonly inner = createServer({ noDelay: true });
  private client: NodeClient | undefined;

  private constructor(private readonly options: TestNodeOptions) {
    const service = {
      prepare: (range: RangeMeta) => Promise.resolve(void this.ranges.set(range.id, range)),
      activate: (range: RangeMeta) => Promise.resolve(void this.active.add(range.id)),
      deactivate: (range: RangeMeta) => Promise.resolve(void this.active.delete(range.id)),
      drop: (range: RangeMeta) => Promise.resolve(void this.ranges.delete(range.id)),
      loadInfo: () => NO_LOAD,
    };
    this.rangelet = new Rangelet({ service, ident: options.ident });
    this.rangelet.register(this.grpcServer);
    addKvServer(this.grpcServer, { handler: this.handler, clock: systemClock });
    if (options.pipe ?? true) {
      addPipeService(this.grpcServer, { handler: this.handler, turn: endOfTurn, closing: this.closing.signal });
    }
  }

  static async start(options: TestNodeOptions): Promise<TestNode> {
    const node = new TestNode(options);
    await node.listen();
    return node;
  }

  get ident(): string {
    return this.options.ident;
  }

  get address(): string {
    return `127.0.0.1:${(this.listener.address() as AddressInfo).port}`;
  }

  get instance() {
    return { service: 'node', ident: this.ident, address: this.address, meta: {} } as const;
  }

  async place(meta: RangeMeta, epoch: number): Promise<void> {
    await this.prepare(meta, epoch);
    await this.activate(meta.id, epoch);
  }

  prepare(meta: RangeMeta, epoch: number): Promise<unknown> {
    const range = rangeMetaToWire(meta);
    return unary((done) => this.commands().prepare({ range, parents: [], epoch: BigInt(epoch), initial: true, term: 0n, fork: 0n }, done));
  }

  activate(id: RangeId, epoch: number): Promise<unknown> {
    const request: ServeRequest = { range: BigInt(id), force: false, epoch: BigInt(epoch), sources: [], initial: true, term: 0n, fork: 0n, members: [], minInSync: 0, promote: false };
    return unary((done) => this.commands().activate(request, done));
  }

  deactivate(id: RangeId, epoch: number): Promise<unknown> {
    return unary((done) => this.commands().deactivate({ range: BigInt(id), epoch: BigInt(epoch), term: 0n }, done));
  }

  drop(id: RangeId, epoch: number): Promise<unknown> {
    return unary((done) => this.commands().drop({ range: BigInt(id), force: false, epoch: BigInt(epoch), term: 0n }, done));
  }

  /** Every connection breaks now, without a word. */
  cutConnections(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** As under SIGSTOP: connections stay, and nothing goes over them any more. */
  freeze(): void {
    this.frozen = true;
    for (const socket of this.sockets) socket.unpipe().pause();
  }

  /** As at SIGTERM: streams end in order. */
  drain(): void {
    this.closing.abort();
  }

  async close(): Promise<void> {
    this.client?.close();
    this.closing.abort();
    this.listener.close();
    this.inner.close();
    this.cutConnections();
    this.grpcServer.forceShutdown();
    await this.rangelet.close();
  }

  /** Behind a relay, because grpc-js takes the sockets it is given out of the test's reach. */
  private async listen(): Promise<void> {
    const injector = this.grpcServer.createConnectionInjector(grpc.ServerCredentials.createInsecure());
    this.inner.on('connection', (socket) => {
      injector.injectConnection(socket);
    });
    this.inner.listen(0, '127.0.0.1');
    await once(this.inner, 'listening');
    this.listener.on('connection', (socket) => {
      this.relay(socket, connect((this.inner.address() as AddressInfo).port, '127.0.0.1').setNoDelay());
    });
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
  }

  private relay(outside: Socket, inside: Socket): void {
    for (const [socket, other] of [[outside, inside], [inside, outside]] as const) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.sockets.delete(socket);
        other.destroy();
      });
      if (!this.frozen) socket.pipe(other);
    }
  }

  private commands(): NodeClient {
    this.client ??= new NodeClient(this.address, grpc.credentials.createInsecure());
    return this.client;
  }

  private readonly handler: PipeHandler = (request, reply) => {
    if (this.frozen) return undefined;
    if (this.options.delayMs === undefined) {
      reply(this.answer(request));
      return undefined;
    }
    const cancel = systemClock.after(this.options.delayMs, () => {
      if (!this.frozen) reply(this.answer(request));
    });
    return () => {
      this.cancelled++;
      cancel();
    };
  };

  private answer({ action, key, value, writeId }: PipeRequestFrame): PipeReply {
    if (this.fault) return { ...this.fault, value: NO_BYTES, epoch: 0, offset: 0 };
    const at = keyFromBytes(key);
    const range = [...this.ranges.values()].find((meta) => containsKey(meta, at));
    if (!range) return failure(CODE.ABORTED, `no range here holds ${formatKey(at)}`);
    if (!this.active.has(range.id)) return failure(CODE.FAILED_PRECONDITION, `R${range.id} is not writable here`);
    this.served++;
    return action === GET ? this.read(at) : this.writeOnce(at, value, writeId?.toString('hex') ?? '');
  }

  private read(key: Key): PipeReply {
    const value = this.options.data.values.get(key);
    return value ? { ...OK, value } : failure(CODE.NOT_FOUND, `key ${formatKey(key)} is not there`);
  }

  private writeOnce(key: Key, value: Buffer | undefined, id: string): PipeReply {
    const { known } = this.options.data;
    const answer = known.get(id) ?? this.write(key, value);
    if (id !== '') known.set(id, answer);
    return answer;
  }

  private write(key: Key, value: Buffer | undefined): PipeReply {
    const { data } = this.options;
    data.writes++;
    if (value) data.values.set(key, Buffer.from(value));
    else data.values.delete(key);
    return { ...OK, offset: data.writes };
  }
}

const OK: PipeReply = { code: 0, message: '', value: NO_BYTES, epoch: 1, offset: 1 };

function failure(code: number, message: string): PipeReply {
  return { code, message, value: NO_BYTES, epoch: 0, offset: 0 };
}

function unary(call: (done: (error: grpc.ServiceError | null) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
