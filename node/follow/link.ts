import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { RangeId } from '../../model/range.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { FollowConnection, FollowStart, FollowTransport, Follower, HandOver, ToFollower } from './messages.js';
import type { LinkSink } from './sink.js';

export interface LinkOptions {
  readonly range: RangeId;
  readonly address: string;
  readonly span: Interval;
  readonly follower: Follower;
  /** Where an earlier link ended; undefined begins with a snapshot. */
  readonly resumeAfter: number | undefined;
}

export interface LinkDeps {
  readonly transport: FollowTransport;
  readonly sink: LinkSink;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface TakeOver {
  readonly epoch: number;
  readonly resolve: (handOver: HandOver) => void;
  readonly reject: (error: AppError) => void;
}

const RETRY = { firstMs: 50, maxMs: 1_000 };
/** How long to wait before asking a source again that is still active. */
const ASK_AGAIN_MS = 5;
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

  /** Everything up to here is durable; undefined before a snapshot has begun. */
  private position: number | undefined;
  /** Where the snapshot goes on; undefined when it is complete. */
  private snapshotFrom: Key | undefined;
  /** The copy is consistent once the log is applied up to here. */
  private consistentAt = Infinity;
  private sourceEnd = Infinity;
  private connection: FollowConnection | undefined;
  /** On their way to the disk, oldest first; of the present connection alone. */
  private commits: Promise<void>[] = [];
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
    if (options.resumeAfter !== undefined) this.consistentAt = options.resumeAfter;
    this.running = this.run();
  }

  /** Where this link may go on after a restart, once everything taken in so far is durable; undefined within a snapshot. */
  get resumableAt(): number | undefined {
    const { position } = this;
    return this.snapshotFrom === undefined && position !== undefined && position >= this.consistentAt ? position : undefined;
  }

  /** The data is consistent, and nothing the source has told of is missing. */
  get caughtUp(): boolean {
    const { position } = this;
    return this.snapshotFrom === undefined && position !== undefined && position >= this.consistentAt && position >= this.sourceEnd;
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

  /** Resolves once everything taken in so far is durable; rejects when it will not be. */
  async durable(): Promise<void> {
    await Promise.all(this.commits);
  }

  /** Asks for the right to write; everything the source had is durable here when it resolves. */
  requestHandOver(epoch: number, patienceMs: number, signal: AbortSignal): Promise<HandOver> {
    assert(this.takeOver === undefined, 'one hand-over at a time');
    return new Promise<HandOver>((resolve, reject) => {
      const cancelTimer = this.deps.clock.after(patienceMs, () => {
        const why = this.lastRefusal ?? this.lastError?.message ?? `${this.address} has not handed R${this.range} over within ${patienceMs} ms`;
        this.takeOver?.reject(new AppError('UNAVAILABLE', why));
      });
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
        resolve: (handOver) => {
          finish();
          resolve(handOver);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      };
      if (this.lastError && isPermanent(this.lastError)) this.takeOver.reject(this.lastError);
      else this.connection?.send({ type: 'takeOver', epoch });
    });
  }

  /** The source has moved to another address. */
  redirect(address: string): void {
    if (address === this.address) return;
    this.address = address;
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
    while (!signal.aborted) {
      const before = this.keys;
      try {
        await this.follow();
      } catch (thrown) {
        if (signal.aborted) break;
        this.noteFailure(AppError.from(thrown));
      }
      delayMs = this.keys > before ? RETRY.firstMs : Math.min(delayMs * 2, RETRY.maxMs);
      await sleep(this.deps.clock, delayMs, signal).catch(() => undefined);
    }
  }

  private noteFailure(error: AppError): void {
    this.lastError = error;
    this.deps.logger.warn('following broke off', { range: this.range, source: this.address, code: error.code, error: error.message });
    if (isPermanent(error)) this.takeOver?.reject(error);
    this.changed();
  }

  private startMessage(): FollowStart {
    return {
      range: this.range,
      follower: this.options.follower,
      span: this.span,
      resumeAfter: this.position,
      snapshotFrom: this.position === undefined ? undefined : this.snapshotFrom,
    };
  }

  private async follow(): Promise<void> {
    const connection = this.deps.transport(this.address, this.startMessage());
    this.connection = connection;
    const commits: Promise<void>[] = [];
    this.commits = commits;
    try {
      if (this.takeOver) connection.send({ type: 'takeOver', epoch: this.takeOver.epoch });
      for await (const message of connection.messages) {
        if (this.stopping.signal.aborted) return;
        this.lastError = undefined;
        await this.take(message, connection, commits);
      }
      throw new AppError('UNAVAILABLE', `${this.address} ended the stream of R${this.range}`);
    } finally {
      this.connection = undefined;
      connection.close();
      const outcomes = await Promise.allSettled(commits);
      if (outcomes.some(({ status }) => status === 'rejected')) this.startOver();
    }
  }

  /** Something did not reach the disk, so what is here is not what the position says. */
  private startOver(): void {
    this.position = undefined;
    this.snapshotFrom = undefined;
    this.consistentAt = Infinity;
  }

  private async take(message: ToFollower, connection: FollowConnection, commits: Promise<void>[]): Promise<void> {
    switch (message.type) {
      case 'begin':
        await this.begin(message);
        return;
      case 'chunk': {
        const from = this.snapshotFrom;
        assert(from !== undefined, 'a chunk comes within a snapshot');
        this.snapshotFrom = message.next;
        await this.pipeline(commits, this.deps.sink.chunk(this, { start: from, end: message.next ?? this.span.end }, message.pairs));
        if (message.next === undefined) this.consistentAt = message.endOffset;
        this.count(message.pairs);
        return;
      }
      case 'records': {
        const end = message.endOffset;
        // Once a record of the copy says how far it is, nothing before that may still fail.
        if (this.resumableAt !== undefined) {
          await Promise.all(commits);
          commits.length = 0;
        }
        this.position = end;
        const done = this.deps.sink.records(this, message.records);
        await this.pipeline(commits, done);
        void done.then(
          () => {
            connection.send({ type: 'ack', offset: end });
          },
          () => undefined,
        );
        this.count(message.records);
        return;
      }
      case 'handOver':
        await Promise.all(commits);
        this.position = Math.max(this.position ?? 0, message.offset);
        this.takeOver?.resolve(message);
        return;
      case 'refused':
        await this.refused(message, connection);
    }
  }

  private async begin(message: Extract<ToFollower, { type: 'begin' }>): Promise<void> {
    await this.deps.sink.begin(this, message);
    this.position = message.offset;
    this.snapshotFrom = message.snapshotFrom;
    this.keysTotal = Math.max(this.keysTotal, this.keys + message.keys);
    this.sourceEnd = 0;
    if (message.snapshotFrom !== undefined) this.consistentAt = Infinity;
    this.changed();
  }

  private count(items: readonly { readonly key: Buffer; readonly value: Buffer | undefined }[]): void {
    this.keys += items.length;
    for (const { key, value } of items) this.bytes += key.length + (value?.length ?? 0);
    this.changed();
  }

  /** Keeps a bounded number of commits on their way; the first that fails breaks the connection off. */
  private async pipeline(commits: Promise<void>[], commit: Promise<void>): Promise<void> {
    commits.push(commit);
    commit.catch(() => undefined);
    while (commits.length > PIPELINE_MAX) {
      await commits[0];
      commits.shift();
    }
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

/** Trying again cannot help: the source does not have the range, or speaks nothing we do. */
function isPermanent(error: AppError): boolean {
  return error.code === 'NOT_FOUND' || error.code === 'UNIMPLEMENTED' || error.code === 'INVALID_ARGUMENT';
}

