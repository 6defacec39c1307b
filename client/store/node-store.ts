import type { Store } from '../../model/store.js';

/** kv.Store of one node. */
export interface NodeStore extends Store {
  readonly address: string;
  /** Resolves once there is a connection; rejects with UNAVAILABLE when there is none in time. */
  ready(timeoutMs: number): Promise<void>;
  close(): void;
}
