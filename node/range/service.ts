import { type Interval, formatInterval, intersection, overlaps, subtract } from '../../model/interval.js';
import { type RangeId, type RangeMeta, formatRange } from '../../model/range.js';
import type { LoadInfo, Parent, TransferProgress } from '../../model/report.js';
import type { EpochFences } from '../../rangelet/fences.js';
import type { ActivateContext, CommandContext, PrepareContext, RangeService } from '../../rangelet/service.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Failpoints } from '../chaos/failpoints.js';
import { Link } from '../follow/link.js';
import type { FollowTransport, HandOver } from '../follow/messages.js';
import { CopySink } from '../follow/sink.js';
import type { CopyRecord } from '../storage/copy-record.js';
import type { Storage } from '../storage/storage.js';
import type { Cleaner } from './cleanup.js';
import type { Copies, RecordChange } from './copies.js';
import type { Copy } from './copy.js';
import type { Estimator } from './estimate.js';
import type { Retention } from './retention.js';
import { addSpan, intersectAll, subtractAll } from './span-set.js';

export interface KvRangeServiceDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly fences: EpochFences;
  readonly retention: Retention;
  readonly estimator: Estimator;
  readonly transport: FollowTransport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cleaner: Cleaner;
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

/** One place from which a span of keys can be had. */
interface Candidate {
  readonly range: RangeId;
  readonly address: string;
  readonly span: Interval;
}

/** Our key-value store as a service of ranges: what the rangelet's commands do here. */
export class KvRangeService implements RangeService {
  private readonly links = new Map<Copy, Link[]>();

  constructor(private readonly deps: KvRangeServiceDeps) {}

  /** Takes up again what the copies followed before the restart. */
  resume(): void {
    for (const copy of this.deps.copies.all()) {
      for (const { range, address, start, end, offset } of copy.record.links) {
        this.openLink(copy, { range, address, span: { start, end } }, offset);
      }
    }
  }

