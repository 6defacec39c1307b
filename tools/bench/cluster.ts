import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient, type OperationEvent, type OperationResult, type Operation, type RangeView } from '../../client/admin.js';
import { keyFromText } from '../../model/key.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { messageOf } from '../../runtime/errors.js';
import { freePort } from '../../runtime/ports.js';

export interface Member {
  readonly name: string;
  readonly address: string;
  readonly ident: string;
  readonly pid: number;
}

export interface ClusterOptions {
  /** Of the project, with its bin/. */
  readonly root: string;
  readonly nodes: number;
  readonly clock: Clock;
  /** How many copies of each range; 1 when it is not said. */
  readonly copies?: number;
  /** Of the nodes, besides what they need. */
  readonly nodeEnv?: Readonly<Record<string, string>>;
}

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;
const WHOLE_MS_MAX = 120_000;

/** Those that run, for whoever has to end them in the middle. */
const running = new Set<Cluster>();

export async function stopAllClusters(): Promise<void> {
  await Promise.all([...running].map((cluster) => cluster.stop()));
}

/** Real processes on free ports, with their data in a directory that goes when they do. */
export class Cluster {
  readonly admin: AdminClient;
  private stopping: Promise<void> | undefined;

  private constructor(
    readonly options: ClusterOptions,
    readonly dir: string,
    readonly controller: Member,
    readonly proxy: Member,
    readonly nodes: readonly Member[],
    private readonly children: Map<string, ChildProcess>,
  ) {
    this.admin = new AdminClient({ address: controller.address, clock: options.clock });
    running.add(this);
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), 'keyranger-bench-'));
    const children = new Map<string, ChildProcess>();
    const add = async (program: string, name: string, coordination: string, env: Readonly<Record<string, string>> = {}): Promise<Member> => {
      const port = await freePort('localhost');
      const child = launch({ root: options.root, dir, program, name, port, coordination, env });
      children.set(name, child);
      return { name, address: `localhost:${port}`, ident: String(port), pid: child.pid ?? 0 };
    };
    const controller = await add('controller', 'controller', 'embedded', { REPLICAS: String(options.copies ?? 1) });
    const coordination = `embedded://${controller.address}`;
    const proxy = await add('proxy', 'proxy', coordination);
    const nodes: Member[] = [];
    for (let i = 0; i < options.nodes; i++) nodes.push(await add('node', `node${i + 1}`, coordination, options.nodeEnv));
    const cluster = new Cluster(options, dir, controller, proxy, nodes, children);
    try {
      await cluster.untilReady();
    } catch (thrown) {
      await cluster.stop();
      throw thrown;
    }
    return cluster;
  }

  /** As a power failure does, without a last word. */
  async kill({ name }: Member): Promise<void> {
    const child = this.children.get(name);
    if (!child || hasEnded(child)) return;
    await new Promise<void>((resolve) => {
      child.once('exit', () => {
        resolve();
      });
      child.kill('SIGKILL');
    });
  }

  /** A node that was killed; without its data it is another one at its place. */
  startAgain({ name, ident }: Member, { withoutData = false } = {}): void {
    const { root, nodeEnv: env = {} } = this.options;
    if (withoutData) rmSync(dataDir(this.dir, name), { recursive: true, force: true });
    if (this.stopping) return;
    const coordination = `embedded://${this.controller.address}`;
    this.children.set(name, launch({ root, dir: this.dir, program: 'node', name, port: Number(ident), coordination, env }));
  }

  /** Splits the only range in as many as there are boundaries and one more, and makes each node in turn the primary of one. */
  async spread(boundaries: readonly string[]): Promise<void> {
    for (const boundary of boundaries) {
      const last = (await this.ranges()).at(-1);
      if (!last) throw new Error('no range serves');
      const { ident } = this.ownerOf(last);
      await this.run({ kind: 'split', range: last.meta.id, boundary: keyFromText(boundary), left: ident, right: ident });
      await this.untilWhole();
    }
    for (const [i, range] of (await this.ranges()).entries()) await this.makePrimary(range, this.nodes[i % this.nodes.length] as Member);
    await this.untilWhole();
  }

  async makePrimary(range: RangeView, { ident: node }: Member): Promise<void> {
    if (this.ownerOf(range).ident === node) return;
    // On a busy machine a copy may fall out of sync at any time, and only one in sync takes over.
    await this.untilWhole();
    const kind = range.placements.some((placement) => placement.node === node) ? 'transfer' : 'move';
    await this.run({ kind, range: range.meta.id, node });
  }

  /** Until every range is served and has all its copies, on all nodes. */
  untilWhole(everyMs = 50): Promise<void> {
    return this.until('whole', WHOLE_MS_MAX, everyMs, async () => (await this.notReachable()) ?? this.problem());
  }

  private async notReachable(): Promise<string | undefined> {
    const nodes = await this.admin.nodes({ timeoutMs: 2_000 });
    const there = nodes.filter(({ reachable }) => reachable).length;
    return there < this.nodes.length ? `${there} of ${this.nodes.length} nodes are there` : undefined;
  }

  /** What a range lacks, in words. */
  async problem(): Promise<string | undefined> {
    for (const { meta, state, copies, waiting, placements } of await this.admin.ranges({ timeoutMs: 5_000 })) {
      if (state !== 'Active') return `R${meta.id} is ${state}: ${waiting}`;
      if (!placements.some(({ primary, report }) => primary && report?.state === 'Active')) return `R${meta.id} has no primary: ${waiting}`;
      if (copies && (copies.inSync !== copies.wanted || placements.length !== copies.wanted)) return `R${meta.id} has ${copies.inSync} of ${copies.wanted} copies in sync: ${waiting}`;
    }
    return undefined;
  }

  node(ident: string): Member {
    const node = this.nodes.find((one) => one.ident === ident);
    if (!node) throw new Error(`no node of this benchmark has the ident ${ident}`);
    return node;
  }

  /** Any other than `ident`. */
  otherNode(ident: string): Member {
    const node = this.nodes.find((one) => one.ident !== ident);
    if (!node) throw new Error('a benchmark that moves ranges needs two nodes');
    return node;
  }

  /** The ranges that serve, in key order. */
  async ranges(): Promise<RangeView[]> {
    const all = await this.admin.ranges({ timeoutMs: 5_000 });
    return all.filter(({ state }) => state === 'Active').sort((a, b) => (a.meta.start < b.meta.start ? -1 : 1));
  }

  /** The only range, and the node that serves it. */
  async onlyRange(): Promise<{ readonly range: RangeView; readonly owner: Member }> {
    const [range, ...others] = await this.ranges();
    if (!range || others.length > 0) throw new Error(`expected one range, found ${others.length + (range ? 1 : 0)}`);
    return { range, owner: this.ownerOf(range) };
  }

  ownerOf(range: RangeView): Member {
    const placement = range.placements.find(({ state, report }) => state === 'Active' && report?.state === 'Active');
    if (!placement) throw new Error(`R${range.meta.id} is served by no node`);
    return this.node(placement.node);
  }

  run(operation: Operation, onEvent?: (event: OperationEvent) => void): Promise<OperationResult> {
    return this.admin.run(operation, { timeoutMs: 120_000, onEvent });
  }

  private untilReady(): Promise<void> {
    return this.until('ready', READY_MS_MAX, 100, () => this.notReady());
  }

  private async until(what: string, msMax: number, everyMs: number, problemOf: () => Promise<string | undefined>): Promise<void> {
    const { clock } = this.options;
    const deadline = clock.now() + msMax;
    for (;;) {
      const problem = await problemOf().catch(messageOf);
      if (problem === undefined) return;
      if (clock.now() > deadline) throw new Error(`the cluster is not ${what} after ${msMax} ms: ${problem}`);
      await sleep(clock, everyMs);
    }
  }

  private async notReady(): Promise<string | undefined> {
    const problem = (await this.notReachable()) ?? (await this.problem());
    if (problem !== undefined) return problem;
    await this.onlyRange();
    const answer = await fetch(`http://${this.proxy.address}/ready`);
    return answer.ok ? undefined : answer.text();
  }

  /** Safe to call twice. */
  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  private async end(): Promise<void> {
    this.admin.close();
    await Promise.all([...this.children.values()].map((child) => stopChild(child, this.options.clock)));
    rmSync(this.dir, { recursive: true, force: true });
    running.delete(this);
  }
}

