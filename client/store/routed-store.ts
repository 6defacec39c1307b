import { type Interval, formatInterval, intersection, isEmpty } from '../../model/interval.js';
import { type Key, formatKey, keyToBytes } from '../../model/key.js';
import { keyProblem, valueProblem } from '../../model/limits.js';
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
import { codeOfStatus } from '../../proto/status.js';
import { operationLength } from '../../proto/store-wire.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import { endOfTurn, type Turn } from '../../runtime/turn.js';
import type { ByteBudget } from '../budget.js';
import { formatOwner, sameOwner, type SpanOwner, type SpanOwners } from '../owners.js';
import type { Answer } from '../pipe.js';
import type { Router } from '../router.js';
import type { LostOperation } from './batcher.js';
import { NOTHING_APPLIED, isLoss, isRefusal, saysUnknown } from './failures.js';
import { WriteIdSource } from '../write-id.js';
import { watchSpans } from './merged-watch.js';
import { nextNews } from './news.js';
import type { NodeStore } from './node-store.js';
import { NodeStores } from './nodes.js';

export interface RoutedStoreOptions {
  readonly owners: SpanOwners;
  readonly connect: (address: string) => NodeStore;
  /** For nodes that know kv.KV and nothing more. */
  readonly router: Pick<Router, 'get' | 'put'>;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  /** For the names of writes. */
  readonly random: Random;
  readonly turn?: Turn;
  readonly timeoutMs: number;
}

const OPERATION_BYTES = 1024;

/**
 * The whole store, by a map of who serves what: each key is asked of its owner, and
 * asked again where it went when ranges move. What cannot be served waits for the map
 * to change, until its deadline. A write has a name, so that one of unknown outcome is
 * sent again and made once.
 */
export class RoutedStore implements Store {
  private readonly nodes: NodeStores;
  private readonly ids: WriteIdSource;
  private readonly subscription: { unsubscribe(): void };

  constructor(private readonly options: RoutedStoreOptions) {
    const { owners, connect, clock, turn = endOfTurn } = options;
    this.nodes = new NodeStores({ connect, clock, turn });
    this.ids = new WriteIdSource(options.random);
    this.subscription = owners.changes.subscribe(() => {
      this.nodes.keep(owners.addresses());
    });
  }

  async get(key: Key, options: AskOptions = {}): Promise<Value | undefined> {
    const answer = await this.one({ is: 'get', key }, options);
    return answer.is === 'value' ? answer.value : undefined;
  }

  put(key: Key, value: Buffer, write: WriteOptions = {}, options: AskOptions = {}): Promise<WriteOutcome> {
    return this.write({ is: 'put', key, value, ...write }, options);
  }

  delete(key: Key, condition?: Condition, options: AskOptions = {}): Promise<WriteOutcome> {
    return this.write({ is: 'delete', key, condition }, options);
  }

  private async write(operation: Operation, options: AskOptions): Promise<WriteOutcome> {
    const answer = await this.one(operation, options);
    if (answer.is === 'written') return answer.outcome;
    throw new AppError('INTERNAL', `a write was answered like a read: ${answer.is}`);
  }

  private async one(operation: Operation, options: AskOptions): Promise<OperationAnswer> {
    const answer = await this.answer(operation, options);
    if (answer.is === 'failed') throw answer.error;
    return answer;
  }

  /** Each operation finds its owner by itself; what goes to one node in one turn goes in one message. */
  async batch(operations: readonly Operation[], options: AskOptions = {}): Promise<OperationAnswer[]> {
    const answers = await Promise.all(operations.map((operation) => this.answer(operation, options)));
    let bytes = 0;
    return answers.map((answer) => {
      if (answer.is !== 'value') return answer;
      if (bytes > BATCH_ANSWER_BYTES_MAX) {
        const message = `the values before this one fill the answer of ${BATCH_ANSWER_BYTES_MAX} bytes: ask for it in another batch`;
        return { is: 'failed', error: new AppError('RESOURCE_EXHAUSTED', message) };
      }
      bytes += answer.value.value.length;
      return answer;
    });
  }

  private async answer(operation: Operation, options: AskOptions): Promise<OperationAnswer> {
    const { budget, clock } = this.options;
    const problem = keyProblem(operation.key.length) ?? (operation.is === 'put' ? valueProblem(operation.value.length) : undefined);
    if (problem !== undefined) return { is: 'failed', error: new AppError('INVALID_ARGUMENT', problem) };
    const bytes = OPERATION_BYTES + operationLength(operation);
    if (!budget.take(bytes)) {
      const message = `${budget.used} bytes of requests and answers are on their way, and the limit is ${budget.maxBytes}: try again later`;
      return { is: 'failed', error: new AppError('RESOURCE_EXHAUSTED', message) };
    }
    try {
      const timeoutMs = options.timeoutMs ?? this.options.timeoutMs;
      return await this.untilAnswered(operation, { timeoutMs, dueAt: clock.now() + timeoutMs, signal: options.signal });
    } catch (thrown) {
      return { is: 'failed', error: AppError.from(thrown) };
    } finally {
      budget.give(bytes);
    }
  }

