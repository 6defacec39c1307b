import { isUtf8 } from 'node:buffer';
import { formatInterval, isEmpty } from '../model/interval.js';
import { KEY_BYTES_MAX, type Key, NO_KEY, keyFromBytes, keyFromText, keyToBytes } from '../model/key.js';
import type { RangeId, RangeMeta } from '../model/range.js';
import {
  type FollowerInfo,
  type LoadInfo,
  type Member,
  type Membership,
  NO_LOAD,
  type Parent,
  type ParentPlacement,
  type RangeInfo,
  type RangesEvent,
  type ReplicaInfo,
  type TransferProgress,
} from '../model/report.js';
import type { PlacementState, RangeState, RemoteState } from '../model/states.js';
import { AppError } from '../runtime/errors.js';
import { parseAddress } from '../runtime/units.js';
import type { Parent as WireParent, RangesResponse as WireRangesResponse, ServeRequest as WireServeRequest } from './gen/ranger/node.js';
import {
  type FollowerInfo as WireFollowerInfo,
  type LoadInfo as WireLoadInfo,
  type Member as WireMember,
  type Placement as WirePlacement,
  type RangeInfo as WireRangeInfo,
  type RangeMeta as WireRangeMeta,
  type ReplicaInfo as WireReplicaInfo,
  type TransferProgress as WireTransferProgress,
  PlacementState as WirePlacementState,
  RangeNodeState as WireRemoteState,
  RangeState as WireRangeState,
} from './gen/ranger/types.js';

/*
 * The only place where wire messages become model values and back. What a peer
 * sent wrongly is refused here, with the field's name, so that nothing behind it
 * has to doubt a value again.
 */

/** Bounds a list that a peer sends, so that one message cannot make work without end. */
const LIST_MAX = 10_000;

function malformed(field: string, problem: string): AppError {
  return new AppError('INVALID_ARGUMENT', `${field}: ${problem}`);
}

// --- numbers ---------------------------------------------------------------

/** A count that a peer reports. */
export function countFromWire(value: bigint, field: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw malformed(field, `${value} is not between 0 and 2^53 - 1`);
  }
  return Number(value);
}

/** Estimates may come out fractional; the wire has whole numbers. */
export function countToWire(value: number): bigint {
  if (!(value > 0)) return 0n;
  return BigInt(Math.min(Math.round(value), Number.MAX_SAFE_INTEGER));
}

export function rangeIdFromWire(value: bigint, field: string): RangeId {
  if (value === 0n) throw malformed(field, 'a range id is missing, or 0; ids start at 1');
  return countFromWire(value, field);
}

export function rangeIdToWire(id: RangeId): bigint {
  return BigInt(id);
}

/** 0 is from a peer that knows no epochs. */
export function epochFromWire(value: bigint, field: string): number {
  return countFromWire(value, field);
}

export function epochToWire(epoch: number): bigint {
  return BigInt(epoch);
}

function rateFromWire(value: number, field: string): number {
  if (!Number.isFinite(value) || value < 0) throw malformed(field, `${value} is not a rate; it has to be finite and not negative`);
  return value;
}

function rateToWire(value: number): number {
  return Number.isFinite(value) && value > 0 ? value : 0;
}

// --- keys and ranges -------------------------------------------------------

/** A key, or the end of a range, where empty is infinite. */
export function boundFromWire(bytes: Uint8Array, field: string): Key {
  if (bytes.length > KEY_BYTES_MAX) {
    throw malformed(field, `${bytes.length} bytes are more than a key may have (${KEY_BYTES_MAX})`);
  }
  return keyFromBytes(bytes);
}

/** A key that names something stored: not empty. */
export function keyFromWire(bytes: Uint8Array, field: string): Key {
  if (bytes.length === 0) throw malformed(field, `a key is missing; it needs 1 to ${KEY_BYTES_MAX} bytes`);
  return boundFromWire(bytes, field);
}

export function rangeMetaFromWire(wire: WireRangeMeta | undefined, field: string): RangeMeta {
  if (!wire) throw malformed(field, 'is missing');
  const meta = {
    id: rangeIdFromWire(wire.ident, `${field}.ident`),
    start: boundFromWire(wire.start, `${field}.start`),
    end: boundFromWire(wire.end, `${field}.end`),
  };
  if (isEmpty(meta)) throw malformed(field, `${formatInterval(meta)} holds no key; start has to be below end`);
  return meta;
}

