import { BehaviorSubject, Subject } from 'rxjs';
import type { Clock } from '../../runtime/clock.js';
import type { Instance, Leadership } from '../interfaces.js';

export interface Document {
  readonly value: string;
  /** Never used twice, whatever the document. */
  readonly version: number;
}

export interface Entry {
  readonly instance: Instance;
  /** The process that registered it. */
  readonly owner: object;
}

export interface Candidate {
  readonly owner: object;
  readonly ident: string;
  readonly address: string;
  readonly leadership: BehaviorSubject<Leadership>;
}

/** The state that the processes of an in-memory cluster share, and the weather between them. */
export class MemoryHub {
  readonly available = new BehaviorSubject(true);
  /** Something about the registered instances changed. */
  readonly instancesChanged = new Subject<void>();
  readonly entries = new Map<string, Entry>();
  readonly documents = new Map<string, Document>();
  private versions = 0;
  private candidates: readonly Candidate[] = [];
  private leader: Candidate | undefined;
  private term = 0;
  private groupsUntilFailure: number | undefined;

  constructor(
    readonly clock: Clock,
    /** How long the lock of a crashed leader outlives it. */
    private readonly leaseMs: number,
  ) {}

  setAvailable(available: boolean): void {
    if (available === this.available.value) return;
    // Told before anybody else can have the lock, which is not before the backend is back.
    if (!available) this.unseat();
    this.available.next(available);
    if (available) this.elect();
  }

  nextVersion(): number {
    this.versions += 1;
    return this.versions;
  }

  /** The next write applies so many groups, then fails as if the backend had gone. */
  failWriteAfter(groups: number): void {
    this.groupsUntilFailure = groups;
  }

  /** True when the write that is running fails now, before its next group. */
  writeFailsNow(): boolean {
    if (this.groupsUntilFailure === undefined) return false;
    const failsNow = this.groupsUntilFailure === 0;
    this.groupsUntilFailure = failsNow ? undefined : this.groupsUntilFailure - 1;
    return failsNow;
  }

  /** Ends the countdown of a write that finished before it. */
  writeDone(): void {
    this.groupsUntilFailure = undefined;
  }

  join(candidate: Candidate): void {
    this.candidates = [...this.candidates, candidate];
    this.elect();
  }

  /** A clean farewell: the next candidate leads at once. */
  leave(candidate: Candidate): void {
    this.candidates = this.candidates.filter((other) => other !== candidate);
    if (this.leader === candidate) this.unseat();
    this.elect();
  }

  /** A process that died: its instances are gone, its lock lasts for the lease. */
  forget(owner: object): void {
    for (const [key, entry] of this.entries) if (entry.owner === owner) this.entries.delete(key);
    this.instancesChanged.next();
    this.candidates = this.candidates.filter((candidate) => candidate.owner !== owner);
    const crashed = this.leader;
    if (crashed?.owner !== owner) return;
    this.clock.after(this.leaseMs, () => {
      if (this.leader !== crashed) return;
      this.unseat();
      this.elect();
    });
  }

  private unseat(): void {
    const leader = this.leader;
    this.leader = undefined;
    leader?.leadership.next({ leading: false, term: this.term, leaderAddress: undefined });
  }

  private elect(): void {
    if (!this.available.value) return;
    if (!this.leader) {
      const [first] = this.candidates;
      if (!first) return;
      this.leader = first;
      this.term += 1;
    }
    const leader = this.leader;
    for (const candidate of this.candidates) {
      const leading = candidate === leader;
      const { value } = candidate.leadership;
      if (value.leading === leading && value.term === this.term && value.leaderAddress === leader.address) continue;
      candidate.leadership.next({ leading, term: this.term, leaderAddress: leader.address });
    }
  }
}
