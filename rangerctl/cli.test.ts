import * as grpc from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { KVService } from '../proto/gen/kv/kv.js';
import { DebugService, OperationsService, OrchestratorService, StatusResponse_Health, type NodeResponse, type RangeResponse, type RunEvent, type RunRequest, type StatusResponse } from '../proto/gen/ranger/controller.js';
import { PlacementState, RangeNodeState, RangeState, type RangeInfo, type VerifyReport } from '../proto/gen/ranger/types.js';
import { addService } from '../proto/serve.js';
import { systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/log.js';
import { runCli } from './cli.js';
import { diskFiles } from './files.js';
import type { Io, Output } from './io.js';

const META = { ident: 1n, start: Buffer.alloc(0), end: Buffer.from('m') };

const INFO: RangeInfo = {
  meta: META,
  state: RangeNodeState.ACTIVE,
  info: { keys: 1234n, splits: ['f'], bytes: 2048n, readsPerSecond: 12.5, writesPerSecond: 0, split: Buffer.from('f') },
  epoch: 3n,
  progress: undefined,
  lastError: '',
  serving: true,
  replica: undefined,
};

const RANGE: RangeResponse = {
  meta: META,
  state: RangeState.RS_ACTIVE,
  parents: [],
  children: [2n],
  placements: [{ placement: { node: '5200', state: PlacementState.PS_ACTIVE, index: 0 }, rangeInfo: INFO, primary: true, inSync: true, lagBytes: 0n }],
  epoch: 3n,
  waiting: '',
  unavailable: false,
  unavailableMs: 0n,
  copies: undefined,
};

const CHILD: RangeResponse = {
  meta: { ident: 2n, start: Buffer.from('m'), end: Buffer.from([0xff]) },
  state: RangeState.RS_SUBSUMING,
  parents: [1n],
  children: [],
  placements: [{ placement: { node: '5201', state: PlacementState.PS_PENDING, index: 1 }, rangeInfo: undefined, primary: false, inSync: false, lagBytes: 0n }],
  epoch: 4n,
  waiting: 'node 5201 is not reachable',
  unavailable: true,
  unavailableMs: 65_000n,
  copies: undefined,
};

const copy = (index: number, state: PlacementState, more: object = {}): RangeResponse['placements'][number] => ({
  placement: { node: `520${index}`, state, index }, rangeInfo: undefined, primary: false, inSync: false, lagBytes: 0n, ...more,
});

const REPLICATED: RangeResponse = {
  ...RANGE,
  placements: [
    copy(0, PlacementState.PS_ACTIVE, { primary: true, inSync: true }),
    copy(1, PlacementState.PS_INACTIVE, { inSync: true }),
    copy(2, PlacementState.PS_INACTIVE, { lagBytes: 1_572_864n }),
    copy(3, PlacementState.PS_MISSING),
  ],
  copies: { wanted: 4, inSync: 2, catchingUp: 1, missing: 1, minInSync: 1 },
};

const NODE: NodeResponse = {
  node: { ident: '5200', address: 'localhost:5200', wantDrain: false, reachable: true, incarnation: 'ab12', cordoned: false, drainOrdered: false, trouble: '', zone: '' },
  ranges: [{ meta: META, state: PlacementState.PS_ACTIVE, info: INFO, primary: true, inSync: true }],
};

const events: RunEvent[] = [
  { event: { $case: 'started', started: { description: 'move R1 5200 -> 5201', ranges: [1n], source: 0n, to: 0n } } },
  { event: { $case: 'progress', progress: { range: 1n, node: '5201', keys: 250n, bytes: 2500n, keysTotal: 1000n, elapsedMs: 10n } } },
  { event: { $case: 'progress', progress: { range: 1n, node: '5201', keys: 750n, bytes: 7500n, keysTotal: 1000n, elapsedMs: 510n } } },
  { event: { $case: 'step', step: { text: 'R1 P0@5200: Active -> Inactive', range: 1n, placement: 0, node: '5200', from: 'Active', to: 'Inactive', elapsedMs: 600n } } },
  { event: { $case: 'done', done: { elapsedMs: 612n, keys: 1000n, bytes: 10_000n, ranges: [1n] } } },
];

type Behaviour = 'reports' | 'knows no reports' | 'refuses' | 'hangs' | 'dies';

function drainItem(range: bigint, to: string, waiting: string): { range: bigint; to: string; waiting: string; requestsPerSecond: number; keys: bigint } {
  return { range, to, waiting, requestsPerSecond: 1, keys: 5n };
}

function statusWith(health: StatusResponse_Health): StatusResponse {
  const item = { health, subject: 'R1 [-inf, m)', waiting: '5200 is gone', forMs: 65_000n, todo: 'start 5200 again', range: 1n, node: '' };
  const items = health === StatusResponse_Health.HEALTHY ? [] : [item];
  return { health, ranges: 2n, rangesUnavailable: BigInt(items.length), nodes: 3n, nodesReachable: 2n, items, itemsLeftOut: 0n, controller: 'leads in term 4' };
}

/** A range of 1,000 keys with three copies, of which each named one is wrong in that many. */
function verified(range: bigint, wrong: Readonly<Record<string, bigint>> = {}, more: Partial<VerifyReport> = {}): VerifyReport {
  const copies = ['5200', '5201', '5202'].map((node) => ({ node, differences: wrong[node] ?? 0n, skipped: '', condemned: wrong[node] !== undefined }));
  const differences = Object.keys(wrong).map((node) => ({ key: Buffer.from([0xff]), node, what: 'lacks it' }));
  return { range, keys: 1_000n, bytes: 10_240n, keysTotal: 1_000n, elapsedMs: 500n, copies, differences, unsettled: 0n, done: true, problem: '', ...more };
}

/** A controller and a store in one process, which behave as they are told. */
class FakeCluster {
  server = new grpc.Server();
  behaviour: Behaviour = 'reports';
  ranges: RangeResponse[] = [RANGE, CHILD];
  readonly ran: RunRequest[] = [];
  readonly orchestrated: object[] = [];
  readonly stored = new Map<string, Buffer>();
  /** Of each write. */
  readonly levels: number[] = [];
  onHang: (() => void) | undefined;
  status = statusWith(StatusResponse_Health.HEALTHY);
  verified: VerifyReport[] = [];

  constructor() {
    const deps = { logger: silentLogger };
    addService(this.server, DebugService, {
      rangesList: async () => ({ ranges: this.ranges }),
      range: async ({ range }) => {
        const found = this.ranges.find(({ meta }) => meta?.ident === range);
        if (found) return found;
        throw new AppError('NOT_FOUND', `there is no range ${range}; ranges are 1 and 2`);
      },
      nodesList: async () => ({ nodes: [NODE] }),
      node: async () => NODE,
    }, deps);
    const orchestrate = async (request: object): Promise<object> => {
      this.orchestrated.push(request);
      return {};
    };
    addService(this.server, OrchestratorService, { move: orchestrate, split: orchestrate, join: orchestrate }, deps);
    addService(this.server, OperationsService, {
      run: async (call) => {
        this.ran.push(call.request);
        if (this.behaviour === 'knows no reports') throw new AppError('UNIMPLEMENTED', 'unknown method Run');
        if (this.behaviour === 'refuses') throw new AppError('ABORTED', 'node 5021 does not exist, did you mean 5201?');
        const some = this.behaviour === 'reports' ? events : events.slice(0, 2);
        for (const event of some) call.write(event);
        if (this.behaviour === 'reports') call.end();
        else this.onHang?.();
      },
      drain: async (call) => {
        call.write({ node: call.request.node, moved: 0n, left: 2n, done: false, remaining: [drainItem(1n, '5201', ''), drainItem(2n, '', 'no node can take it')] });
        if (this.behaviour === 'hangs') {
          this.onHang?.();
          return;
        }
        call.write({ node: call.request.node, moved: 2n, left: 0n, done: true, remaining: [] });
        call.end();
      },
      verify: async (call) => {
        if (this.behaviour === 'hangs') {
          this.onHang?.();
          return;
        }
        call.write({ ...verified(1n), keys: 500n, done: false });
        for (const report of this.verified.filter(({ range }) => call.request.range === 0n || call.request.range === range)) call.write(report);
        call.end();
      },
      undrain: async () => ({ changed: true }),
      cordon: async () => ({ changed: true }),
      uncordon: async () => ({ changed: false }),
      adopt: async ({ node }) => ({ taken: node === '8081' ? 'R1 was taken over' : '' }),
      reset: async ({ range, acceptDataLoss }) => {
        if (!acceptDataLoss) throw new AppError('FAILED_PRECONDITION', `this would give up R${range}; say so with --accept-data-loss`);
        return { lost: `R${range} was reset` };
      },
      status: async () => this.status,
      watch: async (call) => {
        call.write({ wallMs: 1_700_000_000_000n, kind: 'node', text: 'node 5200 is gone: killed', range: 0n, node: '5200' });
        call.end();
      },
    }, deps);
    addService(this.server, KVService, {
      get: async ({ key, stale }) => {
        const value = this.stored.get(key.toString('latin1'));
        if (!value) throw new AppError('NOT_FOUND', 'no such key');
        return { value, epoch: 1n, offset: 2n, stale, atOffset: stale ? 9n : 0n };
      },
      put: async ({ key, value, level }) => {
        this.levels.push(level);
        if (value) this.stored.set(key.toString('latin1'), value);
        else this.stored.delete(key.toString('latin1'));
        return { epoch: 1n, offset: 2n };
      },
      dump: async () => ({ pairs: [] }),
    }, deps);
  }
}

class Captured implements Output {
  readonly chunks: Buffer[] = [];
  constructor(readonly isTTY: boolean) {}

  write(text: string | Uint8Array, written?: () => void): boolean {
    this.chunks.push(Buffer.from(text as string));
    written?.();
    return true;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString('utf8');
  }
}

const cluster = new FakeCluster();
let address = '';

beforeAll(async () => {
  const port = await new Promise<number>((resolve, reject) => {
    cluster.server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  address = `127.0.0.1:${port}`;
});
afterAll(() => {
  cluster.server.forceShutdown();
});
afterEach(() => {
  cluster.behaviour = 'reports';
  cluster.ranges = [RANGE, CHILD];
  cluster.onHang = undefined;
  cluster.ran.length = 0;
  cluster.orchestrated.length = 0;
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
}

interface World {
  readonly tty?: boolean;
  readonly stdin?: string | Buffer;
  readonly env?: NodeJS.ProcessEnv;
  readonly onInterrupt?: Io['onInterrupt'];
}

async function* chunksOf(content: string | Buffer): AsyncGenerator<Uint8Array> {
  yield Buffer.from(content as string);
}

async function run(words: readonly string[], world: World = {}): Promise<Outcome> {
  const stdout = new Captured(world.tty ?? false);
  const stderr = new Captured(world.tty ?? false);
  const io: Io = {
    stdout,
    stderr,
    env: { NO_COLOR: '1', ...world.env },
    clock: systemClock,
    stdin: chunksOf(world.stdin ?? ''),
    readFile: (path) => chunksOf(`contents of ${path}`),
    files: diskFiles,
    onInterrupt: world.onInterrupt ?? (() => () => undefined),
  };
  const code = await runCli(words, io, '1.2.3');
  return { code, out: stdout.text, bytes: Buffer.concat(stdout.chunks), err: stderr.text };
}

describe('a pipe gets JSON', () => {
  it('of nodes, in proto names, with what is not set', async () => {
    const { code, out } = await run(['nodes', '--addr', address]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      nodes: [
        {
          node: { ident: '5200', address: 'localhost:5200', want_drain: false, reachable: true, incarnation: 'ab12', cordoned: false, drain_ordered: false, trouble: '', zone: '' },
          ranges: [
            {
              meta: { ident: '1', start: '', end: 'bQ==' },
              state: 'PS_ACTIVE',
              info: {
                meta: { ident: '1', start: '', end: 'bQ==' },
                state: 'ACTIVE',
                info: { keys: '1234', splits: ['f'], bytes: '2048', reads_per_second: 12.5, writes_per_second: 0, split: 'Zg==' },
                epoch: '3',
                progress: null,
                replica: null,
                last_error: '',
                serving: true,
              },
              primary: true,
              in_sync: true,
            },
          ],
        },
      ],
    });
  });

  it('of ranges and of one range', async () => {
    const all = JSON.parse((await run(['ranges', '--addr', address])).out) as { ranges: unknown[] };
    const one: unknown = JSON.parse((await run(['r', '1', '--addr', address])).out);
    expect(all.ranges[0]).toEqual(one);
    expect(all.ranges[1]).toMatchObject({ state: 'RS_SUBSUMING', parents: ['1'], children: [], placements: [{ range_info: null }] });
  });

  it('also on a terminal with --json, and not with --no-json', async () => {
    expect(JSON.parse((await run(['nodes', '--json', '--addr', address], { tty: true })).out)).toHaveProperty('nodes');
    expect((await run(['nodes', '--no-json', '--addr', address])).out).toMatch(/^NODE +ADDRESS/);
  });
});

describe('a terminal gets tables', () => {
  it('of ranges', async () => {
    const { out } = await run(['ranges', '--addr', address], { tty: true });
    expect(out).toBe(
      [
        'RANGE   KEYS            STATE       PLACEMENTS        COUNT    SIZE   READS/S   WRITES/S   UNAVAILABLE     WAITING FOR',
        'R1      [-inf, m)       Active      P0@5200 Active    1,234   2 KiB        13          0',
        'R2      [m, b64:/w==)   Subsuming   P1@5201 Pending       -       -         -          -   for 1 min 5 s   node 5201 is not reachable',
        '',
      ].join('\n'),
    );
  });

  it('of copies: how many there are, who is primary, who is in sync, and who is how far behind', async () => {
    cluster.ranges = [REPLICATED];
    const { out } = await run(['ranges', '--addr', address], { tty: true });
    expect(out.split('\n')[1]).toMatch(/P0@5200 Active, P1@5201 Inactive, P2@5202 Inactive \(learner\), P3@5203 Missing \(learner\) +2 of 4 in sync, 1 catching up \(1.5 MiB behind\), 1 missing/);
    const one = (await run(['range', '1', '--addr', address], { tty: true })).out;
    expect(one).toMatch(/copies: +2 of 4 in sync, 1 catching up/);
    expect(one).toMatch(/P0@5200 +Active +primary/);
    expect(one).toMatch(/P1@5201 +Inactive +in sync/);
    expect(one).toMatch(/P2@5202 +Inactive +learner +1.5 MiB/);
  });

  it('of one range, one node and all nodes', async () => {
    expect((await run(['range', '1', '--addr', address], { tty: true })).out).toMatch(/range: +R1 \[-inf, m\)\n.*children: +R2\nhalved at: +f\n\nPLACEMENT.*P0@5200 +Active +Active +1,234/s);
    expect((await run(['node', '5200', '--addr', address], { tty: true })).out).toMatch(/node: +5200\naddress: +localhost:5200\nstatus: +up\n.*R1 +\[-inf, m\) +Active +Active/s);
    expect((await run(['nodes', '--addr', address], { tty: true })).out).toMatch(/5200 +localhost:5200 +up +1 +1 +1,234/);
  });
});

describe('verify', () => {
  const verify = (reports: VerifyReport[], words: string[] = [], world: World = { tty: true }): Promise<Outcome> => {
    cluster.verified = reports;
    return run(['verify', ...words, '--addr', address], world);
  };

  it('says what was compared, and how fast', async () => {
    const { code, out } = await verify([verified(1n), verified(2n)]);
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      'R1: 5200, 5201, 5202 are alike: 1,000 keys, 10 KiB, 2,000 keys/s',
      'R2: 5200, 5201, 5202 are alike: 1,000 keys, 10 KiB, 2,000 keys/s',
      '2 ranges compared: all copies are alike',
      '',
    ]);
  });

  it('says which copies are wrong in what, and what is done about it', async () => {
    const { code, out } = await verify([verified(1n, { 5201: 3n }), verified(2n)], ['1']);
    expect(code).toBe(1);
    expect(out.split('\n')).toEqual([
      'R1: 5200, 5202 are alike: 1,000 keys, 10 KiB, 2,000 keys/s',
      'R1: 5201 is wrong in 3 keys of 1,000, and is made anew',
      '  b64:/w==: 5201 lacks it',
      '  … and 2 more',
      '1 of 1 range with a damaged copy; `rangerctl status` shows what is done',
      '',
    ]);
  });

  it('says what could not be compared, and why', async () => {
    const copies = verified(1n).copies.map((copy, i) => ({ ...copy, skipped: i === 2 ? 'it is not in sync' : '' }));
    const { code, out } = await verify([verified(1n, {}, { copies, unsettled: 1n }), verified(2n, {}, { copies: [], keys: 0n, problem: 'it is active nowhere at the moment' })]);
    expect(code).toBe(5);
    expect(out.split('\n')).toEqual([
      'R1: 5200, 5201 are alike: 1,000 keys, 10 KiB, 2,000 keys/s',
      'R1: 5202 was not compared: it is not in sync',
      'R1: 1 key could not be compared, for the writes that came meanwhile',
      'R2 was not compared: it is active nowhere at the moment',
      'nothing was found, but 2 of 2 ranges could not be compared as a whole',
      '',
    ]);
  });

  it('is one document in a pipe, and its reports are lines beside it', async () => {
    const { code, out, err } = await verify([verified(1n, { 5201: 1n })], ['--steps'], {});
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ ranges: [{ range: 1, keys: 1_000, copies: [{}, { node: '5201', differences: 1, condemned: true }, {}], differences: [{ key: 'b64:/w==', node: '5201', what: 'lacks it' }] }] });
    expect(err.trim().split('\n').map((line) => (JSON.parse(line) as { keys: number; done: boolean }).done)).toEqual([false, true]);
    expect(JSON.parse((await run(['verify', 'R7', '--request'])).out)).toEqual({ range: '7' });
  });

  it('ends with Ctrl-C', async () => {
    cluster.behaviour = 'hangs';
    const { code, err } = await run(['verify', '--addr', address], {
      tty: true,
      onInterrupt: (callback) => {
        cluster.onHang = () => setImmediate(callback);
        return () => undefined;
      },
    });
    expect(code).toBe(130);
    expect(err).toMatch(/stopped: what was not compared by now/);
  });
});

