import { boolean, string } from '@oclif/core/flags';
import type { Position, UnaryKv, WriteLevel } from '../client/unary.js';
import { type Key, keyToBytes } from '../model/key.js';
import { messageOf } from '../runtime/errors.js';
import { BaseCommand, COMMON_FLAGS } from './base.js';
import { UsageError } from './failure.js';
import { readAddress, readValue } from './inputs.js';
import { print } from './io.js';

export type { StoredValue } from '../client/unary.js';

export const DATA_FLAGS = {
  ...COMMON_FLAGS,
  // The variable is read below: as the flag's own it would win over an --addr that was typed.
  proxy: string({ summary: '[env: RANGERCTL_PROXY] The proxy, or a node. (default: localhost:5100)', helpValue: 'HOST:PORT' }),
  addr: string({ summary: 'The same as --proxy, which wins when both are given.', helpValue: 'HOST:PORT' }),
  verbose: boolean({ summary: 'Tell on standard error at which epoch and offset of the log the write is.' }),
};

export const WRITE_FLAGS = {
  ...DATA_FLAGS,
  level: string({ summary: 'When the write is done: safe, every copy in sync has it; async, the primary has it, and a fail-over may lose it.', helpValue: 'LEVEL', default: 'safe' }),
};

export function readLevel(text: string): WriteLevel {
  const level = text.toLowerCase();
  if (level === 'safe' || level === 'async') return level;
  throw new UsageError(`--level is ${JSON.stringify(text)}, but must be safe or async`);
}

export const DATA_TIMEOUT_MS = 10_000;

type DataRequest =
  | { readonly kind: 'get'; readonly key: Key; readonly stale: boolean }
  | { readonly kind: 'put'; readonly key: Key; readonly level: WriteLevel; readonly value: Buffer }
  | { readonly kind: 'delete'; readonly key: Key; readonly level: WriteLevel };

/** What put, get and del share: they talk to a proxy, not to the controller. */
export abstract class DataCommand extends BaseCommand {
  /** `--addr` is "where this command sends its request", so for these commands it names a proxy or node. */
  protected dataAddress(flags: { readonly proxy?: string | undefined; readonly addr?: string | undefined }): string {
    const flag = flags.proxy === undefined && flags.addr !== undefined ? '--addr' : '--proxy';
    const address = readAddress(flags.proxy ?? flags.addr ?? this.io.env['RANGERCTL_PROXY'] ?? 'localhost:5100', flag, 'localhost:5100');
    this.peer = { role: 'proxy', address, flag };
    return address;
  }

  protected async withData<T>(address: string, use: (kv: UnaryKv) => Promise<T>): Promise<T> {
    const { UnaryKv } = await import('../client/unary.js');
    const kv = new UnaryKv({ addresses: [address], clock: this.io.clock });
    try {
      return await use(kv);
    } finally {
      kv.close();
    }
  }

  protected async fileValue(path: string): Promise<Buffer> {
    try {
      return await readValue(this.io.readFile(path), path);
    } catch (thrown) {
      if (thrown instanceof UsageError) throw thrown;
      throw new UsageError(`cannot read ${path}: ${messageOf(thrown)}`);
    }
  }

  /** kv.GetRequest or kv.PutRequest in the names of proto/; a put without a value deletes. */
  protected async printDataRequest(request: DataRequest): Promise<void> {
    const key = keyToBytes(request.key).toString('base64');
    switch (request.kind) {
      case 'get':
        return this.printJson({ key, ...(request.stale ? { stale: true } : {}) });
      case 'put':
        return this.printJson({ key, value: request.value.toString('base64'), ...levelJson(request.level) });
      case 'delete':
        return this.printJson({ key, ...levelJson(request.level) });
    }
  }

  /** For --verbose: where the write that was made, or read, stands in its range's log. */
  protected async printPosition(flags: { readonly verbose: boolean }, { epoch, offset, atOffset }: Position & { readonly atOffset?: number | undefined }): Promise<void> {
    if (!flags.verbose) return;
    const copy = atOffset === undefined ? '' : `; the copy that answered is at offset ${atOffset}`;
    await print(this.io.stderr, `epoch ${epoch}, offset ${offset}${copy}\n`);
  }
}

/** SAFE is what a request means that says nothing. */
function levelJson(level: WriteLevel): object {
  return level === 'async' ? { level: 'WRITE_LEVEL_ASYNC' } : {};
}

/** kv.PutResponse. */
export function positionJson({ epoch, offset }: Position): object {
  return { epoch: String(epoch), offset: String(offset) };
}
