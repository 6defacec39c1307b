import type { Change } from '../../coordination/interfaces.js';
import { Keyspace, firstRange, toPersisted, wishesToPersisted, type RecordChange } from '../../controller/keyspace/keyspace.js';
import { standing } from '../../controller/orchestrator/progress.js';
import { reconcile } from '../../controller/orchestrator/reconcile.js';
import type { Adjustment, Plan, Refusal, Tracked } from '../../controller/orchestrator/request.js';
import { DEFAULT_TUNING, type Decision, type Tuning, type WantedCommand, type World } from '../../controller/orchestrator/types.js';
import { EMPTY_ROSTER, type Roster, copyKey } from '../../controller/roster/roster.js';
import * as updates from '../../controller/roster/updates.js';
import type { Interval } from '../../model/interval.js';
import { formatOperation, formatStep } from '../../model/notation.js';
import { type NodeIdent, type RangeId, formatPlacement } from '../../model/range.js';
import { type FakeCopy, FakeNode, type Outcome } from './fake-node.js';
import { LEASE_MS, replicaInfo } from './fake-replica.js';
import { Faults } from './faults.js';
import { Invariants } from './invariants.js';

const TIMEOUT_MS = 1000;
const SLOW_MS = 3000;
const GONE_AFTER_MS = 4000;
const UNHEARD_MS = 1_000;
const SETTLE_MS = 4000;

interface Flight {
  readonly command: WantedCommand;
  readonly sentMs: number;
}

interface Running {
  readonly tracked: Tracked;
  readonly text: string;
}

/**
 * A controller's real core among fake nodes, on a clock of its own. It does what the
 * shell does — decide, persist, send, feed back — one thing at a time, in an order
 * that never changes.
 */
export class Cluster {
  nowMs = 0;
  readonly nodes = new Map<NodeIdent, FakeNode>();
  readonly log: string[] = [];
  private readonly zones = new Map<NodeIdent, string>();
  private readonly faults = new Map<NodeIdent, Faults>();
  private keyspace = new Keyspace();
  private roster: Roster = EMPTY_ROSTER;
  private documents = new Map<string, string>();
  private flights = new Map<string, Flight>();
  private events: { atMs: number; run: () => void }[] = [];
  private delayed: { node: FakeNode; command: WantedCommand }[] = [];
  private running: Running[] = [];
  private waiting: ReadonlyMap<RangeId, string> = new Map();
  private problems: Decision['problems'] = [];
  private readonly invariants = new Invariants();
  private startedMs = -SETTLE_MS;
  /** Passes that changed something, and commands that were brought to their nodes. */
  steps = 0;
  /** The controller restarts after this step too, whatever the scenario says. */
  restartAfter: number | undefined;

  // --- the world ---------------------------------------------------------------------

  /** What the controller was started with. */
  tuning: Tuning = { ...DEFAULT_TUNING, gatherMs: 0 };

  addNode(ident: NodeIdent, zone?: string): FakeNode {
    const node: FakeNode = new FakeNode(ident, (address) => [...this.nodes.values()].find((n) => n.address === address && n.isRunning && !n.cutOff && !node.cutOff), {
      nowMs: () => this.nowMs,
      nodes: () => [...this.nodes.values()],
    });
    this.nodes.set(ident, node);
    if (zone !== undefined) this.zones.set(ident, zone);
    this.faults.set(ident, new Faults());
    return node;
  }

  faultsOf(ident: NodeIdent): Faults {
    const faults = this.faults.get(ident);
    if (!faults) throw new Error(`there is no node ${ident} in this scenario`);
    return faults;
  }

  node(ident: NodeIdent): FakeNode {
    const node = this.nodes.get(ident);
    if (!node) throw new Error(`there is no node ${ident} in this scenario`);
    return node;
  }

  get view(): World {
    return { keyspace: this.keyspace, roster: this.roster, nowMs: this.nowMs, tuning: this.tuning };
  }

  /** What is on disk. */
  get persisted(): ReadonlyMap<string, string> {
    return this.documents;
  }

  get reasons(): ReadonlyMap<RangeId, string> {
    return this.waiting;
  }

  get strays(): Decision['problems'] {
    return this.problems;
  }

  /** Puts records on disk as they are, as if an earlier controller had. */
  preset(changes: readonly RecordChange[]): void {
    this.persist(changes);
  }

  /** A first start: nothing is persisted, so there is one range. */
  begin(): void {
    if (this.documents.size === 0) this.persist([{ id: 1, record: firstRange() }]);
    for (const node of this.nodes.values()) this.discover(node);
    this.roster = updates.settled(this.roster);
  }

