import type { Persister } from '../coordination/interfaces.js';
import { type Step, formatStep } from '../model/notation.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { AppError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import type { Turn } from '../runtime/turn.js';
import { Agenda } from './agenda.js';
import { Findings } from './findings.js';
import { type ChangeGroup, Keyspace, firstRange } from './keyspace/keyspace.js';
import { KeyspaceStore } from './keyspace/store.js';
import type { Observer } from './metrics.js';
import type { NewsItem } from './news.js';
import { type OperationListener, Operations, type RunningOperation } from './operations.js';
import { type Scope, reconcile } from './orchestrator/reconcile.js';
import type { Adjustment, Plan, Refusal } from './orchestrator/request.js';
import type { Avoidance, Decision, Tuning, WantedCommand, World } from './orchestrator/types.js';
import type { NodeIdent, RangeId } from '../model/range.js';
import { type Roster, isInformed } from './roster/roster.js';

export interface Starter extends OperationListener {
  /** The operation is accepted and on disk; its steps follow. */
  started(operation: RunningOperation): void;
}

export type Planner = (world: World) => Plan | Refusal;
export type Adjuster = (world: World) => Adjustment | Refusal;

interface Request {
  readonly plan: Planner;
  readonly starter: Starter | undefined;
  readonly accept: (operation: RunningOperation) => void;
  readonly refuse: (error: AppError) => void;
}

/** A change without anything to follow: done once it is on disk. */
interface Order {
  readonly adjust: Adjuster;
  readonly accept: (adjustment: Adjustment) => void;
  readonly refuse: (error: AppError) => void;
}

interface Obeyed {
  readonly order: Order;
  readonly adjustment: Adjustment;
}

/** What was asked for and accepted in a pass; the operator is told once it is on disk. */
interface Accepted {
  readonly request: Request;
  readonly operation: RunningOperation;
  readonly steps: readonly Step[];
}

export interface LoopOptions {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  readonly persister: Persister;
  readonly observer: Observer;
  readonly tuning: Tuning;
  readonly roster: () => Roster;
  /** What is wanted of the ranges looked at, in place of what was. Only called with what is persisted. */
  readonly want: (commands: readonly WantedCommand[], looked: ReadonlySet<RangeId>, decidedOn: Roster) => void;
  /** Nothing is wanted any more. */
  readonly stopSending: () => void;
  readonly avoid: (avoidances: readonly Avoidance[]) => void;
  /** A keyspace was read that another controller may have written, by what it had heard. */
  readonly tookOver: () => void;
  /** Nodes that are to be asked for their report now; what waits for it is looked at again then. */
  readonly ask: (nodes: readonly NodeIdent[]) => void;
  /** For those who follow what happens. */
  readonly news: (item: NewsItem) => void;
  /** A pass looked at these, and its commands are out. */
  readonly looked: (world: World, looked: ReadonlySet<RangeId>) => void;
}

const WAITING_REQUESTS_MAX = 1000;

/**
 * The loop: whatever happens only wakes it; a pass reads everything again, decides,
 * persists, and only then sends. One pass at a time.
 */
export class Loop {
  readonly agenda = new Agenda();
  readonly findings = new Findings();
  readonly operations: Operations;
  private readonly store: KeyspaceStore;
  private current = new Keyspace();
  private leading = false;
  private mustReload = true;
  private requests: Request[] = [];
  private orders: Order[] = [];
  private scheduled = false;
  private running = false;
  private closed = false;
  private wakeAtMs = Infinity;
  private cancelWake: Cancel | undefined;
  private lastComplaint = '';
  private lastReadMs = -Infinity;
  private hasPutOff = false;
  /** It was read by one that led already, and has led since: nobody else changes it. */
  private isOwn = false;

  constructor(private readonly options: LoopOptions) {
    this.store = new KeyspaceStore(options.persister);
    this.operations = new Operations(options.clock, (operation, error) => {
      this.operationOver(operation, error);
    });
  }

  get keyspace(): Keyspace {
    return this.current;
  }

  /** The keyspace has all that was on disk by then. */
  get readAtMs(): number {
    return this.isOwn ? this.options.clock.now() : this.lastReadMs;
  }

  /** Why nothing can be decided now; undefined when it can. */
  get broken(): AppError | undefined {
    return this.store.broken;
  }

