import { type Interval, containsKey, covers, formatInterval, isEmpty, overlaps } from '../../model/interval.js';
import { type Key, formatKey, keyToBytes } from '../../model/key.js';
import { formatRange } from '../../model/range.js';
import type { Member } from '../../model/report.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Failpoints } from '../chaos/failpoints.js';
import type { Copies } from '../range/copies.js';
import type { Copy } from '../range/copy.js';
import type { Replication } from '../range/replication.js';
import { intersectAll, sameSpan, subtractAll } from '../range/span-set.js';
import type { EpochFences } from '../../rangelet/fences.js';
import type { HandedSpan } from '../storage/copy-record.js';
import { packPairs } from '../storage/packed.js';
import { type LogRecord, type Storage, type StoredPair, writesNothing } from '../storage/storage.js';
import { logEpochs, partingOffset } from './log-epochs.js';
import type { FollowStart, SourceChannel, ToFollower, ToSource } from './messages.js';

export interface SourceDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly fences: EpochFences;
  readonly log: LogRetention;
  readonly clock: Clock;
  readonly replicas: ReplicaSource;
  /** Lets waiting requests go between two chunks. */
  readonly yieldTurn: () => Promise<void>;
  readonly failpoints: Failpoints;
}

/** What a primary does with its followers; see range/replicas.ts. */
export interface ReplicaSource {
  /** How long a lease that is asked for lasts. */
  readonly leaseMs: number;
  /** A follower has everything that is committed: it may be waited for from now on. */
  level(copy: Copy, member: Member): void;
  /** Says anew what there is to say of the copy, to those who wait for a change of it. */
  tell(copy: Copy): void;
  /** Resolves when `bytes` more of a snapshot may go out. */
  pace(bytes: number, signal: AbortSignal): Promise<void>;
}

/** Keeps what followers still need; see range/retention.ts. */
export interface LogRetention {
  hold(copy: Copy): LogHold;
}

export interface LogHold {
  offset: number;
  release(): void;
}

interface ResumePoint {
  readonly offset: number;
  /**
   * The follower's log ends with records that the source's does not have. Where it asks to go on says nothing of
   * that: it may be before the end of its log.
   */
  readonly cuts: boolean;
}

