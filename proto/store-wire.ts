import { type Interval, formatInterval } from '../model/interval.js';
import { keyFromBytes, keyToBytes } from '../model/key.js';
import { contentTypeProblem, keyProblem, valueProblem, writeIdProblem } from '../model/limits.js';
import {
  type Change,
  type Condition,
  OPERATIONS_MAX,
  type Operation,
  type OperationAnswer,
  POSITIONS_MAX,
  type Position,
  type ScanEntry,
  type ScanPage,
  type ScanRequest,
  type Value,
  type WatchEvent,
  type WatchRequest,
  type WriteOptions,
  type WriteOutcome,
  type WriteTry,
  selectedSpan,
} from '../model/store.js';
import { AppError } from '../runtime/errors.js';
import { boundFromWire, countFromWire } from './convert.js';
import type {
  StoreAnswer,
  StoreBatchRequest,
  StoreChange,
  StoreCondition,
  StoreDeleteRequest,
  StoreEntry,
  StoreGetResponse,
  StoreOperation,
  StorePositions,
  StorePutRequest,
  StoreScanRequest,
  StoreScanResponse,
  StoreWatchRequest,
  StoreWatchResponse,
  StoreWriteResponse,
} from './gen/kv/store.js';
import { codeOfStatus, statusNumber } from './status.js';

/* kv.Store's messages, and what the model calls them. What is wrong in a request is refused here, by field. */

const NOT_FOUND = 5;

export function storeKey(bytes: Buffer): ReturnType<typeof keyFromBytes> {
  refuse(keyProblem(bytes.length));
  return keyFromBytes(bytes);
}

export function checkedValue(value: Buffer): Buffer {
  refuse(valueProblem(value.length));
  return value;
}

export function contentTypeFromWire(contentType: string): string | undefined {
  if (contentType === '') return undefined;
  refuse(contentTypeProblem(contentType));
  return contentType;
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new AppError('INVALID_ARGUMENT', problem);
}

// --- conditions and outcomes -------------------------------------------------

export function conditionFromWire(wire: StoreCondition | undefined): Condition | undefined {
  if (!wire) return undefined;
  // What is not understood must not become a write without a condition.
  if (!wire.is) throw new AppError('INVALID_ARGUMENT', 'condition: it has none of absent, present, at and not_at; for a write without one leave it out');
  switch (wire.is.$case) {
    case 'absent':
      return stated(wire.is.absent, 'absent');
    case 'present':
      return stated(wire.is.present, 'present');
    case 'at':
      return { is: 'at', positions: positionsFromWire(wire.is.at) };
    case 'notAt':
      return { is: 'notAt', positions: positionsFromWire(wire.is.notAt) };
  }
}

function stated<Is extends 'absent' | 'present'>(holds: boolean, is: Is): { readonly is: Is } {
  if (!holds) throw new AppError('INVALID_ARGUMENT', `condition: ${is} is false, which says nothing; give absent or present as true, or leave the condition out`);
  return { is };
}

function positionsFromWire({ positions }: StorePositions): Position[] {
  if (positions.length > POSITIONS_MAX) throw new AppError('INVALID_ARGUMENT', `condition: ${positions.length} positions are more than the ${POSITIONS_MAX} allowed`);
  return positions.map(({ epoch, offset }) => ({ epoch: countFromWire(epoch, 'condition.epoch'), offset: countFromWire(offset, 'condition.offset') }));
}

export function conditionToWire(condition: Condition | undefined): StoreCondition | undefined {
  if (!condition) return undefined;
  switch (condition.is) {
    case 'absent':
      return { is: { $case: 'absent', absent: true } };
    case 'present':
      return { is: { $case: 'present', present: true } };
    case 'at':
      return { is: { $case: 'at', at: { positions: condition.positions.map(positionToWire) } } };
    case 'notAt':
      return { is: { $case: 'notAt', notAt: { positions: condition.positions.map(positionToWire) } } };
  }
}

function positionToWire({ epoch, offset }: Position): { epoch: bigint; offset: bigint } {
  return { epoch: BigInt(epoch), offset: BigInt(offset) };
}

