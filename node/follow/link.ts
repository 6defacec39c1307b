import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import { type Cancel, type Clock, sleep } from '../../runtime/clock.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { FollowConnection, FollowStart, FollowTransport, Follower, HandOver, ToFollower } from './messages.js';
import type { LogRecord } from '../storage/storage.js';
import type { LinkSink } from './sink.js';

export interface LinkOptions {
  readonly range: RangeId;
  readonly address: string;
  readonly span: Interval;
  readonly follower: Follower;
  /** Where an earlier link ended; undefined begins with a snapshot. */
  readonly resumeAfter: number | undefined;
}

/** What a copy tells and does as a replica of the range that it follows. */
export interface ReplicaPart {
  /** Beyond what the link itself knows. */
  start(): Pick<FollowStart, 'fork' | 'log' | 'basis'>;
  /** The source was heard, and its log is committed up to there. */
  heard(committed: number | undefined): void;
  /** True when the lease is granted: for so long, from now, the copy will not become primary by itself. */
  grant(ms: number): boolean;
}

export interface LinkDeps {
  readonly replica: ReplicaPart;
  readonly transport: FollowTransport;
  readonly sink: LinkSink;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What of the log is to go, the keys of it that were not restored yet, and from where on the copy is whole. */
interface Cutting {
  readonly offset: number;
  readonly keys: Key[];
  wholeAt: number;
}

interface TakeOver {
  readonly epoch: number;
  /** Ends with the first connection that breaks. */
  readonly once: boolean;
  readonly resolve: (handOver: HandOver) => void;
  readonly reject: (error: AppError) => void;
}

const RETRY = { firstMs: 50, maxMs: 1_000 };
/** How long to wait before asking a source again that is still active. */
const ASK_AGAIN_MS = 5;
/** Keys that are restored with one question. */
const RESTORE_KEYS_MAX = 200;
/** Commits on their way to the disk while the next batch is taken in. */
const PIPELINE_MAX = 4;

/**
 * Follows one source for one span, for as long as it is not stopped: connects,
 * takes the snapshot and the log, and comes back where it was when the connection
 * breaks.
 */
export class Link {
  readonly range: RangeId;
  readonly span: Interval;
  address: string;
  keys = 0;
  bytes = 0;
  keysTotal = 0;
  /** Why there is no connection; undefined while there is one. */
  lastError: AppError | undefined;

  /** Everything up to here was taken in; undefined before a snapshot has begun. */
  private position: number | undefined;
  /** Everything up to here is durable, of a copy that was consistent there. */
  private durable: number | undefined;
  /** Something of this connection did not reach the disk: nothing after it counts as durable. */
  private broken = false;
  /** The source has answered since the link was made. */
  private begun = false;
  /** Where the snapshot goes on; undefined when it is complete. */
  private snapshotFrom: Key | undefined;
  /** The copy is consistent once the log is applied up to here. */
  private consistentAt = Infinity;
  private connection: FollowConnection | undefined;
  /** The last offset that was acknowledged. */
  private acked = 0;
  private cutting: Cutting | undefined;
  private beginsAnew = false;
  private takeOver: TakeOver | undefined;
  private lastRefusal: string | undefined;
  private readonly stopping = new AbortController();
  private readonly waiters = new Set<() => void>();
  private readonly running: Promise<void>;

  constructor(
    private readonly options: LinkOptions,
    private readonly deps: LinkDeps,
  ) {
    this.range = options.range;
    this.span = options.span;
    this.address = options.address;
    this.position = options.resumeAfter;
    this.durable = options.resumeAfter;
    if (options.resumeAfter !== undefined) this.consistentAt = options.resumeAfter;
    this.running = this.run();
  }

  /**
   * Where this link, or another one to a source that has the right to write, may go
   * on: everything up to here is durable. Undefined within a snapshot.
   */
  get resumableAt(): number | undefined {
    return this.durable;
  }

  /** The data is consistent and durable, and the source has been heard. */
  get caughtUp(): boolean {
    return this.begun && this.durable !== undefined;
  }

  get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  /** Resolves when caught up; rejects when the source says that it never will be, or after `patienceMs` without progress. */
  async untilCaughtUp(patienceMs: number, signal: AbortSignal): Promise<void> {
    let last = -1;
    let since = this.deps.clock.now();
    while (!this.caughtUp) {
      if (signal.aborted) throw AppError.from(signal.reason);
      if (this.stopping.signal.aborted) throw new AppError('ABORTED', 'a newer copy on this node took the place of this one');
      if (this.lastError && isPermanent(this.lastError)) throw this.lastError;
      if (this.keys !== last) {
        last = this.keys;
        since = this.deps.clock.now();
      }
      if (this.deps.clock.now() - since > patienceMs) {
        throw this.lastError ?? new AppError('UNAVAILABLE', `${this.address} sent nothing for ${patienceMs} ms`);
      }
      await this.change(250, signal);
    }
  }

