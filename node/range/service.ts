import { type Interval, containsKey, formatInterval, intersection, overlaps, subtract } from '../../model/interval.js';
import { keyFromBytes } from '../../model/key.js';
import { type RangeId, type RangeMeta, formatRange } from '../../model/range.js';
import type { LoadInfo, Membership, Parent, ReplicaInfo, TransferProgress } from '../../model/report.js';
import type { EpochFences } from '../../rangelet/fences.js';
import type { ActivateContext, CommandContext, PrepareContext, RangeService } from '../../rangelet/service.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Failpoints } from '../chaos/failpoints.js';
import type { Link } from '../follow/link.js';
import type { FollowTransport, HandOver, PeerDump } from '../follow/messages.js';
import { CopySink } from '../follow/sink.js';
import { type CopyRecord, type LinkRecord, type LogOrigin, NOT_YET } from '../storage/copy-record.js';
import { packPairs } from '../storage/packed.js';
import { type Storage, writesNothing } from '../storage/storage.js';
import { type Candidate, givenTo, handedCandidates, resumePoint, sourcesFor } from './candidates.js';
import type { Cleaner } from './cleanup.js';
import type { Copies, RecordChange } from './copies.js';
import type { Copy } from './copy.js';
import type { Estimator } from './estimate.js';
import { Links } from './links.js';
import { withOrigins } from './origins.js';
import { type Replicas, sourceNamed } from './replicas.js';
import type { Retention } from './retention.js';
import { addSpan, intersectAll, subtractAll } from './span-set.js';
import { dropVoid, spoiledBy, withoutVoid, withoutVoidSpan } from './void-rights.js';

export interface KvRangeServiceDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly fences: EpochFences;
  readonly retention: Retention;
  readonly estimator: Estimator;
  readonly transport: FollowTransport;
  readonly peerDump: PeerDump;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cleaner: Cleaner;
  readonly replicas: Replicas;
  /** This node, as its peers know it. */
  readonly ident: string;
  readonly address: string;
  readonly patience: Patience;
  readonly failpoints: Failpoints;
}

export interface Patience {
  /** A Prepare whose sources send nothing for so long fails. */
  readonly fetchMs: number;
  /** An Activate that is not handed the right to write within this fails, and may be sent again. */
  readonly handOverMs: number;
}

/** How long a copy that stops serving waits for its members. */
const CONFIRM_PATIENCE_MS = 2_000;

/** More than this of seen ids before the first write is as good as a write. */
const SEEN_BYTES_MAX = 4 * 1024 * 1024;

/** Our key-value store as a service of ranges: what the rangelet's commands do here. */
export class KvRangeService implements RangeService {
  private readonly links: Links;

  constructor(private readonly deps: KvRangeServiceDeps) {
    this.links = new Links(deps);
  }

  resume(): void {
    this.deps.replicas.resume();
    this.links.resume();
  }

  async prepare(range: RangeMeta, ctx: PrepareContext): Promise<void> {
    await this.deps.failpoints.reach('before-prepare');
    const { copies, cleaner } = this.deps;
    const candidates = sourcesFor(range, ctx.parents, (placement) => placement.state === 'Active');
    const remote = candidates.filter(({ address, range: source }) => address !== this.deps.address && !this.isFollowedHere(source));
    const found = candidates.map(({ span }) => span);
    const lacking = subtract(range, found);
    if (lacking.length > 0 && ctx.epoch !== 0 && !ctx.initial) {
      throw new AppError('FAILED_PRECONDITION', `no source was named for ${lacking.map(formatInterval).join(' ')} of ${formatRange(range)}, which has held data`);
    }
    if (lacking.length > 0 && found.length > 0) {
      throw new AppError('FAILED_PRECONDITION', `the sources of ${formatRange(range)} lack ${lacking.map(formatInterval).join(' ')}`);
    }
    // Offsets of the new copy's log may begin again.
    await cleaner.removeLog(range.id);
    for (const candidate of candidates) {
      if (!remote.includes(candidate)) this.requireLocal(candidate);
    }
    if (candidates.length === 0) await cleaner.removeUncovered(range);
    const copy = copies.addFetching(range);
    try {
      const links = await Promise.all(remote.map((candidate) => this.links.start(copy, candidate, undefined)));
      await Promise.all(links.map((link) => this.untilReady(copy, link, ctx)));
      await this.deps.failpoints.reach('before-prepare-commit');
      await copies.change(
        () => [copy],
        () => {
          const record = { ...copy.record, fork: ctx.fork, links: this.links.records(copy) };
          return copies.save([{ copy, record }], { copies: [record] });
        },
      );
      copy.fetching = false;
      copy.notify();
    } catch (thrown) {
      await this.abandon(copy);
      throw thrown;
    }
    await this.deps.failpoints.reach('after-prepare');
  }

