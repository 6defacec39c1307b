import { type Interval, overlaps } from '../../model/interval.js';
import { type Key, successor } from '../../model/key.js';
import { AppError } from '../../runtime/errors.js';
import { writtenKeys } from '../log/written-keys.js';
import type { Copies } from '../range/copies.js';
import type { Copy } from '../range/copy.js';
import type { Retention } from '../range/retention.js';
import { type LinkRecord, NOT_YET } from '../storage/copy-record.js';
import { type PackedPairs, packedKeys } from '../storage/packed.js';
import type { Commit, LogRecord, Storage } from '../storage/storage.js';
import type { Link } from './link.js';
import type { ToFollower } from './messages.js';

/** Where a link puts what it is sent. Each promise resolves when it is durable. */
export interface LinkSink {
  begin(link: Link, message: Extract<ToFollower, { type: 'begin' }>): Promise<void>;
  /** All pairs of `span` at the source. */
  chunk(link: Link, span: Interval, pairs: PackedPairs): Promise<void>;
  /** `endOffset`: where the source's log is with them, whoever the last records were for. */
  records(link: Link, records: readonly LogRecord[], endOffset: number): Promise<void>;
  /** The keys of the records behind `offset`; undefined when they are too many to be restored one by one, or the log does not tell them all. */
  keysBehind(link: Link, offset: number): Key[] | undefined;
  /** Makes `keys` what `pairs` say; what is stored is not whole from now on, until the log was cut and applied again. */
  restore(link: Link, keys: readonly Key[], pairs: PackedPairs): Promise<void>;
  /** Cuts the log behind `offset`; what is stored is whole once the log is applied up to `wholeAt`. */
  cut(link: Link, offset: number, wholeAt: number): Promise<void>;
  /** Nothing has to be fetched: the keys lie here, as of `offset` of the source's log. */
  adopt(link: Link, message: Extract<ToFollower, { type: 'begin' }>): Promise<void>;
  /** A snapshot is complete once the log, of which everything up to `position` is here, is applied up to `offset`. */
  wholeAt(link: Link, offset: number, position: number): Promise<void>;
}

/** Keys looked at in one go when what a snapshot lacks is removed. */
const MERGE_PAGE = 4_000;

/** More keys than this to restore, and a snapshot is as good. */
const RESTORED_MAX = 50_000;

/** Puts what a link is sent into a copy. */
export class CopySink implements LinkSink {
  constructor(
    private readonly deps: { readonly storage: Storage; readonly copies: Copies; readonly retention: Retention },
    private readonly copy: Copy,
  ) {}

  async begin(link: Link, message: Extract<ToFollower, { type: 'begin' }>): Promise<void> {
    if (message.snapshotFrom === undefined) return;
    const since = this.cover(link, message);
    if (!this.keepsLog(link)) return;
    // The log here goes on from the snapshot: what was before it has a gap behind it, and what is behind it parted from the source's.
    const { copy } = this;
    const { copies } = this.deps;
    const trims = [{ range: copy.meta.id, through: message.offset, countMax: Number.MAX_SAFE_INTEGER }];
    const cuts = [{ range: copy.meta.id, after: message.offset }];
    const ids = { after: message.offset, sinceMs: copy.writeIds.wallTimeOf(since) };
    await copies.change(
      () => [copy],
      async () => {
        this.refuseOverwrite(link);
        await copies.save([{ copy, record: { ...copy.record, baseOffset: message.offset, baseEpoch: message.logEpoch, origins: [], wholeAt: NOT_YET, ids } }], { trims, cuts });
        copy.writeIds.cut(message.offset);
        copy.cut(message.offset, message.logEpoch);
      },
    );
  }

  /** What the log that follows the snapshot tells of writes of late, and since when that is all. */
  private cover(link: Link, { knownForMs = 0 }: Extract<ToFollower, { type: 'begin' }>): number {
    const { writeIds } = this.copy;
    const since = this.deps.copies.now() - knownForMs;
    if (this.keepsLog(link)) writeIds.cover(since);
    else writeIds.coverToo(since);
    return since;
  }

  async chunk(link: Link, span: Interval, pairs: PackedPairs): Promise<void> {
    await this.merge(span, pairs, () => {
      this.refuseOverwrite(link);
    });
    this.copy.changes += pairs.count;
  }

  /** Makes the pairs of `span` those given; `check` is asked before each step. */
  async merge(span: Interval, pairs: PackedPairs, check: () => void): Promise<void> {
    check();
    const stale = this.staleKeys(span, pairs);
    let first = stale.next().value ?? [];
    for (const page of stale) {
      await this.deps.storage.commit({ removeKeys: first });
      check();
      first = page;
    }
    await this.deps.storage.commit({ pairs, removeKeys: first });
  }

  keysBehind(_link: Link, offset: number): Key[] | undefined {
    const keys = new Set<Key>();
    const { copy } = this;
    // What was written behind `offset` is not all in the log here: a snapshot had some of it, or it was trimmed.
    if (offset < Math.max(copy.record.baseOffset, copy.trimmedThrough)) return undefined;
    for (const key of writtenKeys(this.deps.storage, copy.meta.id, offset)) {
      keys.add(key);
      if (keys.size > RESTORED_MAX) return undefined;
    }
    return [...keys];
  }

