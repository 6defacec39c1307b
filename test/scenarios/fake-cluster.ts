import { MemoryCoordination, type MemoryProcess } from '../../coordination/memory/memory.js';
import { Controller, type Timing } from '../../controller/controller.js';
import { silentObserver } from '../../controller/metrics.js';
import type { WantedCommand } from '../../controller/orchestrator/types.js';
import { DEFAULT_TUNING } from '../../controller/orchestrator/types.js';
import type { Dial, NodeTransport } from '../../controller/transport/transport.js';
import type { Persister, Registration } from '../../coordination/interfaces.js';
import type { NodeIdent } from '../../model/range.js';
import type { RangesEvent } from '../../model/report.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { ManualClock } from '../cluster/manual-clock.js';
import { FakeNode, type Outcome } from './fake-node.js';

/** The controller's whole shell among fake nodes, in memory and on a clock that tests move. */
export class FakeCluster {
  readonly clock = new ManualClock();
  readonly coordination = new MemoryCoordination({ clock: this.clock });
  readonly nodes = new Map<NodeIdent, FakeNode>();
  /** What was written and sent, in order. */
  readonly trace: string[] = [];
  /** Decides what becomes of a command; the default is that the node obeys. */
  intercept: (command: WantedCommand, obey: () => Outcome) => Outcome | Promise<Outcome> = (_, obey) => obey();
  private readonly readers = new Map<FakeNode, Set<(event: RangesEvent) => void>>();
  private readonly registrations = new Map<NodeIdent, Registration>();
  private readonly network = this.coordination.connect();

  async startNode(ident: NodeIdent): Promise<FakeNode> {
    const node = this.nodes.get(ident) ?? new FakeNode(ident, (address) => this.nodeAt(address));
    node.up = true;
    this.nodes.set(ident, node);
    const meta = { incarnation: node.incarnation };
    this.registrations.set(ident, await this.network.discovery.register({ service: 'node', ident, address: node.address, meta }));
    return node;
  }

  async killNode(ident: NodeIdent): Promise<void> {
    this.nodes.get(ident)?.crash();
    await this.registrations.get(ident)?.deregister();
  }

  startController(timing: Partial<Timing> = {}): { controller: Controller; process: MemoryProcess } {
    const process = this.coordination.connect();
    const controller = new Controller({
      clock: this.clock,
      turn: (callback) => {
        globalThis.process.nextTick(callback);
      },
      logger: silentLogger,
      persister: this.tracing(process.persister),
      discovery: process.discovery,
      dial: this.dial,
      observer: silentObserver,
      tuning: { ...DEFAULT_TUNING, gatherMs: 0 },
      timing,
    });
    controller.start();
    return { controller, process };
  }

  /** A controller that leads, and has placed the first range. */
  async startLeader(...idents: NodeIdent[]): Promise<{ controller: Controller; process: MemoryProcess }> {
    for (const ident of idents) await this.startNode(ident);
    const started = this.startController();
    started.controller.lead({ leading: true, term: 1, leaderAddress: 'host:5000' });
    await this.clock.advance(10);
    return started;
  }

  private nodeAt(address: string): FakeNode | undefined {
    return [...this.nodes.values()].find((node) => node.address === address && node.up);
  }

  private tracing(persister: Persister): Persister {
    return {
      load: () => persister.load(),
      write: async (groups) => {
        await persister.write(groups);
        this.trace.push(`wrote ${groups.map((group) => group.map((change) => change.key).join('+')).join(' ')}`);
      },
      close: () => persister.close(),
    };
  }

  private readonly dial: Dial = (address) => ({
    send: async (command) => this.send(this.reach(address), command),
    info: async () => {
      const node = this.reach(address);
      await Promise.resolve();
      const ranges = [...node.copies.values()].map((copy) => node.info(copy));
      return { ranges, wantDrain: node.wantDrain, incarnation: node.incarnation, ident: node.ident };
    },
    ranges: (listener) => this.follow(address, listener),
    close: () => undefined,
  });

  private reach(address: string): FakeNode {
    const node = this.nodeAt(address);
    if (!node) throw new AppError('UNAVAILABLE', `nothing answers at ${address}`);
    return node;
  }

  private async send(node: FakeNode, command: WantedCommand): ReturnType<NodeTransport['send']> {
    this.trace.push(`sent ${command.command} R${command.range.id}@${command.node} ${command.epoch}`);
    const outcome = await this.intercept(command, () => {
      const begun = node.begin(command);
      return 'error' in begun ? begun : node.finish(command);
    });
    const copy = node.copies.get(command.range.id);
    const info = copy ? node.info(copy) : node.forgotten.pop();
    if (info) {
      const { meta, state, epoch } = info;
      for (const tell of this.readers.get(node) ?? []) tell({ type: 'range', meta, state, epoch, info });
    }
    if ('error' in outcome) throw new AppError('INTERNAL', outcome.error);
    return { state: outcome.state, lastError: '', info: undefined };
  }

  private follow(address: string, listener: Parameters<NodeTransport['ranges']>[0]): () => void {
    const node = this.nodeAt(address);
    if (!node) {
      globalThis.process.nextTick(() => {
        listener.ended(new AppError('UNAVAILABLE', `nothing answers at ${address}`));
      });
      return () => undefined;
    }
    const readers = this.readers.get(node) ?? new Set();
    this.readers.set(node, readers);
    const tell = (event: RangesEvent): void => {
      listener.event(event);
    };
    readers.add(tell);
    return () => readers.delete(tell);
  }
}
