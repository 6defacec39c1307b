import { type Interval, intersection, overlaps } from '../../model/interval.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import type { Member, Membership, Parent, ReplicaInfo } from '../../model/report.js';
import type { EpochFences } from '../../rangelet/fences.js';
import { type Cancel, type Clock, sleep } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { ReplicaPart } from '../follow/link.js';
import { logEpochs } from '../follow/log-epochs.js';
import type { FollowStart } from '../follow/messages.js';
import type { ReplicaSource } from '../follow/source.js';
import type { LogOrigin, ReplicaRecord } from '../storage/copy-record.js';
import type { Storage } from '../storage/storage.js';
import type { Copies } from './copies.js';
import type { Copy } from './copy.js';
import type { Pacer } from './pacer.js';
import { Replication, keyOf } from './replication.js';

export interface ReplicaOptions {
  /**
   * How long a lease lasts. A follower that granted one does not become primary
   * before it is over, so this is part of how long a fail-over takes.
   */
  readonly leaseMs: number;
  /** A static replica promises nothing, so that no primary waits for it. */
  readonly promises: boolean;
}

export interface ReplicasDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ident: string;
  readonly options: ReplicaOptions;
  readonly pacer: Pacer;
  /** A controller has commanded this node, now or before. */
  readonly isCommanded: () => boolean;
  readonly fences: Pick<EpochFences, 'get'>;
  /** What the node says of the range has changed. */
  readonly changed: (id: RangeId) => void;
}

/** Clocks of two machines run apart by less than this share. */
export const DRIFT = 0.02;
/** Reports of a follower that is silent are repeated so often. */
const SILENCE_STEP_MS = 1_000;
const LOOKS_A_LEASE = 4;

/** Replicas of a node's ranges: whom its primaries wait for, what its followers promise, and what it says of both. */
export class Replicas implements ReplicaSource {
  private cancelTick: Cancel | undefined;
  private readonly told = new Map<Copy, string>();
  private closed = false;

  constructor(private readonly deps: ReplicasDeps) {}

  get leaseMs(): number {
    return this.deps.options.leaseMs;
  }

  /** What was before the restart: primaries wait for the same members, and what followers granted is not known any more. */
  resume(): void {
    const { copies, clock } = this.deps;
    for (const copy of copies.all()) {
      if (copy.record.state === 'Active') this.install(copy);
      else copy.follower.grantedUntil = clock.now() + this.leaseMs;
    }
  }

  /** The copy became primary, with what is in its record. */
  install(copy: Copy): void {
    const { replica } = copy.record;
    copy.committedAtEnd = undefined;
    copy.replication = replica && new Replication(replica, copy.lastOffset, () => this.deps.clock.now());
    copy.uncommitted.clear();
    copy.progress();
    if (copy.replication) this.look();
  }

  /** The copy is no primary any more. */
  uninstall(copy: Copy): void {
    // What was not committed by then is not committed by there being nobody to wait for.
    if (copy.replication) copy.committedAtEnd = copy.committedOffset;
    copy.replication = undefined;
    copy.giveUp(new AppError('UNKNOWN', `R${copy.meta.id} left this node before every copy had the write: whether it was applied is unknown`));
    copy.uncommitted.clear();
  }

  /**
   * What a primary is to remember of a membership; undefined where there is no replication. A
   * primary that is its only member, with no copy wanted besides, tells its followers how far
   * they are, and waits for none.
   */
  recordOf(membership: Membership, epoch: number): ReplicaRecord | undefined {
    if (membership.minInSync === 0 && membership.members.length === 0) return undefined;
    const { ident, storage } = this.deps;
    const own = keyOf({ node: ident, incarnation: storage.incarnation });
    return { epoch, minInSync: membership.minInSync, members: membership.members.filter((member) => keyOf(member) !== own) };
  }