  /** Everything but the documents is forgotten; what is on the wire stays on the wire. */
  restartController(): void {
    for (const command of this.unsent.splice(0)) {
      const node = this.nodes.get(command.node);
      if (!node || !this.isFlying(command)) continue;
      this.delayed.push({ node, command });
      this.at(this.nowMs + TIMEOUT_MS / 2, () => {
        this.release(node);
      });
    }
    this.flights.clear();
    this.running = [];
    this.roster = EMPTY_ROSTER;
    this.keyspace = Keyspace.load(this.documents);
    this.startedMs = this.nowMs;
    for (const node of this.nodes.values()) if (node.up && !node.frozen) this.discover(node);
    this.at(this.nowMs + SETTLE_MS, () => {
      if (this.startedMs + SETTLE_MS <= this.nowMs) this.roster = updates.settled(this.roster, this.nowMs);
    });
  }

  kill(ident: NodeIdent): void {
    const node = this.node(ident);
    node.crash();
    this.noteSilence(node);
  }

  /** As a machine does that loses its power: no connection ends, so it is noticed late. */
  killUnheard(ident: NodeIdent): void {
    const node = this.node(ident);
    node.crash();
    this.at(this.nowMs + UNHEARD_MS, () => {
      if (!node.up) this.noteSilence(node);
    });
  }

  private noteSilence(node: FakeNode): void {
    const { ident } = node;
    this.lookWhenLost();
    this.roster = updates.silent(this.roster, ident, 'the connection broke', this.nowMs);
    this.at(this.nowMs + GONE_AFTER_MS, () => {
      if (!node.up) this.roster = updates.undiscovered(updates.lost(this.roster, ident, 'the connection broke', this.nowMs), ident, this.nowMs);
    });
  }

  freeze(ident: NodeIdent): void {
    const node = this.node(ident);
    node.frozen = true;
    this.lookWhenLost();
    this.roster = updates.silent(this.roster, ident, 'it does not answer', this.nowMs);
    this.at(this.nowMs + GONE_AFTER_MS, () => {
      if (node.frozen) this.roster = updates.lost(this.roster, ident, 'it does not answer', this.nowMs);
    });
  }

  comeBack(ident: NodeIdent, emptyDisk: boolean): void {
    const node = this.node(ident);
    if (emptyDisk) node.loseDisk();
    const wasFrozen = node.frozen;
    node.up = true;
    node.frozen = false;
    // What was sent to a frozen process waited in its sockets.
    if (wasFrozen) this.release(node);
    this.discover(node);
  }

  /** The disk of a node that is gone is started under another name. */
  comeBackAs(ident: NodeIdent, as: NodeIdent): void {
    this.addNode(as, this.zones.get(ident)).takeDiskOf(this.node(ident));
    this.comeBack(as, false);
  }

  /** Nothing goes between the node and the others any more, or again; the controller reaches it all the same. */
  cutOff(ident: NodeIdent, isCutOff: boolean): void {
    this.node(ident).cutOff = isCutOff;
    this.lookWhenLost();
  }

  setLag(ident: NodeIdent, lags: boolean): void {
    this.node(ident).lags = lags;
    this.lookWhenLost();
  }

  /** Copies notice after a while that nothing comes any more, and say so. */
  private lookWhenLost(): void {
    for (const ms of [LEASE_MS, this.tuning.followerTimeoutMs + 1]) this.at(this.nowMs + ms, () => undefined);
  }

  /** What goes on between nodes; what they say differently after it, the controller hears. */
  private pump(): void {
    for (const node of this.nodes.values()) node.pump();
    for (const node of this.nodes.values()) {
      const says = JSON.stringify([...node.copies.values()].map((copy) => spoken(node, copy, this.tuning)));
      if (this.said.get(node.ident) === says) continue;
      this.said.set(node.ident, says);
      this.report(node);
    }
  }

  private readonly said = new Map<NodeIdent, string>();

  setDrain(ident: NodeIdent, wantDrain: boolean): void {
    this.node(ident).wantDrain = wantDrain;
    this.report(this.node(ident));
  }

  private discover(node: FakeNode): void {
    const seen = { ident: node.ident, address: node.address, incarnation: node.incarnation, zone: this.zones.get(node.ident) };
    this.roster = updates.discovered(this.roster, seen, this.nowMs);
    this.report(node);
  }

