import type { Discovery, Leadership, Persister } from '../coordination/interfaces.js';
import { type Step, formatStep } from '../model/notation.js';
import type { NodeIdent, RangeId } from '../model/range.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { AppError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import type { Turn } from '../runtime/turn.js';
import { Actuator } from './actuator/actuator.js';
import { type ChangeGroup, Keyspace, firstRange } from './keyspace/keyspace.js';
import { KeyspaceStore } from './keyspace/store.js';
import type { Observer } from './metrics.js';
import { type OperationListener, Operations, type RunningOperation } from './operations.js';
import type { Plan, Refusal } from './orchestrator/request.js';
import { reconcile } from './orchestrator/reconcile.js';
import { DEFAULT_TUNING, type Decision, type Problem, type Tuning, type WantedCommand, type World } from './orchestrator/types.js';
import { RosterKeeper } from './roster/keeper.js';
import type { Roster } from './roster/roster.js';
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
/** Full passes take at most this share of the time. */
const FULL_PASS_SHARE_MAX = 0.1;
const WAITING_REQUESTS_MAX = 1000;

export interface Starter extends OperationListener {
  /** The operation is accepted and on disk; its steps follow. */
  started(operation: RunningOperation): void;
}

interface Request {
  readonly plan: (world: World) => Plan | Refusal;
  readonly starter: Starter | undefined;
  readonly accept: (operation: RunningOperation) => void;
  readonly refuse: (error: AppError) => void;
}

/** What was asked for and accepted in a pass; the operator is told once it is on disk. */
interface Accepted {
  readonly request: Request;
  readonly operation: RunningOperation;
  readonly steps: readonly Step[];
}

/**
 * The shell around the decisions. One loop: whatever happens only wakes it, and a
 * pass reads everything again, decides, persists, and only then sends.
 */
export class Controller {
  private readonly keeper: RosterKeeper;
  private readonly actuator: Actuator;
  private readonly store: KeyspaceStore;
  private readonly operations: Operations;
  private readonly timing: Timing;
  private readonly tuning: Tuning;
  private current = new Keyspace();
  private leadership: Leadership = { leading: false, term: 0, leaderAddress: undefined };
  private readonly dirty = new Set<RangeId>();
  private dirtyAll = false;
  private requests: Request[] = [];
  private scheduled = false;
  private running = false;
  private closed = false;
  private readonly reasons = new Map<RangeId, { readonly because: string; readonly sinceMs: number }>();
  private strays: readonly Problem[] = [];
  private wakeAtMs = Infinity;
  private cancelWake: Cancel | undefined;
  private cancelTick: Cancel | undefined;
  private cancelProgress: Cancel | undefined;
  private nextFullPassMs = 0;
  private lastComplaint = '';

