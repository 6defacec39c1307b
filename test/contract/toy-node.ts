import * as grpc from '@grpc/grpc-js';
import { type Info, KV_SERVICE, type KvCalls, type Meta, NODE_SERVICE, type NodeCalls, type Parent, type State, kvStub } from './stubs.js';

interface Copy {
  readonly meta: Meta;
  readonly parents: readonly Parent[];
  state: State;
  pairs: Map<string, Buffer>;
}

type Handler<R, A> = (request: R) => A | Promise<A>;
type Handlers<C> = { [K in keyof C]: C[K] extends [infer R, infer A] ? Handler<R, A> : never };

/** A node as somebody else may have written it: in memory, and only what the contract says. */
export class ToyNode {
  readonly copies = new Map<number, Copy>();
  /** The Dump calls that it answered, by range. */
  readonly dumped: number[] = [];
  address = '';
  private readonly server = new grpc.Server();
  private readonly readers = new Set<grpc.ServerWritableStream<unknown, unknown>>();

  static async start(): Promise<ToyNode> {
    const node = new ToyNode();
    node.server.addService(NODE_SERVICE, { ...unary(node.commands), Ranges: node.ranges });
    node.server.addService(KV_SERVICE, unary(node.keyValues));
    const port = await new Promise<number>((resolve, reject) => {
      node.server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error) reject(error);
        else resolve(bound);
      });
    });
    node.address = `127.0.0.1:${port}`;
    return node;
  }

  close(): void {
    this.server.forceShutdown();
  }

  private readonly commands: Handlers<NodeCalls> = {
    Prepare: ({ range, parents }) => {
      const had = this.copies.get(range.ident);
      if (had && had.state !== 'INACTIVE') throw refusal(grpc.status.INVALID_ARGUMENT, `R${range.ident} is ${had.state}`);
      const copy = had ?? { meta: range, parents, state: 'INACTIVE', pairs: new Map<string, Buffer>() };
      this.copies.set(range.ident, copy);
      if (!had) this.tell(copy);
      return { range_info: info(copy) };
    },
    Activate: async ({ range }) => {
      const copy = this.copies.get(range);
      if (copy?.state === 'ACTIVE' || copy?.state === 'ACTIVATING') return { state: copy.state };
      if (copy?.state !== 'INACTIVE') throw refusal(grpc.status.INVALID_ARGUMENT, `R${range} is ${copy?.state ?? 'unknown'}`);
      this.become(copy, 'ACTIVATING');
      try {
        await this.fetch(copy, copy.meta.ident);
        this.become(copy, 'ACTIVE');
      } catch {
        this.become(copy, 'INACTIVE');
      }
      return { state: copy.state };
    },
    Deactivate: ({ range }) => {
      const copy = this.copies.get(range);
      if (!copy) throw refusal(grpc.status.INVALID_ARGUMENT, `R${range} is unknown`);
      if (copy.state === 'ACTIVE') this.become(copy, 'INACTIVE');
      return { state: copy.state };
    },
    Drop: ({ range }) => {
      const copy = this.copies.get(range);
      if (copy && copy.state !== 'INACTIVE') throw refusal(grpc.status.INVALID_ARGUMENT, `R${range} is ${copy.state}`);
      this.copies.delete(range);
      if (copy) this.become(copy, 'NOT_FOUND');
      return { state: 'NOT_FOUND' };
    },
    Info: () => ({ ranges: [...this.copies.values()].map(info), wantDrain: false }),
  };

  private readonly keyValues: Handlers<KvCalls> = {
    Get: ({ key }) => {
      const value = this.serving(key).pairs.get(key.toString('latin1'));
      if (!value) throw refusal(grpc.status.NOT_FOUND, 'no such key');
      return { value };
    },
    Put: ({ key, value }) => {
      const { pairs } = this.serving(key);
      if (value) pairs.set(key.toString('latin1'), value);
      else pairs.delete(key.toString('latin1'));
      return {};
    },
    Dump: ({ range_ident }) => {
      const copy = this.copies.get(range_ident);
      if (!copy) throw refusal(grpc.status.ABORTED, `R${range_ident} is not here`);
      if (copy.state !== 'INACTIVE') throw refusal(grpc.status.FAILED_PRECONDITION, `R${range_ident} is writable`);
      this.dumped.push(range_ident);
      return { pairs: [...copy.pairs].map(([key, value]) => ({ key: Buffer.from(key, 'latin1'), value })) };
    },
  };

  private readonly ranges = (call: grpc.ServerWritableStream<unknown, unknown>): void => {
    for (const { meta, state } of this.copies.values()) call.write({ meta, state });
    this.readers.add(call);
    call.on('cancelled', () => this.readers.delete(call));
  };

  private serving(key: Buffer): Copy {
    if (key.length === 0) throw refusal(grpc.status.INVALID_ARGUMENT, 'no key');
    const here = [...this.copies.values()].filter(({ meta }) => contains(meta, key));
    const active = here.find(({ state }) => state === 'ACTIVE');
    if (active) return active;
    throw refusal(here.length === 0 ? grpc.status.ABORTED : grpc.status.FAILED_PRECONDITION, 'not served here');
  }

  private become(copy: Copy, state: State): void {
    copy.state = state;
    this.tell(copy);
  }

  private tell({ meta, state }: Copy): void {
    for (const reader of this.readers) reader.write({ meta, state });
  }

  /** From where the range is active; else from where its parents are. */
  private async fetch(copy: Copy, from: number): Promise<void> {
    const entry = copy.parents.find(({ range }) => range.ident === from);
    const source = entry?.placements.find(({ node, state }) => state === 'PS_ACTIVE' && node !== this.address);
    if (!source) {
      for (const parent of entry?.parent ?? []) await this.fetch(copy, parent);
      return;
    }
    const peer = kvStub(source.node);
    try {
      const { pairs } = await peer.call('Dump', { range_ident: from });
      for (const { key, value } of pairs) if (contains(copy.meta, key)) copy.pairs.set(key.toString('latin1'), value);
    } finally {
      peer.close();
    }
  }
}

function contains({ start, end }: Meta, key: Buffer): boolean {
  return Buffer.compare(start, key) <= 0 && (end.length === 0 || Buffer.compare(key, end) < 0);
}

function info({ meta, state, pairs }: Copy): Info {
  return { meta, state, info: { keys: pairs.size, splits: [] } };
}

function refusal(code: grpc.status, details: string): Error {
  return Object.assign(new Error(details), { code, details });
}

function unary(handlers: object): grpc.UntypedServiceImplementation {
  const wrap = (handler: Handler<unknown, unknown>) => (call: grpc.ServerUnaryCall<unknown, unknown>, done: grpc.sendUnaryData<unknown>) => {
    void Promise.resolve()
      .then(() => handler(call.request))
      .then(
        (answer) => {
          done(null, answer);
        },
        (thrown: unknown) => {
          done(thrown as grpc.ServiceError);
        },
      );
  };
  return Object.fromEntries(Object.entries(handlers).map(([name, handler]) => [name, wrap(handler as Handler<unknown, unknown>)]));
}