  // --- life --------------------------------------------------------------------------

  /** From now on it decides, or only reads; `why` is what those are told who wait. */
  setLeading(leading: boolean, why: AppError): void {
    if (this.leading === leading) return;
    this.leading = leading;
    this.isOwn = false;
    if (!leading) this.stopDeciding(why);
    this.mustReload = true;
    this.schedule();
  }

  close(why: AppError): void {
    this.closed = true;
    this.cancelWake?.();
    this.stopDeciding(why);
  }

  /** Reads the keyspace again, as a follower does to see what the leader decided. */
  refresh(): void {
    this.mustReload = true;
    this.schedule();
  }

  /** Begins an operation; resolves when it is accepted and on disk. */
  run(plan: Planner, starter: Starter | undefined): Promise<RunningOperation> {
    return new Promise((accept, refuse) => {
      if (this.requests.length >= WAITING_REQUESTS_MAX) {
        refuse(new AppError('RESOURCE_EXHAUSTED', `${WAITING_REQUESTS_MAX} operations wait to begin; try again in a moment`));
        return;
      }
      this.requests.push({ plan, starter, accept, refuse });
      this.schedule();
    });
  }

  /** Changes what is wanted; resolves when that is on disk. */
  adjust(adjust: Adjuster): Promise<Adjustment> {
    return new Promise((accept, refuse) => {
      if (this.orders.length >= WAITING_REQUESTS_MAX) {
        refuse(new AppError('RESOURCE_EXHAUSTED', `${WAITING_REQUESTS_MAX} orders wait to be written down; try again in a moment`));
        return;
      }
      this.orders.push({ adjust, accept, refuse });
      this.schedule();
    });
  }

  private stopDeciding(why: AppError): void {
    this.options.stopSending();
    for (const asked of [...this.requests.splice(0), ...this.orders.splice(0)]) asked.refuse(why);
    this.operations.failAll(why);
    this.findings.clear();
    this.agenda.clear();
  }

  // --- waking --------------------------------------------------------------------------

  /** A pass comes soon: in this turn of the event loop, or after the pass that is running. */
  schedule(): void {
    if (this.scheduled || this.running || this.closed) return;
    this.scheduled = true;
    this.options.turn(() => {
      this.scheduled = false;
      void this.runPasses();
    });
  }

  private wakeAt(ms: number): void {
    const nowMs = this.options.clock.now();
    if (ms >= this.wakeAtMs && this.wakeAtMs > nowMs) return;
    this.wakeAtMs = ms;
    this.cancelWake?.();
    this.cancelWake = this.options.clock.after(Math.max(0, ms - nowMs), () => {
      this.wakeAtMs = Infinity;
      this.agenda.add(this.findings.waitingRanges().keys());
      for (const copy of this.options.roster().attempts.keys()) this.agenda.add([Number(copy.slice(0, copy.indexOf('@')))]);
      this.schedule();
    });
  }

  private get hasWork(): boolean {
    if (this.closed) return false;
    return this.mustReload || (this.leading && (!this.agenda.isEmpty || (this.isAsked && this.isInformed)));
  }