  constructor(private readonly options: ControllerOptions) {
    this.timing = { ...DEFAULT_TIMING, ...options.timing };
    this.tuning = options.tuning ?? DEFAULT_TUNING;
    this.store = new KeyspaceStore(options.persister);
    const { clock, logger, discovery, dial } = options;
    const { pollMs, goneAfterMs, settleMs, commandTimeoutMs, commandsInFlightMax } = this.timing;
    this.keeper = new RosterKeeper({
      clock,
      logger,
      discovery,
      dial,
      pollMs,
      goneAfterMs,
      settleMs,
      changed: (ranges, node) => {
        this.wake(node === undefined ? ranges : [...ranges, ...this.rangesOf(node)]);
      },
      changedAll: () => {
        this.wakeAll();
      },
    });
    this.actuator = new Actuator({
      logger,
      timeoutMs: commandTimeoutMs,
      inFlightMax: commandsInFlightMax,
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
    this.operations = new Operations(clock, (operation, error) => {
      this.ended(operation, error);
    });
  }

  // --- what others see -----------------------------------------------------------

  get keyspace(): Keyspace {
    return this.current;
  }

  get roster(): Roster {
    return this.keeper.roster;
  }

  get leader(): Leadership {
    return this.leadership;
  }

  /** Why a range that should come on does not, and since when. */
  waiting(id: RangeId): { readonly because: string; readonly sinceMs: number } | undefined {
    return this.reasons.get(id);
  }

  /** Copies that nobody asked for and nobody dares to drop. */
  get problems(): readonly Problem[] {
    return this.strays;
  }

  get runningOperations(): number {
    return this.operations.size;
  }

  get commandsInFlight(): number {
    return this.actuator.inFlight;
  }

  get ready(): { readonly ready: boolean; readonly reason?: string } {
    if (this.closed) return { ready: false, reason: 'closing' };
    const broken = this.store.broken;
    return broken ? { ready: false, reason: `the keyspace cannot be read or written: ${broken.message}` } : { ready: true };
  }

  // --- life ------------------------------------------------------------------------

  start(): void {
    this.keeper.start();
    this.tick();
  }

  /** Whether this controller is the one that decides. A follower only reads. */
  lead(leadership: Leadership): void {
    const led = this.leadership.leading;
    this.leadership = leadership;
    if (led === leadership.leading) return;
    this.options.logger.info(leadership.leading ? 'leading' : 'following', { term: leadership.term, leader: leadership.leaderAddress });
    if (!leadership.leading) this.stopDeciding(this.notLeading());
    this.mustReload = true;
    this.wakeAll();
  }

  close(): void {
    this.closed = true;
    this.cancelTick?.();
    this.cancelWake?.();
    this.cancelProgress?.();
    this.stopDeciding(new AppError('UNAVAILABLE', 'this controller is stopping; the operation goes on under the next one'));
    this.keeper.close();
  }

  /** Begins an operation; resolves when it is accepted and persisted. */
  run(plan: (world: World) => Plan | Refusal, starter?: Starter): Promise<RunningOperation> {
    return new Promise((accept, refuse) => {
      if (!this.leadership.leading) refuse(this.notLeading());
      else if (this.requests.length >= WAITING_REQUESTS_MAX) refuse(new AppError('RESOURCE_EXHAUSTED', `${WAITING_REQUESTS_MAX} operations wait to begin`));
      else {
        this.requests.push({ plan, starter, accept, refuse });
        this.schedule();
      }
    });
  }

  private notLeading(): AppError {
    const { leaderAddress } = this.leadership;
    const where = leaderAddress === undefined ? 'no controller leads at the moment; try again in a few seconds' : `the controller at ${leaderAddress} does; ask there`;
    return new AppError('FAILED_PRECONDITION', `this controller does not lead: ${where}`);
  }

  private stopDeciding(why: AppError): void {
    this.actuator.stop();
    for (const request of this.requests.splice(0)) request.refuse(why);
    this.operations.failAll(why);
    this.reasons.clear();
    this.strays = [];
  }

  // --- waking ------------------------------------------------------------------------

  private rangesOf(node: NodeIdent): Iterable<RangeId> {
    // What a node has and what it should have; a range that nothing could take waits for any node.
    const reported = this.keeper.roster.nodes.get(node)?.ranges.keys() ?? [];
    return [...this.current.on(node), ...reported, ...this.reasons.keys()];
  }

  private wake(ranges: Iterable<RangeId>): void {
    for (const id of ranges) this.dirty.add(id);
    this.schedule();
  }

  private wakeAll(): void {
    this.dirtyAll = true;
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || this.running || this.closed) return;
    this.scheduled = true;
    this.options.turn(() => {
      this.scheduled = false;
      void this.runPasses();
    });
  }

  private hasWork(): boolean {
    return !this.closed && (this.dirtyAll || this.dirty.size > 0 || this.requests.length > 0 || this.mustReload);
  }

  private async runPasses(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      while (this.hasWork()) {
        if (!(await this.isLoaded())) break;
        await this.pass();
      }
    } catch (thrown) {
      // A bug. What it left half done in memory is read again from disk.
      this.options.logger.error('a pass of the controller failed', { error: thrown });
      this.mustReload = true;
    } finally {
      this.running = false;
    }
  }

  private tick(): void {
    const { clock } = this.options;
    this.keeper.tick(
      (node) => this.current.on(node).size > 0,
      (copy) => this.isPlaced(copy),
    );
    if (!this.leadership.leading) this.mustReload = true;
    if (clock.now() >= this.nextFullPassMs) this.wakeAll();
    else this.schedule();
    this.cancelTick = clock.after(this.timing.tickMs, () => {
      this.tick();
    });
  }

  private isPlaced(copy: string): boolean {
    const at = copy.indexOf('@');
    const id = Number(copy.slice(0, at));
    const node = copy.slice(at + 1);
    const placed = this.current.get(id)?.placements.some((p) => p.node === node) ?? false;
    return placed || this.keeper.roster.nodes.get(node)?.ranges.has(id) === true;
  }

  private wakeAt(ms: number): void {
    if (ms >= this.wakeAtMs && this.wakeAtMs > this.options.clock.now()) return;
    this.wakeAtMs = ms;
    this.cancelWake?.();
    this.cancelWake = this.options.clock.after(Math.max(0, ms - this.options.clock.now()), () => {
      this.wakeAtMs = Infinity;
      this.wake(this.reasons.keys());
      this.wake([...this.keeper.roster.attempts.keys()].map((copy) => Number(copy.slice(0, copy.indexOf('@')))));
    });
  }

  // --- loading -----------------------------------------------------------------------

  private mustReload = true;

