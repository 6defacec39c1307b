import { string } from '@oclif/core/flags';
import type { GrpcStore } from '../client/store/grpc-store.js';
import { type Interval, formatInterval } from '../model/interval.js';
import { type Key, NO_KEY, KEY_BYTES_MAX, keyToBytes, parseKey } from '../model/key.js';
import { selectedSpan } from '../model/store.js';
import { AppError } from '../runtime/errors.js';
import { formatBytes } from '../runtime/units.js';
import { DATA_FLAGS, DataCommand } from './data.js';
import { UsageError } from './failure.js';
import { Detached } from './operation.js';
import { bar, percent, thousands, timeLeft } from './progress.js';

/** Which keys. */
export const SPAN_FLAGS = {
  ...DATA_FLAGS,
  start: string({ summary: 'The first key; b64:… for bytes that are not text.', helpValue: 'KEY' }),
  end: string({ summary: 'The key before which to end.', helpValue: 'KEY' }),
};

/** What scan, watch-keys, export and import share. */
export abstract class StoreCommand extends DataCommand {
  protected async withStore<T>(address: string, use: (store: GrpcStore, signal: AbortSignal) => Promise<T>): Promise<T> {
    const { GrpcStore } = await import('../client/store/grpc-store.js');
    const store = new GrpcStore(address, this.io.clock);
    const interrupt = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      interrupt.abort(new Detached('stopped', 130));
    });
    try {
      return await use(store, interrupt.signal);
    } finally {
      stopListening();
      store.close();
    }
  }
}

export function readSpan(flags: { readonly prefix?: string | undefined; readonly start?: string | undefined; readonly end?: string | undefined }): Interval {
  const given = { start: bound(flags.start, '--start'), end: bound(flags.end, '--end') };
  const span = selectedSpan({ prefix: bound(flags.prefix, 'the prefix'), ...given });
  if (!span) throw new UsageError(`--start and --end: ${formatInterval(given)} holds no key; the start has to be below the end`);
  return span;
}

export function readToken(text: string | undefined): Buffer | undefined {
  if (text === undefined) return undefined;
  if (!/^[\w-]+$/.test(text)) throw new UsageError(`--token is ${JSON.stringify(text)}, but must be one that was printed before`);
  return Buffer.from(text, 'base64url');
}

function bound(text: string | undefined, what: string): Key {
  if (text === undefined || text === '') return NO_KEY;
  const key = parseKey(text);
  if (key === undefined) throw new UsageError(`${what} is ${JSON.stringify(text)}, but what follows b64: must be base64`);
  if (key.length > KEY_BYTES_MAX) throw new UsageError(`${what} has ${key.length} bytes, and keys have at most ${KEY_BYTES_MAX}`);
  return key;
}

/** A span as its request has it. */
export function spanJson(span: Interval): { readonly start: string; readonly end: string } {
  return { start: keyToBytes(span.start).toString('base64'), end: keyToBytes(span.end).toString('base64') };
}

export function readCount(text: string | undefined, flag: string, min: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text) && Number(text) >= min) return Number(text);
  throw new UsageError(`${flag} is ${JSON.stringify(text)}, but must be a whole number from ${min} on`);
}

/** Whether trying again can help: nothing is wrong with the request itself. */
export function isWeather(thrown: unknown): boolean {
  return ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'FAILED_PRECONDITION'].includes(AppError.from(thrown).code);
}

/** `[####----]  45%  45 MiB of 100 MiB  120,000 keys  50,000 keys/s  4 s left`; without a total, what is known. */
export function transferText(transfer: { readonly keys: number; readonly bytes: number; readonly bytesTotal: number | undefined; readonly ms: number }): string {
  const { keys, bytes, bytesTotal, ms } = transfer;
  const share = bytesTotal === undefined ? undefined : bytesTotal === 0 ? 1 : bytes / bytesTotal;
  const parts = share === undefined ? [formatBytes(bytes)] : [bar(share), percent(share), `${formatBytes(bytes)} of ${formatBytes(bytesTotal ?? 0)}`];
  parts.push(countOf(keys));
  if (ms < 100) return parts.join('  ');
  parts.push(`${thousands((keys / ms) * 1000)} keys/s`);
  if (share !== undefined && bytes > 0 && share < 1) parts.push(`${timeLeft(((bytesTotal ?? 0) - bytes) / (bytes / ms) / 1000)} left`);
  return parts.join('  ');
}

export function countOf(keys: number): string {
  return keys === 1 ? '1 key' : `${thousands(keys)} keys`;
}

export function tookText(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`;
}
