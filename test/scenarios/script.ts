import { newPlacement, newRange } from '../../controller/keyspace/record.js';
import { planAdopt } from '../../controller/orchestrator/adopt.js';
import { drainReport } from '../../controller/orchestrator/drain.js';
import { explain } from '../../controller/orchestrator/progress.js';
import { planJoin, planMove, planSplit, planTransfer } from '../../controller/orchestrator/request.js';
import { planReset } from '../../controller/orchestrator/reset.js';
import { planNodeOrder } from '../../controller/orchestrator/wishes.js';
import { attemptOf } from '../../controller/roster/roster.js';
import { EVERYTHING, subtract } from '../../model/interval.js';
import { keyFromText } from '../../model/key.js';
import { parseRange } from '../../model/notation.js';
import { formatPlacement, formatRange } from '../../model/range.js';
import type { Command } from '../../model/states.js';
import { Cluster } from './cluster.js';
import { newCopy } from './fake-node.js';
import { FAULT_KINDS } from './faults.js';

/*
 * A scenario is text: a heading that says what it shows, then commands, each after
 * `> `, and below each what it made happen. The words:
 *
 *   > nodes 5200 5201            nodes that are there from the start; `5200/a` is in zone a
 *   > replicas 3                 how many copies are wanted; `replicas 3 min 2`
 *   > range R1 [-inf, m) 5200    a range that is active there; without any, the first one is placed
 *   > stranger R7 [-inf, m) 5200 a range that is active there, and that the controller knows nothing of
 *   > static 5200                the primary of all keys without a controller, started again under one; `static 5201 of 5200` is a replica of it
 *   > adopt 5200                 as rangerctl
 *   > move 1 5201                as rangerctl: move, transfer, split, join
 *   > drain 5201                 as rangerctl: drain, undrain, cordon, uncordon, reset ID [--accept-data-loss]
 *   > drain report 5201          what is left there, and what each range waits for
 *   > 5201 serves 40/s of R2     its load, by which drains go
 *   > go                         until nothing happens any more, 30 s at most; `go 2m`
 *   > until LINE                 until a line begins so
 *   > step 3                     three passes, each with one command brought to its node
 *   > wait 10s                   time passes
 *   > 5201 refuses Activate      faults.ts has the kinds; `of R2` and `2 times` limit them
 *   > 5201 heals                 no faults any more
 *   > 5201 dies, freezes, returns, returns empty, drains, undrains
 *   > 5201 dies unheard          with its machine: nobody notices for a second
 *   > 5201 returns as 5209       with its disk under another name
 *   > 5201 hears late            what was delayed on the way to it arrives
 *   > 5201 lags, catches up      its copies fetch nothing from those they follow, or do again
 *   > 5201 is cut off, is joined no other node reaches it, though the controller does; or all do again
 *   > 5201 is damaged            what it has of R1 is not what it should be; `is damaged of R2`
 *   > restart controller
 *   > state                      ranges, placements, and what the nodes say
 */

export interface Block {
  readonly command: string;
  readonly output: readonly string[];
}

export interface Scenario {
  readonly heading: readonly string[];
  readonly blocks: readonly Block[];
}

export function parseScenario(text: string): Scenario {
  const heading: string[] = [];
  const blocks: { command: string; output: string[] }[] = [];
  for (const line of text.replace(/\n+$/, '').split('\n')) {
    const block = blocks.at(-1);
    if (line.startsWith('> ')) blocks.push({ command: line.slice(2).trim(), output: [] });
    else if (!block) heading.push(line);
    else if (line !== '') block.output.push(line);
  }
  return { heading, blocks };
}

export function printScenario(scenario: Scenario): string {
  const heading = scenario.heading.join('\n').replace(/\n+$/, '');
  const blocks = scenario.blocks.map(({ command, output }) => [`> ${command}`, ...output].join('\n'));
  return `${heading}\n\n${blocks.join('\n\n')}\n`;
}

