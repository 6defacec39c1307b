import { selectedSpan } from '../../model/store.js';
import { keyFromBytes, NO_KEY } from '../../model/key.js';
import { StoreBatchRequest, StoreScanRequest } from '../../proto/gen/kv/store.js';
import { operationToWire, scanToWire } from '../../proto/store-wire.js';
import type { Random } from '../../runtime/random.js';
import { Caller } from './caller.js';
import { HttpCaller } from './http-caller.js';
import { VALUE, keyAt } from './keys.js';

type Done = (problem: string | undefined) => void;

/** What is sent: a get or put of kv.KV or HTTP, a batch or a scan of kv.Store. */
export type CallKind = 'unary' | 'http' | 'batch' | 'scan';

export const KEYS_PER_CALL: Readonly<Record<CallKind, number>> = { unary: 1, http: 1, batch: 100, scan: 1000 };

export interface Calls {
  send(done: Done): void;
  close(): void;
}

/** Calls for random keys, half of them reads where there are both. */
export function callsOf(kind: CallKind, { address, connections, keys, random }: { readonly address: string; readonly connections: number; readonly keys: number; readonly random: Random }): Calls {
  const anyKey = (): Buffer => keyAt(Math.floor(random.next() * keys), keys);
  if (kind === 'unary' || kind === 'http') {
    const caller = kind === 'http' ? new HttpCaller(address) : new Caller(address, connections);
    return {
      send: (done) => {
        if (random.next() < 0.5) caller.get(anyKey(), done);
        else caller.put(anyKey(), VALUE, done);
      },
      close: () => {
        caller.close();
      },
    };
  }
  const caller = new Caller(address, connections);
  // Made beforehand: the generator is not what is measured.
  const requests = Array.from({ length: 64 }, () => (kind === 'batch' ? batchOf(anyKey) : scanOf(keys, random)));
  const [path, values] = kind === 'batch' ? ['/kv.Store/Batch', KEYS_PER_CALL.batch / 2] : ['/kv.Store/Scan', KEYS_PER_CALL.scan];
  let next = 0;
  return {
    send: (done) => {
      caller.call(path, requests[next++ % requests.length] as Buffer, done, values * VALUE.length);
    },
    close: () => {
      caller.close();
    },
  };
}

function batchOf(anyKey: () => Buffer): Buffer {
  const operations = Array.from({ length: KEYS_PER_CALL.batch }, (_, i) => {
    const key = keyFromBytes(anyKey());
    return operationToWire(i % 2 === 0 ? { is: 'get', key } : { is: 'put', key, value: VALUE });
  });
  return Buffer.from(StoreBatchRequest.encode({ operations }).finish());
}

/** From a key that has enough others behind it. Keys are written in no order, but they are `key` and a number. */
function scanOf(keys: number, random: Random): Buffer {
  const first = Math.floor(random.next() * Math.max(1, keys - KEYS_PER_CALL.scan));
  const start = keyFromBytes(Buffer.from(`key${String(first).padStart(9, '0')}`));
  const span = selectedSpan({ prefix: NO_KEY, start, end: NO_KEY });
  if (!span) throw new Error('there is nothing to scan');
  return Buffer.from(StoreScanRequest.encode(scanToWire({ span, limit: KEYS_PER_CALL.scan })).finish());
}