/** Large enough to cost little, small enough that a request waits for a chunk only milliseconds. */
const COUNT_SLICE = 20_000;
/** A lease is renewed so often while it lasts. */
const BEATS_A_LEASE = 3;
/** Questions for a lease that wait for their answer. */
const LEASES_MAX = 16;
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
  /** What the follower has is whole once it has the log up to here. */
  private wholeAt = Infinity;
  private toldCommitted = 0;
  private askedLeaseAt = -Infinity;
  /** When each lease that was not granted yet was asked for; by id. */
  private readonly leases = new Map<number, number>();
  private leaseId = 0;
  private restoring: Key[] | undefined;
  private readonly member: Member;

  constructor(
    private readonly deps: SourceDeps,
    private readonly start: FollowStart,
    private readonly channel: SourceChannel,
  ) {
    const { node, incarnation, address } = start.follower;
    this.member = { node, incarnation, address };
  }

  receive(message: Exclude<ToSource, { type: 'start' }>): void {
    if (message.type === 'takeOver') this.takeOverEpoch = message.epoch;
    else if (message.type === 'restore') this.restoring = [...message.keys];
    else this.acknowledged(message.offset, message.lease);
    this.wake();
  }

  private acknowledged(offset: number, lease: number | undefined): void {
    const { clock, copies, replicas } = this.deps;
    if (this.hold) this.hold.offset = Math.max(this.hold.offset, offset);
    const copy = copies.get(this.start.range);
    const replication = copy && this.replicationOf(copy);
    if (!copy || !replication) return;
    const { member } = this;
    const couldRead = replication.mayRead;
    replication.heard(member);
    const askedAt = lease === undefined ? undefined : this.leases.get(lease);
    if (askedAt !== undefined) {
      replication.granted(member, askedAt + replicas.leaseMs);
      for (const id of [...this.leases.keys()]) if (id <= (lease ?? 0)) this.leases.delete(id);
    }
    if (offset >= this.wholeAt) replication.acknowledged(member, offset);
    replication.lags(member, Math.max(0, copy.durableOffset - offset));
    copy.progress();
    copy.notify();
    // A split or join is over when all members follow.
    if (replication.mayRead !== couldRead) replicas.tell(copy);
    if (replication.isLevel(member) && clock.now() - this.askedLeaseAt < replicas.leaseMs) replicas.level(copy, member);
  }

  /** Set when this follower is a copy of the same range, which may be waited for. */
  private replicationOf(copy: Copy): Replication | undefined {
    return this.start.follower.range === copy.meta.id && sameSpan(this.start.span, copy.meta) && copy.record.state === 'Active' ? copy.replication : undefined;
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
      copy.replication?.left(this.member);
    }
  }

  /**
   * Data is had only from where the right to write is, or went from to this very
   * follower: so no link ever brings keys that are older than what a node had when
   * it gave the right away.
   */
  private hasNewest(copy: Copy): boolean {
    // A fail-over that the follower knows of left this copy behind.
    if (copy.record.logEpoch < this.start.fork) return false;
    return copy.owns(this.start.span) || copy.record.handed.some((given) => this.isToFollower(given));
  }

  private isToFollower(given: HandedSpan): boolean {
    const { span, follower } = this.start;
    return sameSpan(given, span) && given.range === follower.range && given.incarnation === follower.incarnation;
  }

  /** There is nothing to follow here, but a right that never arrived can be given up. */
  private async serveRights(copy: Copy | undefined): Promise<void> {
    const { range, resumeAfter, snapshotFrom } = this.start;
    // Who has half a snapshot has nothing that could be given back to it.
    if (resumeAfter === undefined || snapshotFrom !== undefined) {
      if (!copy || copy.fetching) throw new AppError('NOT_FOUND', `range ${range} is not on this node`);
      throw new AppError('FAILED_PRECONDITION', `R${range} here may not write, so it is no source`);
    }
    const wake = (): void => {
      this.wake();
    };
    // A copy that is not here yet may come, and get the right to write.
    const stopWatching = copy ? copy.watch(wake) : this.deps.copies.watchFor(range, wake);
    this.channel.signal.addEventListener('abort', wake);
    try {
      await this.channel.send({ type: 'begin', snapshotFrom: undefined, offset: resumeAfter, epoch: 0, keys: 0, logEpoch: 0 });
      for (;;) {
        this.stopIfOver(copy);
        if (this.deps.copies.get(range) !== copy || (copy && this.hasNewest(copy))) {
          throw new AppError('ABORTED', `R${range} has come to this node: begin again`);
        }
        const epoch = this.takeOverEpoch;
        if (epoch === undefined) {
          await this.untilWoken();
          continue;
        }
        this.takeOverEpoch = undefined;
        const answer = copy && !copy.fetching ? await this.handOver(copy, epoch) : await this.giveUp(epoch, resumeAfter);
        if (answer) await this.channel.send(answer);
      }
    } finally {
      this.channel.signal.removeEventListener('abort', wake);
      stopWatching();
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
    const { logEpoch } = copy.record;
    const resume = this.resumePoint(copy);
    if (!resume) this.refuseSnapshotOfMember(copy);
    // The log of a snapshot begins early enough to tell which writes were made of late.
    const { offset, knownForMs } = resume ? { offset: resume.offset } : this.knownFrom(copy);
    hold.offset = offset;
    this.wholeAt = offset;
    const epoch = logEpoch;
    if (resume?.cuts === true) {
      await this.channel.send({ type: 'begin', snapshotFrom: undefined, offset, epoch, keys: 0, cutAt: offset, logEpoch });
      await this.serveRestore(copy);
      return offset;
    }
    const from = resume ? snapshotFrom : this.start.span.start;
    const keys = from === undefined ? 0 : await this.countKeys({ ...this.start.span, start: from });
    if (from !== undefined) this.wholeAt = Infinity;
    // Who adopted may be primary next, and then others who adopted find the same in its log.
    const origins = resumeAfter === undefined && from === undefined ? copy.record.origins : undefined;
    await this.channel.send({ type: 'begin', snapshotFrom: from, offset, epoch, keys, logEpoch: this.epochAt(copy, offset), knownForMs, origins });
    if (from !== undefined) await this.sendChunks(copy, from);
    return offset;
  }

  /** Behind which offset the log tells, as far as it is kept, the ids of writes that are known here. */
  private knownFrom(copy: Copy): { readonly offset: number; readonly knownForMs?: number } {
    const start = copy.writeIds.logStart(Math.max(copy.record.baseOffset, copy.trimmedThrough));
    return { offset: Math.min(start.offset, copy.durableOffset), knownForMs: start.knownForMs };
  }

  private epochAt(copy: Copy, offset: number): number {
    const { logEpoch } = copy.record;
    if (offset >= copy.durableOffset) return logEpoch;
    return logEpochs(this.deps.storage, copy).find(({ endOffset }) => endOffset >= offset)?.epoch ?? logEpoch;
  }

  /** Where the follower's log can go on; undefined when it needs a snapshot. */
  private resumePoint(copy: Copy): ResumePoint | undefined {
    const { resumeAfter, snapshotFrom, log } = this.start;
    if (resumeAfter === undefined) return this.adoptedAlike(copy) ? { offset: copy.record.baseOffset, cuts: false } : undefined;
    const parting = log.length === 0 ? resumeAfter : partingOffset(log, logEpochs(this.deps.storage, copy));
    if (parting === undefined) return undefined;
    const cuts = log.some(({ endOffset }) => endOffset > parting) || resumeAfter > parting;
    const offset = Math.min(parting, resumeAfter);
    return this.logReaches(copy, offset) && !(cuts && snapshotFrom !== undefined) ? { offset, cuts } : undefined;
  }

  /** The follower adopted its keys where it is, from copies that had all that the parents of this one had. */
  private adoptedAlike(copy: Copy): boolean {
    const { origins, baseOffset } = copy.record;
    if (this.start.follower.range !== copy.meta.id || origins.length === 0 || !this.logReaches(copy, baseOffset)) return false;
    return origins.every((origin) => this.start.basis.some((part) => part.range === origin.range && part.offset === origin.offset && covers(part, origin)));
  }

  /** A member that began anew would throw away what it acknowledged: it has to be taken out first. */
  private refuseSnapshotOfMember(copy: Copy): void {
    if (!this.replicationOf(copy)?.isWaitedFor(this.member)) return;
    throw new AppError('ABORTED', `${this.member.node} is in sync with R${copy.meta.id} and cannot begin anew before it was taken out`);
  }

  private async serveRestore(copy: Copy): Promise<void> {
    for (;;) {
      while (!this.restoring) {
        await this.untilWoken();
        this.stopIfOver(copy);
      }
      const keys = this.restoring;
      this.restoring = undefined;
      if (keys.length === 0) return;
      const pairs: StoredPair[] = [];
      const { lastOffset } = copy;
      let bytes = 0;
      let answered = 0;
      for (const name of keys) {
        const key = keyToBytes(name);
        const stored = this.deps.storage.get(key);
        if (stored) pairs.push({ key, ...stored });
        bytes += stored?.value.length ?? 0;
        answered += 1;
        if (bytes >= CHUNK.bytesMax) break;
      }
      await this.untilOnDisk(copy, lastOffset);
      this.wholeAt = copy.durableOffset;
      await this.channel.send({ type: 'restored', pairs: packPairs(pairs), answered, endOffset: this.wholeAt });
    }
  }

  private logReaches(copy: Copy, after: number): boolean {
    return after >= copy.record.baseOffset && after >= copy.trimmedThrough && after <= copy.durableOffset;
  }

  /** What was read may be on its way to the disk still, and not get there. */
  private async untilOnDisk(copy: Copy, lastOffset: number): Promise<void> {
    await copy.until(() => copy.isOnDisk(lastOffset) || copy.gone);
    this.stopIfOver(copy);
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
      if (next === undefined) await this.untilOnDisk(copy, copy.lastOffset);
      const endOffset = copy.durableOffset;
      await this.channel.send({ type: 'chunk', pairs: chunk.pairs, next, endOffset });
      this.wholeAt = next === undefined ? endOffset : Infinity;
      if (this.replicationOf(copy)) await this.deps.replicas.pace(chunk.pairs.bytes.length, this.channel.signal);
      await this.deps.yieldTurn();
    }
  }

  private async serveLog(copy: Copy, from: number): Promise<void> {
    this.sent = from;
    this.sendsLog = true;
    for (;;) {
      this.stopIfOver(copy);
      if (this.sent < copy.durableOffset) {
        this.sent = await this.sendRecords(copy, this.sent);
      } else if (this.isBeatDue(copy)) {
        await this.sendBatch(copy, [], this.sent);
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
    // What came from another range's log, or was trimmed, is not in this one: the next record would leave a hole.
    if (position < Math.max(copy.trimmedThrough, copy.record.baseOffset)) {
      throw new AppError('ABORTED', `R${copy.meta.id}: the follower lags too far, and has to begin again`);
    }
    const end = copy.durableOffset;
    const all = this.deps.storage.readLog(copy.meta.id, position, CHUNK.bytesMax);
    if (all.length === 0) {
      // The offsets in between belong to writes that failed; nothing is missing.
      await this.sendBatch(copy, [], end);
      return end;
    }
    const last = all[all.length - 1]?.offset ?? end;
    const { start, end: spanEnd } = this.start.span;
    const from = Buffer.from(start, 'latin1');
    const to = spanEnd === '' ? undefined : Buffer.from(spanEnd, 'latin1');
    // What has no key concerns every part: without it a follower's log would end before this one's, and an offset be given twice.
    const records = all.filter((record) => writesNothing(record) || (record.key.compare(from) >= 0 && (!to || record.key.compare(to) < 0)));
    await this.sendBatch(copy, records, last);
    return last;
  }

  /** Records, or none: then what goes with them alone, how far the log is committed and a question for a lease. */
  private sendBatch(copy: Copy, records: readonly LogRecord[], endOffset: number): Promise<void> {
    const { clock, replicas } = this.deps;
    if (!this.replicationOf(copy)) return this.channel.send({ type: 'records', records, endOffset });
    const committed = copy.committedOffset;
    this.toldCommitted = committed;
    let lease: { id: number; ms: number } | undefined;
    if (this.isLeaseDue()) {
      lease = { id: ++this.leaseId, ms: replicas.leaseMs };
      this.askedLeaseAt = clock.now();
      this.leases.set(lease.id, this.askedLeaseAt);
      while (this.leases.size > LEASES_MAX) this.leases.delete(this.leases.keys().next().value as number);
    }
    return this.channel.send({ type: 'records', records, endOffset, committed, lease });
  }

  private isLeaseDue(): boolean {
    return this.deps.clock.now() - this.askedLeaseAt >= this.deps.replicas.leaseMs / BEATS_A_LEASE;
  }

  private isBeatDue(copy: Copy): boolean {
    return this.replicationOf(copy) !== undefined && (this.isLeaseDue() || (this.toldCommitted < copy.committedOffset && copy.committedOffset === copy.durableOffset));
  }

  private nextWake(copy: Copy): Promise<void> {
    const { clock, replicas } = this.deps;
    const beat = this.replicationOf(copy) ? clock : undefined;
    return new Promise((resolve) => {
      const cancelBeat = beat?.after(Math.max(1, this.askedLeaseAt + replicas.leaseMs / BEATS_A_LEASE - beat.now()), () => { this.wake(); }, { unref: true });
      this.wake = () => {
        cancelBeat?.();
        resolve();
      };
      const ready = this.sent < copy.durableOffset || this.takeOverEpoch !== undefined || copy.gone || this.isBeatDue(copy);
      if (ready || this.channel.signal.aborted) this.wake();
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
    if (copy.durableOffset > this.sent && this.sendsLog) {
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
    return this.giveUp(epoch, copy.durableOffset);
  }

  private async giveAway(copy: Copy, epoch: number): Promise<ToFollower> {
    const { span, follower } = this.start;
    const offset = copy.durableOffset;
    const given = { start: span.start, end: span.end, range: follower.range, node: follower.node, incarnation: follower.incarnation, address: follower.address, epoch, offset };
    await this.deps.copies.save([
      {
        copy,
        record: {
          ...copy.record,
          state: 'Inactive',
          replica: undefined,
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

