import type { FollowerInfo, Member } from '../../model/report.js';
import type { ReplicaRecord } from '../storage/copy-record.js';

interface Follower {
  readonly member: Member;
  /** Everything up to here is durable at the follower, as part of a whole copy. */
  acked: number;
  /** Undefined: it is not waited for. Otherwise it counts as in sync once it has this offset. */
  joinedAt: number | undefined;
  /** The waiting is on the disk, and the follower had what was committed before: from here on others may rely on it. */
  inSync: boolean;
  heardAt: number;
  leasedUntil: number;
  lagBytes: number;
}

/**
 * What a primary knows of its followers, and decides from it: how far the log is
 * committed, whether reads may be answered, and who is level. Primary/backup after
 * PacificA (MSR-TR-2008-25): the controller decides who is a member; the primary only
 * ever waits for more than that, never for less. No IO; `now` is the node's monotonic
 * clock in milliseconds.
 */
export class Replication {
  /** Every record up to here is on every member. Never goes back. */
  committed: number;
  private readonly followers = new Map<string, Follower>();

  /** `startOffset`: the end of the log when the copy became primary; all of it may have been acknowledged. */
  constructor(
    public record: ReplicaRecord,
    readonly startOffset: number,
    private readonly now: () => number,
  ) {
    this.committed = 0;
    for (const member of record.members) this.require(member, 0).inSync = true;
  }

  /** The controller decided: those waited for are `record.members`, and nobody else. One that follows all the same makes itself known again. */
  configure(record: ReplicaRecord): void {
    this.record = record;
    for (const key of [...this.followers.keys()]) if (!record.members.some((member) => keyOf(member) === key)) this.followers.delete(key);
    for (const member of record.members) this.require(member, 0).inSync = true;
  }

  /** From now on nothing commits without it. */
  join(member: Member): void {
    this.require(member, this.committed);
  }

  /** It could not be noted, so nobody was told. */
  unjoin(member: Member): void {
    if (!this.isKept(member)) this.of(member).joinedAt = undefined;
  }

  /** The join is on the disk. */
  joined(record: ReplicaRecord, member: Member): void {
    this.record = record;
    const follower = this.of(member);
    if (follower.joinedAt !== undefined) follower.inSync = follower.acked >= follower.joinedAt;
  }

  heard(member: Member): void {
    this.of(member).heardAt = this.now();
  }

  acknowledged(member: Member, offset: number): void {
    const follower = this.of(member);
    follower.acked = Math.max(follower.acked, offset);
    if (follower.joinedAt !== undefined && this.isKept(member) && follower.acked >= follower.joinedAt) follower.inSync = true;
  }

  /** The follower's log was cut, or is being replaced. */
  restarted(member: Member, offset: number): void {
    this.of(member).acked = offset;
  }

  granted(member: Member, until: number): void {
    const follower = this.of(member);
    follower.leasedUntil = Math.max(follower.leasedUntil, until);
  }

  lags(member: Member, bytes: number): void {
    this.of(member).lagBytes = bytes;
  }

  /** One that is not waited for is forgotten when its stream ends. */
  left(member: Member): void {
    if (this.of(member).joinedAt === undefined) this.followers.delete(keyOf(member));
  }

  isWaitedFor(member: Member): boolean {
    return this.followers.get(keyOf(member))?.joinedAt !== undefined;
  }

  /** True for a follower that has everything committed, and may be waited for from now on. */
  isLevel(member: Member): boolean {
    const follower = this.of(member);
    return this.record.minInSync > 0 && follower.joinedAt === undefined && follower.acked >= Math.max(this.committed, this.startOffset) && follower.leasedUntil > this.now();
  }

  /** Looks how far the log is committed, when the primary itself has it durably up to `durable`; true when that went on. */
  advance(durable: number): boolean {
    let least = durable;
    for (const follower of this.followers.values()) if (follower.joinedAt !== undefined) least = Math.min(least, follower.acked);
    if (least <= this.committed) return false;
    this.committed = least;
    return true;
  }

  /** Until when consistent reads may be answered; `Infinity` when nobody else could become primary. */
  get leasedUntil(): number {
    let least = Infinity;
    for (const follower of this.followers.values()) if (follower.joinedAt !== undefined) least = Math.min(least, follower.leasedUntil);
    return least;
  }

  /** No other copy can be primary now, and what was acknowledged before this one became it is committed. */
  get mayRead(): boolean {
    return this.committed >= this.startOffset && this.now() < this.leasedUntil;
  }

  /** Everything up to here is this primary's log at the follower, whatever it had of another's. */
  ackedBy(member: Member): number {
    return this.followers.get(keyOf(member))?.acked ?? 0;
  }

  /** Copies that have every write, this one among them. */
  get inSync(): number {
    let count = 1;
    for (const follower of this.followers.values()) if (follower.inSync) count += 1;
    return count;
  }

  /** The members whose lease is missing or over, for people. */
  get lacking(): string[] {
    return [...this.followers.values()].filter((f) => f.joinedAt !== undefined && (f.leasedUntil <= this.now() || f.acked < this.startOffset)).map((f) => f.member.node);
  }

  report(): FollowerInfo[] {
    return [...this.followers.values()].map(({ member, acked, inSync, heardAt, lagBytes }) => ({
      member,
      ackedOffset: acked,
      inSync,
      silentMs: Math.max(0, this.now() - heardAt),
      lagBytes,
    }));
  }

  private isKept(member: Member): boolean {
    return this.record.members.some((kept) => keyOf(kept) === keyOf(member));
  }

  private require(member: Member, joinedAt: number): Follower {
    const follower = this.of(member);
    follower.joinedAt ??= joinedAt;
    return follower;
  }

  private of(member: Member): Follower {
    const key = keyOf(member);
    const known = this.followers.get(key);
    if (known) return known;
    const follower: Follower = { member, acked: 0, joinedAt: undefined, inSync: false, heardAt: this.now(), leasedUntil: 0, lagBytes: 0 };
    this.followers.set(key, follower);
    return follower;
  }
}

/** A node with another disk is another member. */
export function keyOf({ node, incarnation }: Pick<Member, 'node' | 'incarnation'>): string {
  return `${node}/${incarnation}`;
}