  /** Waits for a link; a source that cannot be followed is noted, to be asked when the copy becomes active. */
  private async untilReady(copy: Copy, link: Link, ctx: CommandContext): Promise<void> {
    try {
      await link.untilCaughtUp(this.deps.patience.fetchMs, ctx.signal);
    } catch (thrown) {
      if (AppError.from(thrown).code !== 'UNIMPLEMENTED') throw thrown;
      await this.links.end(copy, link);
      const { range, address, span } = link;
      const plain: LinkRecord = { start: span.start, end: span.end, range, address, offset: 0, plain: true };
      copy.record = { ...copy.record, links: [...copy.record.links, plain] };
    }
  }

  /** A follower of the range on this node has all that its primary had, as far as it is told. */
  private isFollowedHere(range: RangeId): boolean {
    const copy = this.deps.copies.get(range);
    return copy !== undefined && copy.isWhole && this.links.of(copy).some((link) => link.range === range && link.caughtUp);
  }

  updateMembership(range: RangeMeta, membership: Membership, { epoch }: { readonly epoch: number }): void {
    const { copies, replicas, logger } = this.deps;
    const copy = copies.get(range.id);
    if (!copy) return;
    replicas.configure(copy, membership, epoch).catch((thrown: unknown) => {
      logger.warn('a membership could not be kept', { range: formatRange(range), epoch, error: AppError.from(thrown).message });
    });
  }

  replica(range: RangeId): ReplicaInfo | undefined {
    const copy = this.deps.copies.get(range);
    if (!copy) return undefined;
    const source = this.links.of(copy).find((link) => link.range === range)?.address;
    return this.deps.replicas.report(copy, source ?? '');
  }

  updateSources(range: RangeMeta, parents: readonly Parent[], context: { readonly epoch: number; readonly fork: number }): void {
    const copy = this.deps.copies.get(range.id);
    if (!copy || copy.record.state === 'Active') return;
    const source = sourceNamed(range, parents, this.deps.address);
    if (source !== undefined && !copy.fetching) {
      this.follow(copy, source, context).catch((thrown: unknown) => {
        this.deps.logger.warn('a copy could not follow', { range: formatRange(range), source, error: AppError.from(thrown).message });
      });
      return;
    }
    const candidates = sourcesFor(range, parents, (placement) => placement.state === 'Active');
    for (const link of this.links.of(copy)) {
      const moved = candidates.find((candidate) => candidate.range === link.range && overlaps(candidate.span, link.span));
      if (moved && moved.address !== this.deps.address) link.redirect(moved.address);
    }
  }

