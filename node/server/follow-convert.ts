import { type Key, NO_KEY, keyFromBytes, keyToBytes } from '../../model/key.js';
import { countFromWire, boundFromWire, epochFromWire, keyFromWire, rangeIdFromWire } from '../../proto/convert.js';
import type { Basis as WireBasis, FollowRequest, FollowResponse, FollowStart as WireStart } from '../../proto/gen/kv/follow.js';
import { AppError } from '../../runtime/errors.js';
import type { FollowStart, ToFollower, ToSource } from '../follow/messages.js';
import { pack, unpackRecords } from '../log/pack.js';
import type { LogOrigin } from '../storage/copy-record.js';
import { checkPacked } from '../storage/packed.js';

/** The messages of kv.Follow, to and from what the two ends know. */

export function toSourceWire(message: ToSource): FollowRequest {
  switch (message.type) {
    case 'start':
      return { message: { $case: 'start', start: startToWire(message.start) } };
    case 'ack':
      return { message: { $case: 'ack', ack: { offset: BigInt(message.offset), lease: BigInt(message.lease ?? 0) } } };
    case 'restore':
      return { message: { $case: 'restore', restore: { keys: message.keys.map(keyToBytes) } } };
    case 'takeOver':
      return { message: { $case: 'takeOver', takeOver: { epoch: BigInt(message.epoch) } } };
  }
}

export function toSourceFromWire({ message }: FollowRequest): ToSource {
  switch (message?.$case) {
    case 'start':
      return { type: 'start', start: startFromWire(message.start) };
    case 'ack':
      return { type: 'ack', offset: countFromWire(message.ack.offset, 'ack.offset'), lease: countFromWire(message.ack.lease, 'ack.lease') || undefined };
    case 'restore':
      return { type: 'restore', keys: message.restore.keys.map((key, i) => keyFromWire(key, `restore.keys[${i}]`)) };
    case 'takeOver':
      return { type: 'takeOver', epoch: countFromWire(message.takeOver.epoch, 'take_over.epoch') };
    case undefined:
      throw new AppError('INVALID_ARGUMENT', 'message is missing: give start, ack or take_over');
  }
}

function startToWire({ range, follower, span, resumeAfter, snapshotFrom, fork, log, basis }: FollowStart): WireStart {
  return {
    range: BigInt(range),
    followerRange: BigInt(follower.range),
    followerNode: follower.node,
    followerIncarnation: follower.incarnation,
    followerAddress: follower.address,
    start: keyToBytes(span.start),
    end: keyToBytes(span.end),
    resume: resumeAfter !== undefined,
    offset: BigInt(resumeAfter ?? 0),
    snapshotFrom: keyToBytes(snapshotFrom ?? NO_KEY),
    snapshotUnfinished: snapshotFrom !== undefined,
    fork: BigInt(fork),
    log: log.map((part) => ({ epoch: BigInt(part.epoch), endOffset: BigInt(part.endOffset) })),
    basis: basis.map(basisToWire),
  };
}

function basisToWire({ range, offset, start, end }: LogOrigin): WireBasis {
  return { range: BigInt(range), offset: BigInt(offset), start: keyToBytes(start), end: keyToBytes(end) };
}

function basisFromWire(part: WireBasis, field: string): LogOrigin {
  return {
    range: rangeIdFromWire(part.range, `${field}.range`),
    offset: countFromWire(part.offset, `${field}.offset`),
    start: boundFromWire(part.start, `${field}.start`),
    end: boundFromWire(part.end, `${field}.end`),
  };
}

function startFromWire(start: WireStart): FollowStart {
  return {
    range: rangeIdFromWire(start.range, 'start.range'),
    follower: {
      range: rangeIdFromWire(start.followerRange, 'start.follower_range'),
      node: start.followerNode,
      incarnation: start.followerIncarnation,
      address: start.followerAddress,
    },
    span: { start: keyFromBytes(start.start), end: keyFromBytes(start.end) },
    resumeAfter: start.resume ? countFromWire(start.offset, 'start.offset') : undefined,
    snapshotFrom: start.snapshotUnfinished ? keyFromBytes(start.snapshotFrom) : undefined,
    fork: epochFromWire(start.fork, 'start.fork'),
    log: start.log.map((part, i) => ({ epoch: epochFromWire(part.epoch, `start.log[${i}].epoch`), endOffset: countFromWire(part.endOffset, `start.log[${i}].end_offset`) })),
    basis: start.basis.map((part, i) => basisFromWire(part, `start.basis[${i}]`)),
  };
}

