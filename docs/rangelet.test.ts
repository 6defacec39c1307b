import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, type ServiceError, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import type { Key } from '../model/key.js';
import { REMOTE_TRANSITIONS } from '../model/states.js';
import {
  type DeactivateResponse, type DropResponse, type InfoResponse, NodeClient, type PrepareRequest, type PrepareResponse, type ServeResponse,
} from '../proto/gen/ranger/node.js';
import { RangeNodeState } from '../proto/gen/ranger/types.js';
import { Counters } from './examples/counter-service.js';

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');

/** What stands in the docs behind a mark, up to the next line that is blank after it. */
function behind(mark: string): string {
  const [, rest] = read('rangelet.md').split(`<!-- from ${mark} -->\n`);
  if (rest === undefined) throw new Error(`docs/rangelet.md has nothing from ${mark}`);
  return rest;
}

describe('docs/rangelet.md', () => {
  test('shows the example that compiles', () => {
    const [, shown] = /^```ts\n(.*?)^```$/ms.exec(behind('docs/examples/counter-service.ts')) ?? [];
    expect(shown).toBe(read('examples/counter-service.ts'));
  });

  test('shows the table that the rangelet obeys', () => {
    const rows = REMOTE_TRANSITIONS.map((t) => `| ${[t.command, t.from, t.via, t.done, t.failed].join(' | ')} |`);
    const shown = behind('model/states.ts').split('\n').slice(2, 2 + rows.length + 1);
    expect(shown).toEqual([...rows, '']);
  });
});

describe('the example', () => {
  const open: (() => void)[] = [];
  afterEach(() => {
    for (const close of open.splice(0)) close();
  });

  async function start(): Promise<{ counters: Counters; client: NodeClient }> {
    const server = new Server();
    const counters = new Counters(server, 'counter');
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
        if (error) reject(error);
        else resolve(bound);
      });
    });
    const client = new NodeClient(`127.0.0.1:${port}`, credentials.createInsecure());
    open.push(() => {
      client.close();
      server.forceShutdown();
    });
    return { counters, client };
  }

  function call<A>(run: (callback: (error: ServiceError | null, answer: A) => void) => unknown): Promise<A> {
    return new Promise((resolve, reject) => {
      run((error, answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }

  test('is a node that a controller can command', async () => {
    const { counters, client } = await start();
    const range = 1n;
    const prepare: PrepareRequest = {
      range: { ident: range, start: Buffer.alloc(0), end: Buffer.alloc(0) }, parents: [], epoch: 1n, initial: true, term: 0n, fork: 0n,
    };
    const prepared = await call<PrepareResponse>((done) => client.prepare(prepare, done));
    expect(prepared.rangeInfo?.state).toBe(RangeNodeState.INACTIVE);
    expect(counters.add(1, 'k' as Key)).toBeUndefined();

    const active = await call<ServeResponse>((done) => client.activate({ range, force: false, epoch: 1n, sources: [], initial: true, term: 0n, fork: 0n, members: [], minInSync: 0, promote: false }, done));
    expect(active.state).toBe(RangeNodeState.ACTIVE);
    expect([counters.add(1, 'k' as Key), counters.add(1, 'k' as Key)]).toEqual([1, 2]);

    const info = await call<InfoResponse>((done) => client.info({}, done));
    expect(info).toMatchObject({ ident: 'counter', ranges: [{ state: RangeNodeState.ACTIVE, info: { keys: 1n } }] });

    const inactive = await call<DeactivateResponse>((done) => client.deactivate({ range, epoch: 2n, term: 0n }, done));
    expect(inactive.state).toBe(RangeNodeState.INACTIVE);
    const gone = await call<DropResponse>((done) => client.drop({ range, force: false, epoch: 2n, term: 0n }, done));
    expect(gone.state).toBe(RangeNodeState.NOT_FOUND);
    expect((await call<InfoResponse>((done) => client.info({}, done))).ranges).toEqual([]);
  });
});