/** Plays a scenario, and gives it back with what really happened; `tell` hears it as it does. */
export function play(scenario: Scenario, tell: (line: string) => void = () => {}): Scenario {
  return playBy(new Player(), scenario, tell);
}

/**
 * Plays it with a controller that restarts after the given step, so that the rest goes
 * its own way: nothing is expected but the invariants. Gives the number of its steps.
 */
export function playRestarting(scenario: Scenario, restartAfter: number, tell: (line: string) => void = () => {}): number {
  const player = new Player(restartAfter);
  playBy(player, scenario, tell);
  return player.steps;
}

function playBy(player: Player, scenario: Scenario, tell: (line: string) => void): Scenario {
  const blocks = scenario.blocks.map(({ command }) => {
    tell(`> ${command}`);
    const output = player.play(command);
    for (const line of output) tell(line);
    return { command, output };
  });
  tell('> (everything heals)');
  player.settle(tell);
  return { heading: scenario.heading, blocks };
}

const GO_MS = 30_000;
/** Of a static primary: the time at which it began. */
const STATIC_EPOCH = 100;

class Player {
  private readonly cluster = new Cluster();
  private begun = false;

  constructor(private readonly restartAfter?: number) {
    this.cluster.restartAfter = restartAfter;
  }

  get steps(): number {
    return this.cluster.steps;
  }

  play(line: string): string[] {
    const before = this.cluster.log.length;
    const [word = '', ...rest] = line.split(' ');
    if (word === 'nodes') for (const name of rest) this.addNode(name);
    else if (word === 'replicas') this.replicas(rest);
    else if (word === 'range') this.range(line.slice(6), 'known');
    else if (word === 'stranger') this.range(line.slice(9), 'stranger');
    else if (word === 'static') this.static(rest[0] ?? '', rest[2]);
    else this.act(word, rest, line);
    if (this.begun) this.cluster.check();
    return this.cluster.log.slice(before);
  }

  private addNode(name: string): void {
    const [ident = '', zone] = name.split('/');
    this.cluster.addNode(ident, zone);
  }

  private replicas([count, , min]: readonly string[]): void {
    this.cluster.tuning = { ...this.cluster.tuning, replicas: Number(count), minInSync: Number(min ?? 1) };
  }

  /** However it went: once everything is healthy, everything ends. */
  settle(tell: (line: string) => void): void {
    const before = this.cluster.log.length;
    for (const ident of this.cluster.nodes.keys()) {
      this.cluster.faultsOf(ident).clear();
      const node = this.cluster.node(ident);
      if (!node.up || node.frozen) this.cluster.comeBack(ident, false);
      this.cluster.release(node);
      node.lags = false;
      this.cluster.cutOff(ident, false);
    }
    this.cluster.wait(300_000);
    const told = this.cluster.log.slice(before);
    for (const line of told) tell(line);
    const left = this.cluster.unfinished();
    // Data that is gone for good, or that this controller never knew, is for an operator to decide about.
    if (left.length > 0 && !this.needsOperator) throw new Error(`invariant 5 is broken: with all nodes healthy for 5 minutes, ${left.join('; ')}`);

  }

  private needsOperator = false;

