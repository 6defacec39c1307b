import type { Key } from '../../model/key.js';
import type { LogPage, LogRequest } from '../../model/log.js';
import type { RangeId } from '../../model/range.js';
import type { ReadableLogs } from '../../proto/log-server.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { type RangePlaces, type RangePrimary, formatOwner } from '../owners.js';
import { isLoss, isRefusal } from './failures.js';
import { nextNews } from './news.js';
import type { NodeStore } from './node-store.js';

export interface RoutedLogsOptions {
  readonly places: RangePlaces;
  readonly hold: (address: string) => { readonly store: Pick<NodeStore, 'log'>; readonly release: () => void };
  readonly clock: Clock;
  /** How long to wait for a primary, when the caller has no deadline. */
  readonly timeoutMs: number;
}

/**
 * The logs of all ranges, each read from its primary, and from the next one behind what
 * was told: an offset means the same write on every copy. A log that cannot be gone on
 * with ends with an error that says how far it was told.
 */
export class RoutedLogs implements ReadableLogs {
  constructor(private readonly options: RoutedLogsOptions) {}

  async *read(request: LogRequest, { signal, timeoutMs = this.options.timeoutMs }: { readonly signal?: AbortSignal | undefined; readonly timeoutMs?: number | undefined } = {}): AsyncGenerator<LogPage, void, undefined> {
    const { places, clock } = this.options;
    const { range } = request;
    let { from } = request;
    let start: Key | undefined;
    let waitedSince: number | undefined;
    let reason = `no node serves R${range} now`;
    for (let tries = 0; ; ) {
      const primary = places.primaryOf(range);
      if (primary) {
        ({ start } = primary);
        try {
          for await (const page of this.pagesOf(primary, { ...request, from }, signal)) {
            waitedSince = undefined;
            tries = 0;
            const last = page.entries.at(-1);
            if (last) from = last.offset + 1;
            yield page;
          }
          return;
        } catch (thrown) {
          const error = AppError.from(thrown);
          // That it has no such copy is said by one of which the map is late.
          if (signal?.aborted === true || !(isRefusal(error) || isLoss(error) || error.code === 'NOT_FOUND')) throw error;
          reason = `${formatOwner(primary)}: ${error.message}`;
        }
      } else if (places.isHeld(range) === false) {
        const gone = this.whyGone(range, start, from);
        if (gone !== undefined) throw new AppError('NOT_FOUND', gone);
      }
      waitedSince ??= clock.now();
      const leftMs = waitedSince + timeoutMs - clock.now();
      if (leftMs <= 0) throw new AppError('UNAVAILABLE', `waited ${timeoutMs} ms: ${reason}${from === undefined ? '' : `. Go on with offset ${from}`}`);
      await nextNews(places, clock, { tries: tries++, msMax: leftMs, signal });
    }
  }

  /** Why there is nothing to wait for; undefined when the nodes of the range may only be away. */
  private whyGone(range: RangeId, start: Key | undefined, from: number | undefined): string | undefined {
    if (start === undefined) return `R${range} is on no node that is there`;
    const heir = this.options.places.find(start);
    if (!heir || heir.range === range) return undefined;
    return `R${range} is no more, R${heir.range} has its keys${from === undefined ? '' : `: its log was told up to offset ${from - 1}`}`;
  }

  /** Ends with ABORTED as soon as another node is primary: one that is cut off from the others would wait for ever. */
  private async *pagesOf(primary: RangePrimary, request: LogRequest, signal: AbortSignal | undefined): AsyncGenerator<LogPage, void, undefined> {
    const { places, hold } = this.options;
    const { store, release } = hold(primary.address);
    const moved = new AbortController();
    const subscription = places.changes.subscribe(() => {
      const now = places.primaryOf(request.range);
      if (now && now.address !== primary.address) moved.abort(new AppError('ABORTED', `${formatOwner(now)} is primary now`));
    });
    try {
      yield* store.log(request, { signal: signal ? AbortSignal.any([signal, moved.signal]) : moved.signal });
    } finally {
      subscription.unsubscribe();
      release();
    }
  }
}
