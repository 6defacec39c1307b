import { type Interval, containsKey, covers, formatInterval, isEmpty, overlaps } from '../../model/interval.js';
import { type Key, formatKey } from '../../model/key.js';
import { formatRange } from '../../model/range.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Failpoints } from '../chaos/failpoints.js';
import type { Copies } from '../range/copies.js';
import type { Copy } from '../range/copy.js';
import { intersectAll, sameSpan, subtractAll } from '../range/span-set.js';
import type { EpochFences } from '../../rangelet/fences.js';
import type { HandedSpan } from '../storage/copy-record.js';
import type { Storage } from '../storage/storage.js';
import type { FollowStart, SourceChannel, ToFollower, ToSource } from './messages.js';

export interface SourceDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly fences: EpochFences;
  readonly log: LogRetention;
  /** Lets waiting requests go between two chunks. */
  readonly yieldTurn: () => Promise<void>;
  readonly failpoints: Failpoints;
}

/** Keeps what followers still need; see range/retention.ts. */
export interface LogRetention {
  hold(copy: Copy): LogHold;
}

export interface LogHold {
  offset: number;
  release(): void;
}

/** Large enough to cost little, small enough that a request waits for a chunk only milliseconds. */
const COUNT_SLICE = 20_000;
const CHUNK = { countMax: 500, bytesMax: 64 * 1024 };

/**
 * Serves one follower: a snapshot if it needs one, then the log as it grows, and in
 * the end, when asked, the right to write.
 *
 * The snapshot is fuzzy (each chunk is read afresh, so no old pages are kept alive
 * however long it takes) and made consistent by replaying the log from its start:
 * records carry whole values, so applying one twice changes nothing.
 */
export class FollowSource {
  private takeOverEpoch: number | undefined;
  /** Everything of the log up to here is on its way to the follower. */
  private sent = 0;
  private sendsLog = false;
  private hold: LogHold | undefined;
  private wake: () => void = () => undefined;

  constructor(
    private readonly deps: SourceDeps,
    private readonly start: FollowStart,
    private readonly channel: SourceChannel,
  ) {}

  receive(message: Exclude<ToSource, { type: 'start' }>): void {
    if (message.type === 'takeOver') this.takeOverEpoch = message.epoch;
    else if (message.type === 'ack' && this.hold) this.hold.offset = Math.max(this.hold.offset, message.offset);
    this.wake();
  }

  /** Runs until the connection is over. Rejects with the reason to tell the follower. */
  async run(): Promise<void> {
    const copy = this.deps.copies.get(this.start.range);
    if (copy) refuseForeignSpan(copy, this.start);
    if (!copy || copy.fetching || !this.hasNewest(copy)) {
      await this.serveRights(copy);
      return;
    }
    const hold = this.deps.log.hold(copy);
    this.hold = hold;
    const stopWatching = copy.watch(() => {
      this.wake();
    });
    const onAbort = (): void => {
      this.wake();
    };
    this.channel.signal.addEventListener('abort', onAbort);
    try {
      const position = await this.serveSnapshot(copy, hold);
      await this.serveLog(copy, position);
    } finally {
      this.channel.signal.removeEventListener('abort', onAbort);
      stopWatching();
      hold.release();
    }
  }

  /**
   * Data is had only from where the right to write is, or went from to this very
   * follower: so no link ever brings keys that are older than what a node had when
   * it gave the right away.
   */
  private hasNewest(copy: Copy): boolean {
    return copy.owns(this.start.span) || copy.record.handed.some((given) => this.isToFollower(given));
  }

  private isToFollower(given: HandedSpan): boolean {
    const { span, follower } = this.start;
    return sameSpan(given, span) && given.range === follower.range && given.incarnation === follower.incarnation;
  }

  /** There is nothing to follow here, but a right that never arrived can be given up. */
  private async serveRights(copy: Copy | undefined): Promise<void> {
    const { range, resumeAfter } = this.start;
    if (resumeAfter === undefined) {
      if (!copy || copy.fetching) throw new AppError('NOT_FOUND', `range ${range} is not on this node`);
      throw new AppError('FAILED_PRECONDITION', `R${range} here may not write, so it is no source`);
    }
    const changed = this.untilWoken();
    const stopWatching = copy?.watch(() => {
      this.wake();
    });
    const onAbort = (): void => {
      this.wake();
    };
    this.channel.signal.addEventListener('abort', onAbort);
    try {
      await this.channel.send({ type: 'begin', snapshotFrom: undefined, offset: resumeAfter, epoch: 0, keys: 0 });
      for (let woken = changed; ; woken = this.untilWoken()) {
        if (this.takeOverEpoch === undefined) await woken;
        this.stopIfOver(copy);
        if (this.deps.copies.get(range) !== copy || (copy && this.hasNewest(copy))) {
          throw new AppError('ABORTED', `R${range} has come to this node: begin again`);
        }
        const epoch = this.takeOverEpoch;
        this.takeOverEpoch = undefined;
        if (epoch === undefined) continue;
        const answer = copy && !copy.fetching ? await this.handOver(copy, epoch) : await this.giveUp(epoch, resumeAfter);
        if (answer) await this.channel.send(answer);
      }
    } finally {
      this.channel.signal.removeEventListener('abort', onAbort);
      stopWatching?.();
    }
  }

