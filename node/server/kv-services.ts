import type * as grpc from '@grpc/grpc-js';
import { formatKey, keyFromBytes } from '../../model/key.js';
import { rangeIdFromWire } from '../../proto/convert.js';
import { DumpRequest, DumpResponse } from '../../proto/gen/kv/kv.js';
import { ASYNC, GET, NO_BYTES, type PipeRequestFrame, SAFE } from '../../proto/kv-codec.js';
import { addKvServer } from '../../proto/kv-server.js';
import { type PipeHandler, type PipeReply, addPipeService, observed } from '../../proto/pipe-server.js';
import { statusNumber, toServiceError } from '../../proto/status.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Turn } from '../../runtime/turn.js';
import type { WriteOptions } from '../range/commit-queue.js';
import type { KeyValues, WriteAnswer } from '../range/data.js';
import type { StoredValue } from '../storage/storage.js';

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
  const handler = keyHandler(data, clock);
  addKvServer(server, { handler, clock, observe, dump: dumpHandler(data) });
  addPipeService(server, { handler: observed(handler, clock, observe), turn, closing });
}

export function keyHandler(data: KeyValues, clock: Clock): PipeHandler {
  return (request, reply) => {
    const { action, key, value } = request;
    try {
      if (action === GET) {
        if (request.stale) reply(readStale(data, key));
        else data.read(key, (error, stored) => { reply(error ? failure(error) : found(key, stored)); });
      } else {
        const answer = (error: AppError | undefined, { epoch, offset }: WriteAnswer): void => {
          reply(error ? failure(error) : { code: 0, message: '', value: NO_BYTES, epoch, offset });
        };
        data.put(key, value, answer, writeOptions(request, clock));
      }
    } catch (thrown) {
      reply(failure(AppError.from(thrown)));
    }
    // A write cannot be called back, and a read is done already.
    return undefined;
  };
}

function writeOptions({ level, writeId, retryAgeMs }: PipeRequestFrame, clock: Clock): WriteOptions {
  if (level !== undefined && level > ASYNC) throw new AppError('INVALID_ARGUMENT', `level ${level} is not known here: give SAFE (${SAFE}) or ASYNC (${ASYNC})`);
  return { level: level === ASYNC ? 'ASYNC' : 'SAFE', writeId, firstSentAt: retryAgeMs ? clock.now() - retryAgeMs : undefined };
}

function readStale(data: KeyValues, key: Buffer): PipeReply {
  const { stored, atOffset } = data.getStale(key);
  if (stored) return { code: 0, message: '', value: stored.value, epoch: stored.epoch, offset: stored.offset, stale: true, atOffset };
  const absent = failure(new AppError('NOT_FOUND', `key ${formatKey(keyFromBytes(key))} is not there, as of offset ${atOffset}`));
  return { ...absent, stale: true, atOffset };
}

function found(key: Buffer, stored: StoredValue | undefined): PipeReply {
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