  /**
   * Asks for the right to write; everything the source had is durable here when it
   * resolves. Rejects after `patienceMs` without progress and, with `once`, when the
   * source cannot be reached.
   */
  requestHandOver(epoch: number, patienceMs: number, signal: AbortSignal, once: boolean): Promise<HandOver> {
    assert(this.takeOver === undefined, 'one hand-over at a time');
    return new Promise<HandOver>((resolve, reject) => {
      let cancelTimer: Cancel;
      let keys = this.keys;
      const onTimer = (): void => {
        if (this.keys > keys) {
          keys = this.keys;
          cancelTimer = this.deps.clock.after(patienceMs, onTimer);
          return;
        }
        const why = this.lastRefusal ?? this.lastError?.message ?? `${this.address} has not handed R${this.range} over within ${patienceMs} ms`;
        this.takeOver?.reject(new AppError('UNAVAILABLE', why));
      };
      cancelTimer = this.deps.clock.after(patienceMs, onTimer);
      const onAbort = (): void => {
        this.takeOver?.reject(AppError.from(signal.reason));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.lastRefusal = undefined;
      const finish = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', onAbort);
        this.takeOver = undefined;
      };
      this.takeOver = {
        epoch,
        once,
        resolve: (handOver) => {
          finish();
          resolve(handOver);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      };
      if (signal.aborted) onAbort();
      else if (this.stopped) this.takeOver.reject(new AppError('ABORTED', 'the copy stopped following'));
      else if (this.lastError && (once || isPermanent(this.lastError))) this.takeOver.reject(this.lastError);
      else this.connection?.send({ type: 'takeOver', epoch });
    });
  }

  /** The source has moved to another address. */
  redirect(address: string): void {
    if (address === this.address) return;
    this.address = address;
    // Half a snapshot of one source is not half of another's.
    if (this.snapshotFrom !== undefined) this.startOver();
    this.connection?.close();
  }

  /** What was followed so far counts for nothing any more, nor does what is on its way. */
  beginAnew(): void {
    this.beginsAnew = true;
    this.connection?.close();
  }

  async stop(): Promise<void> {
    this.stopping.abort(new AppError('CANCELLED', 'the link was stopped'));
    this.connection?.close();
    this.takeOver?.reject(new AppError('ABORTED', 'the copy stopped following'));
    this.changed();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    let delayMs = RETRY.firstMs;
    while (!this.stopped) {
      const before = this.keys;
      try {
        await this.follow();
      } catch (thrown) {
        this.noteFailure(AppError.from(thrown));
      }
      delayMs = this.keys > before ? RETRY.firstMs : Math.min(delayMs * 2, RETRY.maxMs);
      await sleep(this.deps.clock, delayMs, signal).catch(() => undefined);
    }
  }

  private noteFailure(error: AppError): void {
    if (this.stopped) return;
    const known = this.lastError?.message === error.message;
    this.lastError = error;
    if (!known) this.deps.logger.warn('following broke off', { range: this.range, source: this.address, code: error.code, error: error.message });
    if (isPermanent(error) || this.takeOver?.once) this.takeOver?.reject(error);
    this.changed();
  }

  private startMessage(): FollowStart {
    return {
      range: this.range,
      follower: this.options.follower,
      span: this.span,
      resumeAfter: this.position,
      snapshotFrom: this.position === undefined ? undefined : this.snapshotFrom,
      ...this.deps.replica.start(),
    };
  }

  private async follow(): Promise<void> {
    if (this.beginsAnew) this.startOver();
    this.beginsAnew = false;
    const connection = this.deps.transport(this.address, this.startMessage());
    this.connection = connection;
    this.broken = false;
    this.acked = 0;
    this.cutting = undefined;
    const commits: Promise<void>[] = [];
    try {
      if (this.takeOver) connection.send({ type: 'takeOver', epoch: this.takeOver.epoch });
      for await (const message of connection.messages) {
        if (this.stopping.signal.aborted || this.mustBeginAnew()) return;
        this.lastError = undefined;
        await this.take(message, connection, commits);
      }
      throw new AppError('UNAVAILABLE', `${this.address} ended the stream of R${this.range}`);
    } finally {
      this.connection = undefined;
      connection.close();
      await Promise.allSettled(commits);
      // What was restored runs ahead of the log, by how much nobody knows any more.
      if (this.isCutting() || (this.isBroken() && !this.goBack())) this.startOver();
    }
  }

  /**
   * Something did not reach the disk. Of the range's own log nothing behind it did either, so
   * what is here is still what the disk had last; a member must not have to begin anew for that.
   */
  private goBack(): boolean {
    if (this.options.follower.range !== this.range || this.durable === undefined) return false;
    this.position = this.durable;
    return true;
  }

  /** What is here is not what the position says. */
  private startOver(): void {
    this.position = undefined;
    this.durable = undefined;
    this.snapshotFrom = undefined;
    this.consistentAt = Infinity;
  }

  private mustBeginAnew(): boolean {
    return this.beginsAnew;
  }

  private isCutting(): boolean {
    return this.cutting !== undefined;
  }

  private isBroken(): boolean {
    return this.broken;
  }

  private async take(message: ToFollower, connection: FollowConnection, commits: Promise<void>[]): Promise<void> {
    switch (message.type) {
      case 'begin':
        await this.begin(message, connection);
        return;
      case 'chunk': {
        const from = this.snapshotFrom;
        assert(from !== undefined, 'a chunk comes within a snapshot');
        if (message.next !== undefined) this.snapshotFrom = message.next;
        await this.pipeline(commits, this.deps.sink.chunk(this, { start: from, end: message.next ?? this.span.end }, message.pairs));
        if (message.next === undefined) {
          // Only what all chunks are in is whole, and only what is noted as that may be gone on with.
          await drain(commits);
          await this.endSnapshot(message.endOffset, connection);
        }
        this.count(message.pairs.count, message.pairs.bytes.length);
        return;
      }
      case 'records': {
        const end = message.endOffset;
        const isNew = message.records.length > 0 || end !== this.durable;
        this.position = end;
        this.deps.replica.heard(message.committed);
        if (message.lease && this.deps.replica.grant(message.lease.ms)) connection.send({ type: 'ack', offset: this.acked, lease: message.lease.id });
        if (!isNew) return;
        const ack = (): void => {
          this.acked = Math.max(this.acked, end);
          connection.send({ type: 'ack', offset: end });
        };
        await this.pipeline(commits, this.deps.sink.records(this, message.records, end), ack);
        // A log must have no hole: what comes behind a batch waits until that is on the disk.
        if (this.options.follower.range === this.range) await drain(commits);
        this.count(message.records.length, bytesOf(message.records));
        return;
      }
      case 'handOver':
        await Promise.all(commits);
        this.position = Math.max(this.position ?? 0, message.offset);
        this.takeOver?.resolve(message);
        return;
      case 'refused':
        await this.refused(message, connection);
        return;
      case 'restored':
        await this.restored(message, connection);
    }
  }

  private async begin(message: Extract<ToFollower, { type: 'begin' }>, connection: FollowConnection): Promise<void> {
    if (message.cutAt !== undefined) {
      await this.askToRestore(message.cutAt, connection);
      return;
    }
    if (message.snapshotFrom === undefined && this.snapshotFrom !== undefined) {
      throw new AppError('FAILED_PRECONDITION', `${this.address} has no more of R${this.range} to give than its right to write, and half a snapshot is here`);
    }
    if (message.snapshotFrom === undefined && this.position === undefined) {
      await this.deps.sink.adopt(this, message);
      this.durable = message.offset;
      this.consistentAt = message.offset;
    }
    await this.deps.sink.begin(this, message);
    this.position = message.offset;
    if (message.snapshotFrom === undefined && this.durable !== undefined) {
      this.acked = message.offset;
      connection.send({ type: 'ack', offset: message.offset });
    }
    this.snapshotFrom = message.snapshotFrom;
    this.keysTotal = Math.max(this.keysTotal, this.keys + message.keys);
    this.begun = true;
    if (message.snapshotFrom !== undefined) {
      this.consistentAt = Infinity;
      this.durable = undefined;
      this.acked = 0;
    }
    this.changed();
  }

  private endSnapshot(consistentAt: number, connection: FollowConnection): Promise<void> {
    const position = this.position ?? 0;
    return this.settle(this.deps.sink.wholeAt(this, consistentAt, position), () => {
      this.snapshotFrom = undefined;
      this.consistentAt = consistentAt;
      if (position < consistentAt) return;
      this.durable = position;
      // No record may follow for long, and then nothing else would tell that the snapshot is here.
      this.acked = position;
      connection.send({ type: 'ack', offset: position });
    });
  }

  /** The log here has records that the source's does not have: their keys are made what they are there, then they are cut off. */
  private async askToRestore(offset: number, connection: FollowConnection): Promise<void> {
    const keys = this.deps.sink.keysBehind(this, offset);
    this.durable = undefined;
    if (!keys) {
      this.startOver();
      throw new AppError('ABORTED', `the log of R${this.range} parts from ${this.address}'s at ${offset}: begins again with a snapshot`);
    }
    this.cutting = { offset, keys, wholeAt: offset };
    if (keys.length > 0) connection.send({ type: 'restore', keys: keys.slice(0, RESTORE_KEYS_MAX) });
    else await this.cut(this.cutting, connection);
  }

  private async restored(message: Extract<ToFollower, { type: 'restored' }>, connection: FollowConnection): Promise<void> {
    const { cutting } = this;
    if (!cutting) throw new AppError('INTERNAL', `${this.address} restored what nobody asked for`);
    const answered = cutting.keys.splice(0, message.answered);
    cutting.wholeAt = Math.max(cutting.wholeAt, message.endOffset);
    await this.deps.sink.restore(this, answered, message.pairs);
    if (cutting.keys.length > 0) connection.send({ type: 'restore', keys: cutting.keys.slice(0, RESTORE_KEYS_MAX) });
    else await this.cut(cutting, connection);
  }

  private async cut(cutting: Cutting, connection: FollowConnection): Promise<void> {
    await this.deps.sink.cut(this, cutting.offset, cutting.wholeAt);
    this.cutting = undefined;
    this.position = cutting.offset;
    this.consistentAt = cutting.wholeAt;
    this.snapshotFrom = undefined;
    this.begun = true;
    this.acked = cutting.offset;
    if (cutting.wholeAt === cutting.offset) this.durable = cutting.offset;
    connection.send({ type: 'restore', keys: [] });
    this.changed();
  }

  private count(keys: number, bytes: number): void {
    this.keys += keys;
    this.bytes += bytes;
    this.changed();
  }

  /** Keeps a bounded number of commits on their way; the first that fails breaks the connection off. */
  private async pipeline(commits: Promise<void>[], commit: Promise<void>, then?: () => void): Promise<void> {
    const { position } = this;
    const consistent = this.snapshotFrom === undefined && position !== undefined && position >= this.consistentAt;
    const kept = this.settle(commit, () => {
      if (consistent) this.durable = position;
      then?.();
    });
    // Whoever waits for it is told too.
    void kept.catch(() => undefined);
    commits.push(kept);
    while (commits.length > PIPELINE_MAX) await commits.shift();
  }

  private async settle(commit: Promise<void>, then: () => void): Promise<void> {
    try {
      await commit;
    } catch (thrown) {
      this.broken = true;
      throw thrown;
    }
    if (this.broken) return;
    then();
    this.changed();
  }

  private async refused(message: Extract<ToFollower, { type: 'refused' }>, connection: FollowConnection): Promise<void> {
    if (!message.active) {
      this.takeOver?.reject(new AppError('FAILED_PRECONDITION', `${this.address}: ${message.reason}`));
      return;
    }
    this.lastRefusal = `${this.address}: ${message.reason}`;
    await sleep(this.deps.clock, ASK_AGAIN_MS, this.stopping.signal).catch(() => undefined);
    if (this.takeOver) connection.send({ type: 'takeOver', epoch: this.takeOver.epoch });
  }

  /** Waits for the next change, at most `ms`. */
  private change(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        this.waiters.delete(finish);
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const cancel = this.deps.clock.after(ms, finish);
      this.waiters.add(finish);
      signal.addEventListener('abort', finish, { once: true });
    });
  }

  private changed(): void {
    for (const waiter of [...this.waiters]) waiter();
  }
}

/** Waits for what is on its way to the disk; throws what failed. */
async function drain(commits: Promise<void>[]): Promise<void> {
  while (commits.length > 0) await commits.shift();
}

function bytesOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
}

/** Trying again cannot help: the source does not have the range, or speaks nothing we do. */
function isPermanent(error: AppError): boolean {
  return error.code === 'NOT_FOUND' || error.code === 'UNIMPLEMENTED' || error.code === 'INVALID_ARGUMENT';
}