  private untilWoken(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      if (this.channel.signal.aborted) resolve();
    });
  }

  private async serveSnapshot(copy: Copy, hold: LogHold): Promise<number> {
    const { resumeAfter, snapshotFrom } = this.start;
    const canResume = resumeAfter !== undefined && this.logReaches(copy, resumeAfter);
    // The log of a snapshot begins early enough to tell which writes were made of late.
    const { offset, knownForMs } = canResume ? { offset: resumeAfter } : this.knownFrom(copy);
    hold.offset = offset;
    const from = canResume ? snapshotFrom : this.start.span.start;
    const keys = from === undefined ? 0 : await this.countKeys({ ...this.start.span, start: from });
    await this.channel.send({ type: 'begin', snapshotFrom: from, offset, epoch: copy.record.logEpoch, keys, knownForMs });
    if (from !== undefined) await this.sendChunks(copy, from);
    return offset;
  }

  /** Behind which offset the log tells, as far as it is kept, the ids of writes that are known here. */
  private knownFrom(copy: Copy): { readonly offset: number; readonly knownForMs?: number } {
    const end = copy.committedOffset;
    const first = this.deps.storage.logBounds(copy.meta.id)?.first ?? Infinity;
    const kept = Math.max(copy.record.baseOffset, copy.trimmedThrough, Math.min(first - 1, end));
    const start = copy.writeIds.logStart(kept);
    const offset = Math.min(start.offset, end);
    return this.logReaches(copy, offset) ? { offset, knownForMs: start.knownForMs } : { offset: end };
  }

  private logReaches(copy: Copy, after: number): boolean {
    if (after < copy.record.baseOffset || after < copy.trimmedThrough || after > copy.lastOffset) return false;
    const bounds = this.deps.storage.logBounds(copy.meta.id);
    return after >= copy.committedOffset || (bounds !== undefined && bounds.first <= after + 1);
  }

  /** For the progress bar. In slices, for a look at all keys of a large range takes long. */
  private async countKeys(span: Interval): Promise<number> {
    let keys = 0;
    for (let from: Key | undefined = span.start; from !== undefined; ) {
      const { key, skipped } = this.deps.storage.stride({ start: from, end: span.end }, COUNT_SLICE);
      keys += skipped;
      from = key;
      await this.deps.yieldTurn();
    }
    return keys;
  }

  private async sendChunks(copy: Copy, from: Key): Promise<void> {
    let next: Key | undefined = from;
    while (next !== undefined) {
      this.stopIfOver(copy);
      const chunk = this.deps.storage.scanPacked({ start: next, end: this.start.span.end }, CHUNK);
      next = chunk.next;
      await this.channel.send({ type: 'chunk', pairs: chunk.pairs, next, endOffset: copy.lastOffset });
      await this.deps.yieldTurn();
    }
  }

  private async serveLog(copy: Copy, from: number): Promise<void> {
    this.sent = from;
    this.sendsLog = true;
    for (;;) {
      this.stopIfOver(copy);
      if (this.sent < copy.committedOffset) {
        this.sent = await this.sendRecords(copy, this.sent);
      } else if (this.takeOverEpoch !== undefined) {
        const epoch = this.takeOverEpoch;
        this.takeOverEpoch = undefined;
        const answer = await this.handOver(copy, epoch);
        if (answer) await this.channel.send(answer);
      } else {
        await this.nextWake(copy);
      }
    }
  }

  private async sendRecords(copy: Copy, position: number): Promise<number> {
    if (position < copy.trimmedThrough) {
      throw new AppError('ABORTED', `R${copy.meta.id}: the follower lags too far, and has to begin again`);
    }
    const end = copy.committedOffset;
    const all = this.deps.storage.readLog(copy.meta.id, position, CHUNK.bytesMax);
    if (all.length === 0) {
      // The offsets in between belong to writes that failed; nothing is missing.
      await this.channel.send({ type: 'records', records: [], endOffset: end });
      return end;
    }
    const last = all[all.length - 1]?.offset ?? end;
    const { start, end: spanEnd } = this.start.span;
    const from = Buffer.from(start, 'latin1');
    const to = spanEnd === '' ? undefined : Buffer.from(spanEnd, 'latin1');
    const records = all.filter(({ key }) => key.compare(from) >= 0 && (!to || key.compare(to) < 0));
    await this.channel.send({ type: 'records', records, endOffset: last });
    return last;
  }

  private nextWake(copy: Copy): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      const ready = this.sent < copy.committedOffset || this.takeOverEpoch !== undefined || copy.gone;
      if (ready || this.channel.signal.aborted) resolve();
    });
  }

  private stopIfOver(copy: Copy | undefined): void {
    if (this.channel.signal.aborted) throw new AppError('CANCELLED', 'the follower is gone');
    if (copy?.gone) throw new AppError('ABORTED', `range ${copy.meta.id} was dropped from this node`);
  }

  /**
   * Gives the right to write away, durably, before it says so. Undefined when
   * records came up that the follower must have first.
   */
  private async handOver(copy: Copy, epoch: number): Promise<ToFollower | undefined> {
    const { id } = copy.meta;
    const fence = this.deps.fences.get(id);
    if (epoch !== 0 && epoch < fence) return refused(`R${id} here has seen epoch ${fence}, which is newer than ${epoch}`);
    await this.deps.fences.raise(id, epoch);
    await this.deps.failpoints.reach('before-hand-over-commit');
    return this.deps.copies.change(
      () => [copy],
      () => this.decideHandOver(copy, epoch),
    );
  }

  /** Nothing is awaited between the check and the change. */
  private async decideHandOver(copy: Copy, epoch: number): Promise<ToFollower | undefined> {
    const { span } = this.start;
    const { id } = copy.meta;
    this.stopIfOver(copy);
    if (copy.record.state === 'Active') return { ...refused(`R${id} is still active here`), active: true };
    assert(copy.quiet, 'an inactive copy has no write on its way');
    if (this.hasNewest(copy) && !this.sendsLog) throw new AppError('ABORTED', `R${id} has come to this node: begin again`);
    if (copy.committedOffset > this.sent && this.sendsLog) {
      this.takeOverEpoch = epoch;
      return undefined;
    }
    if (copy.owns(span)) return this.giveAway(copy, epoch);
    const earlier = copy.record.handed.filter((given) => overlaps(given, span));
    const again = earlier.find((given) => this.isToFollower(given));
    if (again) return this.handOverMessage(copy, epoch, again.offset);
    const other = earlier[0];
    if (other) return refused(`R${id} handed ${formatInterval(other)} to R${other.range} on ${other.node} at epoch ${other.epoch}`);
    if (intersectAll(copy.record.owned, span).length > 0) {
      return refused(`R${id} here may write only ${copy.record.owned.map(formatInterval).join(' ')}`);
    }
    return this.giveUp(epoch, copy.committedOffset);
  }

  private async giveAway(copy: Copy, epoch: number): Promise<ToFollower> {
    const { span, follower } = this.start;
    const offset = copy.committedOffset;
    const given = { start: span.start, end: span.end, range: follower.range, node: follower.node, incarnation: follower.incarnation, address: follower.address, epoch, offset };
    await this.deps.copies.save([
      {
        copy,
        record: {
          ...copy.record,
          state: 'Inactive',
          owned: subtractAll(copy.record.owned, [span]),
          handed: [...copy.record.handed, given],
        },
      },
    ]);
    await this.deps.failpoints.reach('after-hand-over-commit');
    return this.handOverMessage(copy, epoch, offset);
  }

  private handOverMessage(copy: Copy, epoch: number, offset: number): ToFollower {
    return { type: 'handOver', epoch, offset, logEpoch: copy.record.logEpoch, void: false, incarnation: this.deps.storage.incarnation };
  }

  /** Never had it; the raised fence keeps a hand-over that is still on its way from being taken. */
  private async giveUp(epoch: number, offset: number): Promise<ToFollower> {
    const fence = this.deps.fences.get(this.start.range);
    if (epoch !== 0 && epoch < fence) return refused(`R${this.start.range} here has seen epoch ${fence}, which is newer than ${epoch}`);
    await this.deps.fences.raise(this.start.range, epoch);
    return { type: 'handOver', epoch, offset, logEpoch: 0, void: true, incarnation: this.deps.storage.incarnation };
  }
}

function refuseForeignSpan(copy: Copy, { span, snapshotFrom }: FollowStart): void {
  if (isEmpty(span) || !covers(copy.meta, span)) {
    throw new AppError('INVALID_ARGUMENT', `start: ${formatInterval(span)} is no part of ${formatRange(copy.meta)}`);
  }
  if (snapshotFrom !== undefined && !containsKey(span, snapshotFrom)) {
    throw new AppError('INVALID_ARGUMENT', `start.snapshot_from: ${formatKey(snapshotFrom)} is outside ${formatInterval(span)}`);
  }
}

function refused(reason: string): Extract<ToFollower, { type: 'refused' }> {
  return { type: 'refused', reason, active: false };
}