  /** From now on the copy follows `address`, which is active: as a replica, or until it takes over. */
  private async follow(copy: Copy, address: string, { epoch, fork }: { readonly epoch: number; readonly fork: number }): Promise<void> {
    const { copies, fences, replicas } = this.deps;
    await dropVoid(copies, copy, (record) => withoutVoid(record, fork));
    const isStale = (): boolean => copy.gone || copy.record.state === 'Active' || (epoch !== 0 && epoch < fences.get(copy.meta.id));
    // Rights that are here have to be handed over first, to the one that is active.
    if (isStale() || copy.record.owned.length > 0) return;
    const link = this.links.of(copy).find(({ range }) => range === copy.meta.id);
    if (link) {
      link.redirect(address);
      return;
    }
    const { start, end } = copy.meta;
    const offset = hasLog(copy) ? copy.durableOffset : undefined;
    await copies.change(
      () => [copy],
      async () => {
        if (isStale()) return;
        const links = offset === undefined ? [] : [{ start, end, range: copy.meta.id, address, offset }];
        await copies.save([{ copy, record: { ...copy.record, handed: [], links } }]);
      },
    );
    if (isStale()) return;
    replicas.uninstall(copy);
    await this.endFetching(copy);
    await this.links.start(copy, { range: copy.meta.id, address, span: { start, end } }, offset);
    this.deps.replicas.tell(copy);
  }

  /** What a child's copy had of its parents elsewhere is as good as what lies beside it: nothing has to be copied again. */
  private async endFetching(copy: Copy): Promise<void> {
    const parents = this.links.of(copy).filter(({ range, caughtUp }) => range !== copy.meta.id && caughtUp);
    await Promise.all(parents.map((link) => this.links.end(copy, link)));
    const fetched = parents.flatMap(({ range, span, resumableAt }) => (resumableAt === undefined ? [] : [{ ...span, range, offset: resumableAt }]));
    if (!hasLog(copy)) copy.fetched = [...copy.fetched, ...fetched];
  }

  /** What the controller says of fail-overs, of this range and of those that its keys may be had from. */
  private async dropVoidRights(copy: Copy, { membership, sources }: ActivateContext): Promise<void> {
    const { copies } = this.deps;
    await dropVoid(copies, copy, (record) => withoutVoid(record, membership.fork));
    for (const { range: source, fork = 0 } of sources) {
      const other = copies.get(source.id);
      if (other && other !== copy) await dropVoid(copies, other, (record) => withoutVoid(record, fork));
      await dropVoid(copies, copy, (record) => withoutVoidSpan(record, source, fork));
    }
  }

  /**
   * A fail-over: nothing of the old primary is acknowledged here from now on, and no
   * lease that was granted is in force any more. What is in the log may have been
   * acknowledged, and will be committed.
   */
  private async beginPromotion(copy: Copy, ctx: ActivateContext): Promise<void> {
    if (copy.record.damaged === true) throw new AppError('FAILED_PRECONDITION', `${formatRange(copy.meta)} here is damaged: it waits to be made anew`);
    if (!copy.isWhole) throw new AppError('FAILED_PRECONDITION', `${formatRange(copy.meta)} here is not whole: a snapshot, or what it cut off, was not made good yet`);
    await this.links.endAll(copy);
    await this.links.endOverlapping(copy.meta);
    await this.deps.replicas.untilFree(copy.meta, ctx.signal);
  }

  async activate(range: RangeMeta, ctx: ActivateContext): Promise<void> {
    const copy = this.copyOf(range.id);
    if (copy.record.state === 'Active') {
      this.deps.copies.setAdmitting(copy, true);
      await this.deps.replicas.configure(copy, ctx.membership, ctx.epoch);
      return;
    }
    this.deps.replicas.refuseOtherDisk(copy, ctx.membership);
    await this.dropVoidRights(copy, ctx);
    if (ctx.membership.promote) await this.beginPromotion(copy, ctx);
    const mayMake = ctx.membership.promote || this.mayMakeToken(copy, ctx);
    if (copy.record.dumped) await this.takeBackDumped(copy, ctx);
    if (!mayMake) await this.takeRemote(copy, ctx);
    const { copies, failpoints } = this.deps;
    await failpoints.reach('before-activate-commit');
    await copies.change(
      () => copies.overlapping(copy.meta),
      () => this.startServing(copy, ctx, mayMake ? this.lacking(copy) : []),
    );
    try {
      await failpoints.reach('after-activate-commit');
    } catch (thrown) {
      // The caller is told that it failed, so it must not be half true.
      await this.setState(copy, 'Inactive');
      throw thrown;
    }
    this.deps.replicas.install(copy);
    copies.setAdmitting(copy, true);
    await this.links.endOverlapping(copy.meta);
  }

