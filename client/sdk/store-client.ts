import { type Key, NO_KEY, KEY_BYTES_MAX, keyFromBytes, keyFromText, keyToBytes } from '../../model/key.js';
import { contentTypeProblem, keyProblem, valueProblem } from '../../model/limits.js';
import { formatInterval, type Interval } from '../../model/interval.js';
import { type Condition, OPERATIONS_MAX, type Operation, type OperationAnswer, type Store, type WriteOutcome, selectedSpan } from '../../model/store.js';
import type * as model from '../../model/store.js';
import { codeOfStatus } from '../../proto/status.js';
import { ASYNC } from '../../proto/kv-codec.js';
import { AppError } from '../../runtime/errors.js';
import type { Router } from '../router.js';
import {
  type BatchOperation, type BatchResult, type CallOptions, type Change, type Client, type DeleteOptions, type Entry, type Expected, KeyrangerError,
  type KeyLike, type ScanOptions, type Selection, type SetSafeOptions, type Value, type ValueLike, type Version, type WatchEvent, type WatchOptions, type WriteResult,
} from './api.js';
import { type Kind, toKeyrangerError } from './errors.js';

export interface StoreClientParts {
  readonly store: Pick<Store, 'get' | 'put' | 'delete' | 'batch' | 'scan' | 'watch'>;
  /** For writes that need not outlive a fail-over. */
  readonly router: Pick<Router, 'put'>;
  readonly close: () => Promise<void>;
}

/** The SDK over a store, however that is reached: checks what is asked, and says what went wrong in the SDK's words. */
export class StoreClient implements Client {
  private readonly over = new AbortController();

  constructor(private readonly parts: StoreClientParts) {}

  get(key: KeyLike, options: CallOptions = {}): Promise<Value | undefined> {
    return this.call('read', options, async (ask) => {
      const found = await this.parts.store.get(readKey(key), ask);
      return found && toValue(found);
    });
  }

  set(key: KeyLike, value: ValueLike, options: CallOptions = {}): Promise<Version> {
    return this.call('write', options, ({ signal, timeoutMs }) => {
      const [keyBytes, valueBytes] = [keyToBytes(readKey(key)), readValue(value)];
      return new Promise((resolve, reject) => {
        const done: Parameters<Router['put']>[3] = ({ code, message, epoch, offset }) => {
          signal.removeEventListener('abort', cancel);
          if (code === 0) resolve({ epoch, offset });
          else reject(new AppError(codeOfStatus(code), message));
        };
        const cancel = (): void => ticket?.cancel();
        signal.addEventListener('abort', cancel, { once: true });
        const ticket = this.parts.router.put(keyBytes, valueBytes, timeoutMs, done, { level: ASYNC });
      });
    });
  }

  async setSafe(key: KeyLike, value: ValueLike, options: SetSafeOptions = {}): Promise<Version> {
    const result = await this.write(key, value, undefined, options);
    if (result.applied) return result.version;
    throw new KeyrangerError('internal', 'a write without a condition was not applied');
  }

  compareAndSet(key: KeyLike, expected: Expected, value: ValueLike, options: SetSafeOptions = {}): Promise<WriteResult> {
    return this.write(key, value, expected, options);
  }

  private write(key: KeyLike, value: ValueLike, expected: Expected | undefined, options: SetSafeOptions): Promise<WriteResult> {
    return this.call('write', options, async (ask) => {
      const { contentType } = options;
      return toResult(await this.parts.store.put(readKey(key), readValue(value), { contentType: readContentType(contentType), condition: toCondition(expected) }, ask));
    });
  }

  delete(key: KeyLike, options: DeleteOptions = {}): Promise<WriteResult> {
    return this.call('write', options, async (ask) => toResult(await this.parts.store.delete(readKey(key), toCondition(options.expected), ask)));
  }

  batch(operations: readonly BatchOperation[], options: CallOptions = {}): Promise<BatchResult[]> {
    const kind = operations.every(({ op }) => op === 'get') ? 'read' : 'write';
    return this.call(kind, options, async (ask) => {
      if (operations.length > OPERATIONS_MAX) throw new AppError('INVALID_ARGUMENT', `batch: ${operations.length} operations are more than the ${OPERATIONS_MAX} allowed`);
      const asked = operations.map(toOperation);
      const answers = await this.parts.store.batch(asked, ask);
      return answers.map((answer, i) => toBatchResult(answer, asked[i]?.is === 'get' ? 'read' : 'write'));
    });
  }

