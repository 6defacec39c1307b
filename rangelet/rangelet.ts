import type * as grpc from '@grpc/grpc-js';
import { type Observable, Subject } from 'rxjs';
import { type RangeId, type RangeMeta, formatRange } from '../model/range.js';
import { type Membership, NO_MEMBERSHIP, type Parent, type RangeInfo } from '../model/report.js';
import type { Command, RemoteState } from '../model/states.js';
import { AppError, assert, messageOf } from '../runtime/errors.js';
import { Latch } from './latch.js';
import { type CommandInput, type RangeRecord, type Verdict, restoredRecord, stateOf, step } from './machine.js';
import { type CommandOutcome, type RangeletOptions, type Settings, readOptions } from './options.js';
import { PROGRESS_EVERY_MS, sameProgress } from './progress.js';
import { Reports } from './reports.js';
import { type Execute, registerNodeService } from './server.js';
import { TermGate } from './terms.js';

/** A command as a controller gives it. */
export type CommandRequest = RangeCommand & {
  /** Of the controller's leadership; 0, or nothing, from one that knows no terms. */
  readonly term?: number;
};

type RangeCommand =
  | {
      readonly command: 'Prepare';
      readonly meta: RangeMeta;
      readonly epoch: number;
      readonly parents: readonly Parent[];
      readonly initial: boolean;
      readonly fork?: number;
    }
  | {
      readonly command: 'Activate';
      readonly id: RangeId;
      readonly epoch: number;
      readonly force: boolean;
      readonly sources: readonly Parent[];
      readonly initial: boolean;
      readonly membership?: Membership;
    }
  | { readonly command: 'Deactivate'; readonly id: RangeId; readonly epoch: number }
  | { readonly command: 'Drop'; readonly id: RangeId; readonly epoch: number; readonly force: boolean };

/** The state right now, and why it is not the one asked for, when the command failed. */
export interface CommandAnswer {
  readonly state: RemoteState;
  readonly lastError: string;
  /** Undefined when the node does not have the range, and never had it in this command. */
  readonly info: RangeInfo | undefined;
}

/** One change, told after it happened. `from` equals `info.state` when only the progress changed. */
export interface RangeChange {
  readonly from: RemoteState;
  readonly info: RangeInfo;
}

/** What the rangelet holds for a range it has. */
interface Slot {
  record: RangeRecord;
  attempt: Attempt | undefined;
  /** What was last told of this range. */
  told: RangeInfo | undefined;
}

interface Attempt {
  readonly abort: AbortController;
  readonly ended: Latch<RangeInfo>;
  readonly startedAt: number;
}

/** Errors come from anywhere and travel with every report. */
const ERROR_LENGTH_MAX = 1000;

/**
 * Makes a service one whose ranges a controller moves about: takes the commands,
 * runs the state machine of each range, calls the service, and tells everybody of
 * each change. Commands of one range go one at a time, those of several side by side.
 */
export class Rangelet {
  readonly settings: Settings;
  private readonly slots = new Map<RangeId, Slot>();
  /** Epochs the ranges came back with: a fence from the start, whatever the fences themselves remember. */
  private readonly restoredEpochs = new Map<RangeId, number>();
  private readonly raises = new Map<string, Latch<AppError | 'raised'>>();
  private readonly subject = new Subject<RangeChange>();
  private readonly reports: Reports;
  private readonly terms: TermGate;
  private draining = false;
  private wantDrain = false;
  private commands = 0;
  private closing: Promise<void> | undefined;
  private cancelTick: (() => void) | undefined;

  constructor(options: RangeletOptions) {
    this.settings = readOptions(options);
    this.reports = new Reports(this.settings);
    this.terms = new TermGate(this.settings.terms, this.settings);
    for (const { meta, state, epoch } of this.settings.restored) {
      this.slots.set(meta.id, { record: restoredRecord(meta, state), attempt: undefined, told: undefined });
      this.restoredEpochs.set(meta.id, epoch);
    }
  }

  /** Adds the `ranger.Node` service to a gRPC server. */
  register(server: grpc.Server, wrap?: (execute: Execute) => Execute): void {
    registerNodeService(server, this, wrap);
  }

