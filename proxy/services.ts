import type * as grpc from '@grpc/grpc-js';
import type { Router } from '../client/router.js';
import { GET } from '../proto/kv-codec.js';
import { addKvServer } from '../proto/kv-server.js';
import { type PipeHandler, addPipeService, observed } from '../proto/pipe-server.js';
import type { Clock } from '../runtime/clock.js';
import type { Turn } from '../runtime/turn.js';

export interface ProxyServicesOptions {
  readonly router: Router;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly closing: AbortSignal;
  readonly observe: (action: number, code: number, ms: number) => void;
}

/** An answer of this size counts as in flight until the client has taken it; smaller ones are gone at once. */
const LARGE_BYTES = 16 * 1024;

/** kv.KV, and kv.Pipe for clients that have many requests. */
export function addProxyServices(server: grpc.Server, options: ProxyServicesOptions): void {
  const { router, clock, turn, closing, observe } = options;
  const handler = routedHandler(router);
  addKvServer(server, { handler, clock, observe });
  addPipeService(server, { handler: observed(handler, clock, observe), turn, closing });
}

export function routedHandler(router: Router): PipeHandler {
  const { budget } = router;
  return (request, reply, timeoutMs) => {
    const { action, key, value } = request;
    const done: Parameters<Router['get']>[2] = (answer) => {
      const { length } = answer.value;
      if (length < LARGE_BYTES) {
        reply(answer);
        return;
      }
      budget.force(length);
      const left = (): void => {
        budget.give(length);
      };
      reply({ ...answer, left });
    };
    const ticket = action === GET ? router.get(key, timeoutMs, done, request) : router.put(key, value, timeoutMs, done, request);
    return ticket && (() => {
      ticket.cancel();
    });
  };
}
