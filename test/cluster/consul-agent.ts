import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const START_MS = 20_000;
/** Below the ports that the system gives to outgoing connections, so that a restarted agent finds its own free again. */
const PORTS = { first: 20_000, count: 12_000 };

export interface ConsulAgentOptions {
  /** In memory: a restart forgets everything, in a moment. On disk: as in production. */
  readonly keeps: 'memory' | 'disk';
}

interface Ports {
  readonly http: number;
  readonly server: number;
  readonly serf: number;
}

/** A real Consul agent of one's own, on free ports of this machine, with a directory of its own. */
export class ConsulAgent {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly binary: string,
    private readonly directory: string,
    private readonly ports: Ports,
    private readonly options: ConsulAgentOptions,
  ) {}

  static async start(options: ConsulAgentOptions): Promise<ConsulAgent> {
    const { stdout } = await promisify(execFile)('bin/consul', [], { timeout: 300_000 });
    const directory = await mkdtemp(join(tmpdir(), 'consul-'));
    for (let attempt = 1; ; attempt++) {
      const agent = new ConsulAgent(stdout.trim(), directory, await freePorts(), options);
      try {
        await agent.start();
        return agent;
      } catch (thrown) {
        // Another process may have been quicker at taking one of the ports.
        await agent.kill();
        if (attempt === 3) throw thrown;
      }
    }
  }

  get host(): string {
    return '127.0.0.1';
  }

  get port(): number {
    return this.ports.http;
  }

  /** Starts it again with what it keeps; resolves when it answers and knows itself. */
  async start(): Promise<void> {
    if (this.child) return;
    const log = createWriteStream(this.logFile, { flags: 'a' });
    await once(log, 'open');
    const child = spawn(this.binary, ['agent', ...this.flags()], { stdio: ['ignore', log, log] });
    this.child = child;
    log.end();
    const before = performance.now();
    while (!(await this.ready())) {
      if (child.exitCode !== null || performance.now() - before > START_MS) throw new Error(`Consul does not start:\n${await this.logTail()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** As kill -9 does. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Stands still, with its connections open, until `thaw`. */
  freeze(): void {
    this.child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.child?.kill('SIGCONT');
  }

  /** Ends it and removes its directory. */
  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** One request to its HTTP API, for what a test does behind the backs of others. */
  async request(method: 'GET' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<unknown> {
    const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
    const response = await fetch(`http://${this.host}:${this.port}/v1/${path}`, init);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  private flags(): string[] {
    const { http, server, serf } = this.ports;
    const where = ['-bind=127.0.0.1', '-client=127.0.0.1', '-node=test', `-http-port=${http}`, `-server-port=${server}`, `-serf-lan-port=${serf}`];
    const off = ['-serf-wan-port=-1', '-dns-port=-1', '-grpc-port=-1', '-hcl=disable_update_check = true', '-hcl=leave_on_terminate = false'];
    if (this.options.keeps === 'memory') return [...where, ...off, '-dev'];
    return [...where, ...off, '-server', '-bootstrap-expect=1', `-data-dir=${this.directory}/data`, '-hcl=performance { raft_multiplier = 1 }'];
  }

  /** A leader is known, and the agent is in its own catalogue. */
  private async ready(): Promise<boolean> {
    try {
      const health = (await this.request('GET', 'health/node/test')) as { CheckID: string; Status: string }[];
      return health.some((check) => check.CheckID === 'serfHealth' && check.Status === 'passing');
    } catch {
      return false;
    }
  }

  private get logFile(): string {
    return join(this.directory, 'log');
  }

  private async logTail(): Promise<string> {
    const log = await readFile(this.logFile, 'utf8').catch(() => '');
    return log.split('\n').slice(-20).join('\n');
  }
}

async function freePorts(): Promise<Ports> {
  return { http: await freePort(), server: await freePort(), serf: await freePort() };
}

async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    if ((await tcpFree(port)) && (await udpFree(port))) return port;
  }
}

function tcpFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function udpFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', () => resolve(false));
    socket.bind(port, '127.0.0.1', () => socket.close(() => resolve(true)));
  });
}