  /** Every change from now on; completes when the rangelet has closed. */
  get changes(): Observable<RangeChange> {
    return this.subject.asObservable();
  }

  get closed(): boolean {
    return this.draining;
  }

  stateOf(id: RangeId): RemoteState {
    return stateOf(this.slots.get(id)?.record);
  }

  /** Tells the controller that this node would like to lose its ranges. */
  setWantDrain(wantDrain: boolean): void {
    this.wantDrain = wantDrain;
  }

  info(): { readonly ranges: readonly RangeInfo[]; readonly wantDrain: boolean; readonly ident: string; readonly incarnation: string } {
    const { ident, incarnation } = this.settings;
    return { ranges: [...this.slots.values()].map((slot) => this.report(slot.record)), wantDrain: this.wantDrain, ident, incarnation };
  }

  rangeIds(): RangeId[] {
    return [...this.slots.keys()];
  }

  rangeInfo(id: RangeId): RangeInfo | undefined {
    const slot = this.slots.get(id);
    return slot && this.report(slot.record);
  }

  /**
   * Obeys, or rejects with the reason when the command is not legal now. Answers
   * within the grace period; what takes longer carries on.
   */
  async execute(request: CommandRequest, graceMs = this.settings.graceMs): Promise<CommandAnswer> {
    if (this.draining) throw new AppError('UNAVAILABLE', 'this node is stopping and takes no commands');
    if (this.commands >= this.settings.commandsMax) {
      throw new AppError('RESOURCE_EXHAUSTED', `this node is busy with ${this.commands} commands; try again`);
    }
    const startedAt = this.settings.clock.now();
    this.commands++;
    let outcome: CommandOutcome = 'refused';
    try {
      return await this.obey(request, startedAt + graceMs, (found) => (outcome = found));
    } finally {
      this.commands--;
      this.reports.hook('answered', { command: request.command, outcome, ms: this.settings.clock.now() - startedAt });
    }
  }

  /**
   * Takes no more commands, lets those under way end (a Prepare, which may take
   * hours, is aborted at once, the others after `drainMs`), and then ends the streams.
   */
  close(): Promise<void> {
    this.closing ??= this.drain();
    return this.closing;
  }

  private async obey(request: CommandRequest, until: number, note: (outcome: CommandOutcome) => void): Promise<CommandAnswer> {
    const { clock } = this.settings;
    const id = idOf(request);
    const { command, term = 0 } = request;
    if (!this.terms.isOpen(term) && !(await this.terms.open(command, term, until))) return this.postpone(id, note);
    for (;;) {
      if (this.draining) throw new AppError('UNAVAILABLE', 'this node is stopping and takes no commands');
      this.terms.check(command, term);
      const verdict = this.decide(request);
      switch (verdict.type) {
        case 'refuse':
          throw verdict.error;
        case 'raise': {
          const raised = await this.raise(id, verdict.epoch).wait(clock, until - clock.now());
          if (raised === undefined) return this.postpone(id, note);
          if (raised !== 'raised') throw raised;
          break;
        }
        case 'overtake': {
          const ended = await this.overtake(id, request).wait(clock, until - clock.now());
          if (!ended) return this.postpone(id, note);
          break;
        }
        case 'start': {
          note('started');
          const ended = await this.start(verdict.next, request).wait(clock, until - clock.now());
          return ended ? { state: ended.state, lastError: ended.lastError, info: ended } : this.answer(id);
        }
        case 'answer':
          note('repeated');
          this.repeat(verdict.next, request);
          return this.answer(id);
        case 'settled':
          assert(false, 'a command cannot settle anything');
      }
    }
  }

  /** Something has to end before the command can start; whoever wants it asks again. */
  private postpone(id: RangeId, note: (outcome: CommandOutcome) => void): CommandAnswer {
    note('postponed');
    return this.answer(id);
  }