  /** True when the keyspace is what is on disk, and may be changed. */
  private async isLoaded(): Promise<boolean> {
    if (this.store.broken || this.mustReload) {
      try {
        await this.reload();
      } catch (thrown) {
        this.complain(AppError.from(thrown));
        return false;
      }
    }
    return this.leadership.leading;
  }

  private async reload(): Promise<void> {
    this.mustReload = false;
    const { leading } = this.leadership;
    try {
      this.current = await this.store.load();
      if (leading && this.current.size === 0) await this.makeFirstRange();
    } catch (thrown) {
      this.mustReload = true;
      throw thrown;
    }
    if (this.lastComplaint !== '') this.options.logger.info('the keyspace can be read and written again', { ranges: this.current.size });
    this.lastComplaint = '';
    this.dirtyAll = leading;
    if (!leading) this.dirty.clear();
  }

  private async makeFirstRange(): Promise<void> {
    const range = firstRange();
    const changes = [{ id: range.id, record: range }];
    await this.store.write([{ changes, deferrable: false }]);
    this.current.apply(changes);
    this.options.logger.info('made the first range', { range: range.id });
  }

  private complain(error: AppError): void {
    for (const request of this.requests.splice(0)) request.refuse(cannotPersist(error));
    if (error.message === this.lastComplaint) return;
    this.lastComplaint = error.message;
    this.options.logger.error('the keyspace cannot be read or written; nothing is decided until it can', { error });
  }

  // --- a pass ------------------------------------------------------------------------

  private async pass(): Promise<void> {
    const startedMs = this.options.clock.now();
    const groups: ChangeGroup[] = [];
    const accepted = this.acceptRequests(groups);
    const scope = this.takeScope();
    const decision = reconcile(this.world(), scope);
    for (const group of decision.groups) this.current.apply(group.changes);
    groups.push(...decision.groups);
    const decidedMs = this.options.clock.now();
    this.options.observer.passed(decidedMs - startedMs, scope === undefined);
    if (!scope) this.nextFullPassMs = decidedMs + Math.max(this.timing.tickMs / 2, (decidedMs - startedMs) / FULL_PASS_SHARE_MAX);

    if (!(await this.persist(groups, accepted))) return;
    if (!this.leadership.leading || this.closed) return;
    this.tell(decision, accepted, scope);
    this.actuator.want(decision.commands, scope);
    if (decision.wakeAtMs !== undefined) this.wakeAt(decision.wakeAtMs);
  }

  private world(): World {
    return { keyspace: this.current, roster: this.keeper.roster, nowMs: this.options.clock.now(), tuning: this.tuning };
  }

  private takeScope(): ReadonlySet<RangeId> | undefined {
    const all = this.dirtyAll;
    const scope = new Set(this.dirty);
    this.dirty.clear();
    this.dirtyAll = false;
    return all ? undefined : scope;
  }

  private acceptRequests(groups: ChangeGroup[]): Accepted[] {
    const accepted: Accepted[] = [];
    for (const request of this.requests.splice(0)) {
      const plan = request.plan(this.world());
      if (!plan.allowed) {
        request.refuse(new AppError(plan.code, plan.because));
        continue;
      }
      this.current.apply(plan.changes);
      groups.push({ changes: plan.changes, deferrable: false });
      for (const { id } of plan.changes) this.dirty.add(id);
      accepted.push({ request, operation: this.operations.begin(plan), steps: plan.steps });
    }
    return accepted;
  }

  /** Writes what was decided; what was only seen need not be waited for. False when it failed. */
  private async persist(groups: readonly ChangeGroup[], accepted: readonly Accepted[]): Promise<boolean> {
    if (groups.length === 0) return true;
    const writing = this.store.write(groups);
    if (groups.every((g) => g.deferrable)) {
      writing.catch((thrown: unknown) => {
        this.writeFailed(AppError.from(thrown));
      });
      return true;
    }
    try {
      await writing;
      return true;
    } catch (thrown) {
      const error = AppError.from(thrown);
      for (const { request, operation } of accepted) {
        this.operations.fail(operation, cannotPersist(error));
        request.refuse(cannotPersist(error));
      }
      this.writeFailed(error);
      return false;
    }
  }

  /** What is on disk is unknown now, and memory is ahead of it: nothing is sent until it is read again. */
  private writeFailed(error: AppError): void {
    this.mustReload = true;
    this.actuator.stop();
    if (error.code === 'ABORTED') {
      this.options.logger.warn('another controller changed the keyspace; reading it again', { error: messageOf(error) });
      this.operations.failAll(new AppError('UNAVAILABLE', 'another controller took over; the operation may still go on there'));
    } else {
      this.complain(error);
    }
  }

