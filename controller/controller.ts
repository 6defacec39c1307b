import type { Discovery, Leadership, Persister } from '../coordination/interfaces.js';
import type { NodeIdent, RangeId } from '../model/range.js';
import { NO_LOAD, type RangeInfo } from '../model/report.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import type { Turn } from '../runtime/turn.js';
import { Actuator } from './actuator/actuator.js';
import type { Reason } from './findings.js';
import type { Keyspace } from './keyspace/keyspace.js';
import { News } from './news.js';
import type { Adjustment } from './orchestrator/request.js';
import { Outages } from './outages.js';
import { type Status, statusOf, troubleOf } from './status.js';
import { type Adjuster, Loop, type Planner, type Starter } from './loop.js';
import type { Observer } from './metrics.js';
import type { RunningOperation } from './operations.js';
import { DEFAULT_TUNING, type Problem, type Tuning, type WantedCommand, type World } from './orchestrator/types.js';
import { RosterKeeper } from './roster/keeper.js';
import { type Roster, type RosterNode, attemptOf } from './roster/roster.js';
import * as updates from './roster/updates.js';
import type { CommandAnswer, Dial } from './transport/transport.js';

export interface ControllerOptions {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  readonly persister: Persister;
  readonly discovery: Discovery;
  readonly dial: Dial;
  readonly observer: Observer;
  /** Whether the lock is held for sure at this moment; `lead` may be told later that it is not. */
  readonly holdsLock?: () => boolean;
  readonly tuning?: Tuning;
  readonly timing?: Partial<Timing>;
}

export interface Timing {
  readonly tickMs: number;
  readonly pollMs: number;
  readonly goneAfterMs: number;
  readonly settleMs: number;
  readonly commandTimeoutMs: number;
  readonly commandsInFlightMax: number;
}

export const DEFAULT_TIMING: Timing = {
  tickMs: 1000,
  pollMs: 1000,
  goneAfterMs: 4000,
  settleMs: 4000,
  commandTimeoutMs: 1000,
  commandsInFlightMax: 256,
};

/** How often the progress of copies is asked for, while somebody waits for it. */
const PROGRESS_MS = 250;

/** A controller: what it wants, what it sees, what it sends, and the loop that joins them. */
export class Controller {
  private readonly keeper: RosterKeeper;
  private readonly actuator: Actuator;
  private readonly loop: Loop;
  private readonly timing: Timing;
  /** What happens, for those who follow it live. */
  readonly news = new News();
  private readonly outages = new Outages();
  private readonly nodeWords = new Map<NodeIdent, string>();
  private leadership: Leadership = { leading: false, term: 0, leaderAddress: undefined };
  private closed = false;
  private cancelTick: Cancel | undefined;
  private cancelProgress: Cancel | undefined;

  constructor(private readonly options: ControllerOptions) {
    this.timing = { ...DEFAULT_TIMING, ...options.timing };
    this.keeper = this.makeKeeper();
    this.actuator = this.makeActuator();
    this.loop = this.makeLoop();
  }

  // --- what others see -----------------------------------------------------------------

  get keyspace(): Keyspace {
    return this.loop.keyspace;
  }

  /** When the keyspace was read last: it has all that any controller had written by then. */
  get keyspaceReadMs(): number {
    return this.loop.readAtMs;
  }

  get roster(): Roster {
    return this.keeper.roster;
  }

  get leader(): Leadership {
    return this.leadership;
  }

  /** Why a range that should come on does not, and since when. */
  waiting(id: RangeId): Reason | undefined {
    return this.loop.findings.waiting(id);
  }

  /** Copies that nobody asked for and nobody dares to drop. */
  get problems(): readonly Problem[] {
    return this.loop.findings.problems;
  }

  /** Since when the range is not available, as far as this controller saw. */
  outageSinceMs(id: RangeId): number | undefined {
    return this.outages.sinceMs(id);
  }

  /** Everything that decisions are made from. */
  get world(): World {
    return { keyspace: this.keyspace, roster: this.roster, nowMs: this.options.clock.now(), tuning: this.options.tuning ?? DEFAULT_TUNING };
  }

  /** Whether all is well, and if not, what waits for what. `leaderless`: why nobody leads, as far as is known here. */
  status(leaderless?: string): Status {
    return statusOf({
      world: this.world,
      waiting: (id) => this.waiting(id),
      outageSinceMs: (id) => this.outages.sinceMs(id),
      problems: this.problems,
      broken: this.loop.broken?.message,
      leaderless,
    });
  }

  get runningOperations(): number {
    return this.loop.operations.size;
  }

  get commandsInFlight(): number {
    return this.actuator.inFlight;
  }

  get ready(): { readonly ready: boolean; readonly reason?: string } {
    if (this.closed) return { ready: false, reason: 'closing' };
    const { broken } = this.loop;
    return broken ? { ready: false, reason: `the keyspace cannot be read or written: ${broken.message}` } : { ready: true };
  }

