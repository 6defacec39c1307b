import type { RangeId } from '../model/range.js';
import { type Operation, type Step, formatOperation } from '../model/notation.js';
import type { Clock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import type { Keyspace } from './keyspace/keyspace.js';
import { type CopyProgress, copying, fetchingFor, membersOf, standing } from './orchestrator/progress.js';
import type { Plan, Tracked } from './orchestrator/request.js';
import type { Ended } from './orchestrator/types.js';
import type { Roster } from './roster/roster.js';

/** What happens to an operation, as an operator is told. */
export interface OperationListener {
  step(step: Step, elapsedMs: number): void;
  progress(progress: CopyProgress, elapsedMs: number): void;
}

export interface OperationResult {
  /** The ranges that serve the keys now. */
  readonly ranges: readonly RangeId[];
  readonly elapsedMs: number;
  /** Copied between nodes. */
  readonly keys: number;
  readonly bytes: number;
}

/** One operation that an operator started here, until it is over. */
export class RunningOperation {
  readonly result: Promise<OperationResult>;
  readonly description: string;
  readonly members: readonly RangeId[];
  private readonly startedMs: number;
  private readonly listeners = new Set<OperationListener>();
  private readonly copied = new Map<string, CopyProgress>();
  private resolve: (result: OperationResult) => void = () => {};
  private reject: (error: AppError) => void = () => {};

  constructor(
    private readonly clock: Clock,
    readonly operation: Operation,
    readonly tracked: Tracked,
  ) {
    this.startedMs = clock.now();
    this.description = formatOperation(operation);
    this.members = membersOf(tracked);
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever asked may be gone by then; the reason is logged in any case.
    this.result.catch(() => {});
  }

  get elapsedMs(): number {
    return this.clock.now() - this.startedMs;
  }

  listen(listener: OperationListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  step(step: Step): void {
    for (const listener of this.listeners) listener.step(step, this.elapsedMs);
  }

  /** Notes how far its copies have come; tells only what is news. */
  noteProgress(keyspace: Keyspace, roster: Roster): void {
    for (const copy of copying(keyspace, roster, this.tracked)) {
      const key = `${copy.range}@${copy.node}`;
      const before = this.copied.get(key)?.progress;
      const { progress } = copy;
      if (before?.keys === progress.keys && before.bytes === progress.bytes && before.keysTotal === progress.keysTotal) continue;
      this.copied.set(key, copy);
      for (const listener of this.listeners) listener.progress(copy, this.elapsedMs);
    }
  }

  /** The nodes that copy for it now. */
  copyingNodes(keyspace: Keyspace): string[] {
    return fetchingFor(this.tracked).flatMap((id) =>
      (keyspace.get(id)?.placements ?? []).filter((p) => p.state === 'Pending').map((p) => p.node),
    );
  }

  finish(ranges: readonly RangeId[]): void {
    let keys = 0;
    let bytes = 0;
    for (const { progress } of this.copied.values()) {
      keys += progress.keys;
      bytes += progress.bytes;
    }
    this.resolve({ ranges, elapsedMs: this.elapsedMs, keys, bytes });
  }

  fail(error: AppError): void {
    this.reject(error);
  }
}

/** The operations that operators wait for. Bounded by their calls, and by one operation a range. */
export class Operations {
  private readonly running = new Set<RunningOperation>();

  constructor(
    private readonly clock: Clock,
    private readonly over: (operation: RunningOperation, error: AppError | undefined) => void,
  ) {}

  get size(): number {
    return this.running.size;
  }

  all(): Iterable<RunningOperation> {
    return this.running;
  }

  begin(plan: Plan): RunningOperation {
    const operation = new RunningOperation(this.clock, plan.operation, plan.tracked);
    this.running.add(operation);
    return operation;
  }

  /** Tells what a pass did, once it is persisted. */
  passed(steps: readonly Step[], ended: readonly Ended[], keyspace: Keyspace, roster: Roster): void {
    for (const operation of [...this.running]) {
      for (const step of steps) if (operation.members.includes(step.range)) operation.step(step);
      operation.noteProgress(keyspace, roster);
      const end = ended.find((e) => e.kind === operation.tracked.kind && e.ranges.some((id) => operation.members.includes(id)));
      if (end) this.fail(operation, new AppError('ABORTED', `${operation.description}: ${end.because}`));
      else this.judge(operation, keyspace, roster);
    }
  }

  failAll(error: AppError): void {
    for (const operation of [...this.running]) this.fail(operation, error);
  }

  fail(operation: RunningOperation, error: AppError): void {
    this.running.delete(operation);
    operation.fail(error);
    this.over(operation, error);
  }

  private judge(operation: RunningOperation, keyspace: Keyspace, roster: Roster): void {
    const now = standing(keyspace, roster, operation.tracked);
    switch (now.state) {
      case 'running':
        return;
      case 'done':
        this.running.delete(operation);
        operation.finish(now.ranges);
        this.over(operation, undefined);
        return;
      case 'ended':
        this.fail(operation, new AppError('ABORTED', `${operation.description}: ${now.because}`));
    }
  }
}
