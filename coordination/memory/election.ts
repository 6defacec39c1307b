import { BehaviorSubject, type Observable } from 'rxjs';
import { assert } from '../../runtime/errors.js';
import type { Election, Leadership } from '../interfaces.js';
import type { Candidate, MemoryHub } from './hub.js';

export class MemoryElection implements Election {
  private candidate: Candidate | undefined;

  constructor(
    private readonly hub: MemoryHub,
    private readonly owner: object,
  ) {}

  campaign({ ident, address }: { readonly ident: string; readonly address: string }): Observable<Leadership> {
    assert(!this.candidate, 'one campaign at a time');
    const leadership = new BehaviorSubject<Leadership>({ leading: false, term: 0, leaderAddress: undefined });
    this.candidate = { owner: this.owner, ident, address, leadership };
    this.hub.join(this.candidate);
    return leadership.asObservable();
  }

  leads(): boolean {
    return this.candidate?.leadership.value.leading === true;
  }

  resign(): Promise<void> {
    const candidate = this.candidate;
    this.candidate = undefined;
    if (candidate) {
      this.hub.leave(candidate);
      candidate.leadership.complete();
    }
    return Promise.resolve();
  }

  /** Stops as a killed process does. */
  abandon(): void {
    const candidate = this.candidate;
    this.candidate = undefined;
    candidate?.leadership.complete();
  }
}