  /** Meant for the disk that was here before: the copy would wait for that for ever, and the controller would never know it. */
  refuseOtherDisk(copy: Copy, { members }: Membership): void {
    const { ident, storage } = this.deps;
    const meant = members.filter(({ node }) => node === ident);
    if (meant.length === 0 || meant.some(({ incarnation }) => incarnation === storage.incarnation)) return;
    throw new AppError('FAILED_PRECONDITION', `R${copy.meta.id} is to be active on another disk of ${ident} than the one that is here now`);
  }

  /** A newer membership for a copy that is active: it waits for new members at once, and for those left out until that is on the disk. */
  async configure(copy: Copy, membership: Membership, epoch: number): Promise<void> {
    const { copies } = this.deps;
    await copies.change(
      () => [copy],
      async () => {
        if (copy.record.state !== 'Active' || epoch <= (copy.record.replica?.epoch ?? 0)) return;
        const replica = this.recordOf(membership, epoch);
        if (!replica && !copy.record.replica) return;
        if (!copy.replication && replica) copy.replication = new Replication({ ...replica, members: [] }, 0, () => this.deps.clock.now());
        for (const member of replica?.members ?? []) copy.replication?.join(member);
        await copies.save([{ copy, record: { ...copy.record, replica, fork: Math.max(copy.record.fork ?? 0, membership.fork) } }]);
        if (replica) copy.replication?.configure(replica);
        else copy.replication = undefined;
        copy.progress();
        copy.notify();
      },
    );
    this.look();
    this.toldAnew(copy);
  }

  /** Says who is waited for, and looks once more: who counts as in sync changes with acknowledgements, which say nothing. */
  private toldAnew(copy: Copy): void {
    this.told.delete(copy);
    this.deps.changed(copy.meta.id);
  }

  /** From now on every write waits for it; the controller hears of it once that is on the disk. */
  level(copy: Copy, member: Member): void {
    const { copies, logger } = this.deps;
    const { replication } = copy;
    if (!replication?.isLevel(member)) return;
    replication.join(member);
    const keep = async (): Promise<void> => {
      if (copy.replication !== replication || !copy.record.replica || !replication.isWaitedFor(member)) return;
      const replica = { ...copy.record.replica, members: [...copy.record.replica.members.filter((kept) => keyOf(kept) !== keyOf(member)), member] };
      await copies.save([{ copy, record: { ...copy.record, replica } }]);
      replication.joined(replica, member);
      this.toldAnew(copy);
    };
    copies.change(() => [copy], keep).catch((thrown: unknown) => {
      logger.warn('a follower could not be noted as level', { range: copy.meta.id, follower: member.node, error: messageOf(thrown) });
      replication.unjoin(member);
    });
  }

  pace(bytes: number, signal: AbortSignal): Promise<void> {
    return this.deps.pacer.take(bytes, signal);
  }

  /** What a copy of the range says and promises as a follower. */
  partOf(copy: Copy, range: RangeId): ReplicaPart {
    const isReplica = range === copy.meta.id;
    const { clock } = this.deps;
    return {
      start: () => (isReplica ? this.startOf(copy) : { fork: 0, log: [], basis: [] }),
      heard: (committed) => {
        if (!isReplica || committed === undefined) return;
        const isNews = committed > copy.follower.committed;
        copy.follower.committed = Math.max(copy.follower.committed, committed);
        copy.follower.heardAt = clock.now();
        // Who reads the log here waits for that.
        if (isNews) copy.notify();
        this.look();
      },
      grant: (ms) => {
        if (!isReplica || !this.deps.options.promises || ms > this.leaseMs || copy.record.state === 'Active') return false;
        copy.follower.grantedUntil = Math.max(copy.follower.grantedUntil, clock.now() + ms);
        return true;
      },
    };
  }

  private startOf(copy: Copy): Pick<FollowStart, 'fork' | 'log' | 'basis'> {
    return { fork: copy.record.fork ?? 0, log: logEpochs(this.deps.storage, copy), basis: this.basisOf(copy) };
  }