export function rangeMetaToWire(meta: RangeMeta): WireRangeMeta {
  return { ident: BigInt(meta.id), start: keyToBytes(meta.start), end: keyToBytes(meta.end) };
}

// --- states ----------------------------------------------------------------

const REMOTE: Readonly<Record<RemoteState, WireRemoteState>> = {
  Inactive: WireRemoteState.INACTIVE,
  Active: WireRemoteState.ACTIVE,
  Preparing: WireRemoteState.PREPARING,
  Activating: WireRemoteState.ACTIVATING,
  Deactivating: WireRemoteState.DEACTIVATING,
  Dropping: WireRemoteState.DROPPING,
  NotFound: WireRemoteState.NOT_FOUND,
};

const PLACEMENT: Readonly<Record<PlacementState, WirePlacementState>> = {
  Pending: WirePlacementState.PS_PENDING,
  Inactive: WirePlacementState.PS_INACTIVE,
  Active: WirePlacementState.PS_ACTIVE,
  Missing: WirePlacementState.PS_MISSING,
  Dropped: WirePlacementState.PS_DROPPED,
};

const RANGE: Readonly<Record<RangeState, WireRangeState>> = {
  Active: WireRangeState.RS_ACTIVE,
  Subsuming: WireRangeState.RS_SUBSUMING,
  Obsolete: WireRangeState.RS_OBSOLETE,
};

function inverse<S extends string>(table: Readonly<Record<S, number>>): ReadonlyMap<number, S> {
  return new Map((Object.entries(table) as [S, number][]).map(([state, number]) => [number, state]));
}

const REMOTE_BACK = inverse(REMOTE);
const PLACEMENT_BACK = inverse(PLACEMENT);
const RANGE_BACK = inverse(RANGE);

function stateFromWire<S>(table: ReadonlyMap<number, S>, value: number, field: string): S {
  const state = table.get(value);
  if (state === undefined) throw malformed(field, `${value} is no state known here`);
  return state;
}

export function remoteStateFromWire(value: WireRemoteState, field: string): RemoteState {
  return stateFromWire(REMOTE_BACK, value, field);
}

export function remoteStateToWire(state: RemoteState): WireRemoteState {
  return REMOTE[state];
}

export function placementStateFromWire(value: WirePlacementState, field: string): PlacementState {
  return stateFromWire(PLACEMENT_BACK, value, field);
}

export function placementStateToWire(state: PlacementState): WirePlacementState {
  return PLACEMENT[state];
}

export function rangeStateFromWire(value: WireRangeState, field: string): RangeState {
  return stateFromWire(RANGE_BACK, value, field);
}

export function rangeStateToWire(state: RangeState): WireRangeState {
  return RANGE[state];
}

// --- where copies are ------------------------------------------------------

/** Of an address that is none, in the reason. */
const ADDRESS_SHOWN_MAX = 100;

/**
 * Other controllers know placement states that this project does not. Such a copy
 * counts as Missing: nothing to fetch from, yet a copy that exists somewhere.
 */
function parentPlacementFromWire(wire: WirePlacement, field: string): ParentPlacement {
  if (wire.node === '') throw malformed(`${field}.node`, 'is missing; it has to be a host:port');
  if (!parseAddress(wire.node)) throw malformed(`${field}.node`, `${JSON.stringify(wire.node.slice(0, ADDRESS_SHOWN_MAX))} cannot be dialled; it has to be a host:port`);
  return { node: wire.node, state: PLACEMENT_BACK.get(wire.state) ?? 'Missing', index: wire.index };
}

export function parentFromWire(wire: WireParent, field: string): Parent {
  if (wire.parent.length > LIST_MAX) throw malformed(`${field}.parent`, `more than ${LIST_MAX} entries`);
  if (wire.placements.length > LIST_MAX) throw malformed(`${field}.placements`, `more than ${LIST_MAX} entries`);
  return {
    range: rangeMetaFromWire(wire.range, `${field}.range`),
    parents: wire.parent.map((id, i) => rangeIdFromWire(id, `${field}.parent[${i}]`)),
    placements: wire.placements.map((p, i) => parentPlacementFromWire(p, `${field}.placements[${i}]`)),
    fork: epochFromWire(wire.fork, `${field}.fork`),
  };
}

export function parentsFromWire(wire: readonly WireParent[], field: string): Parent[] {
  if (wire.length > LIST_MAX) throw malformed(field, `more than ${LIST_MAX} entries`);
  return wire.map((parent, i) => parentFromWire(parent, `${field}[${i}]`));
}

