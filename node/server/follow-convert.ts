import { type Key, NO_KEY, keyFromBytes, keyToBytes } from '../../model/key.js';
import { countFromWire, rangeIdFromWire } from '../../proto/convert.js';
import type { FollowRequest, FollowResponse, FollowStart as WireStart } from '../../proto/gen/kv/follow.js';
import { AppError } from '../../runtime/errors.js';
import type { FollowStart, ToFollower, ToSource } from '../follow/messages.js';
import { pack, unpackRecords } from '../log/pack.js';
import { checkPacked } from '../storage/packed.js';

/** The messages of kv.Follow, to and from what the two ends know. */

export function toSourceWire(message: ToSource): FollowRequest {
  switch (message.type) {
    case 'start':
      return { message: { $case: 'start', start: startToWire(message.start) } };
    case 'ack':
      return { message: { $case: 'ack', ack: { offset: BigInt(message.offset) } } };
    case 'takeOver':
      return { message: { $case: 'takeOver', takeOver: { epoch: BigInt(message.epoch) } } };
  }
}

export function toSourceFromWire({ message }: FollowRequest): ToSource {
  switch (message?.$case) {
    case 'start':
      return { type: 'start', start: startFromWire(message.start) };
    case 'ack':
      return { type: 'ack', offset: countFromWire(message.ack.offset, 'ack.offset') };
    case 'takeOver':
      return { type: 'takeOver', epoch: countFromWire(message.takeOver.epoch, 'take_over.epoch') };
    case undefined:
      throw new AppError('INVALID_ARGUMENT', 'message is missing: give start, ack or take_over');
  }
}

function startToWire({ range, follower, span, resumeAfter, snapshotFrom }: FollowStart): WireStart {
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
      const records = { records: pack(message.records), count: message.records.length, endOffset: BigInt(message.endOffset) };
      return { message: { $case: 'records', records } };
    }
    case 'handOver': {
      const { epoch, offset, logEpoch, incarnation } = message;
      const handOver = { epoch: BigInt(epoch), offset: BigInt(offset), logEpoch: BigInt(logEpoch), void: message.void, incarnation };
      return { message: { $case: 'handOver', handOver } };
    }
    case 'refused':
      return { message: { $case: 'refused', refused: { reason: message.reason, active: message.active } } };
  }
}

export function toFollowerFromWire({ message }: FollowResponse): ToFollower {
  switch (message?.$case) {
    case 'begin': {
      const { snapshot, snapshotFrom, offset, epoch, keys } = message.begin;
      return { type: 'begin', snapshotFrom: snapshot ? keyFromBytes(snapshotFrom) : undefined, offset: countFromWire(offset, 'begin.offset'), epoch: countFromWire(epoch, 'begin.epoch'), keys: countFromWire(keys, 'begin.keys') };
    }
    case 'chunk': {
      const { pairs, count, next, last, endOffset } = message.chunk;
      return { type: 'chunk', pairs: checkPacked({ bytes: pairs, count }), next: last ? undefined : notEmpty(keyFromBytes(next)), endOffset: countFromWire(endOffset, 'chunk.end_offset') };
    }
    case 'records': {
      const { records, endOffset } = message.records;
      return { type: 'records', records: unpackRecords(records), endOffset: countFromWire(endOffset, 'records.end_offset') };
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
    case undefined:
      throw new AppError('INTERNAL', 'the source sent an empty message');
  }
}

function notEmpty(key: Key): Key {
  if (key === NO_KEY) throw new AppError('INVALID_ARGUMENT', 'chunk.next is empty in a chunk that is not the last');
  return key;
}