describe('what operators say of nodes', () => {
  it('drains one to the end, and tells what leaves and what waits', async () => {
    const { code, out } = await run(['drain', '5200', '--addr', address], { tty: true });
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      'R1 moves to 5201',
      'R2 waits: no node can take it',
      'R1 has left; 0 to go',
      'R2 has left; 0 to go',
      '5200 is drained: 2 moved, nothing is left there',
      '',
    ]);
  });

  it('a drain in a pipe is one document, and its steps are lines beside it', async () => {
    const { code, out, err } = await run(['drain', '5200', '--steps', '--addr', address]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ node: '5200', moved: 2, left: 0, done: true, remaining: [] });
    expect(err.trim().split('\n').map((line) => (JSON.parse(line) as { left: number }).left)).toEqual([2, 0]);
  });

  it('Ctrl-C leaves a drain to itself, and says so', async () => {
    cluster.behaviour = 'hangs';
    const { code, err } = await run(['drain', '5200', '--addr', address], {
      tty: true,
      onInterrupt: (callback) => {
        cluster.onHang = () => setImmediate(callback);
        return () => undefined;
      },
    });
    expect(code).toBe(130);
    expect(err).toMatch(/detached: the drain of 5200 goes on.*`rangerctl undrain 5200` ends it/);
  });

  it.each([
    ['undrain', '5200 is drained no more\n', true],
    ['cordon', '5200 is cordoned: it is given no new ranges\n', true],
    ['uncordon', '5200 was not cordoned\n', false],
  ])('%s', async (command, text, changed) => {
    expect(await run([command, '5200', '--addr', address], { tty: true })).toMatchObject({ code: 0, out: text });
    expect(JSON.parse((await run([command, '5200', '--addr', address])).out)).toEqual({ changed });
  });

  it('shows the requests', async () => {
    expect(JSON.parse((await run(['drain', '5200', '--request'])).out)).toEqual({ node: '5200' });
    expect(JSON.parse((await run(['cordon', '5200', '--request'])).out)).toEqual({ node: '5200' });
    expect(JSON.parse((await run(['range', 'reset', '7', '--accept-data-loss', '--request'])).out)).toEqual({ range: '7', accept_data_loss: true });
  });
});

