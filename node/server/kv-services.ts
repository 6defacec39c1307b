import type * as grpc from '@grpc/grpc-js';
import { formatKey, keyFromBytes } from '../../model/key.js';
import { rangeIdFromWire } from '../../proto/convert.js';
import { KVService, type GetResponse, type PutResponse } from '../../proto/gen/kv/kv.js';
import { GET, NO_BYTES } from '../../proto/kv-codec.js';
import { type PipeHandler, type PipeReply, addPipeService } from '../../proto/pipe-server.js';
import { addService } from '../../proto/serve.js';
import { statusNumber } from '../../proto/status.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Turn } from '../../runtime/turn.js';
import type { KeyValues } from '../range/data.js';

/** kv.KV, a call a request. */
export function addKvService(server: grpc.Server, data: KeyValues, logger: Logger): void {
  addService(
    server,
    KVService,
    {
      get: ({ key }) => Promise.resolve(getResponse(data, key)),
      put: ({ key, value }) =>
        new Promise<PutResponse>((resolve, reject) => {
          data.put(key, value, (error, { epoch, offset }) => {
            if (error) reject(error);
            else resolve({ epoch: BigInt(epoch), offset: BigInt(offset) });
          });
        }),
      dump: ({ rangeIdent }) => Promise.resolve({ pairs: data.dump(rangeIdFromWire(rangeIdent, 'range_ident')) }),
    },
    { logger },
  );
}

function getResponse(data: KeyValues, key: Buffer): GetResponse {
  const found = data.get(key);
  if (!found) throw absent(key);
  return { value: found.value, epoch: BigInt(found.epoch), offset: BigInt(found.offset) };
}

function absent(key: Buffer): AppError {
  return new AppError('NOT_FOUND', `key ${formatKey(keyFromBytes(key))} is not there`);
}

/** kv.Pipe, many requests a message. */
export function addNodePipe(server: grpc.Server, data: KeyValues, options: { turn: Turn; closing: AbortSignal }): void {
  addPipeService(server, { handler: pipeHandler(data), ...options });
}

export function pipeHandler(data: KeyValues): PipeHandler {
  return ({ action, key, value }, reply) => {
    try {
      if (action === GET) {
        reply(found(data, key));
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

function found(data: KeyValues, key: Buffer): PipeReply {
  const stored = data.get(key);
  return stored ? { code: 0, message: '', value: stored.value, epoch: stored.epoch, offset: stored.offset } : failure(absent(key));
}

function failure(error: AppError): PipeReply {
  return { code: statusNumber(error.code), message: error.message, value: NO_BYTES, epoch: 0, offset: 0 };
}
