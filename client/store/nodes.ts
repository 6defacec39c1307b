import type { Clock } from '../../runtime/clock.js';
import type { Turn } from '../../runtime/turn.js';
import { Batcher } from './batcher.js';
import type { NodeStore } from './node-store.js';

interface Entry {
  readonly store: NodeStore;
  readonly batcher: Batcher;
  /** Streams that still read from it. */
  streams: number;
  retired: boolean;
}

/** A connection for each node that is asked, for as long as the node is there. */
export class NodeStores {
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly deps: { readonly connect: (address: string) => NodeStore; readonly clock: Clock; readonly turn: Turn }) {}

  batcher(address: string): Batcher {
    return this.entry(address).batcher;
  }

  /** Keeps the connection until the result is called. */
  hold(address: string): { readonly store: NodeStore; readonly release: () => void } {
    const entry = this.entry(address);
    entry.streams++;
    return {
      store: entry.store,
      release: () => {
        entry.streams--;
        if (entry.retired && entry.streams === 0) entry.store.close();
      },
    };
  }

  /** Lets go of nodes that are not there any more. */
  keep(addresses: readonly string[]): void {
    const wanted = new Set(addresses);
    for (const [address, entry] of this.entries) {
      if (wanted.has(address)) continue;
      this.entries.delete(address);
      entry.retired = true;
      if (entry.streams === 0) entry.store.close();
    }
  }

  close(): void {
    for (const { store } of this.entries.values()) store.close();
    this.entries.clear();
  }

  private entry(address: string): Entry {
    const known = this.entries.get(address);
    if (known) return known;
    const store = this.deps.connect(address);
    const entry = { store, batcher: new Batcher(store, this.deps), streams: 0, retired: false };
    this.entries.set(address, entry);
    return entry;
  }
}