  private report(node: FakeNode): void {
    if (!node.up || node.frozen || !this.roster.nodes.has(node.ident)) return;
    // A range that was forgotten is pushed once more, with the reason; the listing does not have it.
    for (const gone of node.forgotten.splice(0)) this.roster = updates.rangeReported(this.roster, node.ident, gone, this.nowMs);
    const ranges = [...node.copies.values()].map((copy) => node.info(copy));
    const info = { ranges, wantDrain: node.wantDrain, incarnation: node.incarnation };
    this.roster = updates.reported(this.roster, node.ident, info, this.nowMs, this.nowMs);
  }

  // --- operators -----------------------------------------------------------------------

  ask(plan: Plan | Refusal): void {
    if (!plan.allowed) {
      this.log.push(`refused: ${plan.because} (${plan.code})`);
      return;
    }
    this.persist(plan.changes);
    this.log.push(`accepted: ${formatOperation(plan.operation)}`, ...plan.steps.map(formatStep));
    this.running.push({ tracked: plan.tracked, text: formatOperation(plan.operation) });
  }

  /** An order that is done once it is written down. */
  adjust(adjustment: Adjustment | Refusal): boolean {
    if (!adjustment.allowed) {
      this.log.push(`refused: ${adjustment.because} (${adjustment.code})`);
      return false;
    }
    this.persist(adjustment.changes);
    this.keyspace.applyWishes(adjustment.wishes);
    this.write(wishesToPersisted(adjustment.wishes));
    this.log.push(adjustment.description === '' ? 'it is so already' : adjustment.description);
    return true;
  }

  forget(range: Interval): void {
    this.invariants.forget(range);
  }

  /** Tells of a node's load, as its next report does. */
  setLoad(ident: NodeIdent, range: RangeId, requestsPerSecond: number): void {
    this.node(ident).load.set(range, requestsPerSecond);
    this.report(this.node(ident));
  }

  // --- the loop ------------------------------------------------------------------------

  /** Goes on until nothing happens any more, `stop` says so, or the time is up. */
  run(limitMs: number, stop: (line: string) => boolean = () => false): boolean {
    const endMs = this.nowMs + limitMs;
    let read = this.log.length;
    for (;;) {
      while (read < this.log.length) if (stop(this.log[read++] ?? '')) return true;
      const busy = this.pass();
      this.check();
      if (busy || this.deliver()) {
        this.stepped();
        continue;
      }
      const next = this.nextEventMs();
      if (next === undefined) return false;
      if (next > endMs) {
        this.nowMs = endMs;
        return false;
      }
      this.advance(next);
    }
  }

  /** One pass, and one command on its way. */
  step(): void {
    if (this.pass()) this.stepped();
    this.check();
    if (this.deliver()) this.stepped();
    this.check();
  }

  private stepped(): void {
    if (this.steps++ === this.restartAfter) this.restartController();
  }

  /** Time passes although nothing is awaited. */
  wait(ms: number): void {
    const endMs = this.nowMs + ms;
    this.run(ms);
    this.nowMs = Math.max(this.nowMs, endMs);
    this.run(0);
  }

  private wakeAtMs: number | undefined;

  /** One pass of the controller; true when it changed something. */
  private pass(): boolean {
    this.pump();
    // As each tick does; the copies that commands may still be for are kept.
    this.roster = updates.tidied(this.roster, (copy) => this.isKnown(copy), this.nowMs);
    const decision = reconcile(this.view);
    for (const group of decision.groups) this.persist(group.changes);
    this.log.push(...decision.steps.map(formatStep));
    for (const { range, node, untilMs } of decision.avoid) this.roster = updates.avoided(this.roster, range, node, untilMs);
    for (const { text } of decision.notices) this.log.push(text);
    for (const { kind, ranges, because } of decision.ended) this.log.push(`ended: ${kind} ${ranges.map((id) => `R${id}`).join(' ')}: ${because}`);
    this.running = this.running.filter((r) => !decision.ended.some((e) => e.kind === r.tracked.kind && e.ranges.some((id) => involves(r.tracked, id))));
    this.finishOperations();
    this.waiting = decision.waiting;
    this.problems = decision.problems;
    this.wakeAtMs = decision.wakeAtMs;
    this.want(decision.commands);
    const answers = decision.ask.map((ident) => this.node(ident)).filter((node) => node.up && !node.frozen);
    for (const node of answers) this.report(node);
    return decision.groups.length > 0 || answers.length > 0;
  }

