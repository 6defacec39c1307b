import type * as grpc from '@grpc/grpc-js';
import { formatKey } from '../model/key.js';
import type { Operation, OperationAnswer, Store } from '../model/store.js';
import type { Clock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { type StoreAnswer, StoreService } from './gen/kv/store.js';
import { type CallContext, addService, send } from './serve.js';
import { answerToWire, checkedValue, deleteFromWire, eventToWire, operationsFromWire, outcomeToWire, pageToWire, putOptionsFromWire, scanFromWire, storeKey, valueToWire, watchFromWire } from './store-wire.js';

export interface StoreServiceOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly closing: AbortSignal;
}

/** kv.Store, whoever the store is. */
export function addStoreService(server: grpc.Server, store: Store, options: StoreServiceOptions): void {
  addService(
    server,
    StoreService,
    {
      async get(request, ctx) {
        const key = storeKey(request.key);
        const value = await store.get(key, asked(ctx));
        if (!value) throw new AppError('NOT_FOUND', `key ${formatKey(key)} is not there`);
        return valueToWire(value);
      },
      async put(request, ctx) {
        return outcomeToWire(await store.put(storeKey(request.key), checkedValue(request.value), putOptionsFromWire(request), asked(ctx)));
      },
      async delete(request, ctx) {
        const [answer] = await store.batch([deleteFromWire(request)], asked(ctx));
        if (answer?.is === 'written') return outcomeToWire(answer.outcome);
        throw answer?.is === 'failed' ? answer.error : new AppError('INTERNAL', 'a delete was left without an answer');
      },
      async batch(request, ctx) {
        return { answers: await answerBatch(store, operationsFromWire(request), ctx) };
      },
      async scan(call, ctx) {
        for await (const page of store.scan(scanFromWire(call.request), asked(ctx))) await send(call, pageToWire(page), ctx.signal);
        call.end();
      },
      async watch(call, ctx) {
        for await (const event of store.watch(watchFromWire(call.request), asked(ctx))) await send(call, eventToWire(event), ctx.signal);
        call.end();
      },
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
