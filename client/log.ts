import * as grpc from '@grpc/grpc-js';
import type { LogPage, LogRequest } from '../model/log.js';
import { channelOptions } from '../proto/channel.js';
import { LogClient } from '../proto/gen/kv/log.js';
import { logPageFromWire, logRequestToWire } from '../proto/log-server.js';
import { streamed } from './store/grpc-store.js';

/** A range's log as the proxy or node at `address` tells it; see kv.Log. It does not try again by itself. */
export async function* readLog(address: string, request: LogRequest, signal?: AbortSignal): AsyncGenerator<LogPage, void, undefined> {
  const client = new LogClient(address, grpc.credentials.createInsecure(), { ...channelOptions(), 'grpc.use_local_subchannel_pool': 1 });
  try {
    yield* streamed(() => client.read(logRequestToWire(request)), logPageFromWire, signal);
  } finally {
    client.close();
  }
}
