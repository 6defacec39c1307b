import type { Answer } from '../../client/pipe.js';
import type { Router } from '../../client/router.js';
import { Controller } from '../../controller/controller.js';
import { DEFAULT_TUNING } from '../../controller/orchestrator/types.js';
import { silentObserver } from '../../controller/metrics.js';
import { DEFAULT_LIMITS, KvNode } from '../../node/node.js';
import { MirroredOwners } from '../../rangelet/mirrored-owners.js';
import { Mirror } from '../../rangelet/mirror.js';
import type { RangeId } from '../../model/range.js';
import type { Random } from '../../runtime/random.js';
import type { Build } from './build.js';
import { Coordination } from './coordination.js';
import { Disk } from './disk.js';
import { Network } from './network.js';
import { Process } from './process.js';
import { Scheduler } from './scheduler.js';
import { Trace } from './trace.js';
import { type Wires, dataFrom, dialFrom, followFrom, rangesFrom, verifyFrom } from './transports.js';
import type { Weather } from './weather.js';

const NODES: readonly string[] = ['n1', 'n2', 'n3', 'n4'];
/** With copies there is a node to spare, so that one that is lost can be made good. */
const NODES_WITHOUT_REPLICAS = 3;
/** Clocks run apart by less than what leases allow for. */
const CLOCK_ERROR = 0.009;
export const CONTROLLERS: readonly string[] = ['ctl1', 'ctl2'];
export const PROXIES: readonly string[] = ['p1', 'p2'];
/** How long a process takes to be there again. */
/** So short that copies are made anew while nodes are away. */
const NODE_GRACE_MS = 2_000;
const START_MS = { least: 5, most: 1500 };

/** Whole clusters: the real parts, each in a process that may die, on what is simulated around them. */
export class Cluster {
  readonly scheduler = new Scheduler();
  readonly network: Network;
  readonly coordination: Coordination;
  readonly trace: Trace;
  readonly disks = new Map<string, Disk>();
  readonly nodes = new Map<Process, KvNode>();
  readonly routers = new Map<Process, Router>();
  readonly controllers = new Map<Process, Controller>();
  readonly nodeNames: readonly string[];
  private readonly processes = new Map<string, Process>();

  constructor(
    readonly random: Random,
    readonly weather: Weather,
    readonly build: Build,
    keepLines: number,
    readonly replicas = 1,
  ) {
    this.nodeNames = replicas > 1 ? NODES : NODES.slice(0, NODES_WITHOUT_REPLICAS);
    this.trace = new Trace(this.scheduler, keepLines);
    this.network = new Network(this.scheduler, random, weather, this.trace);
    this.coordination = new Coordination(this.scheduler, random, weather);
    for (const ident of this.nodeNames) this.disks.set(ident, new Disk(ident, random, weather));
  }

  startAll(): void {
    for (const ident of this.nodeNames) this.startNode(ident);
    for (const name of PROXIES) this.startProxy(name);
    for (const name of CONTROLLERS) this.startController(name);
  }

  get names(): string[] {
    return [...this.nodeNames, ...PROXIES, ...CONTROLLERS];
  }

  /** The controller that leads, as far as controllers know. */
  get leader(): Controller | undefined {
    let leader: Controller | undefined;
    for (const controller of this.controllers.values()) {
      if (controller.leader.leading && !(leader && leader.leader.term > controller.leader.term)) leader = controller;
    }
    return leader;
  }

  isUp(name: string): boolean {
    return this.processes.get(name)?.alive === true;
  }

  /** The controllers reach the node, and it does what it is told. */
  isWell(name: string): boolean {
    const process = this.processes.get(name);
    return process?.alive === true && !process.stands && CONTROLLERS.every((other) => !this.network.isCut(name, other) && !this.network.isCut(other, name));
  }

  /** Kills a process, which comes back by itself after a while. */
  crash(name: string, backMs = START_MS.least + this.random.next() ** 2 * START_MS.most): void {
    const process = this.processes.get(name);
    if (!process?.alive) return;
    this.trace.note(name, `dies, and is back in ${backMs.toFixed(0)} ms`);
    process.die();
    this.scheduler.after(backMs, () => {
      this.start(name);
    });
  }

  /** The very disk is there, with a whole copy of the range. */
  holds(name: string, incarnation: string | undefined, range: RangeId): boolean {
    const durable = this.disks.get(name)?.durable;
    const record = durable?.copies().find(({ meta }) => meta.id === range);
    if (!durable || !record || durable.incarnation !== incarnation) return false;
    return record.wholeAt === undefined || Math.max(durable.logBounds(range)?.last ?? 0, record.baseOffset) >= record.wholeAt;
  }

