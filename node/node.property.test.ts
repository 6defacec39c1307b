import { afterEach, describe, expect, it } from 'vitest';
import { containsKey } from '../model/interval.js';
import { type Key, keyFromText } from '../model/key.js';
import type { RangeId, RangeMeta } from '../model/range.js';
import type { Parent } from '../model/report.js';
import type { CommandRequest } from '../rangelet/rangelet.js';
import { AppError } from '../runtime/errors.js';
import { LocalCluster, at, command, get, meta, put } from './testing/local-cluster.js';

/*
 * A small controller, one command after the other, in a cluster of three nodes that
 * die and come back, where commands of long ago arrive again. After each step every
 * key is as a map says, and is served by one copy at most.
 */

const NODES = ['A', 'B', 'C'] as const;
const KEYS = Array.from({ length: 40 }, (_, i) => `k${String(i).padStart(2, '0')}`);
const STEPS = 60;

/** A small generator of which a seed replays all choices. */
function choices(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Held {
  readonly range: RangeMeta;
  readonly node: string;
}

class World {
  readonly cluster = new LocalCluster({ limits: { patience: { fetchMs: 2_000, handOverMs: 100 } } });
  readonly model = new Map<string, string>();
  readonly trace: string[] = [];
  private leaves: Held[] = [];
  private readonly sent: { node: string; request: CommandRequest }[] = [];
  private epoch = 0;
  private lastId: RangeId = 1;
  private writes = 0;

  constructor(private readonly pick: (below: number) => number) {}

  async begin(): Promise<void> {
    for (const ident of NODES) this.cluster.start(ident);
    const range = meta(1);
    this.epoch++;
    await this.order('A', { command: 'Prepare', meta: range, epoch: this.epoch, parents: [], initial: true });
    await this.order('A', { command: 'Activate', id: 1, epoch: this.epoch, force: false, sources: [], initial: true });
    this.leaves = [{ range, node: 'A' }];
  }

  async step(): Promise<void> {
    const leaf = this.one(this.leaves);
    switch (this.pick(9)) {
      case 0:
        return this.move(leaf, this.one(NODES), this.pick(3));
      case 1:
        return this.split(leaf, this.pick(3));
      case 2:
        return this.join(this.pick(3));
      case 3:
        return this.restart(this.one(NODES));
      case 4:
        return this.repeat();
      default:
        for (let i = this.pick(8); i >= 0; i--) await this.write(this.one(KEYS));
    }
  }

  /** Every key is served once, with the value that was acknowledged last. */
  check(): void {
    for (const name of KEYS) {
      const key = keyFromText(name);
      const serving = NODES.filter((ident) => this.cluster.node(ident).copies.servingKey(key));
      expect(serving, `${name} is served once`).toHaveLength(1);
      expect(get(this.cluster.node(serving[0] ?? ''), name), name).toBe(this.model.get(name));
    }
    for (const ident of NODES) {
      const serving = this.cluster.node(ident).copies.all().filter(({ admitting }) => admitting);
      expect(new Set(serving.map(({ meta: range }) => range.start)).size).toBe(serving.length);
    }
  }

  private async write(name: string): Promise<void> {
    const value = this.pick(4) === 0 ? undefined : `v${++this.writes}`;
    const { node } = this.leafOf(keyFromText(name));
    this.trace.push(`${value === undefined ? 'delete' : 'put'} ${name} ${value ?? ''} at ${node}`);
    await put(this.cluster.node(node), name, value);
    if (value === undefined) this.model.delete(name);
    else this.model.set(name, value);
  }

  /** `fate`: 0 goes through, 1 is taken back before, 2 after the destination took over. */
  private async move({ range, node }: Held, to: string, fate: number): Promise<void> {
    if (to === node) return;
    const sources = [at(range, node)];
    await this.hand([{ range, node }], [{ range, node: to }], sources, fate);
  }

  private async split({ range, node }: Held, fate: number): Promise<void> {
    const inside = KEYS.map(keyFromText).filter((key) => containsKey(range, key) && key > range.start);
    if (inside.length === 0) return;
    const boundary = this.one(inside);
    const children = [
      { range: { id: ++this.lastId, start: range.start, end: boundary }, node: this.one(NODES) },
      { range: { id: ++this.lastId, start: boundary, end: range.end }, node: this.one(NODES) },
    ];
    await this.hand([{ range, node }], children, [at(range, node)], fate);
  }

  private async join(fate: number): Promise<void> {
    const sorted = [...this.leaves].sort((a, b) => (a.range.start < b.range.start ? -1 : 1));
    const i = this.pick(sorted.length);
    const [left, right] = [sorted[i], sorted[i + 1]];
    if (!left || !right) return;
    const child = { range: { id: ++this.lastId, start: left.range.start, end: right.range.end }, node: this.one(NODES) };
    await this.hand([left, right], [child], [left, right].map(({ range, node }) => at(range, node)), fate);
  }

  /** Any operation: `from` serve the same keys as `to` will. */
  private async hand(from: readonly Held[], to: readonly Held[], sources: Parent[], fate: number): Promise<void> {
    this.trace.push(`${show(from)} -> ${show(to)} fate ${fate}`);
    const preparing = ++this.epoch;
    for (const { range, node } of to) {
      await this.order(node, { command: 'Prepare', meta: range, epoch: preparing, parents: [at(range), ...sources], initial: false }, 'Inactive');
    }
    await this.write(this.one(KEYS));
    if (this.pick(3) === 0) await this.restart(this.one(NODES));
    await this.write(this.one(KEYS));
    const moving = ++this.epoch;
    for (const { range, node } of from) await this.order(node, { command: 'Deactivate', id: range.id, epoch: moving }, 'Inactive');
    if (this.pick(4) === 0) await this.restart(this.one(NODES));
    if (fate !== 1) {
      // A recall comes when some of them serve, and have taken writes.
      const taken = fate === 0 ? to : to.slice(0, 1 + this.pick(to.length));
      for (const { range, node } of taken) await this.order(node, { command: 'Activate', id: range.id, epoch: moving, force: false, sources, initial: false }, 'Active');
      this.leaves = [...without(this.leaves, from), ...taken];
      for (const name of KEYS) if (this.pick(8) === 0 && taken.some(({ range }) => containsKey(range, keyFromText(name)))) await this.write(name);
    }
    if (fate === 0) await this.dropAll(from, moving);
    else await this.recall(from, to);
  }

  private async recall(from: readonly Held[], to: readonly Held[]): Promise<void> {
    const back = ++this.epoch;
    const sources = to.map(({ range, node }) => at(range, node));
    for (const { range, node } of to) await this.order(node, { command: 'Deactivate', id: range.id, epoch: back }, 'Inactive').catch(ignoreIdle);
    if (this.pick(3) === 0) await this.restart(this.one(NODES));
    for (const { range, node } of from) await this.order(node, { command: 'Activate', id: range.id, epoch: back, force: false, sources, initial: false }, 'Active');
    this.leaves = [...without(without(this.leaves, to), from), ...from];
    await this.dropAll(to, back);
  }

  private async dropAll(copies: readonly Held[], epoch: number): Promise<void> {
    for (const { range, node } of copies) await this.order(node, { command: 'Drop', id: range.id, epoch, force: false }, 'NotFound');
  }

  /** A command that was sent before arrives once more, or at last. */
  private async repeat(): Promise<void> {
    if (this.sent.length === 0) return;
    const { node, request } = this.one(this.sent);
    this.trace.push(`again: ${JSON.stringify(request)} at ${node}`);
    const answer = await command(this.cluster.node(node), request).catch((thrown: unknown) => AppError.from(thrown).message);
    this.trace.push(`  ${typeof answer === 'string' ? answer : answer.state}`);
  }

  private async restart(ident: string): Promise<void> {
    this.trace.push(`restart ${ident}`);
    this.cluster.kill(ident);
    await new Promise((resolve) => setImmediate(resolve));
    this.cluster.start(ident);
  }

  /** Sends a command, and kills a node somewhere in the midst of it. */
  private async killWithin(node: string, request: CommandRequest, victim: string): Promise<void> {
    this.trace.push(`${request.command} R${request.command === 'Prepare' ? request.meta.id : request.id} at ${node} with`);
    void this.cluster.node(node).rangelet.execute(request).catch(() => undefined);
    for (let turns = this.pick(12); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    await this.restart(victim);
  }

  private async order(node: string, request: CommandRequest, wanted?: string): Promise<void> {
    this.sent.push({ node, request });
    if (this.pick(6) === 0) await this.killWithin(node, request, this.one([node, this.one(NODES)]));
    // A command that fails is sent again, as a controller would.
    for (let attempt = 0; ; attempt++) {
      const { state, lastError } = await command(this.cluster.node(node), request);
      if (wanted === undefined || state === wanted) return;
      this.trace.push(`${request.command} at ${node}: ${state} ${lastError}`);
      if (attempt === 5) throw new Error(`${request.command} at ${node} ended ${state}: ${lastError}`);
    }
  }

  private leafOf(key: Key): Held {
    const leaf = this.leaves.find(({ range }) => containsKey(range, key));
    if (!leaf) throw new Error('the leaves cover every key');
    return leaf;
  }

  private one<T>(items: readonly T[]): T {
    return items[this.pick(items.length)] as T;
  }
}

function without(leaves: readonly Held[], parts: readonly Held[]): Held[] {
  return leaves.filter(({ range }) => !parts.some((part) => part.range.id === range.id));
}

function show(held: readonly Held[]): string {
  return held.map(({ range, node }) => `R${range.id}[${range.start},${range.end})@${node}`).join(' ');
}

/** A child that was never active needs no stopping. */
function ignoreIdle(thrown: unknown): void {
  if (AppError.from(thrown).code !== 'INVALID_ARGUMENT') throw thrown;
}

describe('whatever is moved, split, joined, recalled, killed and repeated', () => {
  let world: World | undefined;
  afterEach(() => {
    world?.cluster.killAll();
  });

  it.each(Array.from({ length: Number(process.env['NODE_SEEDS'] ?? 8) }, (_, i) => Number(process.env['NODE_SEED'] ?? 1) + i))(
    'no key is lost, comes back, or has two owners: seed %i',
    async (seed) => {
      world = new World(choices(seed));
      await world.begin();
      try {
        for (let i = 0; i < STEPS; i++) {
          await world.step();
          world.check();
        }
      } catch (thrown) {
        throw new Error(`seed ${seed}: ${AppError.from(thrown).message}\n${world.trace.slice(-40).join('\n')}`, { cause: thrown });
      }
    },
    30_000,
  );
});
