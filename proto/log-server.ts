import type * as grpc from '@grpc/grpc-js';
import { keyFromBytes, keyToBytes } from '../model/key.js';
import type { LogEntry, LogPage, LogRequest } from '../model/log.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import { countFromWire, rangeIdFromWire, rangeIdToWire } from './convert.js';
import { type LogEntry as WireEntry, type LogReadRequest, type LogReadResponse, LogService } from './gen/kv/log.js';
import { addService, sendLarge } from './serve.js';

export interface ReadableLogs {
  read(request: LogRequest, options: { readonly signal: AbortSignal; readonly timeoutMs: number | undefined }): AsyncIterable<LogPage>;
}

/** kv.Log, whoever has the logs. */
export function addLogService(server: grpc.Server, logs: ReadableLogs, options: { readonly logger: Logger; readonly clock: Clock; readonly closing: AbortSignal }): void {
  addService(
    server,
    LogService,
    {
      async read(call, { signal, deadlineMs }) {
        for await (const page of logs.read(requestFromWire(call.request), { signal, timeoutMs: deadlineMs })) await sendLarge(call, pageToWire(page), signal);
        call.end();
      },
    },
    options,
  );
}

export function logRequestToWire({ range, from, follow }: LogRequest): LogReadRequest {
  return { range: rangeIdToWire(range), from: BigInt(from ?? 0), follow: follow ?? false };
}

function requestFromWire({ range, from, follow }: LogReadRequest): LogRequest {
  const first = countFromWire(from, 'from');
  return { range: rangeIdFromWire(range, 'range'), from: first === 0 ? undefined : first, follow };
}

function pageToWire({ entries, end }: LogPage): LogReadResponse {
  return { entries: entries.map(entryToWire), end: BigInt(end) };
}

function entryToWire({ key, value, contentType, epoch, offset, timeMs }: LogEntry): WireEntry {
  return { key: keyToBytes(key), value, contentType: contentType ?? '', epoch: BigInt(epoch), offset: BigInt(offset), timeMs: BigInt(timeMs ?? 0) };
}

export function logPageFromWire({ entries, end }: LogReadResponse): LogPage {
  return {
    entries: entries.map(({ key, value, contentType, epoch, offset, timeMs }) => ({
      key: keyFromBytes(key),
      value,
      contentType: contentType === '' ? undefined : contentType,
      epoch: Number(epoch),
      offset: Number(offset),
      timeMs: timeMs === 0n ? undefined : Number(timeMs),
    })),
    end: Number(end),
  };
}
