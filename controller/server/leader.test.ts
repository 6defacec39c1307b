import * as grpc from '@grpc/grpc-js';
import { BehaviorSubject } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Leadership } from '../../coordination/interfaces.js';
import { type MoveRequest, type MoveResponse, OperationsService, OrchestratorService, type RunEvent, type RunRequest } from '../../proto/gen/ranger/controller.js';
import { type CallContext, addService } from '../../proto/serve.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { ManualClock, settle } from '../../test/cluster/manual-clock.js';
import { type Continuation, FORWARDED, Leaders } from './leader.js';
import { GrpcPeer, type Peer, type PeerCallOptions, type PeerMethod } from './peer.js';

const NOBODY: Leadership = { leading: false, term: 1, leaderAddress: undefined };
const HERE: Leadership = { leading: true, term: 2, leaderAddress: 'here:1' };
const at = (leaderAddress: string): Leadership => ({ leading: false, term: 2, leaderAddress });
type Call = grpc.ServerWritableStream<RunRequest, RunEvent>;
const REQUEST: MoveRequest = { range: 1n, node: '5200', from: '' };

class FakePeer implements Peer {
  readonly calls: { readonly options: PeerCallOptions; readonly succeed: () => void; readonly fail: (code: 'UNAVAILABLE' | 'ABORTED', message: string) => void }[] = [];
  closed = false;

  constructor(readonly address: string) {}

  unary(_method: PeerMethod, _request: unknown, options: PeerCallOptions): Promise<unknown> {
    if (this.address === 'dead:1') return Promise.reject(new AppError('UNAVAILABLE', 'No connection established. Last error: connect ECONNREFUSED'));
    return new Promise((resolve, reject) => {
      options.signal.addEventListener('abort', () => {
        reject(new AppError('CANCELLED', 'cancelled'));
      });
      const fail = (code: 'UNAVAILABLE' | 'ABORTED', message: string): void => {
        reject(new AppError(code, message));
      };
      this.calls.push({ options, succeed: () => { resolve({}); }, fail });
    });
  }

  stream(): Promise<void> {
    return Promise.reject(new AppError('UNIMPLEMENTED', 'not asked for here'));
  }

  close(): void {
    this.closed = true;
  }
}

