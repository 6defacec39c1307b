import { type Observable, Subject, type Subscription } from 'rxjs';
import { type Interval, containsKey } from '../model/interval.js';
import type { Key } from '../model/key.js';
import type { NodeIdent, RangeId, RangeMeta } from '../model/range.js';
import type { RemoteState } from '../model/states.js';
import { type Cancel, type Clock, systemClock } from '../runtime/clock.js';
import { type Logger, silentLogger } from '../runtime/log.js';
import { type Random, systemRandom } from '../runtime/random.js';
import { type Turn, endOfTurn } from '../runtime/turn.js';
import { type LinkDeps, type LinkTimes, NodeLink, type RangeReport, type RangesTransport } from './mirror-link.js';
import { type Claim, NO_OWNERS, type Owner, type Ownership, bestClaim, ownerBelow, ownerOf, ownersWithin, reassign } from './owners.js';

/** Who owns what, as one value that never changes. */
export class OwnerMap {
  constructor(
    /** Grows with each new map of a mirror. */
    readonly version: number,
    /** Sorted, without overlaps; keys between them have no owner now. */
    readonly owners: readonly Owner[],
  ) {}

  ownerOf(key: Key): Owner | undefined {
    return ownerOf(this.owners, key);
  }

  /** The owner of the keys right below `end`, of which the empty one is +inf. */
  ownerBelow(end: Key): Owner | undefined {
    return ownerBelow(this.owners, end);
  }

  /** The owners of keys in an interval, in order. */
  within(interval: Interval): readonly Owner[] {
    return ownersWithin(this.owners, interval);
  }
}

/** A copy of a range that may be read, new or not. */
export interface CopyPlace {
  readonly range: RangeId;
  readonly epoch: number;
  readonly node: NodeIdent;
  readonly address: string;
}

/** A node as discovery tells of it; an `Instance` of coordination/ is one. */
export interface DiscoveredNode {
  readonly ident: NodeIdent;
  /** A dialable host:port. */
  readonly address: string;
  /** `incarnation` tells a node that lost its disk from one that restarted. */
  readonly meta: Readonly<Record<string, string>>;
}

/** A range on a node, as the node said last. */
export interface MirroredRange {
  readonly meta: RangeMeta;
  readonly state: RemoteState;
  readonly epoch: number;
  readonly node: NodeIdent;
  readonly address: string;
}

export interface MirroredNode {
  readonly ident: NodeIdent;
  readonly address: string;
  readonly link: NodeLink['state'];
  /** A whole listing came from it at least once. */
  readonly known: boolean;
  readonly ranges: number;
  readonly lastError: string;
}

export interface MirrorOptions {
  /** The nodes that are alive, such as `Discovery.watch('node')`. */
  readonly nodes: Observable<readonly DiscoveredNode[]>;
  readonly connect: RangesTransport;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  /** Changes of one turn become one new map. */
  readonly turn?: Turn;
  readonly times?: Partial<LinkTimes>;
  readonly rangesPerNodeMax?: number;
}

const TIMES: LinkTimes = { backoffMinMs: 50, backoffMaxMs: 1000, quietMs: 100, silenceMs: 1000 };

/** A map of very many ranges takes a moment to make; in a storm of changes that is at most a tenth of the time. */
const REST_PER_WORK = 9;
/** Whoever waits for a handover waits no longer than this for the map that shows it. */
const REST_MS_MAX = 10;

interface MirroredReport {
  readonly report: RangeReport;
  /** Set while the node claims to be active for it. */
  readonly claim: Claim | undefined;
  /** Set while the node follows it, and is level with whom it follows. */
  readonly follows: Follower | undefined;
}

interface Follower extends CopyPlace {
  readonly meta: RangeMeta;
}

interface NodeEntry {
  readonly instance: DiscoveredNode;
  readonly link: NodeLink;
  known: boolean;
  /** What the node has; replaced as a whole when a listing is complete. */
  ranges: Map<RangeId, MirroredReport>;
}

/**
 * Mirrors which node is active for which keys, from the streams of all nodes.
 * While a node cannot be reached its last known ranges stay, until discovery says
 * that it is gone; a new listing takes their place all at once.
 */
export class Mirror {
  private readonly nodesByIdent = new Map<NodeIdent, NodeEntry>();
  private readonly claims = new Map<RangeId, Set<Claim>>();
  /** The claim believed of each range, as it is in `ownership`. */
  private readonly believed = new Map<RangeId, Claim>();
  private readonly touched = new Set<RangeId>();
  private readonly followers = new Map<RangeId, Set<Follower>>();
  /** Ranges that are followed, by their first key; made when somebody asks after a change. */
  private followed: readonly RangeMeta[] | undefined;
  private readonly subject = new Subject<OwnerMap>();
  private readonly linkDeps: LinkDeps;
  private readonly turn: Turn;
  private readonly discovery: Subscription;
  private ownership: Ownership = NO_OWNERS;
  private map = new OwnerMap(0, []);
  private reports = 0;
  private flushing = false;
  private restUntil = -Infinity;
  private cancelRest: Cancel = () => {};
  private discovered = false;
  private closed = false;