  /**
   * The right to write is made here for a range that never held data. A controller
   * that knows no epochs alone says who serves: without a source to take over from,
   * its word makes it too.
   */
  private mayMakeToken(copy: Copy, ctx: ActivateContext): boolean {
    if (copy.record.handed.length > 0) return false;
    if (ctx.epoch !== 0) return ctx.initial;
    return copy.record.links.length === 0 && this.links.of(copy).length === 0 && ctx.sources.length === 0;
  }

  /**
   * The last step, in which nothing is awaited between the check and the change:
   * takes the rights of other copies on this node, to serve with them.
   */
  private async startServing(copy: Copy, ctx: ActivateContext, made: readonly Interval[]): Promise<void> {
    const { copies, fences, clock, retention } = this.deps;
    const { epoch } = ctx;
    this.refuseStale(copy, ctx);
    const changes: RecordChange[] = [];
    let continues = true;
    let owned = made.reduce(addSpan, [...copy.record.owned]);
    let base = copy.lastOffset;
    let origins = this.originsKept(copy);
    const parents: Copy[] = [];
    // Promoted before it ever had a log of its own: what it adopted is as far as the parents' copies here.
    const adopts = ctx.membership.promote && !hasLog(copy);
    for (const other of copies.overlapping(copy.meta, copy)) {
      const rest = withoutSpan(other.record, copy.meta);
      if (rest) changes.push({ copy: other, record: rest });
      const taken = intersectAll(other.record.owned, copy.meta);
      const behind = adopts ? intersectAll([other.meta], copy.meta) : taken;
      if (behind.length === 0) continue;
      if (other.record.state === 'Active' || !other.quiet) {
        throw new AppError('FAILED_PRECONDITION', `${formatRange(other.meta)} is still active on this node`);
      }
      continues = false;
      parents.push(other);
      for (const span of taken) owned = addSpan(owned, span);
      origins = withOrigins(origins, behind, other.meta.id, other.lastOffset);
      base = Math.max(base, other.lastOffset);
    }
    const lacking = subtractAll([copy.meta], owned);
    if (lacking.length > 0) {
      throw new AppError('FAILED_PRECONDITION', `nobody handed over the right to write ${lacking.map(formatInterval).join(' ')}`);
    }
    copy.advance(base);
    this.knowWrites(copy, parents, ctx, made);
    const logEpoch = Math.max(epoch, copy.record.logEpoch, fences.get(copy.meta.id));
    const record: CopyRecord = {
      ...copy.record,
      state: 'Active',
      logEpoch,
      baseOffset: continues ? copy.record.baseOffset : base,
      ...(continues ? {} : { baseEpoch: logEpoch }),
      fork: Math.max(copy.record.fork ?? 0, ctx.membership.fork),
      wholeAt: undefined,
      replica: this.deps.replicas.recordOf(ctx.membership, epoch),
      owned: [{ start: copy.meta.start, end: copy.meta.end }],
      handed: [],
      links: [],
      origins: continues ? copy.record.origins : origins,
      // A log that begins anew begins with a list, which tells itself.
      ids: continues ? copy.record.ids : undefined,
      dumped: false,
    };
    const trims = continues ? [] : [{ range: copy.meta.id, through: base, countMax: Number.MAX_SAFE_INTEGER }];
    const records = copy.writeIds.seenRecords({ after: base, epoch: logEpoch, timeMs: clock.wallMs() });
    await copies.save([{ copy, record }, ...changes], { trims, appends: [{ range: copy.meta.id, records }] });
    const end = records.at(-1)?.offset;
    if (end === undefined) return;
    copy.writeIds.seenWritten(base);
    copy.lastEpoch = logEpoch;
    copy.advance(end);
    retention.added(copy, records);
  }

