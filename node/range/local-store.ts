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

  put(key: Key, value: Buffer, { condition, contentType }: WriteOptions = {}): Promise<WriteOutcome> {
    return this.write(key, value, condition, contentType);
  }

  delete(key: Key, condition?: Condition): Promise<WriteOutcome> {
    return this.write(key, undefined, condition, undefined);
  }

  private write(name: Key, value: Buffer | undefined, condition: Condition | undefined, contentType: string | undefined): Promise<WriteOutcome> {
    const { data } = this.deps;
    const key = keyToBytes(name);
    return new Promise((resolve, reject) => {
      if (condition) {
        data.putIf({ key, value, contentType, condition }, (error, outcome) => {
          if (error) reject(error);
          else resolve(outcome);
        });
        return;
      }
      data.put(
        key,
        value,
        (error, { epoch, offset }) => {
          if (error) reject(error);
          else resolve({ applied: true, position: { epoch, offset } });
        },
        { contentType },
      );
    });
  }

  /** All writes of a batch share what goes to the disk. */
  batch(operations: readonly Operation[]): Promise<OperationAnswer[]> {
    let bytes = 0;
    return Promise.all(
      operations.map(async (operation): Promise<OperationAnswer> => {
        try {
          switch (operation.is) {
            case 'get': {
              const value = await this.deps.data.value(keyToBytes(operation.key));
              if (bytes > BATCH_ANSWER_BYTES_MAX) throw new AppError('RESOURCE_EXHAUSTED', `the values before this one fill the answer of ${BATCH_ANSWER_BYTES_MAX} bytes: ask for it in another batch`);
              bytes += value?.value.length ?? 0;
              return value ? { is: 'value', value } : { is: 'absent' };
            }
            case 'put':
              return { is: 'written', outcome: await this.put(operation.key, operation.value, operation) };
            case 'delete':
              return { is: 'written', outcome: await this.delete(operation.key, operation.condition) };
          }
        } catch (thrown) {
          return { is: 'failed', error: AppError.from(thrown) };
        }
      }),
    );
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