describe('an adoption', () => {
  it('tells what was taken over, or that it was already', async () => {
    expect(await run(['adopt', '8081', '--addr', address], { tty: true })).toMatchObject({ code: 0, out: 'R1 was taken over\n' });
    expect(JSON.parse((await run(['adopt', '8081', '--addr', address])).out)).toEqual({ taken: 'R1 was taken over' });
    expect(await run(['adopt', '8082', '--addr', address], { tty: true })).toMatchObject({ code: 0, out: 'the keys of 8082 were taken over already\n' });
    expect(JSON.parse((await run(['adopt', '8081', '--request'])).out)).toEqual({ node: '8081' });
    expect((await run(['adopt', '--addr', address])).code).toBe(2);
  });
});

describe('a reset', () => {
  it('is only sent with the words that it takes', async () => {
    const refused = await run(['range', 'reset', '1', '--addr', address], { tty: true });
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('--accept-data-loss')]);
    expect(await run(['range', 'reset', '1', '--accept-data-loss', '--addr', address], { tty: true })).toMatchObject({ code: 0, out: 'R1 was reset\n' });
    expect((await run(['range', 'reset', '--addr', address])).code).toBe(2);
    expect((await run(['range', '1', '--accept-data-loss', '--addr', address])).code).toBe(2);
  });
});

