import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { GrpcStore } from '../client/store/grpc-store.js';
import { keyFromText } from '../model/key.js';
import type { LogPage } from '../model/log.js';
import { systemClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/log.js';
import { serverOptions } from './channel.js';
import { addLogService } from './log-server.js';

const PAGE_BYTES = 4 * 1024 * 1024;

describe('kv.Log', () => {
  const server = new grpc.Server(serverOptions());
  afterEach(() => {
    server.forceShutdown();
  });

  it('makes for a reader who does not read no more pages than fit the connection', async () => {
    let made = 0;
    const endless = async function* (): AsyncGenerator<LogPage> {
      const value = Buffer.alloc(PAGE_BYTES);
      for (;;) yield await Promise.resolve({ entries: [{ key: keyFromText('k'), value, contentType: undefined, epoch: 1, offset: ++made, timeMs: undefined }], end: made });
    };
    addLogService(server, { read: endless }, { logger: silentLogger, clock: systemClock, closing: new AbortController().signal });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error) reject(error);
        else resolve(bound);
      });
    });
    const store = new GrpcStore(`127.0.0.1:${port}`, systemClock);
    const pages = store.log({ range: 1, follow: true })[Symbol.asyncIterator]();
    await pages.next();
    // Until it stands still.
    for (let before = -1; before !== made; ) {
      before = made;
      await new Promise<void>((resolve) => systemClock.after(300, resolve));
    }
    expect(made).toBeLessThan(8);
    for (let i = 0; i < 20; i++) await pages.next();
    expect(made).toBeGreaterThan(20);
    await pages.return?.();
    store.close();
  });
});
