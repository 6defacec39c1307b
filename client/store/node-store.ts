import type { LogPage, LogRequest } from '../../model/log.js';
import type { AskOptions, Store } from '../../model/store.js';

/** kv.Store of one node, and kv.Log. */
export interface NodeStore extends Store {
  readonly address: string;
  log(request: LogRequest, options?: AskOptions): AsyncIterable<LogPage>;
  /** Resolves once there is a connection; rejects with UNAVAILABLE when there is none in time. */
  ready(timeoutMs: number): Promise<void>;
  close(): void;
}
