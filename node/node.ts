import type * as grpc from '@grpc/grpc-js';
import { type EpochFences } from '../rangelet/fences.js';
import type { Execute } from '../rangelet/server.js';
import type { RangeService } from '../rangelet/service.js';
import type { TermFence } from '../rangelet/terms.js';
import { Rangelet } from '../rangelet/rangelet.js';
import type { RangeletHooks, RestoredRange } from '../rangelet/options.js';
import type { Clock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import { type Failpoints, NO_FAILPOINTS } from './chaos/failpoints.js';
import type { FollowTransport, PeerDump } from './follow/messages.js';
import type { SourceDeps } from './follow/source.js';
import { Cleaner } from './range/cleanup.js';
import type { Copy } from './range/copy.js';
import { CommitQueue } from './range/commit-queue.js';
import { Copies } from './range/copies.js';
import { KeyValues } from './range/data.js';
import { Estimator } from './range/estimate.js';
import { durableFences, durableTerms } from './range/fences.js';
import { LocalStore } from './range/local-store.js';
import { LogReader } from './range/log-reader.js';
import { Pacer } from './range/pacer.js';
import { type ReplicaOptions, Replicas } from './range/replicas.js';
import { Retention, type RetentionLimits } from './range/retention.js';
import { KvRangeService, type Patience } from './range/service.js';
import { DEFAULT_WRITE_ID_WINDOW, type WriteIdLimits, WriteIdWindow } from './range/write-ids.js';
import type { Storage } from './storage/storage.js';
import { FollowerAnswers } from './verify/follower.js';
import type { VerifyTransport } from './verify/messages.js';
import { type VerifyLimits, Verifier } from './verify/verifier.js';

export interface NodeOptions {
  readonly storage: Storage;
  readonly transport: FollowTransport;
  /** To compare copies with; without it none can be. */
  readonly verifyTransport?: VerifyTransport;
  /** For sources that cannot be followed. */
  readonly peerDump?: PeerDump;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ident: string;
  /** Where peers dial this node. */
  readonly address: string;
  /** Resolves once requests that wait have had their turn. */
  readonly yieldTurn: () => Promise<void>;
  /** What is on the disk is unknown: the process must end, and start again from it. */
  readonly onFatal: (error: AppError) => void;
  readonly limits: NodeLimits;
  readonly hooks?: RangeletHooks;
  /** Moments at which the node is made to fail; none when not given. */
  readonly failpoints?: Failpoints;
  /** Comes between the rangelet and its commands, and its service; nothing does when not given. */
  readonly chaos?: { commands(execute: Execute): Execute; service(service: KvRangeService): RangeService };
}

export interface NodeLimits {
  readonly writeBytesMax: number;
  readonly retention: RetentionLimits;
  readonly writeIds: WriteIdLimits;
  readonly patience: Patience;
  readonly replicas: ReplicaOptions;
  /** What snapshots for new replicas may take, of all ranges together; 0 is without limit. */
  readonly repairBytesPerSecond: number;
  readonly verify: VerifyLimits;
}

export const DEFAULT_LIMITS: NodeLimits = {
  writeBytesMax: 64 * 1024 * 1024,
  retention: { keepBytes: 16 * 1024 * 1024, holdBytesMax: 1024 * 1024 * 1024, keepAgeMs: 0 },
  writeIds: DEFAULT_WRITE_ID_WINDOW,
  patience: { fetchMs: 10_000, handOverMs: 5_000 },
  replicas: { leaseMs: 1_500, promises: true },
  repairBytesPerSecond: 64 * 1024 * 1024,
  verify: { everyMs: 0, bytesPerSecond: 16 * 1024 * 1024 },
};

/** Of a range with no more keys they are counted; of a larger one, estimated. */
const KEYS_COUNTED_MAX = 10_000;

const cannotDump: PeerDump = (address) => Promise.reject(new AppError('UNIMPLEMENTED', `this node does not fetch from ${address}, which cannot be followed`));

const cannotVerify: VerifyTransport = (address) => {
  throw new AppError('UNIMPLEMENTED', `this node cannot ask ${address} for what it has, to compare it`);
};

/** A storage node without its sockets: what main.ts puts on a port, and the simulator into a cluster. */
export class KvNode {
  readonly rangelet: Rangelet;
  readonly data: KeyValues;
  /** The same as clients of kv.Store and HTTP see it. */
  readonly store: LocalStore;
  /** The ranges' logs, for clients of kv.Log. */
  readonly log: LogReader;
  readonly copies: Copies;
  readonly sources: SourceDeps;
  readonly queue: CommitQueue;
  readonly writeIds: WriteIdWindow;
  /** Compares copies: as their primary, and as a follower that is asked. */
  readonly verify: { readonly verifier: Verifier; readonly answers: FollowerAnswers };
  private readonly fences: EpochFences;
  private readonly terms: TermFence;
  private readonly service: KvRangeService;
  private readonly cleaner: Cleaner;

  constructor(private readonly options: NodeOptions) {
    const { storage, clock, logger, limits, yieldTurn, ident, address, failpoints = NO_FAILPOINTS } = options;
    const writeIds = new WriteIdWindow({ ...limits.writeIds, now: () => clock.now(), wallMs: () => clock.wallMs() });
    this.writeIds = writeIds;
    this.copies = new Copies(storage, writeIds);
    this.fences = durableFences(storage);
    const retention = new Retention(storage, limits.retention, () => clock.wallMs());
    const estimator = new Estimator(storage, clock, yieldTurn);
    this.queue = new CommitQueue(storage, {
      bytesMax: limits.writeBytesMax,
      onFatal: options.onFatal,
      onCommitted: (copy, records) => {
        retention.added(copy, records);
      },
      wallMs: () => clock.wallMs(),
      onRepeated: () => {
        writeIds.repeated++;
      },
    });
    this.data = new KeyValues(storage, this.copies, this.queue, clock);
    this.store = new LocalStore({ storage, data: this.data, log: retention, now: () => clock.now(), yieldTurn });
    this.log = new LogReader({ storage, copies: this.copies, log: retention, yieldTurn });
    this.terms = durableTerms(storage);
    const replicas = new Replicas({
      storage,
      copies: this.copies,
      clock,
      logger,
      ident,
      options: limits.replicas,
      pacer: new Pacer(clock, limits.repairBytesPerSecond),
      isCommanded: () => this.isCommanded,
      fences: this.fences,
      changed: (id) => {
        this.rangelet.changed(id);
      },
    });
    this.sources = { storage, copies: this.copies, fences: this.fences, log: retention, yieldTurn, failpoints, clock, replicas };
    this.cleaner = new Cleaner({ storage, copies: this.copies, logger, yieldTurn });
    this.service = new KvRangeService({
      storage,
      copies: this.copies,
      fences: this.fences,
      retention,
      estimator,
      transport: options.transport,
      peerDump: options.peerDump ?? cannotDump,
      clock,
      logger,
      cleaner: this.cleaner,
      replicas,
      ident,
      address,
      patience: limits.patience,
      failpoints,
    });
    const tell = (copy: Copy): void => {
      replicas.tell(copy);
    };
    const shared = { storage, copies: this.copies, clock, logger, tell };
    this.verify = {
      answers: new FollowerAnswers(shared),
      verifier: new Verifier(
        { ...shared, ident, yieldTurn, transport: options.verifyTransport ?? cannotVerify, pacer: new Pacer(clock, limits.verify.bytesPerSecond), keysOf: (copy) => this.keysOf(copy) },
        limits.verify.everyMs,
      ),
    };
    this.rangelet = new Rangelet({
      service: options.chaos?.service(this.service) ?? this.service,
      clock,
      logger,
      ident,
      incarnation: storage.incarnation,
      fences: this.fences,
      terms: this.terms,
      restored: this.restored(),
      ...(options.hooks ? { hooks: options.hooks } : {}),
    });
  }

  /** A controller has commanded this node, now or before: the data directory is no static node's any more. */
  get isCommanded(): boolean {
    return this.terms.get() > 0;
  }

  /** primary of some keys, or not. */
  get role(): 'primary' | 'replica' {
    return this.copies.all().some(({ admitting }) => admitting) ? 'primary' : 'replica';
  }

  /** How many keys clients can have here: of a primary those that it serves, of a replica those that it follows. Large ranges are estimated. */
  keys(): number {
    const all = this.copies.all().filter(({ fetching }) => !fetching);
    const primary = this.role === 'primary';
    return all.filter(({ admitting }) => admitting === primary).reduce((sum, copy) => sum + this.keysOf(copy), 0);
  }

  private keysOf(copy: Copy): number {
    const { key, skipped } = this.options.storage.stride(copy.meta, KEYS_COUNTED_MAX);
    return key === undefined ? skipped : this.service.loadInfo(copy.meta.id).keys;
  }

  /** For `/status?level=full`. */
  summary(): { readonly keys: number; readonly primary: number; readonly following: number } {
    const all = this.copies.all();
    const primary = all.filter(({ admitting }) => admitting).length;
    return { keys: this.keys(), primary, following: all.length - primary };
  }

  /** Goes on where the last process ended: follows what it followed, and removes what it left half done. */
  start(): void {
    this.service.resume();
    this.cleaner.removeLeftovers();
    this.verify.verifier.start();
  }

  register(server: grpc.Server): void {
    const { chaos } = this.options;
    this.rangelet.register(server, chaos && ((execute) => chaos.commands(execute)));
  }

  private restored(): RestoredRange[] {
    return this.copies.all().map(({ meta, record }) => ({
      meta,
      state: record.state,
      epoch: this.fences.get(meta.id),
    }));
  }

  async close(): Promise<void> {
    await this.rangelet.close();
    await this.verify.verifier.close();
    await this.service.close();
    await this.cleaner.close();
    for (const copy of this.copies.all()) this.copies.setAdmitting(copy, false);
    await Promise.all(this.copies.all().map((copy) => this.service.untilQuiet(copy)));
    await this.options.storage.close();
  }
}