export function toFollowerWire(message: ToFollower): FollowResponse {
  switch (message.type) {
    case 'begin':
      return {
        message: {
          $case: 'begin',
          begin: {
            snapshot: message.snapshotFrom !== undefined,
            snapshotFrom: keyToBytes(message.snapshotFrom ?? NO_KEY),
            offset: BigInt(message.offset),
            epoch: BigInt(message.epoch),
            keys: BigInt(message.keys),
            knownForMs: BigInt(message.knownForMs ?? 0),
            cut: message.cutAt !== undefined,
            cutOffset: BigInt(message.cutAt ?? 0),
            logEpoch: BigInt(message.logEpoch),
            origins: (message.origins ?? []).map(basisToWire),
          },
        },
      };
    case 'chunk':
      return {
        message: {
          $case: 'chunk',
          chunk: {
            pairs: message.pairs.bytes,
            count: message.pairs.count,
            next: keyToBytes(message.next ?? NO_KEY),
            last: message.next === undefined,
            endOffset: BigInt(message.endOffset),
          },
        },
      };
    case 'records': {
      const { committed = 0, lease } = message;
      const records = {
        records: pack(message.records),
        count: message.records.length,
        endOffset: BigInt(message.endOffset),
        committedOffset: BigInt(committed),
        lease: BigInt(lease?.id ?? 0),
        leaseMs: lease?.ms ?? 0,
      };
      return { message: { $case: 'records', records } };
    }
    case 'handOver': {
      const { epoch, offset, logEpoch, incarnation } = message;
      const handOver = { epoch: BigInt(epoch), offset: BigInt(offset), logEpoch: BigInt(logEpoch), void: message.void, incarnation };
      return { message: { $case: 'handOver', handOver } };
    }
    case 'refused':
      return { message: { $case: 'refused', refused: { reason: message.reason, active: message.active } } };
    case 'restored':
      return { message: { $case: 'restored', restored: { pairs: message.pairs.bytes, count: message.pairs.count, answered: message.answered, endOffset: BigInt(message.endOffset) } } };
  }
}

export function toFollowerFromWire({ message }: FollowResponse): ToFollower {
  switch (message?.$case) {
    case 'begin': {
      const { snapshot, snapshotFrom, offset, epoch, keys, knownForMs, cut, cutOffset, logEpoch, origins } = message.begin;
      return {
        type: 'begin',
        snapshotFrom: snapshot ? keyFromBytes(snapshotFrom) : undefined,
        offset: countFromWire(offset, 'begin.offset'),
        epoch: countFromWire(epoch, 'begin.epoch'),
        keys: countFromWire(keys, 'begin.keys'),
        knownForMs: countFromWire(knownForMs, 'begin.known_for_ms'),
        cutAt: cut ? countFromWire(cutOffset, 'begin.cut_offset') : undefined,
        logEpoch: countFromWire(logEpoch, 'begin.log_epoch'),
        origins: origins.map((part, i) => basisFromWire(part, `begin.origins[${i}]`)),
      };
    }
    case 'chunk': {
      const { pairs, count, next, last, endOffset } = message.chunk;
      return { type: 'chunk', pairs: checkPacked({ bytes: pairs, count }), next: last ? undefined : notEmpty(keyFromBytes(next)), endOffset: countFromWire(endOffset, 'chunk.end_offset') };
    }
    case 'records': {
      const { records, endOffset, committedOffset, lease, leaseMs } = message.records;
      return {
        type: 'records',
        records: unpackRecords(records),
        endOffset: countFromWire(endOffset, 'records.end_offset'),
        committed: countFromWire(committedOffset, 'records.committed_offset') || undefined,
        lease: lease === 0n ? undefined : { id: countFromWire(lease, 'records.lease'), ms: leaseMs },
      };
    }
    case 'handOver': {
      const { epoch, offset, logEpoch, incarnation } = message.handOver;
      return {
        type: 'handOver',
        epoch: countFromWire(epoch, 'hand_over.epoch'),
        offset: countFromWire(offset, 'hand_over.offset'),
        logEpoch: countFromWire(logEpoch, 'hand_over.log_epoch'),
        void: message.handOver.void,
        incarnation,
      };
    }
    case 'refused':
      return { type: 'refused', reason: message.refused.reason, active: message.refused.active };
    case 'restored': {
      const { pairs, count, answered, endOffset } = message.restored;
      return { type: 'restored', pairs: checkPacked({ bytes: pairs, count }), answered, endOffset: countFromWire(endOffset, 'restored.end_offset') };
    }
    case undefined:
      throw new AppError('INTERNAL', 'the source sent an empty message');
  }
}

function notEmpty(key: Key): Key {
  if (key === NO_KEY) throw new AppError('INVALID_ARGUMENT', 'chunk.next is empty in a chunk that is not the last');
  return key;
}

