import type { Key } from '../../model/key.js';
import type { FollowerInfo, Member, Membership, ReplicaInfo } from '../../model/report.js';
import type { FakeCopy, FakeNode } from './fake-node.js';

/*
 * The part of a fake copy that replicas are made of: a log, who has to have it before
 * it counts, and whom the copy follows. What follows is brought up to date at once;
 * leases hold exactly as long as their followers go on following.
 */

export interface Entry {
  readonly epoch: number;
  readonly key: Key;
  readonly value: number;
}

export interface Replica {
  /** What was there before the log. */
  base: ReadonlyMap<Key, number>;
  log: readonly Entry[];
  committed: number;
  /** Before this is committed nothing is served: all of it may have been acknowledged. */
  servesFrom: number;
  /** Of its activation, or of the last entry. */
  logEpoch: number;
  configEpoch: number;
  fork: number;
  minInSync: number;
  /** On its disk: who has to have an entry before it is committed, itself left out. */
  required: readonly Member[];
  source: string;
  /** Since when nothing comes from the source. */
  lostSinceMs: number | undefined;
  /** When each follower was heard last. */
  readonly heardMs: Map<string, number>;
  damaged: boolean;
}

export function newReplica(): Replica {
  return {
    base: new Map(), log: [], committed: 0, servesFrom: 0, logEpoch: 0, configEpoch: 0, fork: 0, minInSync: 1,
    required: [], source: '', lostSinceMs: undefined, heardMs: new Map(), damaged: false,
  };
}

export const LEASE_MS = 1500;
const PENDING_MAX = 8;

/** A primary that was told its members. */
export function isReplicated(copy: FakeCopy): boolean {
  return copy.replica.configEpoch > 0;
}

export type Written = 'acknowledged' | 'unknown' | 'refused';

/** A client's write. */
export function write(node: FakeNode, copy: FakeCopy, key: Key, value: number): Written {
  const { replica } = copy;
  if (!isReplicated(copy)) {
    copy.data.set(key, value);
    return 'acknowledged';
  }
  if (replica.required.length + 1 < replica.minInSync || replica.log.length - replica.committed >= PENDING_MAX) return 'refused';
  replica.log = [...replica.log, { epoch: replica.logEpoch, key, value }];
  ship(node, copy);
  return replica.committed === replica.log.length ? 'acknowledged' : 'unknown';
}

/** Everything in the log, committed or not. */
export function prepared(copy: FakeCopy): Map<Key, number> {
  const data = new Map(isReplicated(copy) || copy.replica.log.length > 0 ? copy.replica.base : copy.data);
  for (const { key, value } of copy.replica.log) data.set(key, value);
  return data;
}

/** Brings the followers of a primary up to date, and lets in who has caught up. */
export function ship(node: FakeNode, copy: FakeCopy): void {
  const { replica } = copy;
  if (copy.state !== 'Active' || !isReplicated(copy) || !node.isRunning) return;
  const followers = followersOf(node, copy);
  for (const { node: at, copy: follower } of followers) {
    if (!at.lags) catchUp(copy, follower);
    // One that is there, and acknowledges nothing of what it should, counts as silent too.
    if (follower.replica.log.length === replica.log.length) replica.heardMs.set(memberKey(at.member), node.nowMs);
    const isNew = !replica.required.some((m) => isSame(m, at.member));
    // A static primary waits for nobody, and nobody waits for a static replica.
    if (isNew && replica.minInSync > 0 && !at.isStatic && follower.replica.log.length === replica.log.length && !at.lags && !follower.replica.damaged) replica.required = [...replica.required, at.member];
  }
  const ends = replica.required.map((m) => followers.find((f) => isSame(f.node.member, m) && !f.node.lags)?.copy.replica.log.length ?? 0);
  replica.committed = Math.max(replica.committed, Math.min(replica.log.length, ...ends));
  apply(copy);
}

function catchUp(from: FakeCopy, to: FakeCopy): void {
  const [source, own] = [from.replica, to.replica];
  if (own.log.at(-1) !== source.log[own.log.length - 1]) {
    let same = 0;
    while (same < own.log.length && own.log[same] === source.log[same]) same += 1;
    own.committed = Math.min(own.committed, same);
  }
  own.base = source.base;
  own.log = source.log;
  own.logEpoch = source.logEpoch;
  own.committed = source.committed;
  apply(to);
}