export function outcomeToWire(outcome: WriteOutcome): StoreWriteResponse {
  if (outcome.applied) return { applied: true, present: false, ...positionToWire(outcome.position) };
  return { applied: false, present: outcome.current !== undefined, ...positionToWire(outcome.current ?? { epoch: 0, offset: 0 }) };
}

export function outcomeFromWire({ applied, present, epoch, offset }: StoreWriteResponse): WriteOutcome {
  const position = { epoch: countFromWire(epoch, 'epoch'), offset: countFromWire(offset, 'offset') };
  return applied ? { applied, position } : { applied, current: present ? position : undefined };
}

export function valueToWire({ value, contentType, epoch, offset }: Value): StoreGetResponse {
  return { value, contentType: contentType ?? '', epoch: BigInt(epoch), offset: BigInt(offset) };
}

export function valueFromWire(wire: StoreGetResponse): Value {
  return { value: wire.value, contentType: wire.contentType === '' ? undefined : wire.contentType, epoch: Number(wire.epoch), offset: Number(wire.offset) };
}

// --- batches -----------------------------------------------------------------

/** One that is malformed comes back as its failure: the others are none the worse. */
export function operationsFromWire({ operations }: StoreBatchRequest): (Operation | AppError)[] {
  if (operations.length > OPERATIONS_MAX) throw new AppError('INVALID_ARGUMENT', `operations: ${operations.length} are more than the ${OPERATIONS_MAX} that a batch may have`);
  return operations.map((wire) => {
    try {
      return operationFromWire(wire);
    } catch (thrown) {
      return AppError.from(thrown);
    }
  });
}

function operationFromWire({ is }: StoreOperation): Operation {
  switch (is?.$case) {
    case 'get':
      return { is: 'get', key: storeKey(is.get.key) };
    case 'put': {
      const { key, value } = is.put;
      return { is: 'put', key: storeKey(key), value: checkedValue(value), ...putOptionsFromWire(is.put) };
    }
    case 'delete':
      return deleteFromWire(is.delete);
    case undefined:
      throw new AppError('INVALID_ARGUMENT', 'an operation is none of get, put and delete');
  }
}

export function putOptionsFromWire({ contentType, condition, ...given }: StorePutRequest): WriteOptions {
  return { contentType: contentTypeFromWire(contentType), condition: conditionFromWire(condition), ...tryFromWire(given) };
}

export function deleteFromWire({ key, condition, ...given }: StoreDeleteRequest): Operation {
  return { is: 'delete', key: storeKey(key), condition: conditionFromWire(condition), ...tryFromWire(given) };
}

function tryFromWire({ writeId, retryAgeMs }: { readonly writeId: Buffer; readonly retryAgeMs: number }): WriteTry {
  if (writeId.length === 0) return {};
  refuse(writeIdProblem(writeId.length));
  return { writeId, retryAgeMs };
}

export function tryToWire({ writeId, retryAgeMs }: WriteTry): { readonly writeId: Buffer; readonly retryAgeMs: number } {
  return { writeId: writeId ?? Buffer.alloc(0), retryAgeMs: retryAgeMs ?? 0 };
}

export function operationToWire(operation: Operation): StoreOperation {
  const key = keyToBytes(operation.key);
  switch (operation.is) {
    case 'get':
      return { is: { $case: 'get', get: { key } } };
    case 'put':
      return { is: { $case: 'put', put: { key, value: operation.value, contentType: operation.contentType ?? '', condition: conditionToWire(operation.condition), ...tryToWire(operation) } } };
    case 'delete':
      return { is: { $case: 'delete', delete: { key, condition: conditionToWire(operation.condition), ...tryToWire(operation) } } };
  }
}

export function answerToWire(answer: OperationAnswer): StoreAnswer {
  switch (answer.is) {
    case 'value':
      return { is: { $case: 'value', value: valueToWire(answer.value) } };
    case 'absent':
      return { is: { $case: 'failure', failure: { code: NOT_FOUND, message: 'the key is not there' } } };
    case 'written':
      return { is: { $case: 'written', written: outcomeToWire(answer.outcome) } };
    case 'failed': {
      const { code, message } = AppError.from(answer.error);
      return { is: { $case: 'failure', failure: { code: statusNumber(code), message } } };
    }
  }
}

