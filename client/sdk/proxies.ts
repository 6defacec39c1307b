import { NEVER } from 'rxjs';
import { EVERYTHING } from '../../model/interval.js';
import type { SpanOwner, SpanOwners } from '../owners.js';

/**
 * The map of who has which keys, as one who only knows proxies draws it: each has all of
 * them. They take turns, so what one could not answer is asked of the next.
 */
export class Proxies implements SpanOwners {
  readonly changes = NEVER;
  private readonly owners: readonly SpanOwner[];
  private turns = 0;

  constructor(addresses: readonly string[]) {
    this.owners = addresses.map((address) => ({ address, node: address, range: 0, epoch: 0, interval: EVERYTHING }));
  }

  find(): SpanOwner | undefined {
    return this.owners[this.turns++ % this.owners.length];
  }

  findBelow(): SpanOwner | undefined {
    return this.find();
  }

  copies(): readonly SpanOwner[] {
    return this.owners;
  }

  addresses(): readonly string[] {
    return this.owners.map(({ address }) => address);
  }
}