  private async untilAnswered(operation: Operation, until: { readonly timeoutMs: number; readonly dueAt: number; readonly signal: AbortSignal | undefined }): Promise<OperationAnswer> {
    const { owners, clock } = this.options;
    let refusedBy: SpanOwner | undefined;
    let reason = `no node serves key ${formatKey(operation.key)} now`;
    const given = operation.is === 'get' ? undefined : operation;
    const writeId = given && (given.writeId ?? this.ids.next());
    /** When the first try was sent whose outcome is unknown, here or by whoever gave the write its id. */
    let firstSentAt = given?.writeId && given.retryAgeMs ? clock.now() - given.retryAgeMs : undefined;
    for (let tries = 0, changed = true; ; tries++) {
      if (until.signal?.aborted) throw AppError.from(until.signal.reason);
      const owner = owners.find(operation.key);
      if (!owner) reason = `no node serves key ${formatKey(operation.key)} now`;
      // One that refused is asked again when the map says anything new of it, or after a while.
      else if (!changed || !refusedBy || !sameOwner(refusedBy, owner)) {
        const sentAt = clock.now();
        const retryAgeMs = firstSentAt === undefined ? 0 : Math.ceil(sentAt - firstSentAt);
        const answer = await this.ask(owner, operation.is === 'get' ? operation : { ...operation, writeId, retryAgeMs }, until.dueAt);
        const why = whyAgain(answer);
        if (why === undefined) return settled(answer, firstSentAt);
        if (writeId && leavesUnknown(answer)) firstSentAt ??= sentAt;
        reason = `${formatOwner(owner)}: ${why}`;
        refusedBy = owner;
      }
      const leftMs = until.dueAt - clock.now();
      if (leftMs <= 0) throw new AppError('DEADLINE_EXCEEDED', `waited ${until.timeoutMs} ms: ${reason}${fate(given !== undefined, firstSentAt)}`);
      changed = await nextNews(owners, clock, { tries, msMax: leftMs, signal: until.signal });
    }
  }

  private async ask(owner: SpanOwner, operation: Operation, dueAt: number): Promise<OperationAnswer | LostOperation> {
    const answer = await this.nodes.batcher(owner.address).ask(operation, dueAt);
    if (answer.is !== 'failed' || AppError.from(answer.error).code !== 'UNIMPLEMENTED') return answer;
    return this.askPlain(owner, operation, dueAt);
  }

  /** A node that knows kv.KV alone can do what that can. */
  private askPlain(owner: SpanOwner, operation: Operation, dueAt: number): Promise<OperationAnswer> {
    const { router, clock } = this.options;
    const key = keyToBytes(operation.key);
    const timeoutMs = Math.max(1, dueAt - clock.now());
    return new Promise((resolve) => {
      if (operation.is !== 'get' && operation.condition) {
        resolve({ is: 'failed', error: new AppError('UNIMPLEMENTED', `${formatOwner(owner)} knows no conditional writes`) });
      } else if (operation.is === 'get') {
        router.get(key, timeoutMs, (answer) => {
          resolve(answer.code === 0 ? { is: 'value', value: answer } : plainFailure(answer));
        });
      } else {
        router.put(key, operation.is === 'put' ? operation.value : undefined, timeoutMs, (answer) => {
          resolve(answer.code === 0 ? { is: 'written', outcome: { applied: true, position: answer } } : plainFailure(answer));
        });
      }
    });
  }

