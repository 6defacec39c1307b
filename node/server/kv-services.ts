import type * as grpc from '@grpc/grpc-js';
import { formatKey, keyFromBytes } from '../../model/key.js';
import { rangeIdFromWire } from '../../proto/convert.js';
import { DumpRequest, DumpResponse } from '../../proto/gen/kv/kv.js';
import { GET, NO_BYTES } from '../../proto/kv-codec.js';
import { addKvServer } from '../../proto/kv-server.js';
import { type PipeHandler, type PipeReply, addPipeService } from '../../proto/pipe-server.js';
import { statusNumber, toServiceError } from '../../proto/status.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Turn } from '../../runtime/turn.js';
import type { KeyValues } from '../range/data.js';

export interface KvServicesOptions {
  readonly data: KeyValues;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly closing: AbortSignal;
  readonly observe: (action: number, code: number, ms: number) => void;
}

/** kv.KV, a call a request, and kv.Pipe, many requests a message. */
export function addKvServices(server: grpc.Server, options: KvServicesOptions): void {
  const { data, clock, turn, closing, observe } = options;
  const handler = keyHandler(data);
  addKvServer(server, { handler, clock, observe, dump: dumpHandler(data) });
  addPipeService(server, { handler: observed(handler, clock, observe), turn, closing });
}

export function keyHandler(data: KeyValues): PipeHandler {
  return ({ action, key, value }, reply) => {
    try {
      if (action === GET) {
        reply(read(data, key));
      } else {
        data.put(key, value, (error, { epoch, offset }) => {
          reply(error ? failure(error) : { code: 0, message: '', value: NO_BYTES, epoch, offset });
        });
      }
    } catch (thrown) {
      reply(failure(AppError.from(thrown)));
    }
    // A write cannot be called back, and a read is done already.
    return undefined;
  };
}

function read(data: KeyValues, key: Buffer): PipeReply {
  const stored = data.get(key);
  if (!stored) return failure(new AppError('NOT_FOUND', `key ${formatKey(keyFromBytes(key))} is not there`));
  return { code: 0, message: '', value: stored.value, epoch: stored.epoch, offset: stored.offset };
}

function failure(error: AppError): PipeReply {
  return { code: statusNumber(error.code), message: error.message, value: NO_BYTES, epoch: 0, offset: 0 };
}

function dumpHandler(data: KeyValues): grpc.handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    answerDump(data, call.request).then(
      (answer) => {
        callback(null, answer);
      },
      (thrown: unknown) => {
        callback(toServiceError(thrown));
      },
    );
  };
}

async function answerDump(data: KeyValues, request: Buffer): Promise<Buffer> {
  const { rangeIdent } = decodeDump(request);
  const pairs = await data.dump(rangeIdFromWire(rangeIdent, 'range_ident'));
  return Buffer.from(DumpResponse.encode({ pairs: pairs.map(({ key, value }) => ({ key, value })) }).finish());
}

function decodeDump(bytes: Buffer): DumpRequest {
  try {
    return DumpRequest.decode(bytes);
  } catch (cause) {
    throw new AppError('INVALID_ARGUMENT', 'the request of kv.KV/Dump cannot be decoded', { cause });
  }
}

function observed(handler: PipeHandler, clock: Clock, observe: KvServicesOptions['observe']): PipeHandler {
  return (request, reply, timeoutMs) => {
    const startedAt = clock.now();
    return handler(
      request,
      (answer) => {
        observe(request.action, answer.code, clock.now() - startedAt);
        reply(answer);
      },
      timeoutMs,
    );
  };
}