  /** A retry of a write that was made before this copy served has to be known for one. */
  private knowWrites(copy: Copy, parents: readonly Copy[], { epoch, membership }: ActivateContext, made: readonly Interval[]): void {
    const { writeIds } = copy;
    for (const parent of parents) writeIds.adopt(parent.writeIds);
    // Where a controller without epochs alone says who serves, others may have before.
    if (made.length > 0 && epoch !== 0 && !membership.promote) writeIds.cover(-Infinity);
    else if (writeIds.since === undefined) writeIds.cover(this.deps.copies.now());
  }

  /** What of the range nobody on this node may write. */
  private lacking(copy: Copy): Interval[] {
    const here = this.deps.copies.overlapping(copy.meta).flatMap((other) => other.record.owned);
    return subtractAll([copy.meta], here);
  }

  /** Has every lacking span handed over by whoever holds it: first those that are followed, then all others, one by one. */
  private async takeRemote(copy: Copy, ctx: ActivateContext): Promise<void> {
    const reasons: string[] = [];
    const isLacking = (span: Interval): boolean => this.lacking(copy).some((part) => overlaps(part, span));
    const attempt = async (work: Promise<void>): Promise<void> => {
      await work.catch((thrown: unknown) => {
        reasons.push(AppError.from(thrown).message);
      });
    };
    const known = this.links.of(copy).filter(({ span }) => isLacking(span));
    await Promise.all(known.map((link) => attempt(this.takeOver(copy, link, ctx, false))));
    for (const plain of copy.record.links.filter((link) => link.plain && isLacking(link))) await attempt(this.takeDump(copy, { ...plain, span: plain }, ctx));
    const named = [...handedCandidates(copy), ...sourcesFor(copy.meta, ctx.sources, () => true, { all: true })];
    for (const candidate of named) {
      if (candidate.address === this.deps.address || ctx.signal.aborted) continue;
      if (known.some(({ range, address }) => range === candidate.range && address === candidate.address)) continue;
      const span = this.lacking(copy).flatMap((part) => intersection(part, candidate.span) ?? [])[0];
      if (span) await attempt(this.tryCandidate(copy, { ...candidate, span }, ctx));
    }
    const left = this.lacking(copy).map(formatInterval).join(' ');
    if (left === '') return;
    throw new AppError('FAILED_PRECONDITION', reasons.length > 0 ? [...new Set(reasons)].join('; ') : `nobody was named who could hand over ${left}`);
  }

  private async tryCandidate(copy: Copy, candidate: Candidate, ctx: ActivateContext): Promise<void> {
    const link = await this.links.start(copy, candidate, resumePoint(copy, this.links.of(copy), candidate.span));
    try {
      await this.takeOver(copy, link, ctx, true);
    } catch (thrown) {
      const cannotFollow = AppError.from(thrown).code === 'UNIMPLEMENTED';
      // One that still sends has what is wanted: the next Activate goes on with it.
      if (cannotFollow || link.lastError || link.caughtUp) await this.links.end(copy, link);
      if (!cannotFollow) throw thrown;
      await this.takeDump(copy, candidate, ctx);
    }
  }

  private async takeOver(copy: Copy, link: Link, ctx: ActivateContext, once: boolean): Promise<void> {
    const answer = await link.requestHandOver(ctx.epoch, this.deps.patience.handOverMs, ctx.signal, once);
    await this.deps.failpoints.reach('before-take-over-commit');
    await this.deps.copies.change(
      () => [copy],
      async () => {
        this.refuseStranger(copy, link, answer);
        refuseLeftBehind(link, answer, ctx);
        this.refuseStale(copy, ctx);
        await this.keepHandedOver(copy, link, answer);
      },
    );
    await this.deps.failpoints.reach('after-take-over-commit');
    await this.links.end(copy, link);
  }

  /**
   * From a source that cannot be followed: all of its pairs in one answer, which it
   * gives only while it does not serve. That it answered is its hand-over.
   */
  private async takeDump(copy: Copy, { range, address, span }: Candidate, ctx: CommandContext): Promise<void> {
    await this.links.endOverlapping(span);
    await this.mergeDump(copy, span, await this.deps.peerDump(address, range, ctx.signal), ctx);
  }