/** Clients see what is committed. */
export function apply(copy: FakeCopy): void {
  const { base, log, committed } = copy.replica;
  copy.data.clear();
  for (const [key, value] of base) copy.data.set(key, value);
  for (const { key, value } of log.slice(0, committed)) copy.data.set(key, value);
}

interface At {
  readonly node: FakeNode;
  readonly copy: FakeCopy;
}

/** The copies that follow this very activation now. */
function followersOf(node: FakeNode, copy: FakeCopy): At[] {
  return node.peers().flatMap((peer) => {
    const follower = peer === node || !peer.isRunning || peer.cutOff || node.cutOff ? undefined : peer.copies.get(copy.meta.id);
    const follows = follower?.state === 'Inactive' && follower.replica.source === node.address && follower.replica.fork <= copy.replica.logEpoch;
    return follows ? [{ node: peer, copy: follower }] : [];
  });
}

/** It may answer consistent reads: everybody it waits for follows it, so nobody else is active. */
export function isLeased(node: FakeNode, copy: FakeCopy): boolean {
  const followers = followersOf(node, copy);
  if (copy.replica.committed < copy.replica.servesFrom) return false;
  return copy.replica.required.every((m) => followers.some((f) => isSame(f.node.member, m)));
}

/** Notes whether something comes from the source. */
export function listen(node: FakeNode, copy: FakeCopy): void {
  const { replica } = copy;
  if (replica.source === '' || copy.state === 'Active') {
    replica.lostSinceMs = undefined;
    return;
  }
  const source = node.cutOff ? undefined : node.peers().find((peer) => peer.address === replica.source && peer.isRunning && !peer.cutOff);
  const speaks = source?.copies.get(copy.meta.id)?.state === 'Active';
  replica.lostSinceMs = speaks ? undefined : (replica.lostSinceMs ?? node.nowMs);
}

export function takeMembership(node: FakeNode, copy: FakeCopy, membership: Membership, epoch: number): void {
  const { replica } = copy;
  if (!isReplicated(copy)) {
    replica.base = new Map(copy.data);
  }
  replica.required = membership.members.filter((m) => !isSame(m, node.member));
  for (const m of replica.required) if (!replica.heardMs.has(memberKey(m))) replica.heardMs.set(memberKey(m), node.nowMs);
  replica.configEpoch = epoch;
  replica.minInSync = membership.minInSync;
  replica.fork = Math.max(replica.fork, membership.fork);
}

export function replicaInfo(node: FakeNode, copy: FakeCopy): ReplicaInfo {
  const { replica } = copy;
  const active = copy.state === 'Active';
  return {
    configEpoch: replica.configEpoch,
    logEpoch: replica.logEpoch,
    lastOffset: replica.log.length,
    committedOffset: replica.committed,
    source: active ? '' : replica.source,
    sourceLost: replica.lostSinceMs !== undefined && node.nowMs - replica.lostSinceMs >= LEASE_MS,
    followers: active && isReplicated(copy) ? followerInfos(node, copy) : [],
    leased: active && isLeased(node, copy),
    damaged: replica.damaged,
    incomplete: false,
    static: node.isStatic,
  };
}

function followerInfos(node: FakeNode, copy: FakeCopy): FollowerInfo[] {
  const { replica } = copy;
  const following = followersOf(node, copy);
  const members = [...replica.required, ...following.map((f) => f.node.member).filter((m) => !replica.required.some((r) => isSame(r, m)))];
  return members.map((member) => {
    const now = following.find((f) => isSame(f.node.member, member));
    return {
      member,
      ackedOffset: now?.copy.replica.log.length ?? 0,
      inSync: replica.required.some((r) => isSame(r, member)),
      silentMs: now?.copy.replica.log.length === replica.log.length ? 0 : node.nowMs - (replica.heardMs.get(memberKey(member)) ?? node.nowMs),
      lagBytes: (replica.log.length - (now?.copy.replica.log.length ?? 0)) * 10,
    };
  });
}

function memberKey(member: Member): string {
  return `${member.node} ${member.incarnation}`;
}

function isSame(a: Member, b: Member): boolean {
  return memberKey(a) === memberKey(b);
}