  async prepare(range: RangeMeta, ctx: PrepareContext): Promise<void> {
    await this.deps.failpoints.reach('before-prepare');
    const { copies, cleaner } = this.deps;
    const candidates = sourcesFor(range, ctx.parents, (placement) => placement.state === 'Active');
    const remote = candidates.filter(({ address }) => address !== this.deps.address);
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
      const links = await Promise.all(remote.map((candidate) => this.startLink(copy, candidate, undefined)));
      await Promise.all(links.map((link) => link.untilCaughtUp(this.deps.patience.fetchMs, ctx.signal)));
      await this.deps.failpoints.reach('before-prepare-commit');
      const followed = this.linkRecords(copy);
      await Promise.all(links.map((link) => link.durable()));
      await copies.change(
        () => [copy],
        () => {
          copy.fetching = false;
          return copies.save([{ copy, record: { ...copy.record, links: followed } }]);
        },
      );
    } catch (thrown) {
      await this.abandon(copy);
      throw thrown;
    }
    await this.deps.failpoints.reach('after-prepare');
  }

  updateSources(range: RangeMeta, parents: readonly Parent[]): void {
    const copy = this.deps.copies.get(range.id);
    if (!copy || copy.record.state === 'Active') return;
    const candidates = sourcesFor(range, parents, (placement) => placement.state === 'Active');
    for (const link of this.linksOf(copy)) {
      const moved = candidates.find((candidate) => candidate.range === link.range && overlaps(candidate.span, link.span));
      if (moved && moved.address !== this.deps.address) link.redirect(moved.address);
    }
  }

  async activate(range: RangeMeta, ctx: ActivateContext): Promise<void> {
    const copy = this.copyOf(range.id);
    if (copy.record.state === 'Active') {
      this.deps.copies.setAdmitting(copy, true);
      return;
    }
    const mayMake = this.mayMakeToken(copy, ctx);
    if (!mayMake) await this.takeRemote(copy, ctx);
    const { copies, failpoints } = this.deps;
    await failpoints.reach('before-activate-commit');
    await copies.change(
      () => copies.overlapping(copy.meta),
      () => this.startServing(copy, ctx, mayMake ? this.lacking(copy) : []),
    );
    await failpoints.reach('after-activate-commit');
    copies.setAdmitting(copy, true);
    await this.stopLinks(copy);
  }

  /**
   * The right to write is made here for a range that never held data. A controller
   * that knows no epochs alone says who serves: without a source to take over from,
   * its word makes it too.
   */
  private mayMakeToken(copy: Copy, ctx: ActivateContext): boolean {
    if (copy.record.handed.length > 0) return false;
    if (ctx.epoch !== 0) return ctx.initial;
    return this.linksOf(copy).length === 0 && ctx.sources.length === 0;
  }

  /**
   * The last step, in which nothing is awaited between the check and the change:
   * takes the rights of other copies on this node, to serve with them.
   */
  private async startServing(copy: Copy, ctx: CommandContext, made: readonly Interval[]): Promise<void> {
    const { copies, fences } = this.deps;
    const { epoch } = ctx;
    this.refuseStale(copy, ctx);
    const changes: RecordChange[] = [];
    let owned = made.reduce(addSpan, [...copy.record.owned]);
    let base = copy.lastOffset;
    for (const other of copies.overlapping(copy.meta, copy)) {
      const taken = intersectAll(other.record.owned, copy.meta).filter((span) => subtract(span, owned).length > 0);
      if (taken.length === 0) continue;
      if (other.record.state === 'Active' || !other.quiet) {
        throw new AppError('FAILED_PRECONDITION', `${formatRange(other.meta)} is still active on this node`);
      }
      changes.push({ copy: other, record: { ...other.record, owned: subtractAll(other.record.owned, taken) } });
      for (const span of taken) owned = addSpan(owned, span);
      base = Math.max(base, other.lastOffset);
    }
    const lacking = subtractAll([copy.meta], owned);
    if (lacking.length > 0) {
      throw new AppError('FAILED_PRECONDITION', `nobody handed over the right to write ${lacking.map(formatInterval).join(' ')}`);
    }
    const continues = changes.length === 0;
    copy.advance(base);
    const logEpoch = Math.max(epoch, copy.record.logEpoch, fences.get(copy.meta.id));
    const record: CopyRecord = {
      ...copy.record,
      state: 'Active',
      logEpoch,
      baseOffset: continues ? copy.record.baseOffset : base,
      owned: [{ start: copy.meta.start, end: copy.meta.end }],
      handed: [],
      links: [],
    };
    const trims = continues ? [] : [{ range: copy.meta.id, through: base, countMax: Number.MAX_SAFE_INTEGER }];
    await copies.save([{ copy, record }, ...changes], { trims });
  }

  /** What of the range nobody on this node may write. */
  private lacking(copy: Copy): Interval[] {
    const here = this.deps.copies.overlapping(copy.meta).flatMap((other) => other.record.owned);
    return subtractAll([copy.meta], here);
  }

  /** Has every lacking span handed over by whoever holds it. */
  private async takeRemote(copy: Copy, ctx: ActivateContext): Promise<void> {
    const lacking = this.lacking(copy);
    if (lacking.length === 0) return;
    const known = this.linksOf(copy);
    const named = [...sourcesFor(copy.meta, ctx.sources, () => true, { all: true }), ...handedCandidates(copy)];
    const candidates = named.filter(({ address, span }) => address !== this.deps.address && lacking.some((part) => overlaps(part, span)));
    const fresh = candidates.filter(({ range, address }, i) => {
      const first = candidates.findIndex((other) => other.range === range && other.address === address) === i;
      return first && !known.some((link) => link.range === range && link.address === address);
    });
    const opened = await Promise.all(fresh.flatMap((candidate) => {
      const span = lacking.map((part) => intersection(part, candidate.span)).find((part) => part !== undefined);
      return span ? [this.startLink(copy, { ...candidate, span }, copy.lastOffset)] : [];
    }));
    const askable = [...known, ...opened].filter((link) => lacking.some((part) => overlaps(part, link.span)));
    const outcomes = await Promise.allSettled(askable.map((link) => this.takeOver(copy, link, ctx)));
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
    if (this.lacking(copy).length === 0) return;
    await Promise.all(opened.map((link) => this.closeLink(copy, link)));
    const reasons = failures.map(({ reason }) => AppError.from(reason).message);
    const left = this.lacking(copy).map(formatInterval).join(' ');
    throw new AppError('FAILED_PRECONDITION', reasons.length > 0 ? reasons.join('; ') : `nobody was named who could hand over ${left}`);
  }

  private async takeOver(copy: Copy, link: Link, ctx: CommandContext): Promise<void> {
    const answer = await link.requestHandOver(ctx.epoch, this.deps.patience.handOverMs, ctx.signal);
    await this.deps.failpoints.reach('before-take-over-commit');
    await this.deps.copies.change(
      () => [copy],
      async () => {
        this.refuseStranger(copy, link, answer);
        this.refuseStale(copy, ctx);
        await this.keepHandedOver(copy, link, answer);
      },
    );
    await this.deps.failpoints.reach('after-take-over-commit');
    await this.closeLink(copy, link);
  }

  /** What came while the command was at work is newer than it. */
  private refuseStale(copy: Copy, { epoch, signal }: CommandContext): void {
    if (signal.aborted) throw AppError.from(signal.reason);
    const fence = this.deps.fences.get(copy.meta.id);
    if (epoch !== 0 && epoch < fence) {
      throw new AppError('FAILED_PRECONDITION', `a newer epoch, ${fence}, came while epoch ${epoch} took over`);
    }
  }

  private async keepHandedOver(copy: Copy, link: Link, answer: HandOver): Promise<void> {
    const { record } = copy;
    // What never arrived elsewhere is still as it was when it was given.
    const spans = answer.void ? intersectAll(givenTo(copy, link), link.span) : [link.span];
    copy.advance(answer.offset);
    // Another range's log ended there; this one's goes on behind it, and has nothing of it.
    const foreign = link.range !== copy.meta.id && !answer.void;
    await this.deps.copies.save(
      [
        {
          copy,
          record: {
            ...record,
            baseOffset: foreign ? copy.lastOffset : record.baseOffset,
            owned: spans.reduce(addSpan, [...record.owned]),
            handed: record.handed.filter((given) => !overlaps(given, link.span)),
            links: record.links.filter((saved) => !overlaps(saved, link.span)),
          },
        },
      ],
      { trims: foreign ? [{ range: copy.meta.id, through: copy.lastOffset, countMax: Number.MAX_SAFE_INTEGER }] : [] },
    );
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
      await copy.until(() => copy.quiet);
      await this.deps.failpoints.reach('before-deactivate-commit');
      await this.deps.copies.change(
        () => [copy],
        () => this.deps.copies.save([{ copy, record: { ...copy.record, state: 'Inactive' } }]),
      );
    } catch (thrown) {
      this.deps.copies.setAdmitting(copy, true);
      throw thrown;
    }
    await this.deps.failpoints.reach('after-deactivate-commit');
  }

  async drop(range: RangeMeta, ctx: CommandContext): Promise<void> {
    const copy = this.deps.copies.get(range.id);
    if (!copy) return;
    refuseOwner(copy, ctx);
    await this.deps.failpoints.reach('before-drop-commit');
    await this.stopLinks(copy);
    await this.deps.copies.change(
      () => [copy],
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
    try {
      await this.deps.storage.commit({ removeCopies: [copy.meta.id] });
    } catch (thrown) {
      copy.gone = false;
      throw thrown;
    }
  }

  loadInfo(range: RangeId): LoadInfo {
    const copy = this.deps.copies.get(range);
    return copy ? this.deps.estimator.loadInfo(copy) : { keys: 0, bytes: 0, readsPerSecond: 0, writesPerSecond: 0, splits: [] };
  }

  progress(range: RangeId): TransferProgress | undefined {
    const copy = this.deps.copies.get(range);
    const links = copy ? this.linksOf(copy) : [];
    if (links.length === 0) return undefined;
    return {
      keys: links.reduce((sum, link) => sum + link.keys, 0),
      bytes: links.reduce((sum, link) => sum + link.bytes, 0),
      keysTotal: links.reduce((sum, link) => sum + link.keysTotal, 0),
      caughtUp: links.every((link) => link.caughtUp),
    };
  }

  serving(range: RangeId): boolean {
    const copy = this.deps.copies.get(range);
    return copy !== undefined && copy.owns(copy.meta);
  }

  async close(): Promise<void> {
    await Promise.all([...this.links.keys()].map((copy) => this.stopLinks(copy)));
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

  /** Opens a link, after stopping any other on this node that would write the same keys. */
  private async startLink(copy: Copy, candidate: Candidate, resumeAfter: number | undefined): Promise<Link> {
    for (const [other, links] of [...this.links]) {
      for (const link of links) {
        if (overlaps(link.span, candidate.span)) await this.closeLink(other, link);
      }
    }
    return this.openLink(copy, candidate, resumeAfter);
  }

  private openLink(copy: Copy, candidate: Candidate, resumeAfter: number | undefined): Link {
    const { transport, clock, logger, storage, copies, retention, ident, address } = this.deps;
    const link = new Link(
      {
        ...candidate,
        follower: { range: copy.meta.id, node: ident, incarnation: storage.incarnation, address },
        resumeAfter,
      },
      { transport, clock, logger: logger.child({ follower: copy.meta.id }), sink: new CopySink({ storage, copies, retention }, copy) },
    );
    this.links.set(copy, [...this.linksOf(copy), link]);
    return link;
  }

  private linksOf(copy: Copy): Link[] {
    return this.links.get(copy) ?? [];
  }

  private linkRecords(copy: Copy): CopyRecord['links'] {
    return this.linksOf(copy).flatMap(({ range, address, span, resumableAt }) =>
      resumableAt === undefined ? [] : [{ start: span.start, end: span.end, range, address, offset: resumableAt }],
    );
  }

  private async closeLink(copy: Copy, link: Link): Promise<void> {
    const rest = this.linksOf(copy).filter((other) => other !== link);
    if (rest.length > 0) this.links.set(copy, rest);
    else this.links.delete(copy);
    await link.stop();
  }

  private async stopLinks(copy: Copy): Promise<void> {
    await Promise.all(this.linksOf(copy).map((link) => this.closeLink(copy, link)));
  }

  /** A copy that never became whole. */
  private async abandon(copy: Copy): Promise<void> {
    await this.stopLinks(copy);
    this.forget(copy);
    await this.deps.cleaner.remove(copy.meta);
  }

  private forget(copy: Copy): void {
    this.deps.copies.forget(copy);
    this.deps.retention.forget(copy);
    this.deps.estimator.forget(copy);
  }
}

/**
 * Which span to have from where: the range itself first, then its ancestors,
 * nearest first, each only for what the ones before it lack (or, with `all`, every
 * place that overlaps).
 */
export function sourcesFor(
  range: RangeMeta,
  parents: readonly Parent[],
  wanted: (placement: Parent['placements'][number]) => boolean,
  options: { all?: boolean } = {},
): Candidate[] {
  const candidates: Candidate[] = [];
  let lacking: Interval[] = [{ start: range.start, end: range.end }];
  for (const parent of parents) {
    const placements = parent.placements.filter(wanted);
    for (const { node } of options.all ? placements : placements.slice(0, 1)) {
      const spans = options.all ? intersectAll([range], parent.range) : intersectAll(lacking, parent.range);
      candidates.push(...spans.map((span) => ({ range: parent.range.id, address: node, span: { start: span.start, end: span.end } })));
    }
    if (placements.length > 0) lacking = subtractAll(lacking, [parent.range]);
  }
  return candidates;
}

function refuseOwner(copy: Copy, ctx: CommandContext): void {
  if (copy.record.owned.length === 0 || ctx.epoch === 0 || ctx.force) return;
  const spans = copy.record.owned.map(formatInterval).join(' ');
  throw new AppError('FAILED_PRECONDITION', `this copy alone may write ${spans}: it has to be handed over before it can be dropped`);
}

function givenTo(copy: Copy, link: Link): CopyRecord['handed'] {
  return copy.record.handed.filter((given) => given.range === link.range && overlaps(given, link.span));
}

function handedCandidates(copy: Copy): Candidate[] {
  return copy.record.handed.map(({ range, address, start, end }) => ({ range, address, span: { start, end } }));
}