  private isKnown(copy: string): boolean {
    const [id = '', node = ''] = copy.split('@');
    return this.keyspace.on(node).has(Number(id)) || this.roster.nodes.get(node)?.ranges.has(Number(id)) === true;
  }

  private finishOperations(): void {
    this.running = this.running.filter(({ tracked, text }) => {
      const now = standing(this.keyspace, this.roster, tracked);
      if (now.state === 'running') return true;
      this.log.push(now.state === 'done' ? `done: ${text}` : `ended: ${text}: ${now.because}`);
      return false;
    });
  }

  private persist(changes: readonly RecordChange[]): void {
    this.keyspace.apply(changes);
    this.write(toPersisted(changes));
  }

  private write(changes: readonly Change[]): void {
    for (const { key, value } of changes) {
      if (value === undefined) this.documents.delete(key);
      else this.documents.set(key, value);
    }
  }

  /** As the actuator: one command a copy, and none that is not wanted any more. */
  private want(commands: readonly WantedCommand[]): void {
    const wanted = new Map(commands.map((c) => [copyKey(c.range.id, c.node), c]));
    for (const [copy, { command }] of this.flights) {
      const still = wanted.get(copy);
      if (still?.command === command.command && still.epoch === command.epoch) continue;
      this.flights.delete(copy);
      this.roster = updates.commandCancelled(this.roster, sent(command));
    }
    for (const [copy, command] of wanted) {
      if (this.flights.has(copy)) continue;
      this.flights.set(copy, { command, sentMs: this.nowMs });
      this.roster = updates.commandSent(this.roster, sent(command));
      this.unsent.push(command);
    }
  }

  private unsent: WantedCommand[] = [];

  /** Brings one command to its node; false when none is on the way. */
  private deliver(): boolean {
    const command = this.unsent.shift();
    if (!command) return false;
    const node = this.nodes.get(command.node);
    if (!node || !this.isFlying(command)) return true;
    this.dispatch(node, command);
    return true;
  }

  private dispatch(node: FakeNode, command: WantedCommand): void {
    const fault = this.faultsOf(node.ident).take(command);
    if (!node.up) {
      this.fail(command, 'the connection is refused');
    } else if (node.frozen || fault === 'delays') {
      this.delayed.push({ node, command });
      this.noAnswer(command, 'delayed');
    } else if (fault === 'loses') {
      this.noAnswer(command, 'lost');
    } else if (fault === 'slows' || fault === 'fails late') {
      this.slow(node, command, fault === 'fails late' ? 'it failed on the way' : undefined);
    } else {
      this.execute(node, command, fault);
    }
  }

  private execute(node: FakeNode, command: WantedCommand, fault: 'refuses' | 'mutes' | 'doubles' | undefined): void {
    const outcome = perform(node, command, fault === 'refuses' ? 'it was told to refuse' : undefined);
    if (fault === 'doubles') {
      this.delayed.push({ node, command });
      this.at(this.nowMs + TIMEOUT_MS / 2, () => {
        this.release(node);
      });
    }
    if (fault === 'mutes') {
      // The node pushes what it did, though its answer is lost: without that, nobody would know until the next poll.
      this.noAnswer(command, 'done, and the answer lost');
      this.at(this.nowMs + TIMEOUT_MS, () => {
        this.report(node);
      });
      return;
    }
    this.report(node);
    if ('error' in outcome) this.fail(command, outcome.error);
    else this.answer(command, outcome.state);
  }

  private slow(node: FakeNode, command: WantedCommand, refusal: string | undefined): void {
    const outcome = node.begin(command);
    if ('error' in outcome) {
      this.fail(command, outcome.error);
      return;
    }
    this.report(node);
    this.answer(command, outcome.state);
    this.at(this.nowMs + SLOW_MS, () => {
      if (!node.up) return;
      const end = node.finish(command, refusal);
      this.tell(command, 'error' in end ? `failed late, ${end.error}` : `${end.state} at last`);
      this.report(node);
    });
  }

  /** A line; one that only repeats the last is counted instead. */
  private say(line: string): void {
    const [, last, times] = /^(.*?)(?: \(×(\d+)\))?$/.exec(this.log.at(-1) ?? '') ?? [];
    if (last !== line) this.log.push(line);
    else this.log[this.log.length - 1] = `${line} (×${Number(times ?? 1) + 1})`;
  }

