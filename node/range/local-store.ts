import { isEmpty } from '../../model/interval.js';
import { type Key, keyFromBytes, keyToBytes } from '../../model/key.js';
import {
  type AskOptions,
  BATCH_ANSWER_BYTES_MAX,
  type Condition,
  type Operation,
  type OperationAnswer,
  type ScanPage,
  type ScanRequest,
  type Store,
  type Value,
  type WatchEvent,
  type WatchRequest,
  type WriteOptions,
  type WriteOutcome,
} from '../../model/store.js';
import { decodeScanToken, encodeScanToken } from '../../model/tokens.js';
import { AppError } from '../../runtime/errors.js';
import type { LogRetention } from '../follow/source.js';
import type { Storage } from '../storage/storage.js';
import type { KeyValues } from './data.js';
import { watchRange } from './watch.js';

export interface LocalStoreDeps {
  readonly storage: Storage;
  readonly data: KeyValues;
  readonly log: LogRetention;
  /** The monotonic clock. */
  readonly now: () => number;
  /** Lets waiting requests go between two pages. */
  readonly yieldTurn: () => Promise<void>;
}

const PAGE = { countMax: 500, bytesMax: 256 * 1024 };

/** The keys that this node serves, for those who come straight to it. */
export class LocalStore implements Store {
  constructor(private readonly deps: LocalStoreDeps) {}

  async get(key: Key): Promise<Value | undefined> {
    return this.deps.data.value(keyToBytes(key));
  }

  put(key: Key, value: Buffer, write: WriteOptions = {}): Promise<WriteOutcome> {
    return this.write(key, value, write);
  }

  delete(key: Key, condition?: Condition): Promise<WriteOutcome> {
    return this.write(key, undefined, { condition });
  }

  private write(name: Key, value: Buffer | undefined, { condition, contentType, writeId, retryAgeMs }: WriteOptions): Promise<WriteOutcome> {
    const { data, now } = this.deps;
    const write = { key: keyToBytes(name), value, contentType, writeId, firstSentAt: retryAgeMs ? now() - retryAgeMs : undefined };
    return new Promise((resolve, reject) => {
      if (condition) {
        data.putIf({ ...write, condition }, (error, outcome) => {
          if (error) reject(error);
          else resolve(outcome);
        });
        return;
      }
      data.put(
        write.key,
        value,
        (error, { epoch, offset }) => {
          if (error) reject(error);
          else resolve({ applied: true, position: { epoch, offset } });
        },
        write,
      );
    });
  }

  /** All writes of a batch share what goes to the disk; reads are made one by one, so that no more is read than the answer holds. */
  async batch(operations: readonly Operation[]): Promise<OperationAnswer[]> {
    const writes = operations.map((operation) => (operation.is === 'get' ? undefined : this.written(operation)));
    const answers: OperationAnswer[] = [];
    let bytes = 0;
    for (const [i, operation] of operations.entries()) {
      const answer = await (operation.is === 'get' ? this.found(operation.key, bytes) : (writes[i] as Promise<OperationAnswer>));
      if (answer.is === 'value') bytes += answer.value.value.length;
      answers.push(answer);
    }
    return answers;
  }

  private async written(operation: Exclude<Operation, { is: 'get' }>): Promise<OperationAnswer> {
    try {
      return { is: 'written', outcome: await this.write(operation.key, operation.is === 'put' ? operation.value : undefined, operation) };
    } catch (thrown) {
      return { is: 'failed', error: AppError.from(thrown) };
    }
  }

  private async found(key: Key, bytesBefore: number): Promise<OperationAnswer> {
    try {
      if (bytesBefore > BATCH_ANSWER_BYTES_MAX) throw new AppError('RESOURCE_EXHAUSTED', `the values before this one fill the answer of ${BATCH_ANSWER_BYTES_MAX} bytes: ask for it in another batch`);
      const value = await this.get(key);
      return value ? { is: 'value', value } : { is: 'absent' };
    } catch (thrown) {
      return { is: 'failed', error: AppError.from(thrown) };
    }
  }

  async *scan(request: ScanRequest, { signal }: AskOptions = {}): AsyncGenerator<ScanPage, void, undefined> {
    const { reverse = false, keysOnly = false, token } = request;
    let left = request.limit ?? Infinity;
    let span: ScanRequest['span'] | undefined = request.span;
    if (token) {
      span = decodeScanToken(token, span, reverse);
      if (!span) throw new AppError('INVALID_ARGUMENT', 'token: it is none that a scan of these keys has told');
    }
    while (span && !isEmpty(span) && left > 0) {
      if (signal?.aborted) throw AppError.from(signal.reason);
      const { copy, pairs, next } = this.deps.data.page(span, { reverse, keysOnly, countMax: Math.min(PAGE.countMax, left), bytesMax: PAGE.bytesMax });
      await this.deps.data.confirm(copy);
      left -= pairs.length;
      span = next === undefined ? undefined : reverse ? { start: span.start, end: next } : { start: next, end: span.end };
      const more = next !== undefined && span !== undefined && !isEmpty(span);
      const entries = pairs.map(({ key, ...value }) => ({ ...value, key: keyFromBytes(key) }));
      // A range without keys of the span is no page.
      if (entries.length > 0 || !more) yield { entries, next: more ? encodeScanToken(reverse, next) : undefined };
      await this.deps.yieldTurn();
    }
  }

  watch(request: WatchRequest, { signal }: AskOptions = {}): AsyncIterable<WatchEvent> {
    return watchRange(this.deps, request, signal);
  }
}
