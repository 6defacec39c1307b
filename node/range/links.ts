import { type Interval, overlaps } from '../../model/interval.js';
import type { TransferProgress } from '../../model/report.js';
import { Link } from '../follow/link.js';
import { CopySink } from '../follow/sink.js';
import { type CopyRecord, NOT_YET } from '../storage/copy-record.js';
import type { Candidate } from './candidates.js';
import type { Copy } from './copy.js';
import type { KvRangeServiceDeps } from './service.js';

/** Which copies follow what. At most one link of a node writes a key. */
export class Links {
  private readonly byCopy = new Map<Copy, Link[]>();

  constructor(private readonly deps: KvRangeServiceDeps) {}

  /** Takes up again what the copies followed before the restart. */
  resume(): void {
    for (const copy of this.deps.copies.all()) {
      for (const { range, address, start, end, offset, plain } of copy.record.links) {
        // A copy's own log tells how far it is, which is further than was noted with it. A snapshot that was interrupted ran ahead of it, and begins again.
        const isOwn = range === copy.meta.id;
        const isHalf = isOwn && copy.record.wholeAt === NOT_YET;
        if (!plain) this.open(copy, { range, address, span: { start, end } }, isHalf ? undefined : isOwn ? copy.durableOffset : offset);
      }
    }
  }

  /** Opens a link, after stopping any other on this node that would write the same keys. */
  async start(copy: Copy, candidate: Candidate, resumeAfter: number | undefined): Promise<Link> {
    await this.endOverlapping(candidate.span, copy);
    return this.open(copy, candidate, resumeAfter);
  }

  /**
   * Ends every link that would write keys of `span`. What other copies than `keeper`
   * had followed so far counts for nothing any more, for newer keys come from elsewhere.
   */
  async endOverlapping(span: Interval, keeper?: Copy): Promise<void> {
    for (;;) {
      const [open] = [...this.byCopy].flatMap(([copy, links]) => links.filter((link) => overlaps(link.span, span)).map((link) => ({ copy, link })));
      const noted = this.deps.copies.overlapping(span, keeper).find(({ record }) => record.links.some((link) => !link.plain && overlaps(link, span)));
      if (open) await this.end(open.copy, open.link);
      else if (noted) await this.forgetLinks(noted, span);
      else return;
    }
  }

  private async forgetLinks(copy: Copy, span: Interval): Promise<void> {
    const { copies } = this.deps;
    await copies.change(
      () => [copy],
      () => copies.save([{ copy, record: { ...copy.record, links: copy.record.links.filter((link) => link.plain || !overlaps(link, span)) } }]),
    );
  }

  private open(copy: Copy, candidate: Candidate, resumeAfter: number | undefined): Link {
    const { transport, clock, logger, storage, copies, retention, ident, address } = this.deps;
    const link = new Link(
      {
        ...candidate,
        follower: { range: copy.meta.id, node: ident, incarnation: storage.incarnation, address },
        resumeAfter,
      },
      { transport, clock, logger: logger.child({ follower: copy.meta.id }), replica: this.deps.replicas.partOf(copy, candidate.range), sink: new CopySink({ storage, copies, retention }, copy) },
    );
    this.byCopy.set(copy, [...this.of(copy), link]);
    return link;
  }

  of(copy: Copy): Link[] {
    return this.byCopy.get(copy) ?? [];
  }

  records(copy: Copy): CopyRecord['links'] {
    const plain = copy.record.links.filter((link) => link.plain);
    const followed = this.of(copy).flatMap(({ range, address, span, resumableAt }) =>
      resumableAt === undefined ? [] : [{ start: span.start, end: span.end, range, address, offset: resumableAt }],
    );
    return [...plain, ...followed];
  }

  async end(copy: Copy, link: Link): Promise<void> {
    const rest = this.of(copy).filter((other) => other !== link);
    if (rest.length > 0) this.byCopy.set(copy, rest);
    else this.byCopy.delete(copy);
    await link.stop();
  }

  async endAll(copy: Copy): Promise<void> {
    await Promise.all(this.of(copy).map((link) => this.end(copy, link)));
  }

  progress(copy: Copy): TransferProgress | undefined {
    const links = this.of(copy);
    if (links.length === 0) return undefined;
    return {
      keys: links.reduce((sum, link) => sum + link.keys, 0),
      bytes: links.reduce((sum, link) => sum + link.bytes, 0),
      keysTotal: links.reduce((sum, link) => sum + link.keysTotal, 0),
      caughtUp: links.every((link) => link.caughtUp),
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.byCopy.keys()].map((copy) => this.endAll(copy)));
  }
}