  private decide(request: CommandRequest): Verdict {
    const { command, epoch } = request;
    const id = idOf(request);
    const input: CommandInput = {
      type: 'command',
      command,
      id,
      meta: command === 'Prepare' ? request.meta : undefined,
      epoch,
      fence: this.fenceOf(id),
    };
    const verdict = step(this.slots.get(id)?.record, input);
    if (verdict.type === 'refuse') return verdict;
    // Fences may show an epoch before they keep it for good.
    if (this.raises.has(raiseKey(id, epoch))) return { type: 'raise', epoch };
    if (verdict.type === 'start' && !this.slots.has(id) && this.slots.size >= this.settings.rangesMax) {
      const error = new AppError('RESOURCE_EXHAUSTED', `this node has ${this.slots.size} ranges already, and takes no more`);
      return { type: 'refuse', error };
    }
    return verdict;
  }

  private fenceOf(id: RangeId): number {
    return Math.max(this.settings.fences.get(id), this.restoredEpochs.get(id) ?? 0);
  }

  /** Commands that bring the same epoch wait for one write. */
  private raise(id: RangeId, epoch: number): Latch<AppError | 'raised'> {
    const key = raiseKey(id, epoch);
    const running = this.raises.get(key);
    if (running) return running;
    const latch = new Latch<AppError | 'raised'>();
    this.raises.set(key, latch);
    void this.keepEpoch(id, epoch).then((result) => {
      this.raises.delete(key);
      latch.settle(result);
    });
    return latch;
  }

  private async keepEpoch(id: RangeId, epoch: number): Promise<AppError | 'raised'> {
    try {
      await this.settings.fences.raise(id, epoch);
    } catch (thrown) {
      this.settings.logger.error('an epoch could not be kept', { range: `R${id}`, epoch, error: messageOf(thrown) });
      return AppError.from(thrown);
    }
    if (this.settings.fences.get(id) >= epoch) return 'raised';
    return new AppError('INTERNAL', `R${id}: epoch ${epoch} was kept, yet the fences do not show it`);
  }

  private overtake(id: RangeId, request: CommandRequest): Latch<RangeInfo> {
    const attempt = this.slots.get(id)?.attempt;
    assert(attempt, 'only a command under way is overtaken');
    attempt.abort.abort(new AppError('ABORTED', `overtaken by ${request.command} at epoch ${request.epoch}`));
    return attempt.ended;
  }

  private repeat(next: RangeRecord | undefined, request: CommandRequest): void {
    const slot = next && this.slots.get(next.meta.id);
    if (!slot) return;
    slot.record = next;
    const { epoch } = request;
    if (request.command === 'Prepare' && request.parents.length > 0) this.reports.updateSources(next.meta, request.parents, { epoch, fork: request.fork ?? 0 });
    if (request.command === 'Activate' && request.membership) this.reports.updateMembership(next.meta, request.membership, { epoch });
  }

  private start(next: RangeRecord, request: CommandRequest): Latch<RangeInfo> {
    const id = next.meta.id;
    const attempt: Attempt = { abort: new AbortController(), ended: new Latch(), startedAt: this.settings.clock.now() };
    const slot: Slot = this.slots.get(id) ?? { record: next, attempt, told: undefined };
    const from = this.stateOf(id);
    slot.record = next;
    slot.attempt = attempt;
    this.slots.set(id, slot);
    this.tell(from, slot, this.report(next));
    void this.run(slot, attempt, request);
    if (next.state === 'Preparing') this.tickWhilePreparing();
    return attempt.ended;
  }

  private async run(slot: Slot, attempt: Attempt, request: CommandRequest): Promise<void> {
    let error: string | undefined;
    try {
      await this.call(slot.record.meta, attempt.abort.signal, request);
    } catch (thrown) {
      error = reasonOf(thrown);
    }
    this.settle(slot, attempt, request.command, error);
  }

  private call(meta: RangeMeta, signal: AbortSignal, request: CommandRequest): Promise<void> {
    const { service } = this.settings;
    const { epoch } = request;
    switch (request.command) {
      case 'Prepare':
        return service.prepare(meta, { epoch, force: false, signal, parents: request.parents, initial: request.initial, fork: request.fork ?? 0 });
      case 'Activate':
        return service.activate(meta, { epoch, force: request.force, signal, sources: request.sources, initial: request.initial, membership: request.membership ?? NO_MEMBERSHIP });
      case 'Deactivate':
        return service.deactivate(meta, { epoch, force: false, signal });
      case 'Drop':
        return service.drop(meta, { epoch, force: request.force, signal });
    }
  }

