import type { Subscription } from 'rxjs';
import type { Discovery, Instance } from '../../coordination/interfaces.js';
import type { NodeIdent, RangeId } from '../../model/range.js';
import { NO_LOAD, type RangeInfo, type RangesEvent, type ReplicaInfo } from '../../model/report.js';
import type { Clock } from '../../runtime/clock.js';
import { type AppError, AppError as Weather } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Dial, NodeTransport } from '../transport/transport.js';
import { NodeLink } from './link.js';
import { EMPTY_ROSTER, type RemoteRange, type Roster, type RosterNode } from './roster.js';
import * as updates from './updates.js';

export interface KeeperOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly discovery: Discovery;
  readonly dial: Dial;
  /** How often a node is asked for its whole report, besides what it pushes. */
  readonly pollMs: number;
  /** How long a node may be silent before its ranges count as missing. */
  readonly goneAfterMs: number;
  /** How long after the start a node that is not there yet may still be coming. */
  readonly settleMs: number;
  /** That a copy's follower was silent for so long is news. */
  readonly followerTimeoutMs: number;
  /** A node says something else of these ranges than before. */
  readonly rangesChanged: (node: NodeIdent, ranges: readonly RangeId[]) => void;
  /** A node came, went, or can be reached otherwise. */
  readonly nodeChanged: (node: NodeIdent) => void;
  readonly allChanged: () => void;
}

/** Keeps the roster up to date: follows discovery, and every node's reports. */
export class RosterKeeper {
  private current: Roster = EMPTY_ROSTER;
  private readonly links = new Map<NodeIdent, NodeLink>();
  /** Nodes whose answer some decision waits for, whatever it says, and from when on it is to be asked for. */
  private readonly awaited = new Map<NodeIdent, number>();
  private subscription: Subscription | undefined;
  private startedMs = 0;

  constructor(private readonly options: KeeperOptions) {}

  get roster(): Roster {
    return this.current;
  }

  start(): void {
    this.startedMs = this.options.clock.now();
    this.subscription = this.options.discovery.watch('node').subscribe((instances) => {
      this.listed(instances);
    });
  }

  close(): void {
    this.subscription?.unsubscribe();
    for (const link of this.links.values()) link.close();
    this.links.clear();
  }

  transportOf(node: NodeIdent): NodeTransport | undefined {
    return this.links.get(node)?.transport;
  }

  /** Asks a node for its report now, as for the progress of a copy. */
  refresh(node: NodeIdent): void {
    this.links.get(node)?.poll();
  }

  /** The same, for a decision that waits for it. */
  ask(node: NodeIdent): void {
    this.awaited.set(node, this.options.clock.now());
    this.refresh(node);
  }

  /** A keyspace was read that others may have written: nothing that was heard until now counts beside it. */
  askAll(): void {
    this.update((roster) => updates.distrusted(roster, this.options.clock.now()));
    for (const ident of this.links.keys()) this.ask(ident);
  }

  /** Takes in what somebody else saw, who tells of it too. */
  update(change: (roster: Roster) => Roster): void {
    this.current = change(this.current);
  }

  private updateNode(node: NodeIdent, change: (roster: Roster) => Roster): void {
    const before = this.current;
    this.current = change(before);
    if (this.current !== before) this.options.nodeChanged(node);
  }

  /** Time passes: what was silent for too long is lost, and what nobody needs is forgotten. */
  tick(isNeeded: (node: NodeIdent) => boolean, isPlaced: (copy: string) => boolean): void {
    const nowMs = this.options.clock.now();
    if (!this.current.settled && nowMs - this.startedMs >= this.options.settleMs) {
      this.update((roster) => updates.settled(roster, nowMs));
      this.options.allChanged();
    }
    for (const node of this.current.nodes.values()) this.tickNode(node, isNeeded, nowMs);
    this.update((roster) => updates.tidied(roster, isPlaced, nowMs));
  }

  private tickNode(node: RosterNode, isNeeded: (node: NodeIdent) => boolean, nowMs: number): void {
    const { state, sinceMs } = node.link;
    if ((state === 'silent' || state === 'connecting') && nowMs - sinceMs >= this.options.goneAfterMs) {
      const why = state === 'silent' ? node.link.why : 'it does not answer';
      this.options.logger.warn('a node is gone', { node: node.ident, address: node.address, why });
      this.updateNode(node.ident, (roster) => updates.lost(roster, node.ident, why, nowMs));
    }
    if (node.discovered || state === 'live') return;
    this.hangUp(node.ident);
    if (!isNeeded(node.ident)) this.update((roster) => updates.forgotten(roster, node.ident));
  }

  // --- discovery -----------------------------------------------------------------

  private listed(instances: readonly Instance[]): void {
    const idents = new Set(instances.map((i) => i.ident));
    for (const instance of instances) this.appeared(instance);
    for (const ident of this.current.nodes.keys()) {
      if (!idents.has(ident)) this.disappeared(ident);
    }
  }