  private async mergeDump(copy: Copy, span: Interval, pairs: Awaited<ReturnType<PeerDump>>, ctx: CommandContext): Promise<void> {
    const { copies, fences } = this.deps;
    const epoch = Math.max(ctx.epoch, fences.get(copy.meta.id));
    const offset = copy.lastOffset + 1;
    const stored = pairs.filter(({ key }) => containsKey(span, keyFromBytes(key))).map(({ key, value }) => ({ key, value, epoch, offset }));
    await new CopySink(this.deps, copy).merge(span, packPairs(stored), () => {
      this.refuseStale(copy, ctx);
      if (copies.overlapping(span, copy).some((other) => intersectAll(other.record.owned, span).length > 0)) {
        throw new AppError('ABORTED', `the right to write ${formatInterval(span)} came here meanwhile`);
      }
    });
    await copies.change(
      () => [copy],
      () => {
        this.refuseStale(copy, ctx);
        copy.writeIds.coverToo(copies.now());
        copy.advance(offset);
        return this.keepSpans(copy, span, [span], { range: undefined, offset });
      },
    );
  }

  /**
   * A peer that cannot follow fetched the data from here, and may have served since.
   * Where a controller names who that can be, what it has now is taken back; an
   * empty answer is one that never became active.
   */
  private async takeBackDumped(copy: Copy, ctx: ActivateContext): Promise<void> {
    for (const { range, address, span } of sourcesFor(copy.meta, ctx.sources, () => true, { all: true })) {
      if (address === this.deps.address) continue;
      const pairs = await this.deps.peerDump(address, range, ctx.signal).catch((thrown: unknown) => {
        const { code, message } = AppError.from(thrown);
        if (code === 'ABORTED' || code === 'NOT_FOUND') return [];
        throw new AppError('FAILED_PRECONDITION', `${address} fetched R${copy.meta.id} from here, and may have newer writes of it: ${message}`);
      });
      if (pairs.length > 0) await this.mergeDump(copy, span, pairs, ctx);
    }
  }

  /** What came while the command was at work is newer than it. */
  private refuseStale(copy: Copy, { epoch, signal }: CommandContext): void {
    if (signal.aborted) throw AppError.from(signal.reason);
    const fence = this.deps.fences.get(copy.meta.id);
    if (epoch !== 0 && epoch < fence) {
      throw new AppError('FAILED_PRECONDITION', `a newer epoch, ${fence}, came while epoch ${epoch} took over`);
    }
  }

  private keepHandedOver(copy: Copy, link: Link, answer: HandOver): Promise<void> {
    // What never arrived elsewhere is still as it was when it was given.
    const spans = answer.void ? intersectAll(givenTo(copy, link), link.span) : [link.span];
    copy.advance(answer.offset);
    const foreign = link.range !== copy.meta.id && !answer.void ? { range: link.range, offset: answer.offset } : undefined;
    // The right is as old as the activation that it is from: a fail-over of before did not go past it.
    const logEpoch = answer.void ? 0 : answer.logEpoch;
    copy.lastEpoch = Math.max(copy.lastEpoch, logEpoch);
    return this.keepSpans(copy, link.span, spans, foreign, logEpoch);
  }

  /** `foreign`: another log ended there; this copy's goes on behind it, and has nothing of it. */
  private keepSpans(copy: Copy, from: Interval, spans: readonly Interval[], foreign: { readonly range: RangeId | undefined; readonly offset: number } | undefined, logEpoch = 0): Promise<void> {
    const { record } = copy;
    const origins = foreign ? this.originsKept(copy) : record.origins;
    const kept: CopyRecord = {
      ...record,
      logEpoch: Math.max(record.logEpoch, logEpoch),
      baseOffset: foreign ? copy.lastOffset : record.baseOffset,
      ids: foreign ? undefined : record.ids,
      owned: spans.reduce(addSpan, [...record.owned]),
      handed: without(record.handed, from),
      links: record.links.filter((saved) => !overlaps(saved, from)),
      origins: foreign?.range === undefined ? origins : withOrigins(origins, spans, foreign.range, foreign.offset),
    };
    const trims = foreign ? [{ range: copy.meta.id, through: copy.lastOffset, countMax: Number.MAX_SAFE_INTEGER }] : [];
    return this.deps.copies.save([{ copy, record: kept }], { trims });
  }

