import type * as grpc from '@grpc/grpc-js';
import { formatKey } from '../model/key.js';
import type { Operation, OperationAnswer, Store } from '../model/store.js';
import type { Clock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { CODE } from './codes.js';
import { type StoreAnswer, StoreService } from './gen/kv/store.js';
import { type CallContext, addService, sendLarge } from './serve.js';
import { statusNumber } from './status.js';
import { answerToWire, checkedValue, deleteFromWire, eventToWire, operationsFromWire, outcomeToWire, pageToWire, putOptionsFromWire, scanFromWire, storeKey, valueToWire, watchFromWire } from './store-wire.js';

export interface StoreServiceOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly closing: AbortSignal;
  /** Told of each call that is over. */
  readonly observe?: (method: number, code: number, ms: number) => void;
}

const METHODS = ['get', 'put', 'delete', 'batch', 'scan', 'watch'] as const;

/** What calls are observed as. */
export const STORE_METHODS: ReadonlyMap<number, string> = new Map(METHODS.entries());

/** kv.Store, whoever the store is. */
export function addStoreService(server: grpc.Server, store: Store, options: StoreServiceOptions): void {
  const { clock, observe } = options;
  const observed = <Given extends unknown[], Answer>(method: (typeof METHODS)[number], handler: (...given: Given) => Promise<Answer>): typeof handler => {
    if (!observe) return handler;
    const index = METHODS.indexOf(method);
    return async (...given) => {
      const startedAt = clock.now();
      try {
        const answer = await handler(...given);
        observe(index, CODE.OK, clock.now() - startedAt);
        return answer;
      } catch (thrown) {
        observe(index, statusNumber(AppError.from(thrown).code), clock.now() - startedAt);
        throw thrown;
      }
    };
  };
  addService(
    server,
    StoreService,
    {
      get: observed('get', async (request, ctx) => {
        const key = storeKey(request.key);
        const value = await store.get(key, asked(ctx));
        if (!value) throw new AppError('NOT_FOUND', `key ${formatKey(key)} is not there`);
        return valueToWire(value);
      }),
      put: observed('put', async (request, ctx) => outcomeToWire(await store.put(storeKey(request.key), checkedValue(request.value), putOptionsFromWire(request), asked(ctx)))),
      delete: observed('delete', async (request, ctx) => {
        const [answer] = await store.batch([deleteFromWire(request)], asked(ctx));
        if (answer?.is === 'written') return outcomeToWire(answer.outcome);
        throw answer?.is === 'failed' ? answer.error : new AppError('INTERNAL', 'a delete was left without an answer');
      }),
      batch: observed('batch', async (request, ctx) => ({ answers: await answerBatch(store, operationsFromWire(request), ctx) })),
      scan: observed('scan', async (call, ctx) => {
        for await (const page of store.scan(scanFromWire(call.request), asked(ctx))) await sendLarge(call, pageToWire(page), ctx.signal);
        call.end();
      }),
      watch: observed('watch', async (call, ctx) => {
        for await (const event of store.watch(watchFromWire(call.request), asked(ctx))) await sendLarge(call, eventToWire(event), ctx.signal);
        call.end();
      }),
    },
    options,
  );
}

function asked(ctx: CallContext): { signal: AbortSignal; timeoutMs: number | undefined } {
  return { signal: ctx.signal, timeoutMs: ctx.deadlineMs };
}

/** What is malformed never reaches the store, and is answered in its place. */
async function answerBatch(store: Store, operations: readonly (Operation | AppError)[], ctx: CallContext): Promise<StoreAnswer[]> {
  const good = operations.filter((operation): operation is Operation => !(operation instanceof AppError));
  const answers = good.length === 0 ? [] : await store.batch(good, asked(ctx));
  let next = 0;
  return operations.map((operation) => {
    const answer: OperationAnswer = operation instanceof AppError ? { is: 'failed', error: operation } : (answers[next++] as OperationAnswer);
    return answerToWire(answer);
  });
}