  /** What was delayed arrives now, too late for anybody to hear the answer. */
  release(node: FakeNode): void {
    const late = this.delayed.filter((d) => d.node === node);
    this.delayed = this.delayed.filter((d) => d.node !== node);
    for (const { command } of late) {
      const outcome = perform(node, command);
      this.tell(command, `arrives late: ${'error' in outcome ? `refused, ${outcome.error}` : outcome.state}`);
    }
    this.report(node);
  }

  private noAnswer(command: WantedCommand, how: string): void {
    this.tell(command, how);
    const flight = this.flights.get(copyKey(command.range.id, command.node));
    this.at(this.nowMs + TIMEOUT_MS, () => {
      if (flight && this.flights.get(copyKey(command.range.id, command.node)) === flight) this.fail(command, 'no answer within 1000 ms', false);
    });
  }

  private answer(command: WantedCommand, state: Exclude<Outcome, { error: string }>['state']): void {
    this.tell(command, state);
    this.flights.delete(copyKey(command.range.id, command.node));
    this.roster = updates.commandAnswered(this.roster, sent(command), { state, lastError: '' }, this.nowMs);
  }

  private fail(command: WantedCommand, because: string, tell = true): void {
    if (tell) this.tell(command, `refused, ${because}`);
    this.flights.delete(copyKey(command.range.id, command.node));
    this.roster = updates.commandFailed(this.roster, sent(command), because, this.nowMs);
  }

  private tell(command: WantedCommand, what: string): void {
    const { range, index, node, epoch } = command;
    const copy = index === undefined ? `the stray R${range.id} on ${node}` : formatPlacement(range.id, index, node);
    this.say(`  ${command.command} ${copy} epoch ${epoch}: ${what}`);
  }

  private isFlying(command: WantedCommand): boolean {
    return this.flights.get(copyKey(command.range.id, command.node))?.command === command;
  }

  // --- time ----------------------------------------------------------------------------

  private at(atMs: number, run: () => void): void {
    this.events.push({ atMs, run });
  }

  private nextEventMs(): number | undefined {
    const times = this.events.map((e) => e.atMs);
    if (this.wakeAtMs !== undefined) times.push(this.wakeAtMs);
    return times.length === 0 ? undefined : Math.max(this.nowMs, Math.min(...times));
  }

  private advance(toMs: number): void {
    this.nowMs = toMs;
    const due = this.events.filter((e) => e.atMs <= toMs);
    this.events = this.events.filter((e) => e.atMs > toMs);
    for (const event of due) event.run();
  }

  check(): void {
    this.invariants.check(this.keyspace, this.nodes.values());
  }

  /** Whether anything is left to do: what is not yet as it should be in the end. */
  unfinished(): string[] {
    const problems: string[] = this.running.map((r) => `${r.text} is still running`);
    for (const range of this.keyspace.sorted()) {
      if (range.state === 'Subsuming') problems.push(`R${range.id} is still Subsuming`);
      const states = range.placements.map((p) => p.state).join(' ');
      const wanted = ['Active', ...range.insync.slice(1).map(() => 'Inactive')].sort().join(' ');
      const sorted = range.placements.map((p) => p.state).sort().join(' ');
      if (range.state === 'Active' && sorted !== wanted) problems.push(`R${range.id} has placements ${states}`);
      if (range.state === 'Obsolete' && states !== '') problems.push(`R${range.id} is Obsolete and has placements ${states}`);
    }
    for (const node of this.nodes.values()) {
      for (const id of node.copies.keys()) {
        if (!this.keyspace.on(node.ident).has(id)) problems.push(`${node.ident} still has R${id}`);
      }
    }
    return problems;
  }
}

/** What a node tells at once, without figures that only grow. */
function spoken(node: FakeNode, copy: FakeCopy, tuning: Tuning): unknown {
  if (copy.replica.configEpoch === 0 && copy.replica.source === '') return copy.meta.id;
  const { followers, lastOffset: _, committedOffset: __, ...rest } = replicaInfo(node, copy);
  return [copy.meta.id, rest, followers.map((f) => [f.member.node, f.inSync, f.silentMs > tuning.followerTimeoutMs])];
}

function perform(node: FakeNode, command: WantedCommand, refusal?: string): Outcome {
  const begun = node.begin(command);
  if ('error' in begun) return begun;
  return node.finish(command, refusal);
}

function sent(command: WantedCommand): updates.SentCommand {
  return { command: command.command, range: command.range.id, node: command.node, epoch: command.epoch };
}

function involves(tracked: Tracked, id: RangeId): boolean {
  return 'range' in tracked ? tracked.range === id : tracked.parents.includes(id);
}