interface Launch {
  readonly root: string;
  readonly dir: string;
  readonly program: string;
  readonly name: string;
  readonly port: number;
  readonly coordination: string;
  readonly env: Readonly<Record<string, string>>;
}

function dataDir(dir: string, name: string): string {
  return join(dir, name, 'data');
}

function launch({ root, dir, program, name, port, coordination, env }: Launch): ChildProcess {
  const home = join(dir, name);
  mkdirSync(home, { recursive: true });
  const log = openSync(join(dir, `${name}.log`), 'a');
  const child = spawn(join(root, 'bin', program), ['--listen', `localhost:${port}`], {
    cwd: home,
    stdio: ['ignore', log, log],
    env: { ...process.env, COORDINATION: coordination, DATA_DIR: dataDir(dir, name), LOG_LEVEL: process.env['LOG_LEVEL'] ?? 'warn', KEYRANGER_BUILT: root, ...env },
  });
  closeSync(log);
  // That it could not be started shows in the cluster not getting ready.
  child.on('error', () => undefined);
  return child;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

function stopChild(child: ChildProcess, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (hasEnded(child)) {
      resolve();
      return;
    }
    const cancel = clock.after(STOP_MS_MAX, () => {
      child.kill('SIGKILL');
    });
    child.once('exit', () => {
      cancel();
      resolve();
    });
    child.kill('SIGTERM');
  });
}