describe('a command at a controller', () => {
  let clock: ManualClock;
  let leadership: BehaviorSubject<Leadership>;
  let peers: FakePeer[];
  let here: number;
  let caller: AbortController;

  beforeEach(() => {
    clock = new ManualClock();
    leadership = new BehaviorSubject(NOBODY);
    peers = [];
    here = 0;
    caller = new AbortController();
  });

  function ask(metadata = new grpc.Metadata()): Promise<MoveResponse> {
    const connect = (address: string): Peer => {
      const peer = new FakePeer(address);
      peers.push(peer);
      return peer;
    };
    const done = (): Promise<Record<string, never>> => {
      here++;
      return Promise.resolve({});
    };
    const leaders = new Leaders({ leadership, connect, clock, logger: silentLogger });
    const handlers = leaders.only(OrchestratorService, { move: done, split: done, join: done });
    const ctx: CallContext = { signal: caller.signal, deadlineMs: undefined, metadata };
    return handlers.move(REQUEST, ctx);
  }

  it('is obeyed by the one that leads', async () => {
    leadership.next(HERE);
    await ask();
    expect([here, peers.length]).toEqual([1, 0]);
  });

  it('is passed on to the leader by a follower, marked', async () => {
    leadership.next(at('a:1'));
    const answer = ask();
    await settle();
    expect(peers.map((peer) => peer.address)).toEqual(['a:1']);
    expect(peers[0]?.calls[0]?.options.metadata.get(FORWARDED)).toEqual(['1']);
    peers[0]?.calls[0]?.succeed();
    expect(await answer).toEqual({});
    expect(here).toBe(0);
  });

  it('waits for somebody to lead, and then is obeyed there or here', async () => {
    const first = ask();
    await clock.advance(2000);
    leadership.next(HERE);
    await first;
    expect(here).toBe(1);
    leadership.next(NOBODY);
    const second = ask();
    await clock.advance(2000);
    leadership.next(at('b:1'));
    await settle();
    peers.at(-1)?.calls[0]?.succeed();
    expect(await second).toEqual({});
  });

  it('is refused when nobody leads for too long', async () => {
    const answer = ask();
    const refused = expect(answer).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'no controller leads at the moment; try again in a few seconds' });
    await clock.advance(5001);
    await refused;
    expect(clock.pending).toBe(0);
  });

  it('is asked again, and then elsewhere, when the leader was gone before it heard of it', async () => {
    leadership.next(at('dead:1'));
    const answer = ask();
    await settle();
    await clock.advance(1000);
    leadership.next(at('b:1'));
    await clock.advance(200);
    expect(peers.map((peer) => [peer.address, peer.closed])).toEqual([['dead:1', true], ['b:1', false]]);
    peers[1]?.calls[0]?.succeed();
    expect(await answer).toEqual({});
  });

  it('is not sent twice when the leader went away with it', async () => {
    leadership.next(at('a:1'));
    const answer = ask();
    await settle();
    peers[0]?.calls[0]?.fail('UNAVAILABLE', 'Connection dropped');
    await expect(answer).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('goes on under the next one') as string });
    expect(peers[0]?.calls).toHaveLength(1);
  });

  it('ends when another leads while the old leader says nothing', async () => {
    leadership.next(at('stopped:1'));
    const answer = ask();
    await settle();
    leadership.next(NOBODY);
    leadership.next(HERE);
    await expect(answer).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('another leads now') as string });
    expect(here).toBe(0);
  });

  it("gives the leader's own refusal back as it is", async () => {
    leadership.next(at('a:1'));
    const answer = ask();
    await settle();
    peers[0]?.calls[0]?.fail('ABORTED', 'R1 is there already');
    await expect(answer).rejects.toMatchObject({ code: 'ABORTED', message: 'R1 is there already' });
  });

  it('does not go in circles, nor on without its caller', async () => {
    leadership.next(at('a:1'));
    const metadata = new grpc.Metadata();
    metadata.set(FORWARDED, '1');
    await expect(ask(metadata)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const answer = ask();
    await settle();
    caller.abort(new AppError('CANCELLED', 'hung up'));
    await expect(answer).rejects.toThrow('cancelled');
    expect(clock.pending).toBe(0);
  });
});