describe('status', () => {
  afterEach(() => {
    cluster.status = statusWith(StatusResponse_Health.HEALTHY);
  });

  it.each([
    [StatusResponse_Health.HEALTHY, 0, 'HEALTHY', /^healthy: all is well\n2 of 3 nodes reachable; 2 ranges; /],
    [StatusResponse_Health.BUSY, 5, 'BUSY', /^busy: /],
    [StatusResponse_Health.DEGRADED, 1, 'DEGRADED', /^degraded: .*1 unavailable.*R1 \[-inf, m\) \(for 1 min 5 s\)\n {2}5200 is gone\n {2}to do: start 5200 again/s],
  ])('%s', async (health, code, name, text) => {
    cluster.status = statusWith(health);
    const shown = await run(['status', '--addr', address], { tty: true, env: { NO_COLOR: '1' } });
    expect(shown.out).toMatch(text);
    expect(shown.code).toBe(code);
    const piped = await run(['status', '--addr', address]);
    expect(piped.code).toBe(code);
    expect(JSON.parse(piped.out)).toMatchObject({ health: name });
  });
});

describe('watch', () => {
  it('writes lines for people, and lines of JSON into a pipe', async () => {
    expect((await run(['watch', '--addr', address], { tty: true })).out).toMatch(/^\d\d:\d\d:\d\d {2}node 5200 is gone: killed\n$/);
    expect(JSON.parse((await run(['watch', '--addr', address])).out)).toEqual({
      at: '2023-11-14T22:13:20.000Z', kind: 'node', text: 'node 5200 is gone: killed', range: 0, node: '5200',
    });
  });
});

