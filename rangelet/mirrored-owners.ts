import { merge, type Observable } from 'rxjs';
import type { Key } from '../model/key.js';
import type { RangeId } from '../model/range.js';
import type { CopyPlace, DiscoveredNode, Mirror } from './mirror.js';
import type { Owner } from './owners.js';

/** What the mirror knows, as client/ asks for it to route. */
export class MirroredOwners {
  readonly changes: Observable<unknown>;

  /** `nodes` is what the mirror follows: a node that came is worth a connection before it owns anything. */
  constructor(
    private readonly mirror: Mirror,
    nodes: Observable<readonly DiscoveredNode[]>,
  ) {
    this.changes = merge(mirror.changes, nodes);
  }

  find(key: Key): Owner | undefined {
    return this.mirror.current.ownerOf(key);
  }

  findBelow(end: Key): Owner | undefined {
    return this.mirror.current.ownerBelow(end);
  }

  copies(key: Key): readonly CopyPlace[] {
    return this.mirror.copiesOf(key);
  }

  primaryOf(range: RangeId): (CopyPlace & { readonly start: Key }) | undefined {
    const claim = this.mirror.claimOf(range);
    return claim && { address: claim.address, node: claim.node, epoch: claim.epoch, range, start: claim.range.start };
  }

  isHeld(range: RangeId): boolean | undefined {
    return this.mirror.isHeld(range);
  }

  addresses(): readonly string[] {
    return this.mirror.nodes().map(({ address }) => address);
  }
}