  async *scan(request: ScanRequest, options: AskOptions = {}): AsyncGenerator<ScanPage, void, undefined> {
    const { owners, clock } = this.options;
    const { reverse = false, keysOnly = false, token } = request;
    const timeoutMs = options.timeoutMs ?? this.options.timeoutMs;
    const whole = token ? decodeScanToken(token, request.span, reverse) : request.span;
    if (!whole) throw new AppError('INVALID_ARGUMENT', 'token: it is none that a scan of these keys has told');
    let span: Interval | undefined = isEmpty(whole) ? undefined : whole;
    let left = request.limit ?? Infinity;
    let waitedSince: number | undefined;
    let reason = '';
    /** The last page told that there is more. */
    let promised = false;
    for (let tries = 0; span && left > 0; ) {
      const owner: SpanOwner | undefined = reverse ? owners.findBelow(span.end) : owners.find(span.start);
      const part: Interval | undefined = owner && intersection(span, owner.interval);
      if (owner && part) {
        try {
          for await (const page of this.pagesOf(owner, { span: part, reverse, keysOnly, limit: left === Infinity ? undefined : left }, { signal: options.signal, timeoutMs })) {
            waitedSince = undefined;
            tries = 0;
            left -= page.entries.length;
            const rest = page.next && decodeScanToken(page.next, part, reverse);
            span = rest ? { start: reverse ? whole.start : rest.start, end: reverse ? rest.end : whole.end } : behind(whole, part, reverse);
            if (page.entries.length === 0) continue;
            promised = span !== undefined;
            yield { entries: page.entries, next: span && encodeScanToken(reverse, reverse ? span.end : span.start) };
          }
          if (left > 0) span = behind(whole, part, reverse);
          continue;
        } catch (thrown) {
          const error = AppError.from(thrown);
          if (options.signal?.aborted === true || !(isRefusal(error) || isLoss(error) || error.code === 'DEADLINE_EXCEEDED')) throw error;
          reason = `${formatOwner(owner)}: ${error.message}`;
        }
      } else {
        reason = `no node serves ${formatInterval(span)} ${reverse ? 'at its end' : 'at its start'} now`;
      }
      waitedSince ??= clock.now();
      const leftMs = waitedSince + timeoutMs - clock.now();
      if (leftMs <= 0) throw new AppError('DEADLINE_EXCEEDED', `waited ${timeoutMs} ms: ${reason}`);
      await nextNews(owners, clock, { tries: tries++, msMax: leftMs, signal: options.signal });
    }
    if (!span && promised) yield { entries: [], next: undefined };
  }

  /** Pages of one owner; one that says nothing for too long is as good as gone. */
  private async *pagesOf(owner: SpanOwner, request: ScanRequest, options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number }): AsyncGenerator<ScanPage, void, undefined> {
    const { clock } = this.options;
    const { store, release } = this.hold(owner.address);
    const silence = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
    const pages = store.scan(request, { signal })[Symbol.asyncIterator]();
    try {
      for (;;) {
        const cancel = clock.after(options.timeoutMs, () => {
          silence.abort(new AppError('DEADLINE_EXCEEDED', `no page within ${options.timeoutMs} ms`));
        });
        const page = await pages.next().finally(cancel);
        if (page.done === true) return;
        yield page.value;
      }
    } finally {
      await pages.return?.();
      release();
    }
  }

  watch(request: WatchRequest, { signal }: AskOptions = {}): AsyncIterable<WatchEvent> {
    return watchSpans({ owners: this.options.owners, clock: this.options.clock, hold: (address) => this.hold(address) }, request, signal);
  }

  /** The connection to a node, for what is asked of one node; it is kept until it is released. */
  hold(address: string): { readonly store: NodeStore; readonly release: () => void } {
    return this.nodes.hold(address);
  }

  close(): void {
    this.subscription.unsubscribe();
    this.nodes.close();
  }
}

/** Why the operation has to be asked again, of whoever serves the key then; undefined when this is the answer. */
function whyAgain(answer: OperationAnswer | LostOperation): string | undefined {
  if (answer.is === 'lost') return answer.error.message;
  if (answer.is !== 'failed') return undefined;
  const error = AppError.from(answer.error);
  return isRefusal(error) || error.code === 'UNAVAILABLE' || error.code === 'UNKNOWN' ? error.message : undefined;
}

/** A write that may have been made, or not. */
function leavesUnknown(answer: OperationAnswer | LostOperation): boolean {
  if (answer.is === 'lost') return !answer.notApplied;
  if (answer.is !== 'failed') return false;
  const error = AppError.from(answer.error);
  return error.code === 'UNKNOWN' || saysUnknown(error);
}

function fate(isWrite: boolean, firstSentAt: number | undefined): string {
  if (!isWrite) return '';
  return firstSentAt === undefined ? `. ${NOTHING_APPLIED}` : '. Whether an earlier try of the write was applied is unknown';
}

function settled(answer: OperationAnswer | LostOperation, firstSentAt: number | undefined): OperationAnswer {
  if (answer.is === 'lost') return { is: 'failed', error: answer.error };
  if (answer.is !== 'failed' || firstSentAt === undefined) return answer;
  // It tells of this try alone.
  const { code, message } = AppError.from(answer.error);
  if (code === 'INVALID_ARGUMENT') return answer;
  const thisTry = message.replace(`. ${NOTHING_APPLIED}`, '');
  return { is: 'failed', error: new AppError('UNAVAILABLE', `${thisTry}. Whether an earlier try of the write was applied is unknown`) };
}

/** What of `span` a scan still has to see once it has seen `part`, where it begins; undefined when nothing is left. */
function behind(span: Interval, part: Interval, reverse: boolean): Interval | undefined {
  if (reverse) return part.start === span.start ? undefined : { start: span.start, end: part.start };
  return part.end === span.end ? undefined : { start: part.end, end: span.end };
}

function plainFailure(answer: Answer): OperationAnswer {
  const code = codeOfStatus(answer.code);
  return code === 'NOT_FOUND' ? { is: 'absent' } : { is: 'failed', error: new AppError(code, answer.message) };
}
