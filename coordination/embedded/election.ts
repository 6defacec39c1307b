import { BehaviorSubject, type Observable } from 'rxjs';
import { assert } from '../../runtime/errors.js';
import type { Election, Leadership } from '../interfaces.js';

/** The only controller leads. Its term grows with each campaign, through restarts. */
export class EmbeddedElection implements Election {
  private leadership: BehaviorSubject<Leadership> | undefined;
  private failed = false;

  constructor(private readonly deps: { readonly nextTerm: () => Promise<number> }) {}

  campaign({ address }: { readonly ident: string; readonly address: string }): Observable<Leadership> {
    assert(!this.leadership, 'one campaign at a time');
    const leadership = new BehaviorSubject<Leadership>({ leading: false, term: 0, leaderAddress: undefined });
    this.leadership = leadership;
    this.deps.nextTerm().then(
      (term) => {
        if (this.leadership === leadership) leadership.next({ leading: true, term, leaderAddress: address });
      },
      // A controller that cannot keep its term cannot lead, and its main must end: there is no other.
      (thrown: unknown) => {
        this.failed = true;
        leadership.error(thrown);
      },
    );
    return leadership.asObservable();
  }

  leads(): boolean {
    return !this.failed && this.leadership?.value.leading === true;
  }

  resign(): Promise<void> {
    const leadership = this.leadership;
    this.leadership = undefined;
    if (leadership && !this.failed) {
      leadership.next({ leading: false, term: leadership.value.term, leaderAddress: undefined });
      leadership.complete();
    }
    return Promise.resolve();
  }
}
