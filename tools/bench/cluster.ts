import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient, type OperationEvent, type OperationResult, type Operation, type RangeView } from '../../client/admin.js';
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
}

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;

/** Real processes on free ports, with their data in a directory that goes when they do. */
export class Cluster {
  readonly admin: AdminClient;

  private constructor(
    readonly options: ClusterOptions,
    readonly dir: string,
    readonly controller: Member,
    readonly proxy: Member,
    readonly nodes: readonly Member[],
    private readonly children: readonly ChildProcess[],
  ) {
    this.admin = new AdminClient({ address: controller.address, clock: options.clock });
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), 'keyranger-bench-'));
    const children: ChildProcess[] = [];
    const add = async (program: string, name: string, coordination: string): Promise<Member> => {
      const port = await freePort('localhost');
      const child = launch({ root: options.root, dir, program, name, port, coordination });
      children.push(child);
      return { name, address: `localhost:${port}`, ident: String(port), pid: child.pid ?? 0 };
    };
    const controller = await add('controller', 'controller', 'embedded');
    const coordination = `embedded://${controller.address}`;
    const proxy = await add('proxy', 'proxy', coordination);
    const nodes: Member[] = [];
    for (let i = 0; i < options.nodes; i++) nodes.push(await add('node', `node${i + 1}`, coordination));
    const cluster = new Cluster(options, dir, controller, proxy, nodes, children);
    try {
      await cluster.untilReady();
    } catch (thrown) {
      await cluster.stop();
      throw thrown;
    }
    return cluster;
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

  private async untilReady(): Promise<void> {
    const { clock } = this.options;
    const deadline = clock.now() + READY_MS_MAX;
    for (;;) {
      const problem = await this.notReady().catch(messageOf);
      if (problem === undefined) return;
      if (clock.now() > deadline) throw new Error(`the cluster is not ready after ${READY_MS_MAX} ms: ${problem}`);
      await sleep(clock, 100);
    }
  }

  private async notReady(): Promise<string | undefined> {
    const nodes = await this.admin.nodes({ timeoutMs: 1_000 });
    const there = nodes.filter(({ reachable }) => reachable).length;
    if (there < this.nodes.length) return `${there} of ${this.nodes.length} nodes are there`;
    await this.onlyRange();
    const answer = await fetch(`http://${this.proxy.address}/ready`);
    return answer.ok ? undefined : answer.text();
  }

  async stop(): Promise<void> {
    this.admin.close();
    await Promise.all(this.children.map((child) => stopChild(child, this.options.clock)));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

interface Launch {
  readonly root: string;
  readonly dir: string;
  readonly program: string;
  readonly name: string;
  readonly port: number;
  readonly coordination: string;
}

function launch({ root, dir, program, name, port, coordination }: Launch): ChildProcess {
  const home = join(dir, name);
  mkdirSync(home);
  const log = openSync(join(dir, `${name}.log`), 'a');
  const child = spawn(join(root, 'bin', program), ['--listen', `localhost:${port}`], {
    cwd: home,
    stdio: ['ignore', log, log],
    env: { ...process.env, COORDINATION: coordination, DATA_DIR: join(home, 'data'), LOG_LEVEL: 'warn', KEYRANGER_BUILT: root },
  });
  closeSync(log);
  // That it could not be started shows in the cluster not getting ready.
  child.on('error', () => undefined);
  return child;
}

function stopChild(child: ChildProcess, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
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