  private settle(slot: Slot, attempt: Attempt, command: Command, error: string | undefined): void {
    const { meta, state: from } = slot.record;
    const verdict = step(slot.record, { type: 'ended', error });
    assert(verdict.type === 'settled', 'the end of a command settles it');
    slot.attempt = undefined;
    if (verdict.next) {
      slot.record = verdict.next;
    } else {
      this.slots.delete(meta.id);
    }
    if (error !== undefined) this.settings.logger.warn('a command failed', { range: formatRange(meta), command, error });
    this.reports.hook('settled', { command, range: meta.id, ok: error === undefined, ms: this.settings.clock.now() - attempt.startedAt });
    const info = verdict.next ? this.report(verdict.next) : this.reports.gone(meta, this.fenceOf(meta.id), error ?? '');
    this.tell(from, slot, info);
    attempt.ended.settle(info);
  }

  private report(record: RangeRecord): RangeInfo {
    return this.reports.info(record, this.fenceOf(record.meta.id));
  }

  private answer(id: RangeId): CommandAnswer {
    const info = this.rangeInfo(id);
    return { state: info?.state ?? 'NotFound', lastError: info?.lastError ?? '', info };
  }

  private tell(from: RemoteState, slot: Slot, info: RangeInfo): void {
    slot.told = info;
    if (from !== info.state) {
      this.settings.logger.info('a range changed its state', { range: formatRange(info.meta), from, to: info.state, epoch: info.epoch });
      this.reports.hook('moved', { range: info.meta.id, from, to: info.state });
    }
    this.subject.next({ from, info });
  }

  /** Tells of a range whose report changed while its state did not; to be called by the service. */
  changed(id: RangeId): void {
    const slot = this.slots.get(id);
    if (slot && !this.draining) this.tell(slot.record.state, slot, this.report(slot.record));
  }

  /** Looks at the progress of what is being prepared, and tells of it, a few times a second. */
  private tickWhilePreparing(): void {
    if (!this.settings.service.progress || this.cancelTick) return;
    this.cancelTick = this.settings.clock.after(
      PROGRESS_EVERY_MS,
      () => {
        this.cancelTick = undefined;
        const preparing = [...this.slots.values()].filter((slot) => slot.record.state === 'Preparing');
        for (const slot of preparing) {
          const info = this.report(slot.record);
          if (!sameProgress(info.progress, slot.told?.progress)) this.tell(info.state, slot, info);
        }
        if (preparing.length > 0) this.tickWhilePreparing();
      },
      { unref: true },
    );
  }

  private async drain(): Promise<void> {
    const { clock, drainMs, logger } = this.settings;
    this.draining = true;
    const reason = new AppError('UNAVAILABLE', 'this node is stopping');
    const running = (): Slot[] => [...this.slots.values()].filter((slot) => slot.attempt);
    const abort = (slots: readonly Slot[]): void => {
      for (const slot of slots) slot.attempt?.abort.abort(reason);
    };
    const ended = (slots: readonly Slot[], ms: number): Promise<unknown> =>
      Promise.all(slots.flatMap((slot) => (slot.attempt ? [slot.attempt.ended.wait(clock, ms)] : [])));

    abort(running().filter((slot) => slot.record.state === 'Preparing'));
    await ended(running(), drainMs);
    abort(running());
    await ended(running(), drainMs);
    for (const { record } of running()) {
      logger.warn('a command did not stop when told to', { range: formatRange(record.meta), state: record.state });
    }
    this.cancelTick?.();
    this.subject.complete();
  }
}

function idOf(request: CommandRequest): RangeId {
  return request.command === 'Prepare' ? request.meta.id : request.id;
}

function raiseKey(id: RangeId, epoch: number): string {
  return `${id}@${epoch}`;
}

function reasonOf(thrown: unknown): string {
  const message = messageOf(thrown).slice(0, ERROR_LENGTH_MAX);
  return message === '' ? 'the service gave no reason' : message;
}