  constructor(options: MirrorOptions) {
    this.turn = options.turn ?? endOfTurn;
    this.linkDeps = {
      connect: options.connect,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
      logger: options.logger ?? silentLogger,
      times: { ...TIMES, ...options.times },
      rangesMax: options.rangesPerNodeMax ?? 1_000_000,
    };
    this.discovery = options.nodes.subscribe({
      next: (instances) => {
        this.follow(instances);
      },
      error: (thrown: unknown) => {
        this.linkDeps.logger.error('discovery failed; going on with the nodes known', { error: String(thrown) });
      },
    });
  }

  /** The newest map. */
  get current(): OwnerMap {
    return this.map;
  }

  /** Whoever has a copy of the key that may be read, new or not: its owner, and those that follow. */
  copiesOf(key: Key): readonly CopyPlace[] {
    const owner = this.map.ownerOf(key);
    const range = owner?.range ?? this.followedRangeOf(key);
    const followers = range === undefined ? undefined : this.followers.get(range);
    return [...(owner ? [owner] : []), ...(followers ?? [])];
  }

  /** The claim to be primary of a range that is believed; a child's may have taken its keys. */
  claimOf(range: RangeId): Claim | undefined {
    return this.believed.get(range);
  }

  /** Whether a node that is there has a copy of the range, of whatever state; undefined while not all have told. */
  isHeld(range: RangeId): boolean | undefined {
    const nodes = [...this.nodesByIdent.values()];
    if (nodes.some(({ ranges }) => ranges.has(range))) return true;
    return this.complete && nodes.length > 0 ? false : undefined;
  }

  /** Each new map from now on. */
  get changes(): Observable<OwnerMap> {
    return this.subject.asObservable();
  }

  /** True once discovery has told its nodes, and each of them its ranges. */
  get complete(): boolean {
    return this.discovered && [...this.nodesByIdent.values()].every((node) => node.known);
  }

  nodes(): MirroredNode[] {
    return [...this.nodesByIdent.values()].map(({ instance, link, known, ranges }) => ({
      ident: instance.ident,
      address: instance.address,
      link: link.state,
      known,
      ranges: ranges.size,
      lastError: link.lastError,
    }));
  }

  /** Every range on every node, made on demand. */
  ranges(): MirroredRange[] {
    return [...this.nodesByIdent.values()].flatMap(({ instance, ranges }) =>
      [...ranges.values()].map(({ report: { meta, state, epoch } }) => ({
        meta,
        state,
        epoch,
        node: instance.ident,
        address: instance.address,
      })),
    );
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.discovery.unsubscribe();
    this.cancelRest();
    for (const node of this.nodesByIdent.values()) node.link.close();
    this.subject.complete();
  }

  private follow(instances: readonly DiscoveredNode[]): void {
    this.discovered = true;
    const alive = new Set(instances.map((instance) => instance.ident));
    for (const ident of [...this.nodesByIdent.keys()]) if (!alive.has(ident)) this.forget(ident);
    for (const instance of instances) {
      const node = this.nodesByIdent.get(instance.ident);
      if (node && node.instance.address === instance.address && sameIncarnation(node.instance, instance)) continue;
      this.attach(instance, node);
    }
  }

  /** A node that came back at another address still has its ranges; one that lost its disk has not. */
  private attach(instance: DiscoveredNode, before: NodeEntry | undefined): void {
    const same = before !== undefined && sameIncarnation(before.instance, instance);
    if (before) this.forget(instance.ident);
    const link = new NodeLink(
      instance.address,
      {
        replace: (ranges) => {
          this.replace(node, ranges);
        },
        change: (report) => {
          this.put(node, report);
        },
      },
      this.linkDeps,
    );
    const node: NodeEntry = { instance, link, known: same && before.known, ranges: new Map() };
    this.nodesByIdent.set(instance.ident, node);
    if (same) for (const { report } of before.ranges.values()) this.put(node, report);
    link.start();
  }

  private forget(ident: NodeIdent): void {
    const node = this.nodesByIdent.get(ident);
    if (!node) return;
    node.link.close();
    this.nodesByIdent.delete(ident);
    this.withdrawAll(node);
  }

