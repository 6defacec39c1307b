import { type Clock, systemClock } from '../../runtime/clock.js';
import type { Discovery, Election, Persister } from '../interfaces.js';
import { MemoryDiscovery } from './discovery.js';
import { MemoryElection } from './election.js';
import { MemoryHub } from './hub.js';
import { MemoryPersister } from './persister.js';

/** What one process of an in-memory cluster sees. */
export interface MemoryProcess {
  readonly discovery: Discovery;
  readonly persister: Persister;
  readonly election: Election;
  /** Ends it without a goodbye, as kill -9 does. */
  crash(): void;
}

/** A backend without a network, for tests and the simulator: everything happens within the call that causes it. */
export class MemoryCoordination {
  private readonly hub: MemoryHub;

  constructor(options: { readonly clock?: Clock; readonly leaseMs?: number } = {}) {
    this.hub = new MemoryHub(options.clock ?? systemClock, options.leaseMs ?? 0);
  }

  connect(): MemoryProcess {
    const owner = {};
    const discovery = new MemoryDiscovery(this.hub, owner);
    const election = new MemoryElection(this.hub, owner);
    return {
      discovery,
      persister: new MemoryPersister(this.hub),
      election,
      crash: () => {
        discovery.abandon();
        election.abandon();
        this.hub.forget(owner);
      },
    };
  }

  /** Takes the backend away from everybody, or brings it back. */
  setAvailable(available: boolean): void {
    this.hub.setAvailable(available);
  }

  /** The next write applies so many groups, then is UNAVAILABLE. */
  failWriteAfter(groups: number): void {
    this.hub.failWriteAfter(groups);
  }
}