  private act(word: string, rest: readonly string[], line: string): void {
    if (!this.begun) this.cluster.begin();
    this.begun = true;
    switch (word) {
      case 'move':
      case 'transfer':
      case 'split':
      case 'join':
        this.operate(word, rest);
        return;
      case 'drain':
      case 'undrain':
      case 'cordon':
      case 'uncordon':
        if (rest[0] === 'report') this.tellDrain(rest[1] ?? '');
        else this.cluster.adjust(planNodeOrder(this.cluster.view, word, rest[0] ?? ''));
        return;
      case 'reset':
        this.reset(Number(rest[0]), rest.includes('--accept-data-loss'));
        return;
      case 'adopt':
        if (this.cluster.adjust(planAdopt(this.cluster.view, rest[0] ?? ''))) this.needsOperator = false;
        return;
      case 'go':
        this.cluster.run(rest[0] === undefined ? GO_MS : duration(rest[0]));
        this.tellWaiting();
        return;
      case 'until':
        if (!this.cluster.run(GO_MS, (seen) => seen.trim().startsWith(rest.join(' '))) && this.restartAfter === undefined) throw new Error(`nothing said: ${rest.join(' ')}`);
        return;
      case 'step':
        for (let i = 0; i < Number(rest[0]); i++) this.cluster.step();
        return;
      case 'wait':
        this.cluster.wait(duration(rest[0]));
        return;
      case 'restart':
        this.cluster.restartController();
        return;
      case 'state':
        this.tellState();
        return;
      default:
        this.disturb(word, rest.join(' '), line);
    }
  }

  private reset(range: number, acceptDataLoss: boolean): void {
    const plan = planReset(this.cluster.view, { range, acceptDataLoss });
    if (!this.cluster.adjust(plan) || !plan.allowed) return;
    for (const { record } of plan.changes) if (record?.state === 'Active' && !record.established) this.cluster.forget(record);
  }

  private tellDrain(node: string): void {
    const { left, items } = drainReport(this.cluster.view, node);
    this.cluster.log.push(`${left} left`);
    for (const { range, leaving } of items) {
      this.cluster.log.push(`R${range} ${leaving.kind === 'moving' ? `moves to ${leaving.to}` : leaving.kind === 'waiting' ? `waits: ${leaving.because}` : 'is to leave'}`);
    }
  }

  private operate(kind: 'move' | 'transfer' | 'split' | 'join', words: readonly string[]): void {
    const { view } = this.cluster;
    const [first, second, third, fourth] = words;
    const id = Number(first);
    if (kind === 'move') this.cluster.ask(planMove(view, third === undefined ? { range: id, node: second } : { range: id, from: second, node: third }));
    else if (kind === 'transfer') this.cluster.ask(planTransfer(view, { range: id, node: second ?? '' }));
    else if (kind === 'split') this.cluster.ask(planSplit(view, { range: id, boundary: keyFromText(second ?? ''), left: third, right: fourth }));
    else this.cluster.ask(planJoin(view, { left: id, right: Number(second), node: third }));
  }

  private disturb(ident: string, what: string, line: string): void {
    const [, requests, id] = /^serves (\d+)\/s of R(\d+)$/.exec(what) ?? [];
    if (id !== undefined) {
      this.cluster.setLoad(ident, Number(id), Number(requests));
      return;
    }
    if (what.startsWith('returns as ')) {
      this.cluster.comeBackAs(ident, what.slice('returns as '.length));
      return;
    }
    if (what.startsWith('is damaged')) {
      const copy = this.cluster.node(ident).copies.get(Number(/ of R(\d+)$/.exec(what)?.[1] ?? 1));
      if (copy) copy.replica.damaged = true;
      return;
    }
    const fault = FAULT_KINDS.find((kind) => what.startsWith(`${kind} `));
    if (fault) {
      const [, command, range, times] = /^ (\w+)(?: of R(\d+))?(?: (\d+) times?)?$/.exec(what.slice(fault.length)) ?? [];
      if (command === undefined) throw new Error(`not a fault: ${line}`);
      this.cluster.faultsOf(ident).add({
        kind: fault,
        command: command as Command,
        range: range === undefined ? undefined : Number(range),
        times: times === undefined ? Infinity : Number(times),
      });
      return;
    }
    switch (what) {
      case 'heals':
        this.cluster.faultsOf(ident).clear();
        return;
      case 'dies':
        this.cluster.kill(ident);
        return;
      case 'dies unheard':
        this.cluster.killUnheard(ident);
        return;
      case 'freezes':
        this.cluster.freeze(ident);
        return;
      case 'returns':
        this.cluster.comeBack(ident, false);
        return;
      case 'returns empty':
        this.needsOperator = true;
        this.cluster.comeBack(ident, true);
        return;
      case 'lags':
      case 'catches up':
        this.cluster.setLag(ident, what === 'lags');
        return;
      case 'is cut off':
      case 'is joined':
        this.cluster.cutOff(ident, what === 'is cut off');
        return;
      case 'drains':
      case 'undrains':
        this.cluster.setDrain(ident, what === 'drains');
        return;
      case 'hears late':
        this.cluster.release(this.cluster.node(ident));
        return;
      default:
        throw new Error(`not a command of scenarios: ${line}`);
    }
  }