export function parentToWire(parent: Parent): WireParent {
  return {
    range: rangeMetaToWire(parent.range),
    parent: parent.parents.map((id) => BigInt(id)),
    placements: parent.placements.map((p) => ({ node: p.node, state: PLACEMENT[p.state], index: p.index })),
    fork: epochToWire(parent.fork ?? 0),
  };
}

// --- replicas --------------------------------------------------------------

function memberFromWire(wire: WireMember | undefined, field: string): Member {
  if (!wire) throw malformed(field, 'is missing');
  if (wire.node === '') throw malformed(`${field}.node`, 'is missing; it has to be an ident');
  if (wire.incarnation === '') throw malformed(`${field}.incarnation`, 'is missing');
  if (!parseAddress(wire.address)) throw malformed(`${field}.address`, `${JSON.stringify(wire.address.slice(0, ADDRESS_SHOWN_MAX))} cannot be dialled; it has to be a host:port`);
  return { node: wire.node, incarnation: wire.incarnation, address: wire.address };
}

export function membershipFromWire(wire: Pick<WireServeRequest, 'members' | 'minInSync' | 'fork' | 'promote'>): Membership {
  if (wire.members.length > LIST_MAX) throw malformed('members', `more than ${LIST_MAX} entries`);
  return {
    members: wire.members.map((member, i) => memberFromWire(member, `members[${i}]`)),
    minInSync: wire.minInSync,
    fork: epochFromWire(wire.fork, 'fork'),
    promote: wire.promote,
  };
}

export function membershipToWire(membership: Membership): Pick<WireServeRequest, 'members' | 'minInSync' | 'fork' | 'promote'> {
  const { members, minInSync, fork, promote } = membership;
  return { members: members.map((member) => ({ ...member })), minInSync, fork: epochToWire(fork), promote };
}

function followerFromWire(wire: WireFollowerInfo, field: string): FollowerInfo {
  return {
    member: memberFromWire(wire.member, `${field}.member`),
    ackedOffset: countFromWire(wire.ackedOffset, `${field}.acked_offset`),
    inSync: wire.inSync,
    silentMs: countFromWire(wire.silentMs, `${field}.silent_ms`),
    lagBytes: countFromWire(wire.lagBytes, `${field}.lag_bytes`),
  };
}

export function replicaFromWire(wire: WireReplicaInfo, field: string): ReplicaInfo {
  if (wire.followers.length > LIST_MAX) throw malformed(`${field}.followers`, `more than ${LIST_MAX} entries`);
  return {
    configEpoch: epochFromWire(wire.configEpoch, `${field}.config_epoch`),
    logEpoch: epochFromWire(wire.logEpoch, `${field}.log_epoch`),
    lastOffset: countFromWire(wire.lastOffset, `${field}.last_offset`),
    committedOffset: countFromWire(wire.committedOffset, `${field}.committed_offset`),
    source: wire.source,
    sourceLost: wire.sourceLost,
    followers: wire.followers.map((follower, i) => followerFromWire(follower, `${field}.followers[${i}]`)),
    leased: wire.leased,
    damaged: wire.damaged,
    incomplete: wire.incomplete,
    static: wire.static,
  };
}

export function replicaToWire(info: ReplicaInfo): WireReplicaInfo {
  return {
    configEpoch: epochToWire(info.configEpoch),
    logEpoch: epochToWire(info.logEpoch),
    lastOffset: countToWire(info.lastOffset),
    committedOffset: countToWire(info.committedOffset),
    source: info.source,
    sourceLost: info.sourceLost,
    followers: info.followers.map(({ member, ackedOffset, inSync, silentMs, lagBytes }) => ({
      member: { ...member },
      ackedOffset: countToWire(ackedOffset),
      inSync,
      silentMs: countToWire(silentMs),
      lagBytes: countToWire(lagBytes),
    })),
    leased: info.leased,
    damaged: info.damaged,
    incomplete: info.incomplete,
    static: info.static,
  };
}

// --- reports ---------------------------------------------------------------

/** The exact first split travels as bytes; those that are text travel as text too, for peers that know only that. */
function splitsFromWire(wire: WireLoadInfo, field: string): Key[] {
  if (wire.splits.length > LIST_MAX) throw malformed(`${field}.splits`, `more than ${LIST_MAX} entries`);
  const texts = wire.splits.map((text, i) => {
    const key = keyFromText(text);
    if (key === NO_KEY || key.length > KEY_BYTES_MAX) {
      throw malformed(`${field}.splits[${i}]`, `${key.length} bytes are no key; it needs 1 to ${KEY_BYTES_MAX}`);
    }
    return key;
  });
  const first = boundFromWire(wire.split, `${field}.split`);
  return first === NO_KEY || first === texts[0] ? texts : [first, ...texts];
}