  /** The node dies, and its disk with it; another takes its place under the same name. */
  loseDisk(name: string): void {
    this.crash(name);
    this.trace.note(name, 'loses its disk');
    this.disks.get(name)?.lose();
  }

  /** Stops a process for a while, as SIGSTOP does. */
  freeze(name: string, ms: number): void {
    const process = this.processes.get(name);
    if (!process?.alive) return;
    this.trace.note(name, `stands still for ${ms.toFixed(0)} ms`);
    process.freeze(ms);
  }

  thawAll(): void {
    for (const process of this.processes.values()) if (process.alive) process.thaw();
  }

  start(name: string): void {
    if (this.isUp(name)) return;
    if (this.nodeNames.includes(name)) this.startNode(name);
    else if (PROXIES.includes(name)) this.startProxy(name);
    else this.startController(name);
  }

  private born(name: string): Process {
    const rate = this.replicas > 1 ? 1 + (2 * this.random.next() - 1) * CLOCK_ERROR : 1;
    const process = new Process(name, this.scheduler, rate);
    this.processes.set(name, process);
    this.network.up(process);
    this.trace.note(name, 'starts');
    return process;
  }

  private wires(): Wires {
    return {
      network: this.network,
      nodeOf: (process) => this.nodes.get(process),
      toFollower: this.build.toFollower,
      source: this.build.source,
    };
  }

  private startNode(ident: string): void {
    const process = this.born(ident);
    const storage = this.build.storage((this.disks.get(ident) as Disk).open(process));
    const node = new KvNode({
      storage,
      transport: followFrom(process, this.wires()),
      verifyTransport: verifyFrom(process, this.wires()),
      clock: process.clock,
      logger: this.trace.logger(ident),
      ident,
      address: ident,
      yieldTurn: process.yieldTurn,
      onFatal: (error) => {
        this.trace.note(ident, `cannot go on: ${error.message}`);
        this.scheduler.after(0, () => {
          this.crash(ident);
        });
      },
      failpoints: this.build.failpoints(process),
      // So little that followers which come back late meet a log that was trimmed.
      limits: { ...DEFAULT_LIMITS, retention: { keepBytes: 2_000, holdBytesMax: 8_000, keepAgeMs: 0 }, patience: { fetchMs: 3000, handOverMs: 2000 } },
    });
    this.build.node(node);
    this.nodes.set(process, node);
    process.onDeath(() => {
      this.nodes.delete(process);
    });
    node.start();
    void this.coordination.discovery(process).register({ service: 'node', ident, address: ident, meta: { incarnation: storage.incarnation } });
  }

  private startProxy(name: string): void {
    const process = this.born(name);
    const { clock, turn } = process;
    const { random } = this;
    const nodes = this.coordination.discovery(process).watch('node');
    const logger = this.trace.logger(name);
    const mirror = new Mirror({ nodes, connect: rangesFrom(process, this.wires()), clock, random, logger, turn });
    const owners = new MirroredOwners(mirror, nodes);
    const router = this.build.router({ owners, transports: dataFrom(process, this.wires()), clock, logger, turn, random, timeoutMs: 3000 });
    this.routers.set(process, router);
    process.onDeath(() => {
      this.routers.delete(process);
    });
  }

  private startController(name: string): void {
    const process = this.born(name);
    const discovery = this.coordination.discovery(process);
    const controller = new Controller({
      clock: process.clock,
      turn: process.turn,
      logger: this.trace.logger(name),
      persister: this.build.persister(this.coordination.persister(process), process),
      discovery,
      dial: this.build.dial(dialFrom(process, this.wires()), process),
      observer: silentObserver,
      ...(this.replicas > 1 ? { tuning: { ...DEFAULT_TUNING, replicas: this.replicas, minInSync: 1, nodeGraceMs: NODE_GRACE_MS } } : {}),
    });
    this.build.controller(controller);
    this.controllers.set(process, controller);
    process.onDeath(() => {
      this.controllers.delete(process);
    });
    controller.start();
    this.coordination.campaign(process, (leadership) => {
      controller.lead(leadership);
    });
  }

  /** A client's request through a proxy. Rejects when nobody knows what became of it. */
  request(client: Process, proxy: string, key: string, write: { readonly value: string | undefined } | undefined, timeoutMs: number): Promise<Answer> {
    const serve = (at: Process): Promise<Answer> =>
      new Promise((resolve, reject) => {
        const router = this.routers.get(at);
        if (!router) reject(new Error('the proxy is gone'));
        else if (write) router.put(Buffer.from(key), write.value === undefined ? undefined : Buffer.from(write.value), undefined, resolve);
        else router.get(Buffer.from(key), undefined, resolve);
      });
    return this.network.call(client, proxy, serve, { timeoutMs, doubles: false });
  }
}
