import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/* Peers of other origin: stubs of the wire contract, which share nothing with proto/. */

export type State = 'UNKNOWN' | 'INACTIVE' | 'ACTIVE' | 'PREPARING' | 'ACTIVATING' | 'DEACTIVATING' | 'DROPPING' | 'NOT_FOUND';

export interface Meta {
  readonly ident: number;
  readonly start: Buffer;
  readonly end: Buffer;
}

export interface Parent {
  readonly range: Meta;
  readonly parent: readonly number[];
  readonly placements: readonly { readonly node: string; readonly state: string }[];
}

export interface Pair {
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface Info {
  readonly meta: Meta;
  readonly state: State;
  readonly info: { readonly keys: number; readonly splits: readonly string[] };
}

/** Each call by its name: what is asked, and what is answered. */
export interface NodeCalls {
  Prepare: [{ readonly range: Meta; readonly parents: readonly Parent[] }, { readonly range_info: Info }];
  Activate: [{ readonly range: number }, { readonly state: State }];
  Deactivate: [{ readonly range: number }, { readonly state: State }];
  Drop: [{ readonly range: number }, { readonly state: State }];
  Info: [Record<string, never>, { readonly ranges: readonly Info[]; readonly wantDrain: boolean }];
}

export interface KvCalls {
  Get: [{ readonly key: Buffer }, { readonly value: Buffer }];
  Put: [{ readonly key: Buffer; readonly value?: Buffer }, Record<string, never>];
  Dump: [{ readonly range_ident: number }, { readonly pairs: readonly Pair[] }];
}

const definition = loadSync(['ranger.proto', 'kv.proto'], {
  includeDirs: [import.meta.dirname],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  arrays: true,
});

export const NODE_SERVICE = definition['ranger.Node'] as grpc.ServiceDefinition;
export const KV_SERVICE = definition['kv.KV'] as grpc.ServiceDefinition;

type Calls<C> = { [K in keyof C]: [unknown, unknown] };

/** Calls one peer, by the names of the contract. */
export class Stub<C extends Calls<C>> {
  private readonly client: grpc.Client;

  constructor(
    private readonly service: grpc.ServiceDefinition,
    address: string,
  ) {
    this.client = new grpc.Client(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  }

  call<K extends keyof C & string>(name: K, request: C[K][0]): Promise<C[K][1]> {
    const method = this.service[name];
    if (!method) throw new Error(`the contract has no ${name}`);
    return new Promise((resolve, reject) => {
      const serialize = method.requestSerialize as (value: unknown) => Buffer;
      const deserialize = method.responseDeserialize as (bytes: Buffer) => C[K][1];
      this.client.makeUnaryRequest(method.path, serialize, deserialize, request, { deadline: Date.now() + 5000 }, (error, answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }

  close(): void {
    this.client.close();
  }
}

export const nodeStub = (address: string): Stub<NodeCalls> => new Stub(NODE_SERVICE, address);
export const kvStub = (address: string): Stub<KvCalls> => new Stub(KV_SERVICE, address);