  private appeared(instance: Instance): void {
    const { ident, address } = instance;
    const nowMs = this.options.clock.now();
    const seen = { ident, address, incarnation: instance.meta['incarnation'], zone: instance.meta['zone'] };
    const known = this.current.nodes.get(ident);
    this.updateNode(ident, (roster) => updates.discovered(roster, seen, nowMs));
    if (!known) this.options.logger.info('a node appeared', { node: ident, address });
    if (this.links.get(ident)?.address === address) return;
    this.hangUp(ident);
    this.links.set(ident, this.connect(ident, address));
  }

  private disappeared(ident: NodeIdent): void {
    const nowMs = this.options.clock.now();
    if (this.current.nodes.get(ident)?.discovered) this.options.logger.info('a node is registered no more', { node: ident });
    this.updateNode(ident, (roster) => updates.undiscovered(roster, ident, nowMs));
  }

  private hangUp(ident: NodeIdent): void {
    this.links.get(ident)?.close();
    this.links.delete(ident);
    this.awaited.delete(ident);
  }

  // --- reports ---------------------------------------------------------------------

  private connect(ident: NodeIdent, address: string): NodeLink {
    const { clock, dial, pollMs } = this.options;
    return new NodeLink({
      clock,
      address,
      transport: dial(address),
      pollMs,
      reported: (info, askedMs) => {
        this.reported(ident, info, askedMs);
      },
      pushed: (event) => {
        this.pushed(ident, event);
      },
      silent: (error) => {
        this.silent(ident, error);
      },
    });
  }

  private reported(ident: NodeIdent, info: updates.NodeInfo & { ident: string | undefined }, askedMs: number): void {
    if (info.ident !== undefined && info.ident !== ident) {
      // A port that another node took over: its report is not about this one.
      this.silent(ident, new Weather('FAILED_PRECONDITION', `node ${info.ident} answers at its address`));
      return;
    }
    const before = this.current.nodes.get(ident);
    const next = updates.reported(this.current, ident, info, askedMs, this.options.clock.now());
    const after = next.nodes.get(ident);
    if (!after) return;
    this.current = next;
    const isNew = before?.link.state !== 'live' || before.incarnation !== after.incarnation || before.wantDrain !== after.wantDrain;
    if (this.isAnswer(ident, askedMs) || isNew) this.options.nodeChanged(ident);
    const changed = differing(before?.ranges, after.ranges, this.options.followerTimeoutMs);
    if (changed.length > 0) this.options.rangesChanged(ident, changed);
  }

  /** What some decision waits for is here. An answer that was on its way already when it was asked for is none. */
  private isAnswer(ident: NodeIdent, askedMs: number): boolean {
    const awaitedMs = this.awaited.get(ident);
    if (awaitedMs === undefined) return false;
    if (askedMs < awaitedMs) this.refresh(ident);
    else this.awaited.delete(ident);
    return askedMs >= awaitedMs;
  }

  private pushed(ident: NodeIdent, event: RangesEvent): void {
    if (event.type !== 'range') return;
    const known = this.current.nodes.get(ident)?.ranges.get(event.meta.id);
    const info: RangeInfo = event.info ?? {
      meta: event.meta,
      load: NO_LOAD,
      progress: undefined,
      lastError: '',
      serving: false,
      ...known,
      state: event.state,
      epoch: event.epoch,
    };
    if (known && !isNews(known, info, this.options.followerTimeoutMs)) return;
    this.update((roster) => updates.rangeReported(roster, ident, info, this.options.clock.now()));
    this.options.rangesChanged(ident, [event.meta.id]);
  }

  private silent(ident: NodeIdent, error: AppError): void {
    this.updateNode(ident, (roster) => updates.silent(roster, ident, error.message, this.options.clock.now()));
  }
}

/** The ranges of which a node says something else than before, apart from figures. */
function differing(before: ReadonlyMap<RangeId, RemoteRange> | undefined, after: ReadonlyMap<RangeId, RemoteRange>, silentMs: number): RangeId[] {
  const ids: RangeId[] = [];
  for (const [id, range] of after) {
    const known = before?.get(id);
    if (!known || isNews(known, range, silentMs)) ids.push(id);
  }
  for (const id of before?.keys() ?? []) if (!after.has(id)) ids.push(id);
  return ids;
}

function isNews(known: RangeInfo, told: RangeInfo, silentMs: number): boolean {
  if (known.state !== told.state || known.epoch !== told.epoch || known.serving !== told.serving || known.lastError !== told.lastError) return true;
  return known.replica !== told.replica && standing(known.replica, silentMs) !== standing(told.replica, silentMs);
}

/** What decisions are made from of a copy's part in replication, without figures that only grow. */
function standing(replica: ReplicaInfo | undefined, silentMs: number): string {
  if (!replica) return '';
  const { configEpoch, logEpoch, source, sourceLost, leased, damaged, incomplete, static: isStatic } = replica;
  const followers = replica.followers.map((f) => `${f.member.node} ${f.member.incarnation} ${f.inSync} ${f.silentMs > silentMs}`);
  return [configEpoch, logEpoch, source, sourceLost, leased, damaged, incomplete, isStatic, ...followers].join(' ');
}