  private async runPasses(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      while (this.hasWork) {
        if (!(await this.isLoaded())) break;
        if (this.leading) await this.pass();
      }
    } catch (thrown) {
      // A bug. What it left half done in memory is read again from disk.
      this.options.logger.error('a pass of the controller failed', { error: thrown });
      this.mustReload = true;
    } finally {
      this.running = false;
    }
  }

  // --- loading ---------------------------------------------------------------------------

  /** True when the keyspace is what is on disk. */
  private async isLoaded(): Promise<boolean> {
    if (!this.store.broken && !this.mustReload) return true;
    this.mustReload = false;
    try {
      await this.reload();
      return true;
    } catch (thrown) {
      this.mustReload = true;
      this.complain(AppError.from(thrown));
      return false;
    }
  }

  private async reload(): Promise<void> {
    const { leading } = this;
    const beganMs = this.options.clock.now();
    const loaded = await this.store.load();
    if (this.leading && loaded.size === 0) await this.makeFirstRange(loaded);
    this.current = loaded;
    this.lastReadMs = beganMs;
    const tookOver = !this.isOwn && leading && this.leading;
    this.isOwn = leading && this.leading;
    if (tookOver) this.options.tookOver();
    if (this.lastComplaint !== '') this.options.logger.info('the keyspace can be read and written again', { ranges: loaded.size });
    this.lastComplaint = '';
    if (this.leading) this.agenda.addAll();
  }

  private async makeFirstRange(keyspace: Keyspace): Promise<void> {
    const changes = [{ id: 1, record: firstRange() }];
    await this.store.write([{ changes, deferrable: false }]);
    keyspace.apply(changes);
    this.options.logger.info('made the first range', { range: 1 });
  }

  private complain(error: AppError): void {
    for (const asked of [...this.requests.splice(0), ...this.orders.splice(0)]) asked.refuse(cannotPersist(error));
    if (error.message === this.lastComplaint) return;
    this.lastComplaint = error.message;
    this.options.logger.error('the keyspace cannot be read or written; nothing is decided until it can', { error });
  }

  // --- a pass ------------------------------------------------------------------------------

  private async pass(): Promise<void> {
    const { clock, observer, roster, want, avoid } = this.options;
    const startedMs = clock.now();
    const groups: ChangeGroup[] = [];
    const listens = this.listens();
    const obeyed = listens ? this.obeyOrders(groups) : [];
    const accepted = listens ? this.acceptRequests(groups) : [];
    const scope = this.agenda.take();
    const decidedOn = roster();
    const decision = reconcile(this.world(decidedOn), scope);
    for (const group of decision.groups) this.current.apply(group.changes);
    groups.push(...decision.groups);
    observer.passed(clock.now() - startedMs, scope === undefined);

    // No turn is lost where nothing has to be waited for: that would be in the gap of a handover.
    if (groups.every((group) => group.deferrable)) this.persistLater(groups);
    else if (!(await this.persist(groups, accepted, obeyed))) return;
    // Who lost the lead while writing sends nothing; stopDeciding() told everybody.
    if (!this.leading || this.closed) {
      for (const { request } of accepted) request.refuse(new AppError('UNAVAILABLE', 'this controller stopped leading; the operation goes on under the next one'));
      for (const { order, adjustment } of obeyed) order.accept(adjustment);
      return;
    }
    avoid(decision.avoid);
    this.options.ask(decision.ask);
    want(decision.commands, decision.looked, decidedOn);
    if (decision.wakeAtMs !== undefined) this.wakeAt(decision.wakeAtMs);
    this.agenda.add(decision.again);
    this.tell(decision, accepted, scope);
    for (const { order, adjustment } of obeyed) this.tellObeyed(order, adjustment);
  }

  /**
   * What is asked for is judged by a world that is decided on: who saw that a range serves must not be told that it is
   * still being moved, only because nobody has looked since, as in a leader's first pass. Put off by one pass at most
   * from when the nodes were heard.
   */
  private listens(): boolean {
    const mayListen = this.isAsked && this.isInformed;
    this.hasPutOff = mayListen && !this.hasPutOff && !this.agenda.isEmpty;
    return mayListen && !this.hasPutOff;
  }

  private get isAsked(): boolean {
    return this.requests.length + this.orders.length > 0;
  }

  private get isInformed(): boolean {
    return isInformed(this.options.roster());
  }

  private world(roster: Roster): World {
    return { keyspace: this.current, roster, nowMs: this.options.clock.now(), tuning: this.options.tuning };
  }

  private acceptRequests(groups: ChangeGroup[]): Accepted[] {
    const accepted: Accepted[] = [];
    for (const request of this.requests.splice(0)) {
      const plan = request.plan(this.world(this.options.roster()));
      if (!plan.allowed) {
        request.refuse(new AppError(plan.code, plan.because));
        continue;
      }
      this.current.apply(plan.changes);
      groups.push({ changes: plan.changes, deferrable: false });
      this.agenda.add(plan.changes.map((change) => change.id));
      accepted.push({ request, operation: this.operations.begin(plan), steps: plan.steps });
    }
    return accepted;
  }

  private obeyOrders(groups: ChangeGroup[]): Obeyed[] {
    const obeyed: Obeyed[] = [];
    for (const order of this.orders.splice(0)) {
      const adjustment = order.adjust(this.world(this.options.roster()));
      if (!adjustment.allowed) {
        order.refuse(new AppError(adjustment.code, adjustment.because));
        continue;
      }
      const { changes, wishes } = adjustment;
      this.current.apply(changes);
      this.current.applyWishes(wishes);
      if (changes.length + wishes.length > 0) groups.push({ changes, wishes, deferrable: false });
      this.agenda.add(changes.map((change) => change.id));
      for (const { node } of wishes) this.agenda.addNode(node);
      this.agenda.add(this.current.unplaced);
      obeyed.push({ order, adjustment });
    }
    return obeyed;
  }

  private tellObeyed(order: Order, adjustment: Adjustment): void {
    const { description } = adjustment;
    if (description !== '') {
      this.options.logger.warn('an operator gave an order', { order: description });
      this.options.news({ kind: 'operation', text: description });
    }
    order.accept(adjustment);
  }

  /** Writes what was only seen. */
  private persistLater(groups: readonly ChangeGroup[]): void {
    if (groups.length === 0) return;
    this.store.write(groups).catch((thrown: unknown) => {
      this.writeFailed(AppError.from(thrown));
    });
  }

  /** Writes what was decided. False when it failed. */
  private async persist(groups: readonly ChangeGroup[], accepted: readonly Accepted[], obeyed: readonly Obeyed[]): Promise<boolean> {
    try {
      await this.store.write(groups);
      return true;
    } catch (thrown) {
      const error = AppError.from(thrown);
      for (const { request, operation } of accepted) {
        this.operations.fail(operation, cannotPersist(error));
        request.refuse(cannotPersist(error));
      }
      for (const { order } of obeyed) order.refuse(cannotPersist(error));
      this.writeFailed(error);
      return false;
    }
  }

  /** What is on disk is unknown now, and memory is ahead of it: nothing is sent until it is read again. */
  private writeFailed(error: AppError): void {
    this.mustReload = true;
    this.options.stopSending();
    if (error.code === 'ABORTED') {
      this.isOwn = false;
      this.options.logger.warn('another controller changed the keyspace; reading it again', { error: messageOf(error) });
      this.operations.failAll(new AppError('UNAVAILABLE', 'another controller took over; the operation may still go on there'));
    } else {
      this.complain(error);
    }
    this.schedule();
  }

  private tell(decision: Decision, accepted: readonly Accepted[], scope: Scope | undefined): void {
    const { logger, clock, roster } = this.options;
    for (const { request, operation } of accepted) {
      logger.info('began an operation', { operation: operation.description });
      this.options.news({ kind: 'operation', text: `${operation.description}: began` });
      if (request.starter) operation.listen(request.starter);
      request.starter?.started(operation);
      request.accept(operation);
    }
    const steps = [...accepted.flatMap((a) => a.steps), ...decision.steps];
    for (const step of steps) {
      const text = formatStep(step);
      logger.info('step', { step: text });
      this.options.news({ kind: 'step', text, range: step.range, node: step.placement?.node });
    }
    for (const { range, text } of decision.notices) {
      logger.warn('a range changed by itself', { range, what: text });
      this.options.news({ kind: 'range', text, range });
    }
    for (const { range, node, because } of this.findings.note(decision, scope, clock.now())) {
      logger.warn('a copy is left alone', { range, node, because });
    }
    this.options.looked(this.world(roster()), decision.looked);
    this.operations.passed(steps, decision.ended, this.current, roster());
  }

  private operationOver(operation: RunningOperation, error: AppError | undefined): void {
    const end = error ? error.message : `done in ${Math.round(operation.elapsedMs)} ms`;
    this.options.news({ kind: 'operation', text: error?.message.startsWith(operation.description) === true ? end : `${operation.description}: ${end}` });
    const fields = { operation: operation.description, elapsedMs: Math.round(operation.elapsedMs) };
    if (error) this.options.logger.warn('an operation ended without its effect', { ...fields, because: error.message });
    else this.options.logger.info('an operation is done', fields);
    this.options.observer.operationEnded(operation.tracked.kind, error === undefined, operation.elapsedMs);
  }
}

function cannotPersist(error: AppError): AppError {
  return new AppError(
    'UNAVAILABLE',
    `the controller cannot persist its decisions: ${error.message}; whether the operation began shows in \`rangerctl ranges\``,
  );
}