describe('a question that a follower could answer too', () => {
  function ask(leadership: Leadership, peer: Partial<Peer>, clock: ManualClock, metadata = new grpc.Metadata()): Promise<unknown> {
    const connect = (): Peer => ({ unary: () => Promise.reject(new AppError('UNAVAILABLE', 'No connection established')), stream: () => Promise.reject(new AppError('UNIMPLEMENTED', 'not here')), close: () => undefined, ...peer });
    const leaders = new Leaders({ leadership: new BehaviorSubject(leadership), connect, clock, logger: silentLogger });
    const here = (): Promise<never> => Promise.reject(new AppError('INTERNAL', 'this one does not lead'));
    const handlers = leaders.only(OrchestratorService, { move: here, split: here, join: here }, { known: { move: (why) => ({ why }) } });
    return handlers.move(REQUEST, { signal: new AbortController().signal, deadlineMs: undefined, metadata });
  }

  it('is answered by the leader while there is one', async () => {
    expect(await ask(at('a:1'), { unary: () => Promise.resolve({ from: 'a:1' }) }, new ManualClock())).toEqual({ from: 'a:1' });
  });

  it.each<[string, Leadership, Partial<Peer>, string]>([
    ['nobody leads', NOBODY, {}, 'no controller leads at the moment'],
    ['the leader is dead', at('dead:1'), {}, 'the controller that leads, at dead:1, does not answer'],
    ['the leader stands still', at('still:1'), { unary: (_method, _request, { signal }) => new Promise((_, reject) => { signal.addEventListener('abort', () => { reject(new AppError('CANCELLED', 'cancelled')); }); }) }, 'the controller that leads, at still:1, does not answer'],
  ])('is answered here when %s, with the reason', async (_what, leadership, peer, why) => {
    const clock = new ManualClock();
    const answer = ask(leadership, peer, clock);
    await clock.advance(2100);
    expect(await answer).toEqual({ why });
    expect(clock.pending).toBe(0);
  });

  it("is not answered for another that follows, nor in place of the leader's own refusal", async () => {
    const metadata = new grpc.Metadata();
    metadata.set(FORWARDED, '1');
    await expect(ask(NOBODY, {}, new ManualClock(), metadata)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(ask(at('a:1'), { unary: () => Promise.reject(new AppError('ABORTED', 'no')) }, new ManualClock())).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('reports of an operation', () => {
  const open: (() => void)[] = [];
  afterEach(() => {
    for (const close of open.splice(0)) close();
  });

  async function serve(leadership: Leadership, run: (call: Call) => void, continued?: (call: Call) => Continuation): Promise<string> {
    const server = new grpc.Server();
    const leaders = new Leaders({ leadership: new BehaviorSubject(leadership), connect: (address) => new GrpcPeer(address), clock: new ManualClock(), logger: silentLogger });
    const definition = { run: OperationsService.run };
    addService(server, definition, leaders.only(definition, { run }, continued ? { continued: { run: (call) => continued(call as Call) } } : {}), { logger: silentLogger });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error) reject(error);
        else resolve(bound);
      });
    });
    open.push(() => {
      leaders.close();
      server.forceShutdown();
    });
    return `127.0.0.1:${port}`;
  }

  function collect(address: string): Promise<{ readonly events: string[]; readonly error: string | undefined }> {
    const { path, requestSerialize, responseDeserialize } = OperationsService.run;
    const client = new grpc.Client(address, grpc.credentials.createInsecure());
    open.push(() => {
      client.close();
    });
    return new Promise((resolve) => {
      const events: string[] = [];
      const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { operation: { $case: 'move', move: REQUEST } });
      call.on('data', (event: RunEvent) => events.push(event.event?.$case ?? '?'));
      call.on('error', (error: grpc.ServiceError) => {
        resolve({ events, error: error.details });
      });
      call.on('end', () => {
        resolve({ events, error: undefined });
      });
    });
  }

  it('pass through a follower to the end', async () => {
    const leader = await serve(HERE, (call) => {
      call.write({ event: { $case: 'started', started: { description: `move R${call.request.operation?.$case === 'move' ? call.request.operation.move.range : 0n}`, ranges: [1n], source: 0n, to: 0n } } });
      call.write({ event: { $case: 'done', done: { elapsedMs: 1n, keys: 0n, bytes: 0n, ranges: [1n] } } });
      call.end();
    });
    const follower = await serve(at(leader), () => {
      throw new Error('a follower does not run it');
    });
    expect(await collect(follower)).toEqual({ events: ['started', 'done'], error: undefined });
  });

  it.each([
    ['sees it through, when that can be done', true, { events: ['started', 'done'], error: undefined }],
    ['says that it goes on, when it cannot', false, { events: ['started'], error: expect.stringContaining('goes on under the next one') as string }],
  ])('when the leader goes away with them a follower %s', async (_what, can, told) => {
    const started: RunEvent = { event: { $case: 'started', started: { description: 'move R1 5200 -> 5201', ranges: [1n], source: 0n, to: 0n } } };
    const leader = await serve(HERE, (call) => {
      call.write(started);
      throw new AppError('UNAVAILABLE', 'this controller is stopping');
    });
    const seen: unknown[] = [];
    const follower = await serve(at(leader), () => undefined, (call) => ({
      saw: (message) => seen.push(message),
      goOn: () => {
        if (can) call.write({ event: { $case: 'done', done: { elapsedMs: 1n, keys: 0n, bytes: 0n, ranges: [] } } });
        return Promise.resolve(can);
      },
    }));
    expect(await collect(follower)).toEqual(told);
    expect(seen).toEqual([started]);
  });

  it('end with the reason, through a follower too', async () => {
    const leader = await serve(HERE, () => {
      throw new AppError('ABORTED', 'R1 is there already');
    });
    expect(await collect(await serve(at(leader), () => undefined))).toEqual({ events: [], error: 'R1 is there already' });
  });
});