  /** When the log begins anew: what it went on behind before is still that while nothing has been written to it. */
  private originsKept(copy: Copy): readonly LogOrigin[] {
    const log = this.deps.storage.readLog(copy.meta.id, copy.record.baseOffset, SEEN_BYTES_MAX);
    return log.every(writesNothing) ? copy.record.origins : [];
  }

  /** What was handed to a node that has lost its disk since cannot be had back from its empty successor. */
  private refuseStranger(copy: Copy, link: Link, answer: HandOver): void {
    if (!answer.void) return;
    const given = givenTo(copy, link);
    const stranger = given.find(({ incarnation }) => incarnation !== answer.incarnation);
    if (stranger || given.length === 0) {
      const why = stranger ? `${link.address} is not the ${stranger.node} that R${link.range} was handed to: its data directory is another` : `${link.address} does not hold it`;
      throw new AppError('FAILED_PRECONDITION', why);
    }
  }

  async deactivate(range: RangeMeta, _ctx: CommandContext): Promise<void> {
    const copy = this.copyOf(range.id);
    if (copy.record.state !== 'Active') return;
    this.deps.copies.setAdmitting(copy, false);
    try {
      await this.untilQuiet(copy);
      await this.deps.failpoints.reach('before-deactivate-commit');
      await this.setState(copy, 'Inactive');
      this.deps.replicas.uninstall(copy);
      await this.deps.failpoints.reach('after-deactivate-commit');
    } catch (thrown) {
      // What was handed over meanwhile is gone, whatever the caller is told.
      if (!copy.owns(copy.meta)) return;
      await this.setState(copy, 'Active');
      this.deps.copies.setAdmitting(copy, true);
      throw thrown;
    }
  }

  /**
   * Waits for the members too, also where no client does: what adopts a copy's keys has to find the same in all.
   * What they do not confirm in time is answered as unknown: whoever serves next has it in the log, and commits it.
   */
  async untilQuiet(copy: Copy): Promise<void> {
    let isLate = false;
    const cancel = this.deps.clock.after(CONFIRM_PATIENCE_MS, () => {
      isLate = true;
      copy.giveUp(new AppError('UNKNOWN', `R${copy.meta.id} stopped serving here before every copy had the write: whether it was applied is unknown`));
      copy.notify();
    });
    await copy.until(() => copy.quiet && (isLate || copy.committedOffset >= copy.durableOffset));
    cancel();
  }

  private async setState(copy: Copy, state: CopyRecord['state']): Promise<void> {
    const { copies } = this.deps;
    await copies.change(
      () => [copy],
      async () => {
        if (copy.record.state === state || (state === 'Active' && !copy.owns(copy.meta))) return;
        await copies.save([{ copy, record: { ...copy.record, state } }]);
      },
    );
  }

  async drop(range: RangeMeta, ctx: CommandContext): Promise<void> {
    const copy = this.deps.copies.get(range.id);
    if (!copy) return;
    refuseOwner(copy, ctx);
    await this.deps.failpoints.reach('before-drop-commit');
    await this.links.endAll(copy);
    const { copies } = this.deps;
    await copies.change(
      () => copies.overlapping(copy.meta),
      () => this.remove(copy, ctx),
    );
    await this.deps.failpoints.reach('after-drop-commit');
    this.forget(copy);
    this.deps.cleaner.removeLater(range);
  }