  // --- life ------------------------------------------------------------------------------

  start(): void {
    this.keeper.start();
    this.tick();
  }

  /** Whether this controller is the one that decides. A follower only reads. */
  lead(leadership: Leadership): void {
    const led = this.leadership.leading;
    this.leadership = leadership;
    if (led === leadership.leading || this.closed) return;
    this.options.logger.info(leadership.leading ? 'leading' : 'following', { term: leadership.term, leader: leadership.leaderAddress });
    this.outages.clear();
    this.news.tell({ kind: 'leader', text: leadership.leading ? `this controller leads, in term ${leadership.term}` : 'this controller leads no more' });
    this.loop.setLeading(leadership.leading, new AppError('UNAVAILABLE', 'this controller leads no more; what it began goes on under the next one'));
  }

  close(): void {
    this.closed = true;
    this.cancelTick?.();
    this.cancelProgress?.();
    this.loop.close(new AppError('UNAVAILABLE', 'this controller is stopping; the operation goes on under the next one'));
    this.keeper.close();
  }

  /** Begins an operation; resolves when it is accepted and persisted. */
  async run(plan: Planner, starter?: Starter): Promise<RunningOperation> {
    if (this.closed) throw new AppError('UNAVAILABLE', 'this controller is stopping');
    if (!this.leadership.leading) throw this.notLeading();
    const operation = await this.loop.run(plan, starter);
    this.watchProgress();
    return operation;
  }

  /** Changes what is wanted, at an operator's order; resolves when that is persisted. */
  async adjust(adjust: Adjuster): Promise<Adjustment> {
    if (this.closed) throw new AppError('UNAVAILABLE', 'this controller is stopping');
    if (!this.leadership.leading) throw this.notLeading();
    return this.loop.adjust(adjust);
  }

  /** The term under which commands may go out now. */
  private heldTerm(): number | undefined {
    const { leading, term } = this.leadership;
    return leading && this.options.holdsLock?.() !== false ? term : undefined;
  }

  private notLeading(): AppError {
    const { leaderAddress } = this.leadership;
    const where =
      leaderAddress === undefined
        ? 'no controller leads at the moment; try again in a few seconds'
        : `the controller at ${leaderAddress} does; ask there`;
    return new AppError('FAILED_PRECONDITION', `this controller does not lead: ${where}`);
  }

  private tick(): void {
    const { keyspace } = this;
    this.keeper.tick(
      (node) => keyspace.on(node).size > 0,
      (copy) => this.isKnown(copy),
    );
    if (this.leadership.leading) {
      this.loop.agenda.sweep(keyspace, this.keeper.roster);
      this.loop.schedule();
    } else {
      this.loop.refresh();
    }
    this.cancelTick = this.options.clock.after(this.timing.tickMs, () => {
      this.tick();
    });
  }

  /** Whether there may still be commands for the copy. */
  private isKnown(copy: string): boolean {
    const at = copy.indexOf('@');
    const id = Number(copy.slice(0, at));
    const node = copy.slice(at + 1);
    return this.keyspace.on(node).has(id) || this.keeper.roster.nodes.get(node)?.ranges.has(id) === true;
  }

  /** While somebody waits for copies, their nodes are asked more often. */
  private watchProgress(): void {
    if (this.cancelProgress || this.closed || this.loop.operations.size === 0) return;
    this.cancelProgress = this.options.clock.after(PROGRESS_MS, () => {
      this.cancelProgress = undefined;
      for (const operation of this.loop.operations.all()) {
        operation.noteProgress(this.keyspace, this.keeper.roster);
        for (const node of operation.copyingNodes(this.keyspace)) this.keeper.refresh(node);
      }
      this.watchProgress();
    });
  }

  // --- the parts -----------------------------------------------------------------------

  private makeKeeper(): RosterKeeper {
    const { clock, logger, discovery, dial } = this.options;
    const { pollMs, goneAfterMs, settleMs } = this.timing;
    return new RosterKeeper({
      clock,
      logger,
      discovery,
      dial,
      pollMs,
      goneAfterMs,
      settleMs,
      followerTimeoutMs: (this.options.tuning ?? DEFAULT_TUNING).followerTimeoutMs,
      rangesChanged: (node, ranges) => {
        this.loop.agenda.add(ranges);
        this.loop.agenda.addNode(node);
        this.loop.schedule();
      },
      nodeChanged: (node) => {
        this.tellNode(node);
        this.loop.agenda.add(this.keyspace.on(node));
        this.loop.agenda.add(this.keyspace.unplaced);
        this.loop.agenda.addNode(node);
        this.loop.schedule();
      },
      allChanged: () => {
        this.loop.agenda.addAll();
        this.loop.schedule();
      },
    });
  }