describe('a graph', () => {
  it('shows ranges, placements and lineage', async () => {
    const { code, out } = await run(['ranges', '-render', '-addr', address]);
    expect(code).toBe(0);
    expect(out).toContain('R1 -> R2;');
    expect(out).toContain('<b>R2</b> [m, b64:/w==)');
    expect(out).toContain('Subsuming: node 5201 is not reachable');
    expect(out.startsWith('digraph ranges {')).toBe(true);
  });

  it('cannot be drawn of a request', async () => {
    const { code, out, err } = await run(['ranges', '--render', '--request', '--addr', address]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('give one of them');
  });
});

describe('operations', () => {
  it('tell their steps as they happen, and draw the copying', async () => {
    const { code, out, err } = await run(['move', '1', '5201', '--addr', address], { tty: true });
    expect(code).toBe(0);
    expect(out).toBe('move R1 5200 -> 5201\nR1 P0@5200: Active -> Inactive\ndone in 612 ms, 1,000 keys (9.8 KiB) copied; serving now: R1\n');
    expect(err).toContain('75%  750 of 1,000 keys  1,000 keys/s  1 s left');
    expect(cluster.ran).toEqual([{ operation: { $case: 'move', move: { range: 1n, node: '5201', from: '' } } }]);
  });

  it('print the answer as the Go tool does into a pipe, and nothing else', async () => {
    expect(await run(['m', '1', '5201', '--addr', address])).toMatchObject({ code: 0, out: '{}\n', err: '' });
  });

  it('print steps as JSON lines on standard error on demand', async () => {
    const { out, err } = await run(['move', '1', '--steps', '--addr', address]);
    const lines = err.trim().split('\n').map((line) => JSON.parse(line) as { kind: string });
    expect(out).toBe('{}\n');
    expect(lines.map((line) => line.kind)).toEqual(['started', 'progress', 'progress', 'step']);
  });

  it('fall back to the plain call with a controller that reports no steps', async () => {
    cluster.behaviour = 'knows no reports';
    const { code, out } = await run(['split', '1', 'b64:/wA=', '5200', '5202', '--addr', address], { tty: true });
    expect(code).toBe(0);
    expect(out).toMatch(/^done in \d+ ms\n$/);
    expect(cluster.orchestrated).toEqual([{ range: 1n, boundary: Buffer.from([0xff, 0]), nodeLeft: '5200', nodeRight: '5202' }]);
  });

  it('that are refused say why, with status 1', async () => {
    cluster.behaviour = 'refuses';
    const { code, out, err } = await run(['j', '2', '3', '5021', '--addr', address]);
    expect([code, out]).toEqual([1, '']);
    expect(err).toBe('rangerctl: join refused: node 5021 does not exist, did you mean 5201?\n');
  });

  it('go on after a time-out, and say so', async () => {
    cluster.behaviour = 'hangs';
    const { code, err } = await run(['move', '1', '--timeout', '300ms', '--addr', address]);
    expect(code).toBe(4);
    expect(err).toBe('rangerctl: not done within 300ms: the operation goes on; `rangerctl range 1` shows how it goes\n');
  });

  it('go on after Ctrl-C, and say so', async () => {
    cluster.behaviour = 'hangs';
    const { code, err } = await run(['move', '1', '--addr', address], {
      tty: true,
      onInterrupt: (callback) => {
        // The controller has accepted when the first report comes; the answer needs a moment to travel.
        cluster.onHang = () => setTimeout(callback, 200);
        return () => undefined;
      },
    });
    expect(code).toBe(130);
    expect(err).toContain('detached: the operation goes on');
  });
});

describe('--request', () => {
  it('prints what would be sent, and sends nothing', async () => {
    const requests = await Promise.all(
      [['move', '1', '5201'], ['move', 'R1'], ['move', '1', '5201', '5203'], ['transfer', '1', '5202'], ['s', '1', 'm', '5200', '5202'], ['j', '2', '3', '5201'], ['n', '5200'], ['ranges'], ['put', 'a', 'x'], ['del', 'a']].map(
        async (words) => JSON.parse((await run([...words, '--request', '--addr', 'localhost:1'])).out) as unknown,
      ),
    );
    expect(requests).toEqual([
      { range: '1', node: '5201', from: '' },
      { range: '1', node: '', from: '' },
      { range: '1', node: '5203', from: '5201' },
      { range: '1', node: '5202' },
      { range: '1', boundary: 'bQ==', node_left: '5200', node_right: '5202' },
      { range_left: '2', range_right: '3', node: '5201' },
      { node: '5200' },
      {},
      { key: 'YQ==', value: 'eA==' },
      { key: 'YQ==' },
    ]);
    expect(cluster.ran).toEqual([]);
  });
});

describe('values', () => {
  it('go where a flag says, else where RANGERCTL_PROXY says', async () => {
    const nowhere = { env: { RANGERCTL_PROXY: 'localhost:1' } };
    expect((await run(['put', 'k', 'v', '--addr', address], nowhere)).code).toBe(0);
    expect((await run(['get', 'k', '--proxy', address], nowhere)).out).toBe('v');
    expect((await run(['get', 'k'], { env: { RANGERCTL_PROXY: address } })).out).toBe('v');
    expect((await run(['get', 'k'], nowhere)).err).toContain('localhost:1 ');
  });
  it('go in as text, from standard input and from a file, and come out as they are', async () => {
    const binary = Buffer.from([0, 255, 10, 128]);
    await run(['put', 'greeting', 'hello', '--proxy', address]);
    await run(['put', 'b64:/w==', '--proxy', address], { stdin: binary });
    await run(['put', 'dash', '-', '--addr', address], { stdin: 'from stdin' });
    await run(['put', 'file', '@some/path', '--addr', address]);
    await run(['put', 'empty', '', '--addr', address]);
    expect((await run(['get', 'greeting', '--proxy', address])).out).toBe('hello');
    expect((await run(['get', 'b64:/w==', '--proxy', address])).bytes).toEqual(binary);
    expect((await run(['get', 'dash', '--proxy', address])).out).toBe('from stdin');
    expect((await run(['get', 'file', '--proxy', address])).out).toBe('contents of some/path');
    expect(await run(['get', 'empty', '--proxy', address])).toMatchObject({ code: 0, out: '' });
  });

  it('are shown to people as text, or as b64:… when they are none', async () => {
    await run(['put', 'text', 'grüße', '--proxy', address]);
    await run(['put', 'escape', '--proxy', address], { stdin: '\x1b[2J' });
    expect((await run(['get', 'text', '--proxy', address], { tty: true })).out).toBe('grüße\n');
    expect((await run(['get', 'escape', '--proxy', address], { tty: true })).out).toBe('b64:G1sySg==\n');
    expect(JSON.parse((await run(['get', 'text', '--json', '--proxy', address])).out)).toEqual({ value: Buffer.from('grüße').toString('base64'), epoch: '1', offset: '2' });
  });

  it('are written at a level, read from any copy, and say where they are', async () => {
    const at = ['--proxy', address];
    const { levels } = cluster;
    levels.length = 0;
    expect(await run(['put', 'k', 'v', '--verbose', ...at])).toMatchObject({ code: 0, out: '', err: 'epoch 1, offset 2\n' });
    expect(JSON.parse((await run(['put', 'k', 'v', '--level', 'async', '--json', ...at])).out)).toEqual({ epoch: '1', offset: '2' });
    expect((await run(['del', 'other', '--level', 'ASYNC', ...at])).code).toBe(0);
    expect(levels).toEqual([1, 2, 2]);
    expect(await run(['put', 'k', 'v', '--level', 'sure', ...at])).toMatchObject({ code: 2, err: expect.stringContaining('--level is "sure", but must be safe or async') as string });
    expect(await run(['get', 'k', '--stale', '--verbose', ...at])).toMatchObject({ out: 'v', err: 'epoch 1, offset 2; the copy that answered is at offset 9\n' });
    expect(JSON.parse((await run(['get', 'k', '--stale', '--json', ...at])).out)).toMatchObject({ stale: true, at_offset: '9' });
    expect(JSON.parse((await run(['put', 'k', 'v', '--level', 'async', '--request', ...at])).out)).toMatchObject({ level: 'WRITE_LEVEL_ASYNC' });
  });

  it('that are gone are not found, with a status of its own', async () => {
    await run(['put', 'gone', 'x', '--proxy', address]);
    expect((await run(['del', 'gone', '--proxy', address])).code).toBe(0);
    expect(await run(['get', 'gone', '--proxy', address])).toMatchObject({ code: 3, out: '', err: 'rangerctl: key gone is absent\n' });
  });

  it('that are too long are refused before they are sent', async () => {
    const { code, err } = await run(['put', 'long', '--proxy', 'localhost:1'], { stdin: Buffer.alloc(8 * 1024 * 1024 + 1) });
    expect(code).toBe(2);
    expect(err).toContain('8 MiB');
  });
});

describe('what goes wrong is said in one line, with what to do', () => {
  const cases: [string, readonly string[], number, RegExp][] = [
    ['an unknown command', ['mvoe', '1'], 2, /"mvoe" is no command, did you mean move\?/],
    ['an unknown flag', ['nodes', '--frob'], 2, /unknown flag: --frob; see `rangerctl nodes --help`/],
    ['a missing argument', ['move'], 2, /Missing 1 required arg: range/],
    ['an argument too many', ['nodes', 'x'], 2, /Unexpected argument: x/],
    ['a range that is no number', ['range', '1x'], 2, /the range is "1x", but must be the number of a range/],
    ['range 0', ['move', '0'], 2, /the range is "0"/],
    ['a range beyond all numbers', ['move', '9007199254740993'], 2, /must be the number of a range/],
    ['an empty key', ['get', ''], 2, /key is empty/],
    ['a key too long', ['get', 'x'.repeat(1025)], 2, /1024 bytes/],
    ['base64 that is none', ['split', '1', 'b64:!'], 2, /must be base64/],
    ['an empty boundary', ['split', '1', ''], 2, /the boundary: key is empty/],
    ['an address that is none', ['nodes', '--addr', 'what'], 2, /--addr is "what", but must be host:port/],
    ['a time-out that is none', ['nodes', '--timeout', 'soon'], 2, /--timeout is "soon", but must be a duration/],
    ['nobody there', ['nodes', '--addr', '127.0.0.1:1'], 4, /cannot reach the controller at 127\.0\.0\.1:1 \(connection refused\): is it running\? start one with bin\/dev, or give --addr/],
    ['a range joined with itself', ['join', '2', '2'], 2, /cannot be joined with itself/],
  ];
  it.each(cases)('%s', async (_, words, code, message) => {
    const outcome = await run(words);
    expect(outcome).toMatchObject({ code, out: '' });
    expect(outcome.err).toMatch(message);
    expect(outcome.err.trim().split('\n')).toHaveLength(1);
  });

  it('a range that is not there', async () => {
    expect(await run(['range', '9', '--addr', address])).toMatchObject({ code: 3, err: 'rangerctl: there is no range 9; ranges are 1 and 2\n' });
  });
});

describe('help', () => {
  it('is there for everything', async () => {
    const root = await run(['--help']);
    expect(root.out).toContain('Exit status');
    for (const command of ['ranges', 'range', 'nodes', 'node', 'move', 'split', 'join', 'put', 'get', 'del']) {
      expect(root.out).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
      const { code, out } = await run([command, '--help']);
      expect(code).toBe(0);
      expect(out).toContain(`$ rangerctl ${command}`);
      expect(out).toContain('--addr');
    }
    expect((await run(['help', 'move'])).out).toBe((await run(['m', '-help'])).out);
  });

  it('tells the version', async () => {
    expect((await run(['--version'])).out).toMatch(/^rangerctl 1\.2\.3 node-v/);
  });
});