export function loadInfoFromWire(wire: WireLoadInfo, field: string): LoadInfo {
  return {
    keys: countFromWire(wire.keys, `${field}.keys`),
    bytes: countFromWire(wire.bytes, `${field}.bytes`),
    readsPerSecond: rateFromWire(wire.readsPerSecond, `${field}.reads_per_second`),
    writesPerSecond: rateFromWire(wire.writesPerSecond, `${field}.writes_per_second`),
    splits: splitsFromWire(wire, field),
  };
}

/** Splits that are not UTF-8 travel only when they come first: the wire's list is of texts. */
export function loadInfoToWire(load: LoadInfo): WireLoadInfo {
  const splits = load.splits.map((key) => keyToBytes(key));
  return {
    keys: countToWire(load.keys),
    bytes: countToWire(load.bytes),
    readsPerSecond: rateToWire(load.readsPerSecond),
    writesPerSecond: rateToWire(load.writesPerSecond),
    splits: splits.filter((bytes) => isUtf8(bytes)).map((bytes) => bytes.toString('utf8')),
    split: splits[0] ?? Buffer.alloc(0),
  };
}

export function progressFromWire(wire: WireTransferProgress, field: string): TransferProgress {
  return {
    keys: countFromWire(wire.keys, `${field}.keys`),
    bytes: countFromWire(wire.bytes, `${field}.bytes`),
    keysTotal: countFromWire(wire.keysTotal, `${field}.keys_total`),
    caughtUp: wire.caughtUp,
  };
}

export function progressToWire(progress: TransferProgress): WireTransferProgress {
  return {
    keys: countToWire(progress.keys),
    bytes: countToWire(progress.bytes),
    keysTotal: countToWire(progress.keysTotal),
    caughtUp: progress.caughtUp,
  };
}

export function rangeInfoFromWire(wire: WireRangeInfo | undefined, field: string): RangeInfo {
  if (!wire) throw malformed(field, 'is missing');
  return {
    meta: rangeMetaFromWire(wire.meta, `${field}.meta`),
    state: remoteStateFromWire(wire.state, `${field}.state`),
    load: wire.info ? loadInfoFromWire(wire.info, `${field}.info`) : NO_LOAD,
    epoch: epochFromWire(wire.epoch, `${field}.epoch`),
    progress: wire.progress ? progressFromWire(wire.progress, `${field}.progress`) : undefined,
    lastError: wire.lastError,
    serving: wire.serving,
    replica: wire.replica ? replicaFromWire(wire.replica, `${field}.replica`) : undefined,
  };
}

export function rangeInfoToWire(info: RangeInfo): WireRangeInfo {
  return {
    meta: rangeMetaToWire(info.meta),
    state: REMOTE[info.state],
    info: loadInfoToWire(info.load),
    epoch: epochToWire(info.epoch),
    progress: info.progress ? progressToWire(info.progress) : undefined,
    lastError: info.lastError,
    serving: info.serving,
    replica: info.replica ? replicaToWire(info.replica) : undefined,
  };
}

/** Undefined for a message that says nothing this project knows of, such as a later addition. */
export function rangesEventFromWire(wire: WireRangesResponse): RangesEvent | undefined {
  if (!wire.meta) return wire.synced ? { type: 'synced' } : undefined;
  return {
    type: 'range',
    meta: rangeMetaFromWire(wire.meta, 'meta'),
    state: remoteStateFromWire(wire.state, 'state'),
    epoch: epochFromWire(wire.epoch, 'epoch'),
    info: wire.info ? rangeInfoFromWire(wire.info, 'info') : undefined,
  };
}

export function rangesEventToWire(event: RangesEvent): WireRangesResponse {
  if (event.type === 'synced') {
    return { meta: undefined, state: WireRemoteState.UNKNOWN, epoch: 0n, synced: true, info: undefined };
  }
  return {
    meta: rangeMetaToWire(event.meta),
    state: REMOTE[event.state],
    epoch: epochToWire(event.epoch),
    synced: false,
    info: event.info ? rangeInfoToWire(event.info) : undefined,
  };
}