  /** A range that is active on a node from the start, as an earlier controller left it. */
  private range(text: string, how: 'known' | 'stranger'): void {
    const at = text.lastIndexOf(' ');
    const meta = parseRange(text.slice(0, at));
    if (!meta) throw new Error(`not a range: ${text}`);
    const node = this.cluster.node(text.slice(at + 1));
    node.copies.set(meta.id, newCopy(meta, { state: 'Active', epoch: 1, token: [meta] }));
    if (how === 'stranger') {
      this.needsOperator = true;
      return;
    }
    const placement = newPlacement(0, node.ident, { state: 'Active', incarnation: node.incarnation });
    this.cluster.preset([{ id: meta.id, record: newRange(meta, { established: true, placements: [placement], primary: 0, insync: [0] }) }]);
  }

  /** A node with what it had as a static primary, or as a replica of one. */
  private static(ident: string, primary: string | undefined): void {
    const node = this.cluster.node(ident);
    const copy = newCopy({ id: 1, ...EVERYTHING }, primary === undefined ? { state: 'Active', epoch: STATIC_EPOCH, token: [EVERYTHING] } : { epoch: 1 });
    copy.replica.logEpoch = STATIC_EPOCH;
    if (primary === undefined) Object.assign(copy.replica, { configEpoch: STATIC_EPOCH, minInSync: 0 });
    else copy.replica.source = `host:${primary}`;
    node.isStatic = true;
    node.copies.set(copy.meta.id, copy);
    this.needsOperator = true;
  }

  private tellWaiting(): void {
    for (const range of this.cluster.view.keyspace.sorted()) {
      const because = explain(range, this.cluster.reasons.get(range.id));
      if (because !== '') this.cluster.log.push(`R${range.id}: ${because}`);
    }
    for (const problem of this.cluster.strays) this.cluster.log.push(`problem: ${problem.because}`);
  }

  private tellState(): void {
    const { keyspace, roster } = this.cluster.view;
    for (const range of keyspace.sorted()) {
      const insync = range.insync.length > 1 ? `, in sync ${range.insync.map((i) => `P${i}`).join(' ')}` : '';
      const fork = range.fork > 0 ? `, fork ${range.fork}` : '';
      this.cluster.log.push(`${formatRange(range)} ${range.state} epoch ${range.epoch}${insync}${fork}`);
      for (const p of range.placements) {
        const copy = this.cluster.nodes.get(p.node)?.copies.get(range.id);
        const token = copy && subtract(copy.meta, copy.token).length === 0 ? ', with the token' : '';
        const drops = attemptOf(roster, range.id, p.node)?.failures ?? 0;
        const failures = p.state === 'Dropped' && drops > 0 ? `, ${drops} failures` : '';
        this.cluster.log.push(`  ${formatPlacement(range.id, p.index, p.node)} ${p.state}; the node: ${copy?.state ?? 'NotFound'}${token}${failures}`);
      }
    }
  }
}

function duration(text: string | undefined): number {
  const [, count, unit] = /^(\d+)(ms|s|m)$/.exec(text ?? '') ?? [];
  const factor = { ms: 1, s: 1000, m: 60_000 }[unit ?? ''];
  if (factor === undefined) throw new Error(`not a duration: ${String(text)}`);
  return Number(count) * factor;
}