  async *scan(options: ScanOptions = {}): AsyncGenerator<Entry, void, undefined> {
    const { reverse = false, keysOnly = false, limit, timeoutMs } = options;
    yield* this.stream(options.signal, async function* (store, signal) {
      if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) throw new AppError('INVALID_ARGUMENT', `limit is ${limit}, but must be a whole number from 1 on`);
      const span = readSpan(options);
      for await (const { entries } of store.scan({ span, reverse, keysOnly, limit }, { signal, timeoutMs })) yield* entries.map(toEntry);
    });
  }

  async *watch(options: WatchOptions = {}): AsyncGenerator<WatchEvent, void, undefined> {
    const { token, afterOffset } = options;
    yield* this.stream(options.signal, async function* (store, signal) {
      const request = { span: readSpan(options), token: token === undefined ? undefined : Buffer.from(token, 'base64url'), afterOffset };
      for await (const event of store.watch(request, { signal })) yield { changes: event.changes.map(toChange), token: event.token?.toString('base64url') };
    });
  }

  async close(): Promise<void> {
    if (this.over.signal.aborted) return;
    this.over.abort(new KeyrangerError('closed', 'the client is closed'));
    await this.parts.close();
  }

  /** One question. It rejects as soon as it is given up, whatever it waits for. */
  private async call<T>(kind: Kind, { signal, timeoutMs }: CallOptions, ask: (options: { readonly signal: AbortSignal; readonly timeoutMs: number | undefined }) => Promise<T>): Promise<T> {
    const before = this.givenUp(signal);
    if (before) throw before;
    const call = new AbortController();
    let giveUp = (): void => undefined;
    const abandoned = new Promise<never>((_, reject) => {
      giveUp = () => {
        call.abort();
        const error = this.givenUp(signal) ?? new KeyrangerError('aborted', 'the call was given up');
        reject(kind === 'read' ? error : new KeyrangerError('outcome_unknown', `${error.message} while the write was on its way: whether it was applied is unknown`, { cause: error.cause ?? error }));
      };
    });
    const signals = signal ? [signal, this.over.signal] : [this.over.signal];
    for (const each of signals) each.addEventListener('abort', giveUp);
    try {
      return await Promise.race([ask({ signal: call.signal, timeoutMs: readTimeout(timeoutMs) }), abandoned]);
    } catch (thrown) {
      throw toKeyrangerError(thrown, kind);
    } finally {
      for (const each of signals) each.removeEventListener('abort', giveUp);
    }
  }

  private async *stream<T>(signal: AbortSignal | undefined, read: (store: StoreClientParts['store'], signal: AbortSignal) => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    const before = this.givenUp(signal);
    if (before) throw before;
    try {
      yield* read(this.parts.store, signal ? AbortSignal.any([signal, this.over.signal]) : this.over.signal);
    } catch (thrown) {
      throw this.givenUp(signal) ?? toKeyrangerError(thrown, 'read');
    }
  }

  private givenUp(signal: AbortSignal | undefined): KeyrangerError | undefined {
    if (this.over.signal.aborted) return new KeyrangerError('closed', 'the client is closed');
    return signal?.aborted === true ? new KeyrangerError('aborted', 'the call was aborted', { cause: signal.reason }) : undefined;
  }
}

// --- what is asked -----------------------------------------------------------

function check(problem: string | undefined): void {
  if (problem !== undefined) throw new AppError('INVALID_ARGUMENT', problem);
}

function readKey(key: KeyLike): Key {
  const read = typeof key === 'string' ? keyFromText(key) : keyFromBytes(key);
  check(keyProblem(read.length));
  return read;
}

function readValue(value: ValueLike): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  check(valueProblem(bytes.length));
  return bytes;
}

function readContentType(contentType: string | undefined): string | undefined {
  if (contentType !== undefined) check(contentTypeProblem(contentType));
  return contentType;
}

function readTimeout(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= 2 ** 31 - 1)) throw new AppError('INVALID_ARGUMENT', `timeoutMs is ${timeoutMs}, but must be above 0 and at most ${2 ** 31 - 1}`);
  return timeoutMs;
}

function readBound(key: KeyLike | undefined, what: string): Key {
  if (key === undefined || key.length === 0) return NO_KEY;
  const read = typeof key === 'string' ? keyFromText(key) : keyFromBytes(key);
  if (read.length > KEY_BYTES_MAX) throw new AppError('INVALID_ARGUMENT', `${what} has ${read.length} bytes, and keys have at most ${KEY_BYTES_MAX}`);
  return read;
}

function readSpan({ prefix, start, end }: Selection): Interval {
  const given = { start: readBound(start, 'start'), end: readBound(end, 'end') };
  const span = selectedSpan({ prefix: readBound(prefix, 'prefix'), ...given });
  if (!span) throw new AppError('INVALID_ARGUMENT', `start, end: ${formatInterval(given)} holds no key; start has to be below end`);
  return span;
}

function toCondition(expected: Expected | undefined): Condition | undefined {
  if (expected === undefined) return undefined;
  return expected === 'absent' ? { is: 'absent' } : { is: 'at', positions: [toVersion(expected)] };
}

function toOperation(operation: BatchOperation): Operation {
  const key = readKey(operation.key);
  switch (operation.op) {
    case 'get':
      return { is: 'get', key };
    case 'set':
      return { is: 'put', key, value: readValue(operation.value), contentType: readContentType(operation.contentType), condition: toCondition(operation.expected) };
    case 'delete':
      return { is: 'delete', key, condition: toCondition(operation.expected) };
  }
}

// --- what is answered --------------------------------------------------------

function toVersion({ epoch, offset }: model.Position): Version {
  return { epoch, offset };
}

function toValue({ value, contentType, ...position }: model.Value): Value {
  return { value, contentType, version: toVersion(position), text: () => value.toString('utf8') };
}

function toEntry({ key, ...value }: model.ScanEntry): Entry {
  const keyBytes = keyToBytes(key);
  return { key: keyBytes.toString('utf8'), keyBytes, ...toValue(value) };
}

function toChange({ key, value, contentType, ...position }: model.Change): Change {
  const keyBytes = keyToBytes(key);
  return { key: keyBytes.toString('utf8'), keyBytes, value, contentType, version: toVersion(position), text: () => value?.toString('utf8') };
}

function toResult(outcome: WriteOutcome): WriteResult {
  if (outcome.applied) return { applied: true, version: toVersion(outcome.position) };
  return { applied: false, current: outcome.current && toVersion(outcome.current) };
}

function toBatchResult(answer: OperationAnswer, kind: Kind): BatchResult {
  switch (answer.is) {
    case 'value':
      return { op: 'get', value: toValue(answer.value) };
    case 'absent':
      return { op: 'get', value: undefined };
    case 'written':
      return { op: 'write', result: toResult(answer.outcome) };
    case 'failed':
      return { op: 'failed', error: toKeyrangerError(answer.error, kind) };
  }
}
