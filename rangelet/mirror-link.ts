import { Subscription, type Observable } from 'rxjs';
import type { RangeId } from '../model/range.js';
import type { RangesEvent } from '../model/report.js';
import type { Cancel, Clock } from '../runtime/clock.js';
import { messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/log.js';
import type { Random } from '../runtime/random.js';

/** What one connection brings. `connected`: the node is there, though it may have nothing to say. */
export type LinkEvent = RangesEvent | { readonly type: 'connected' };

/**
 * Opens a node's stream of ranges. The stream ends by completing or with an error,
 * and is closed by unsubscribing.
 */
export type RangesTransport = (address: string) => Observable<LinkEvent>;

export type RangeReport = Extract<RangesEvent, { type: 'range' }>;

export interface LinkTimes {
  /** Waits before connecting again grow from this ... */
  readonly backoffMinMs: number;
  /** ... to this. */
  readonly backoffMaxMs: number;
  /** A node that does not mark the end of its listing is taken to be at its end after this silence. */
  readonly quietMs: number;
  /** The same for a node that is connected and has said nothing yet: it may have no ranges. */
  readonly silenceMs: number;
}

export interface LinkDeps {
  readonly connect: RangesTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly times: LinkTimes;
  /** A node that lists more is cut off. */
  readonly rangesMax: number;
}

export interface LinkSink {
  /** A whole listing, which takes the place of everything before it. */
  replace(ranges: ReadonlyMap<RangeId, RangeReport>): void;
  change(report: RangeReport): void;
}

type Phase =
  | { readonly name: 'listing'; readonly fresh: Map<RangeId, RangeReport>; marksItsEnd: boolean; cancelQuiet: Cancel }
  | { readonly name: 'live' }
  | { readonly name: 'waiting'; readonly cancel: Cancel }
  | { readonly name: 'closed' };

const NOTHING: Cancel = () => {};

/** Keeps one node's stream open, and hands on whole listings only. */
export class NodeLink {
  private phase: Phase = { name: 'waiting', cancel: NOTHING };
  private stream = new Subscription();
  private failures = 0;
  private error = '';

  constructor(
    readonly address: string,
    private readonly sink: LinkSink,
    private readonly deps: LinkDeps,
  ) {}

  start(): void {
    this.open();
  }

  get state(): Phase['name'] {
    return this.phase.name;
  }

  /** Why the last connection ended. */
  get lastError(): string {
    return this.error;
  }

  close(): void {
    this.enter({ name: 'closed' });
    this.stream.unsubscribe();
  }

  /** The one door between phases: whatever timer the old one had goes with it. */
  private enter(phase: Phase): void {
    if (this.phase.name === 'waiting') this.phase.cancel();
    if (this.phase.name === 'listing') this.phase.cancelQuiet();
    this.phase = phase;
  }

  private open(): void {
    this.enter({ name: 'listing', fresh: new Map(), marksItsEnd: false, cancelQuiet: NOTHING });
    const stream = new Subscription();
    this.stream = stream;
    const mine = (): boolean => this.stream === stream && this.phase.name !== 'closed';
    const lost = (error: string): void => {
      if (mine()) this.reconnect(error);
    };
    try {
      stream.add(
        this.deps.connect(this.address).subscribe({
          next: (event) => {
            if (mine()) this.receive(event);
          },
          error: (thrown: unknown) => {
            lost(messageOf(thrown));
          },
          complete: () => {
            lost('the node ended the stream');
          },
        }),
      );
    } catch (thrown) {
      lost(messageOf(thrown));
    }
    // A stream that ended while it was being opened has been replaced already.
    if (!mine()) stream.unsubscribe();
  }

  private receive(event: LinkEvent): void {
    if (this.phase.name === 'listing') {
      this.list(this.phase, event);
    } else if (event.type === 'range') {
      this.sink.change(event);
    }
  }

  private list(phase: Extract<Phase, { name: 'listing' }>, event: LinkEvent): void {
    const { times } = this.deps;
    switch (event.type) {
      case 'connected':
        if (phase.fresh.size === 0) this.endAfter(phase, times.silenceMs);
        return;
      case 'synced':
        this.complete(phase.fresh);
        return;
      case 'range':
        // Only nodes that report in full mark the end of their listing.
        phase.marksItsEnd ||= event.info !== undefined;
        phase.fresh.set(event.meta.id, event);
        if (phase.fresh.size > this.deps.rangesMax) {
          this.reconnect(`the node lists more than ${this.deps.rangesMax} ranges`);
          return;
        }
        this.endAfter(phase, times.quietMs);
    }
  }

  private endAfter(phase: Extract<Phase, { name: 'listing' }>, ms: number): void {
    phase.cancelQuiet();
    phase.cancelQuiet = phase.marksItsEnd
      ? NOTHING
      : this.deps.clock.after(ms, () => {
          this.complete(phase.fresh);
        }, { unref: true });
  }

  private complete(fresh: ReadonlyMap<RangeId, RangeReport>): void {
    this.failures = 0;
    this.error = '';
    this.enter({ name: 'live' });
    this.sink.replace(fresh);
  }

  private reconnect(error: string): void {
    const { clock, random, logger, times } = this.deps;
    this.stream.unsubscribe();
    this.error = error;
    const limit = Math.min(times.backoffMaxMs, times.backoffMinMs * 2 ** this.failures);
    // Many mirrors lose a node at once, and should not all come back at once.
    const waitMs = Math.max(times.backoffMinMs, limit * (0.5 + random.next() / 2));
    if (this.failures === 0) logger.info('the stream of ranges ended; connecting again', { address: this.address, error });
    this.failures = Math.min(this.failures + 1, 30);
    this.enter({
      name: 'waiting',
      cancel: clock.after(waitMs, () => {
        this.open();
      }, { unref: true }),
    });
  }
}