  private tell(decision: Decision, accepted: readonly Accepted[], scope: ReadonlySet<RangeId> | undefined): void {
    const { logger, clock } = this.options;
    for (const { request, operation } of accepted) {
      logger.info('began an operation', { operation: operation.description });
      if (request.starter) operation.listen(request.starter);
      request.starter?.started(operation);
      request.accept(operation);
    }
    const steps = [...accepted.flatMap((a) => a.steps), ...decision.steps];
    for (const step of steps) logger.info('step', { step: formatStep(step) });
    for (const { range, node, untilMs } of decision.avoid) this.keeper.update((roster) => updates.avoided(roster, range, node, untilMs));
    this.noteReasons(decision, scope, clock.now());
    if (accepted.length > 0) this.watchProgress();
    this.operations.passed(steps, decision.ended, this.current, this.keeper.roster);
  }

  private noteReasons(decision: Decision, scope: ReadonlySet<RangeId> | undefined, nowMs: number): void {
    for (const id of scope ?? [...this.reasons.keys()]) if (!decision.waiting.has(id)) this.reasons.delete(id);
    for (const [id, because] of decision.waiting) {
      this.reasons.set(id, { because, sinceMs: this.reasons.get(id)?.sinceMs ?? nowMs });
    }
    if (scope) return;
    for (const problem of decision.problems) {
      if (!this.strays.some((p) => p.because === problem.because)) {
        this.options.logger.warn('a copy that is left alone', { range: problem.range, node: problem.node, because: problem.because });
      }
    }
    this.strays = decision.problems;
  }

  private watchProgress(): void {
    if (this.cancelProgress || this.closed) return;
    this.cancelProgress = this.options.clock.after(PROGRESS_MS, () => {
      this.cancelProgress = undefined;
      if (this.operations.size === 0) return;
      for (const operation of this.operations.all()) {
        operation.noteProgress(this.current, this.keeper.roster);
        for (const node of operation.copyingNodes(this.current)) this.keeper.refresh(node);
      }
      this.watchProgress();
    });
  }

  private ended(operation: RunningOperation, error: AppError | undefined): void {
    const fields = { operation: operation.description, elapsedMs: Math.round(operation.elapsedMs) };
    if (error) this.options.logger.warn('an operation ended without its effect', { ...fields, because: error.message });
    else this.options.logger.info('an operation is done', fields);
    this.options.observer.operationEnded(operation.tracked.kind, error === undefined, operation.elapsedMs);
  }

  // --- commands ------------------------------------------------------------------------

  private answered(command: WantedCommand, answer: CommandAnswer): void {
    const nowMs = this.options.clock.now();
    const { id } = command.range;
    this.options.observer.commandEnded(command.command, 'OK');
    this.keeper.update((roster) => {
      const counted = updates.commandAnswered(roster, sentCommand(command), answer, nowMs);
      return noteAnswer(counted, command, answer, nowMs);
    }, [id]);
  }

  private failed(command: WantedCommand, error: AppError): void {
    const { node, range } = command;
    this.options.observer.commandEnded(command.command, error.code);
    this.options.logger.warn('a command failed', { command: command.command, range: range.id, node, epoch: command.epoch, code: error.code, error: error.message });
    const because = error.code === 'DEADLINE_EXCEEDED' ? `no answer within ${this.timing.commandTimeoutMs} ms` : error.message;
    this.keeper.update((roster) => updates.commandFailed(roster, sentCommand(command), because, this.options.clock.now()), [range.id]);
    // Whether the node itself is in trouble, its next report tells.
    this.keeper.refresh(node);
  }
}

function sentCommand(command: WantedCommand): updates.SentCommand {
  return { command: command.command, range: command.range.id, node: command.node, epoch: command.epoch };
}

/** What the answer says of the range's state. A transitional one may be overtaken by a push already, and says nothing new. */
function noteAnswer(roster: Roster, command: WantedCommand, answer: CommandAnswer, nowMs: number): Roster {
  const known = roster.nodes.get(command.node)?.ranges.get(command.range.id);
  const isFinal = ['Inactive', 'Active', 'NotFound'].includes(answer.state);
  if (!isFinal || known?.state === answer.state) return roster;
  const blank = { load: { keys: 0, bytes: 0, readsPerSecond: 0, writesPerSecond: 0, splits: [] }, progress: undefined, serving: answer.state === 'Active' };
  const info = answer.info ?? { ...blank, ...known, meta: command.range, state: answer.state, epoch: command.epoch, lastError: answer.lastError };
  return updates.rangeReported(roster, command.node, info, nowMs);
}

function cannotPersist(error: AppError): AppError {
  return new AppError(
    'UNAVAILABLE',
    `the controller cannot persist its decisions: ${error.message}; whether the operation began shows in \`rangerctl ranges\``,
  );
}