  private replace(node: NodeEntry, ranges: ReadonlyMap<RangeId, RangeReport>): void {
    this.withdrawAll(node);
    node.ranges = new Map();
    node.known = true;
    for (const report of ranges.values()) this.put(node, report);
  }

  private withdrawAll(node: NodeEntry): void {
    for (const { claim, follows } of node.ranges.values()) {
      if (claim) this.withdraw(claim);
      if (follows) this.unfollow(follows);
    }
  }

  private put(node: NodeEntry, report: RangeReport): void {
    const { id } = report.meta;
    const before = node.ranges.get(id);
    if (before?.claim) this.withdraw(before.claim);
    if (before?.follows) this.unfollow(before.follows);
    if (report.state === 'NotFound') {
      node.ranges.delete(id);
      return;
    }
    const { ident, address } = node.instance;
    const claim: Claim | undefined =
      report.state === 'Active'
        ? { range: report.meta, epoch: report.epoch, node: ident, address, report: ++this.reports }
        : undefined;
    // The report's details are the controller's business; here they would only hold memory.
    const follows: Follower | undefined = isLevelFollower(report) ? { meta: report.meta, range: id, epoch: report.epoch, node: ident, address } : undefined;
    node.ranges.set(id, { report: { ...report, info: undefined }, claim, follows });
    if (claim) this.submit(claim);
    if (follows) this.addFollower(follows);
  }

  private addFollower(follower: Follower): void {
    const others = this.followers.get(follower.range);
    if (others) others.add(follower);
    else this.followers.set(follower.range, new Set([follower]));
    this.followed = undefined;
  }

  private unfollow(follower: Follower): void {
    const others = this.followers.get(follower.range);
    others?.delete(follower);
    if (others?.size === 0) this.followers.delete(follower.range);
    this.followed = undefined;
  }

  /** Where no node is active for the key. */
  private followedRangeOf(key: Key): RangeId | undefined {
    this.followed ??= [...this.followers.values()].flatMap((copies) => [...copies].slice(0, 1).map(({ meta }) => meta)).sort((a, b) => (a.start < b.start ? -1 : 1));
    const { followed } = this;
    let low = 0;
    let high = followed.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((followed[middle] as RangeMeta).start <= key) low = middle + 1;
      else high = middle;
    }
    const range = followed[low - 1];
    return range && containsKey(range, key) ? range.id : undefined;
  }

  private submit(claim: Claim): void {
    const claims = this.claims.get(claim.range.id);
    if (claims) claims.add(claim);
    else this.claims.set(claim.range.id, new Set([claim]));
    this.touch(claim.range.id);
  }

  private withdraw(claim: Claim): void {
    const claims = this.claims.get(claim.range.id);
    claims?.delete(claim);
    if (claims?.size === 0) this.claims.delete(claim.range.id);
    this.touch(claim.range.id);
  }

  private touch(id: RangeId): void {
    this.touched.add(id);
    if (this.flushing) return;
    this.flushing = true;
    const { clock } = this.linkDeps;
    const restMs = this.restUntil - clock.now();
    const flush = (): void => {
      this.flushing = false;
      if (this.closed) return;
      const startedAt = clock.now();
      this.flush();
      const endedAt = clock.now();
      this.restUntil = endedAt + Math.min(REST_MS_MAX, (endedAt - startedAt) * REST_PER_WORK);
    };
    if (restMs > 0) this.cancelRest = clock.after(restMs, flush);
    else this.turn(flush);
  }

  /** Makes the new map from all that changed in this turn. */
  private flush(): void {
    const removed: Claim[] = [];
    const added: Claim[] = [];
    for (const id of this.touched) {
      const before = this.believed.get(id);
      const after = bestClaim(this.claims.get(id) ?? []);
      if (before === after) continue;
      if (before) removed.push(before);
      if (after) {
        added.push(after);
        this.believed.set(id, after);
      } else {
        this.believed.delete(id);
      }
    }
    this.touched.clear();
    if (removed.length === 0 && added.length === 0) return;
    this.ownership = reassign(this.ownership, removed, added);
    this.map = new OwnerMap(this.map.version + 1, this.ownership.owners);
    this.subject.next(this.map);
  }
}

/** It was whole once, and follows on. */
function isLevelFollower({ state, info }: RangeReport): boolean {
  return state === 'Inactive' && info?.replica !== undefined && info.progress?.caughtUp === true;
}

/** Nodes that say nothing of an incarnation are taken by their name. */
function sameIncarnation(a: DiscoveredNode, b: DiscoveredNode): boolean {
  const [before, after] = [a.meta['incarnation'], b.meta['incarnation']];
  return before === undefined || after === undefined || before === after;
}