  private async remove(copy: Copy, ctx: CommandContext): Promise<void> {
    refuseOwner(copy, ctx);
    // From here on no follower may be handed anything: the record must not come back.
    copy.gone = true;
    copy.notify();
    const spoiled = ctx.force ? spoiledBy(this.deps.storage, this.deps.copies, copy) : [];
    try {
      await this.deps.copies.save(
        spoiled.map((other) => ({ copy: other, record: { ...other.record, wholeAt: NOT_YET } })),
        { removeCopies: [copy.meta.id] },
      );
    } catch (thrown) {
      copy.gone = false;
      throw thrown;
    }
    for (const other of spoiled) for (const link of this.links.of(other)) link.beginAnew();
  }

  loadInfo(range: RangeId): LoadInfo {
    const copy = this.deps.copies.get(range);
    return copy ? this.deps.estimator.loadInfo(copy) : { keys: 0, bytes: 0, readsPerSecond: 0, writesPerSecond: 0, splits: [] };
  }

  progress(range: RangeId): TransferProgress | undefined {
    const copy = this.deps.copies.get(range);
    return copy && this.links.progress(copy);
  }

  serving(range: RangeId): boolean {
    const copy = this.deps.copies.get(range);
    return copy !== undefined && copy.owns(copy.meta);
  }

  close(): Promise<void> {
    this.deps.replicas.close();
    return this.links.close();
  }

  private copyOf(id: RangeId): Copy {
    const copy = this.deps.copies.get(id);
    assert(copy, `R${id} is on this node`);
    return copy;
  }

  private requireLocal(candidate: Candidate): void {
    const copy = this.deps.copies.get(candidate.range);
    if (copy && !copy.fetching) return;
    throw new AppError('FAILED_PRECONDITION', `R${candidate.range} was named as a source on this node, which does not have it`);
  }

  /** A copy that never became whole. */
  private async abandon(copy: Copy): Promise<void> {
    await this.links.endAll(copy);
    this.forget(copy);
    await this.deps.cleaner.remove(copy.meta);
  }

  private forget(copy: Copy): void {
    this.deps.copies.forget(copy);
    this.deps.retention.forget(copy);
    this.deps.estimator.forget(copy);
    this.deps.replicas.forget(copy);
  }
}

/** A fail-over went past what the source was activated for: what it hands over is not the newest. */
function refuseLeftBehind(link: Link, answer: HandOver, { membership, sources }: ActivateContext): void {
  const fork = sources.find((source) => source.range.id === link.range)?.fork ?? membership.fork;
  if (answer.void || answer.logEpoch >= fork) return;
  throw new AppError('FAILED_PRECONDITION', `${link.address} has R${link.range} of epoch ${answer.logEpoch}, and a fail-over at epoch ${fork} left that behind`);
}

/** It has a log of its own range: as a primary once, or as a follower. */
function hasLog(copy: Copy): boolean {
  return copy.record.wholeAt !== NOT_YET && (copy.record.logEpoch > 0 || copy.durableOffset > 0);
}

function refuseOwner(copy: Copy, ctx: CommandContext): void {
  if (copy.record.owned.length === 0 || copy.record.dumped || ctx.epoch === 0 || ctx.force) return;
  const spans = copy.record.owned.map(formatInterval).join(' ');
  throw new AppError('FAILED_PRECONDITION', `this copy alone may write ${spans}: it has to be handed over before it can be dropped`);
}

/** What a record still says once the right to write `span` is another copy's on this node; undefined when it is the same. */
function withoutSpan(record: CopyRecord, span: Interval): CopyRecord | undefined {
  const touched = [...record.owned, ...record.handed, ...record.links].some((part) => overlaps(part, span));
  if (!touched) return undefined;
  return {
    ...record,
    owned: subtractAll(record.owned, [span]),
    handed: without(record.handed, span),
    links: record.links.filter((link) => !overlaps(link, span)),
  };
}

function without(handed: CopyRecord['handed'], span: Interval): CopyRecord['handed'] {
  return handed.flatMap((given) => subtract(given, [span]).map(({ start, end }) => ({ ...given, start, end })));
}
