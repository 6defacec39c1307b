import { type Interval, formatInterval, intersection, isEmpty } from '../../model/interval.js';
import type { WatchEvent, WatchRequest } from '../../model/store.js';
import { WATCH_SEGMENTS_MAX, type WatchSegment, clipSegments, decodeWatchToken, encodeWatchToken, mergeSegments } from '../../model/tokens.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { SpanOwners } from '../owners.js';
import { isLoss, isRefusal } from './failures.js';
import { nextNews } from './news.js';
import type { NodeStore } from './node-store.js';

export interface MergedWatchDeps {
  readonly owners: SpanOwners;
  readonly clock: Clock;
  readonly hold: (address: string) => { readonly store: NodeStore; readonly release: () => void };
}

/** A token of up to so many places goes with every message; longer ones only now and then. */
const SEGMENTS_FREELY = 16;
const TOKEN_EVERY_MS = 1000;

/** Some of the keys, watched where they are served now. */
interface Strand {
  readonly span: Interval;
  /** How far they were told; undefined until it is known where the watch begins. */
  segments: readonly WatchSegment[] | undefined;
}

/**
 * The changes of keys wherever they are served, as one stream: each range's in its
 * order, and where keys go to another range, behind all that the former one told. Goes on
 * over moves, splits, joins and failures, from the place in the log that was reached.
 */
export async function* watchSpans(deps: MergedWatchDeps, request: WatchRequest, signal: AbortSignal | undefined): AsyncGenerator<WatchEvent, void, undefined> {
  const watch = new MergedWatch(deps, request, signal);
  try {
    yield* watch.events();
  } finally {
    watch.close();
  }
}

class MergedWatch {
  private readonly strands: Strand[] = [];
  private readonly over = new AbortController();
  private readonly signal: AbortSignal;
  /** What strands have to tell, each waiting until it was. */
  private readonly waiting: { readonly strand: Strand; readonly event: WatchEvent; readonly told: () => void }[] = [];
  private wake: () => void = () => undefined;
  private failure: AppError | undefined;
  private began = false;
  private tokenAt = -Infinity;

  constructor(
    private readonly deps: MergedWatchDeps,
    private readonly request: WatchRequest,
    signal: AbortSignal | undefined,
  ) {
    this.signal = signal ? AbortSignal.any([signal, this.over.signal]) : this.over.signal;
    this.signal.addEventListener('abort', () => {
      this.wake();
    });
  }

  async *events(): AsyncGenerator<WatchEvent, void, undefined> {
    const { span, token } = this.request;
    if (isEmpty(span)) throw new AppError('INVALID_ARGUMENT', 'prefix, start, end: no key is among them');
    this.begin({ span, segments: token && segmentsOf(token, span) });
    for (;;) {
      if (this.signal.aborted) throw AppError.from(this.signal.reason);
      if (this.failure) throw this.failure;
      const next = this.waiting.shift();
      if (!next) {
        await new Promise<void>((resolve) => (this.wake = resolve));
        continue;
      }
      next.strand.segments = segmentsOf(next.event.token as Buffer, next.strand.span);
      const event = this.merged(next.event);
      if (event) yield event;
      next.told();
    }
  }

  close(): void {
    this.over.abort(new AppError('CANCELLED', 'the watch is over'));
  }

  /** What is known only in part yet has no token: it is told once it has. */
  private merged({ changes }: WatchEvent): WatchEvent | undefined {
    const token = this.token();
    if (this.began && changes.length === 0 && token === undefined) return undefined;
    if (!this.began && token === undefined) return changes.length === 0 ? undefined : { changes, token };
    this.began = true;
    return { changes, token };
  }

  private token(): Buffer | undefined {
    const { clock } = this.deps;
    if (this.began && this.strands.length > SEGMENTS_FREELY && clock.now() - this.tokenAt < TOKEN_EVERY_MS) return undefined;
    const segments: WatchSegment[] = [];
    for (const strand of [...this.strands].sort((a, b) => (a.span.start < b.span.start ? -1 : 1))) {
      if (!strand.segments) return undefined;
      segments.push(...strand.segments);
    }
    this.tokenAt = clock.now();
    return encodeWatchToken(segments);
  }

  private begin(strand: Strand): void {
    if (this.strands.length >= WATCH_SEGMENTS_MAX) {
      this.fail(new AppError('RESOURCE_EXHAUSTED', `the keys lie in more than ${WATCH_SEGMENTS_MAX} ranges: watch fewer`));
      return;
    }
    this.strands.push(strand);
    this.run(strand).catch((thrown: unknown) => {
      this.fail(AppError.from(thrown));
    });
  }

  private fail(error: AppError): void {
    this.failure ??= error;
    this.wake();
  }

  /** Watches the strand where it is served, and again where it is then, until the watch is over. */
  private async run(given: Strand): Promise<void> {
    const { owners, clock } = this.deps;
    let strand = given;
    for (let tries = 0; ; tries++) {
      const owner = owners.find(strand.span.start);
      const part = owner && intersection(strand.span, owner.interval);
      if (owner && part) {
        strand = this.cut(strand, part);
        try {
          for await (const event of this.on(owner.address, strand)) {
            tries = 0;
            await this.tell(strand, event);
          }
        } catch (thrown) {
          const error = AppError.from(thrown);
          if (this.signal.aborted || !(isRefusal(error) || isLoss(error))) throw error;
        }
      }
      if (this.signal.aborted) return;
      await nextNews(owners, clock, { tries, signal: this.signal });
    }
  }

  /** Of a strand that another range has a part of by now, the part; the rest becomes a strand of its own. */
  private cut(strand: Strand, part: Interval): Strand {
    if (part.end === strand.span.end) return strand;
    if (this.request.afterOffset !== undefined) {
      throw new AppError('INVALID_ARGUMENT', `after_offset: ${formatInterval(this.request.span)} lies in more than one range, each of which counts for itself: watch one, or go on from a token`);
    }
    const pieces = [part, { start: part.end, end: strand.span.end }].map((span): Strand => ({ span, segments: strand.segments && clipSegments(strand.segments, span) }));
    const [first, rest] = pieces as [Strand, Strand];
    this.strands.splice(this.strands.indexOf(strand), 1, first);
    this.begin(rest);
    return first;
  }

  private async *on(address: string, { span, segments }: Strand): AsyncGenerator<WatchEvent, void, undefined> {
    const { store, release } = this.deps.hold(address);
    const token = segments && encodeWatchToken(segments);
    try {
      yield* store.watch({ span, token, afterOffset: token ? undefined : this.request.afterOffset }, { signal: this.signal });
    } finally {
      release();
    }
  }

  private tell(strand: Strand, event: WatchEvent): Promise<void> {
    if (!event.token) throw new AppError('INTERNAL', 'a node told changes without where they end');
    return new Promise((told) => {
      this.waiting.push({ strand, event, told });
      this.wake();
    });
  }
}

function segmentsOf(token: Buffer, span: Interval): readonly WatchSegment[] {
  const segments = decodeWatchToken(token);
  if (!segments) throw new AppError('INVALID_ARGUMENT', 'token: it is none that a watch has told');
  const clipped = clipSegments(segments, span);
  if (!clipped) throw new AppError('INVALID_ARGUMENT', `token: it is of a watch of other keys than ${formatInterval(span)}`);
  return mergeSegments(clipped);
}