export function answerFromWire({ is }: StoreAnswer): OperationAnswer {
  switch (is?.$case) {
    case 'value':
      return { is: 'value', value: valueFromWire(is.value) };
    case 'written':
      return { is: 'written', outcome: outcomeFromWire(is.written) };
    case 'failure':
      if (is.failure.code === NOT_FOUND) return { is: 'absent' };
      return { is: 'failed', error: new AppError(codeOfStatus(is.failure.code), is.failure.message) };
    case undefined:
      return { is: 'failed', error: new AppError('INTERNAL', 'an operation was left without an answer') };
  }
}

/** How much an operation and its answer add to messages, near enough to bound them. */
export function operationLength(operation: Operation): number {
  return 64 + operation.key.length + (operation.is === 'put' ? operation.value.length : 0);
}

// --- scans -------------------------------------------------------------------

function spanFromWire({ prefix, start, end }: { prefix: Buffer; start: Buffer; end: Buffer }): Interval {
  const given = { start: boundFromWire(start, 'start'), end: boundFromWire(end, 'end') };
  const span = selectedSpan({ prefix: boundFromWire(prefix, 'prefix'), ...given });
  if (!span) throw new AppError('INVALID_ARGUMENT', `start, end: ${formatInterval(given)} holds no key; start has to be below end`);
  return span;
}

export function scanFromWire(wire: StoreScanRequest): ScanRequest {
  const limit = countFromWire(wire.limit, 'limit');
  return {
    span: spanFromWire(wire),
    reverse: wire.reverse,
    keysOnly: wire.keysOnly,
    limit: limit === 0 ? undefined : limit,
    token: wire.token.length === 0 ? undefined : wire.token,
  };
}

export function scanToWire({ span, reverse, keysOnly, limit, token }: ScanRequest): StoreScanRequest {
  return {
    prefix: Buffer.alloc(0),
    start: keyToBytes(span.start),
    end: keyToBytes(span.end),
    reverse: reverse ?? false,
    keysOnly: keysOnly ?? false,
    limit: BigInt(limit ?? 0),
    token: token ?? Buffer.alloc(0),
  };
}

export function pageToWire({ entries, next }: ScanPage): StoreScanResponse {
  return { entries: entries.map(entryToWire), next: next ?? Buffer.alloc(0) };
}

function entryToWire({ key, value, contentType, epoch, offset }: ScanEntry): StoreEntry {
  return { key: keyToBytes(key), value, contentType: contentType ?? '', epoch: BigInt(epoch), offset: BigInt(offset) };
}

export function pageFromWire({ entries, next }: StoreScanResponse): ScanPage {
  return { entries: entries.map((wire) => ({ key: keyFromBytes(wire.key), ...valueFromWire(wire) })), next: next.length === 0 ? undefined : next };
}

// --- watches -----------------------------------------------------------------

export function watchFromWire(wire: StoreWatchRequest): WatchRequest {
  return {
    span: spanFromWire(wire),
    token: wire.token.length === 0 ? undefined : wire.token,
    afterOffset: wire.afterOffset === undefined ? undefined : countFromWire(wire.afterOffset, 'after_offset'),
  };
}

export function watchToWire({ span, token, afterOffset }: WatchRequest): StoreWatchRequest {
  return {
    prefix: Buffer.alloc(0),
    start: keyToBytes(span.start),
    end: keyToBytes(span.end),
    token: token ?? Buffer.alloc(0),
    afterOffset: afterOffset === undefined ? undefined : BigInt(afterOffset),
  };
}

export function eventToWire({ changes, token }: WatchEvent): StoreWatchResponse {
  return { changes: changes.map(changeToWire), token: token ?? Buffer.alloc(0) };
}

function changeToWire({ key, value, contentType, epoch, offset }: Change): StoreChange {
  return { key: keyToBytes(key), value, contentType: contentType ?? '', epoch: BigInt(epoch), offset: BigInt(offset) };
}

export function eventFromWire({ changes, token }: StoreWatchResponse): WatchEvent {
  return {
    changes: changes.map(({ key, value, contentType, epoch, offset }) => ({
      key: keyFromBytes(key),
      value,
      contentType: contentType === '' ? undefined : contentType,
      epoch: Number(epoch),
      offset: Number(offset),
    })),
    token: token.length === 0 ? undefined : token,
  };
}