  private makeActuator(): Actuator {
    const { commandTimeoutMs, commandsInFlightMax } = this.timing;
    return new Actuator({
      logger: this.options.logger,
      timeoutMs: commandTimeoutMs,
      inFlightMax: commandsInFlightMax,
      term: () => this.heldTerm(),
      transportOf: (node) => this.keeper.transportOf(node),
      sent: (command) => {
        this.keeper.update((roster) => updates.commandSent(roster, sentCommand(command)));
      },
      answered: (command, answer) => {
        this.answered(command, answer);
      },
      failed: (command, error) => {
        this.failed(command, error);
      },
      cancelled: (command) => {
        this.keeper.update((roster) => updates.commandCancelled(roster, sentCommand(command)));
      },
    });
  }

  private makeLoop(): Loop {
    const { clock, turn, logger, persister, observer, tuning } = this.options;
    return new Loop({
      clock,
      turn,
      logger,
      persister,
      observer,
      tuning: tuning ?? DEFAULT_TUNING,
      roster: () => this.keeper.roster,
      want: (commands, looked, decidedOn) => {
        // What was answered while the decision was written has woken the next pass; sending it again would undo that.
        const { roster } = this.keeper;
        const current = commands.filter(({ range, node }) => attemptOf(roster, range.id, node) === attemptOf(decidedOn, range.id, node));
        this.actuator.want(current, looked);
      },
      stopSending: () => {
        this.actuator.stop();
      },
      avoid: (avoidances) => {
        for (const { range, node, untilMs } of avoidances) {
          this.keeper.update((roster) => updates.avoided(roster, range, node, untilMs));
        }
      },
      tookOver: () => {
        this.keeper.askAll();
      },
      ask: (nodes) => {
        for (const node of nodes) this.keeper.ask(node);
      },
      news: (item) => {
        this.news.tell(item);
      },
      looked: (world, looked) => {
        for (const item of this.outages.note(world, looked, (id) => this.waiting(id)?.because)) {
          this.options.logger.warn('the keys of a range', { range: item.range, what: item.text });
          this.news.tell(item);
        }
      },
    });
  }

  private tellNode(ident: NodeIdent): void {
    const node = this.roster.nodes.get(ident);
    const words = node ? wordsFor(node) : 'is forgotten';
    if (this.nodeWords.get(ident) === words) return;
    if (node) this.nodeWords.set(ident, words);
    else this.nodeWords.delete(ident);
    this.news.tell({ kind: 'node', node: ident, text: `node ${ident} ${words}` });
  }

  // --- commands ----------------------------------------------------------------------------

  private answered(command: WantedCommand, answer: CommandAnswer): void {
    const nowMs = this.options.clock.now();
    this.options.observer.commandEnded(command.command, 'OK');
    this.keeper.update((roster) => {
      const counted = updates.commandAnswered(roster, sentCommand(command), answer, nowMs);
      return noteAnswer(counted, command, answer, nowMs);
    });
    this.wake(command);
  }

  private failed(command: WantedCommand, error: AppError): void {
    const { node, range } = command;
    const { clock, logger, observer } = this.options;
    observer.commandEnded(command.command, error.code);
    const fields = { command: command.command, range: range.id, node, epoch: command.epoch };
    logger.warn('a command failed', { ...fields, code: error.code, error: error.message });
    const because = error.code === 'DEADLINE_EXCEEDED' ? `no answer within ${this.timing.commandTimeoutMs} ms` : error.message;
    this.keeper.update((roster) => updates.commandFailed(roster, sentCommand(command), because, clock.now()));
    // Whether the node itself is in trouble, its next report tells.
    this.keeper.refresh(node);
    this.wake(command);
  }

  private wake({ node, range }: WantedCommand): void {
    this.loop.agenda.add([range.id]);
    this.loop.agenda.addNode(node);
    this.loop.schedule();
  }
}

function wordsFor(node: RosterNode): string {
  const trouble = troubleOf(node);
  if (trouble !== undefined) return trouble;
  return node.wantDrain ? 'is there, and asks to be drained' : 'is there';
}

function sentCommand(command: WantedCommand): updates.SentCommand {
  return { command: command.command, range: command.range.id, node: command.node, epoch: command.epoch };
}

/** What the answer says of the range's state. A transitional one may be overtaken by a push already, and says nothing new. */
function noteAnswer(roster: Roster, command: WantedCommand, answer: CommandAnswer, nowMs: number): Roster {
  const known = roster.nodes.get(command.node)?.ranges.get(command.range.id);
  const isFinal = ['Inactive', 'Active', 'NotFound'].includes(answer.state);
  if (!isFinal || (known?.state ?? 'NotFound') === answer.state) return roster;
  const { state, lastError } = answer;
  const blank: RangeInfo = { meta: command.range, state, load: NO_LOAD, epoch: 0, progress: undefined, lastError, serving: false };
  return updates.rangeReported(roster, command.node, answer.info ?? { ...blank, ...known, state, lastError }, nowMs);
}