  async restore(link: Link, keys: readonly Key[], pairs: PackedPairs): Promise<void> {
    const { copy } = this;
    const { copies } = this.deps;
    const known = packedKeys(pairs);
    await copies.change(
      () => [copy],
      async () => {
        this.refuseOverwrite(link);
        const record = { ...copy.record, wholeAt: NOT_YET };
        await copies.save([{ copy, record }], { pairs, removeKeys: keys.filter((key) => !known.has(key)) });
      },
    );
  }

  async cut(link: Link, offset: number, wholeAt: number): Promise<void> {
    const { copy } = this;
    const { copies, storage } = this.deps;
    await copies.change(
      () => [copy],
      async () => {
        this.refuseOverwrite(link);
        const record = { ...copy.record, links: withLink(copy.record.links, link, offset), wholeAt };
        await copies.save([{ copy, record }], { cuts: [{ range: copy.meta.id, after: offset }] });
        copy.writeIds.cut(offset);
        copy.cut(offset, storage.readLog(copy.meta.id, offset - 1, 1)[0]?.epoch ?? copy.record.baseEpoch ?? 0);
      },
    );
  }

  async adopt(link: Link, { offset, logEpoch, origins = [] }: Extract<ToFollower, { type: 'begin' }>): Promise<void> {
    const { copy } = this;
    const { copies } = this.deps;
    await copies.change(
      () => [copy],
      async () => {
        this.refuseOverwrite(link);
        await copies.save([{ copy, record: { ...copy.record, baseOffset: offset, baseEpoch: logEpoch, origins, ids: undefined, links: withLink(copy.record.links, link, offset) } }]);
        copy.advance(offset);
        copy.lastEpoch = logEpoch;
      },
    );
  }

  async wholeAt(link: Link, offset: number, position: number): Promise<void> {
    if (!this.keepsLog(link)) return;
    const { copy } = this;
    const { copies } = this.deps;
    await copies.change(
      () => [copy],
      // No record may follow for long, and then nothing else would note what is followed.
      () => copies.save([{ copy, record: { ...copy.record, wholeAt: offset, links: withLink(copy.record.links, link, position) } }]),
    );
  }

  async records(link: Link, records: readonly LogRecord[], endOffset: number): Promise<void> {
    this.refuseOverwrite(link);
    const { copy } = this;
    const last = records[records.length - 1];
    const writes: Commit = this.keepsLog(link) ? { appends: [{ range: copy.meta.id, records }] } : { apply: records };
    // Several of these are on their way at once, so each tells where a restart may
    // go on even if those before it fail: behind what is durable already.
    const resumable = link.resumableAt;
    const position = resumable === undefined || copy.fetching || copy.saving ? [] : [{ ...copy.record, links: withLink(copy.record.links, link, resumable) }];
    await this.deps.storage.commit({ ...writes, copies: position });
    copy.changes += records.length;
    for (const record of records) {
      if (this.keepsLog(link)) copy.writeIds.learn(record);
      else copy.writeIds.learnForeign(record);
    }
    if (!this.keepsLog(link)) return;
    if (last) copy.lastEpoch = last.epoch;
    copy.advance(endOffset);
    if (last) this.deps.retention.added(copy, records);
  }

  /** A copy continues the log of its own range; from another range's log it takes only the writes. */
  private keepsLog(link: Link): boolean {
    return link.range === this.copy.meta.id;
  }

  /** Pages of the keys here that the source does not have (any more). */
  private *staleKeys(span: Interval, pairs: PackedPairs): Generator<Key[], undefined, undefined> {
    let kept: Set<Key> | undefined;
    for (let from: Key | undefined = span.start; from !== undefined; ) {
      const here: Key[] = this.deps.storage.keys({ start: from, end: span.end }, MERGE_PAGE);
      if (here.length > 0) {
        const known: Set<Key> = (kept ??= packedKeys(pairs));
        yield here.filter((key) => !known.has(key));
      }
      const last: Key | undefined = here[here.length - 1];
      from = here.length < MERGE_PAGE || last === undefined ? undefined : successor(last);
    }
  }

  /** A copy that may write is newer than anything that could be followed: that must never be overwritten. */
  private refuseOverwrite(link: Link): void {
    if (link.stopped || this.copy.gone) throw new AppError('ABORTED', `R${this.copy.meta.id} here follows R${link.range} no more`);
    for (const copy of this.deps.copies.all()) {
      if (copy.record.owned.some((owned) => overlaps(owned, link.span))) {
        throw new AppError('ABORTED', `R${copy.meta.id} on this node holds newer writes of the same keys`);
      }
    }
  }
}

export function withLink(links: readonly LinkRecord[], link: Link, offset: number): LinkRecord[] {
  const others = links.filter((other) => other.range !== link.range || other.start !== link.span.start);
  return [...others, { start: link.span.start, end: link.span.end, range: link.range, address: link.address, offset }];
}