  /** What a child's copy has of its parents; nothing is certain of that any more once a snapshot has begun. */
  private basisOf(copy: Copy): LogOrigin[] {
    if (copy.record.wholeAt !== undefined) return [];
    const beside = this.deps.copies.overlapping(copy.meta, copy).flatMap((other) => {
      const span = intersection(other.meta, copy.meta);
      return span && other.isWhole ? [{ ...span, range: other.meta.id, offset: other.durableOffset }] : [];
    });
    return [...beside, ...copy.fetched];
  }

  /** Resolves once no lease is in force that a copy here granted for keys of `span`. */
  async untilFree(span: Interval, signal: AbortSignal): Promise<void> {
    const { copies, clock } = this.deps;
    for (;;) {
      const until = Math.max(0, ...copies.all().filter((copy) => overlaps(copy.meta, span)).map((copy) => copy.follower.grantedUntil));
      const ms = until + this.leaseMs * DRIFT - clock.now();
      if (until === 0 || ms <= 0) return;
      await sleep(clock, Math.ceil(ms), signal);
    }
  }

  report(copy: Copy, source: string): ReplicaInfo {
    const { replication, record } = copy;
    const isPrimary = record.state === 'Active';
    return {
      // What it acts by, which is behind the record while that is on its way to the disk.
      configEpoch: replication?.record.epoch ?? record.replica?.epoch ?? 0,
      logEpoch: copy.lastEpoch,
      lastOffset: copy.durableOffset,
      committedOffset: copy.settledOffset,
      source: isPrimary ? '' : source,
      sourceLost: !isPrimary && source !== '' && this.isSourceLost(copy),
      followers: isPrimary ? (replication?.report() ?? []) : [],
      leased: isPrimary && replication?.mayRead !== false,
      damaged: copy.record.damaged === true,
      incomplete: !copy.isWhole,
      // A controller that knows no terms knows no epochs either.
      static: !this.deps.isCommanded() && this.deps.fences.get(copy.meta.id) > 0,
    };
  }

  private isSourceLost(copy: Copy): boolean {
    const { heardAt } = copy.follower;
    return heardAt > 0 && this.deps.clock.now() - heardAt > this.leaseMs;
  }

  /** Looks regularly at what nobody tells: who is silent, and which lease ran out. */
  private look(): void {
    if (this.cancelTick || this.closed) return;
    this.cancelTick = this.deps.clock.after(
      this.leaseMs / LOOKS_A_LEASE,
      () => {
        this.cancelTick = undefined;
        const concerned = this.deps.copies.all().filter((copy) => copy.replication !== undefined || copy.follower.heardAt > 0);
        for (const copy of concerned) this.tellChange(copy);
        if (concerned.length > 0) this.look();
      },
      { unref: true },
    );
  }

  private tellChange(copy: Copy): void {
    const { replication } = copy;
    const state = replication
      ? replication.report().map(({ member, inSync, silentMs }) => `${keyOf(member)} ${inSync} ${Math.floor(silentMs / SILENCE_STEP_MS)}`).join(' ') + String(replication.mayRead)
      : String(this.isSourceLost(copy));
    if (state === this.told.get(copy)) return;
    this.told.set(copy, state);
    // Whoever waits for a lease to be in force, or over, looks again.
    copy.notify();
    this.deps.changed(copy.meta.id);
  }

  /** Says anew what there is to say of the copy. */
  tell(copy: Copy): void {
    this.deps.changed(copy.meta.id);
    this.look();
  }

  forget(copy: Copy): void {
    this.told.delete(copy);
  }

  close(): void {
    this.closed = true;
    this.cancelTick?.();
  }
}

/** The active copy of the range itself that a Prepare names, on another node. */
export function sourceNamed(range: RangeMeta, parents: readonly Parent[], address: string): string | undefined {
  const own = parents.find((parent) => parent.range.id === range.id);
  return own?.placements.find((placement) => placement.state === 'Active' && placement.node !== address)?.node;
}
