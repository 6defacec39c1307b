import { EVERYTHING, type Interval, subtract } from '../../model/interval.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import { messageOf } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Storage } from '../storage/storage.js';
import type { Copies } from './copies.js';

/** The largest offset the log's format holds. */
const OFFSET_MAX = 2 ** 48 - 2;
/** Removed with one commit: a few milliseconds of work, so that requests hardly wait. */
const PAGE = 2_000;

export interface CleanerDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly logger: Logger;
  readonly yieldTurn: () => Promise<void>;
}

/**
 * Removes what copies that are gone left on the disk, page by page. Nobody has to
 * wait for that: what a stop interrupts is found by the next start.
 */
export class Cleaner {
  private readonly logs = new Map<RangeId, Promise<void>>();
  private readonly running = new Set<Promise<void>>();
  private closed = false;

  constructor(private readonly deps: CleanerDeps) {}

  /** Begins to remove a copy that was forgotten. */
  removeLater(meta: RangeMeta): void {
    this.track(
      this.remove(meta).catch((thrown: unknown) => {
        this.deps.logger.warn('could not remove what a dropped range left: it stays until the next start', { range: meta.id, error: messageOf(thrown) });
      }),
    );
  }

  async remove(meta: RangeMeta): Promise<void> {
    await this.removeLog(meta.id);
    await this.removeUncovered(meta);
  }

  /**
   * Removes the pairs of `span` that no copy on this node covers. Which copies there
   * are is looked at anew for each page, so a copy that arrives meanwhile keeps what
   * it brings.
   */
  async removeUncovered(span: Interval): Promise<number> {
    const { storage, copies, yieldTurn } = this.deps;
    let removed = 0;
    while (!this.closed) {
      const page = nextPage(storage, copies.uncovered(span));
      if (page.length === 0) break;
      await storage.commit({ removeKeys: page });
      removed += page.length;
      await yieldTurn();
    }
    return removed;
  }

  /** What an interrupted operation left behind: pairs outside every copy, and logs of ranges that are not here. */
  removeLeftovers(): void {
    this.track(
      this.findLeftovers().catch((thrown: unknown) => {
        this.deps.logger.warn('could not remove what an interrupted operation left', { error: messageOf(thrown) });
      }),
    );
  }

  /** Resolves when nothing is being removed any more; what is left is for the next start. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.running);
  }

  private async findLeftovers(): Promise<void> {
    const { storage, copies, logger } = this.deps;
    for (const range of storage.loggedRanges()) {
      if (!copies.get(range)) await this.removeLog(range);
    }
    const gaps = subtract(EVERYTHING, copies.all().map(({ meta }) => meta));
    let removed = 0;
    for (const gap of gaps) removed += await this.removeUncovered(gap);
    if (removed > 0) logger.info('removed what an interrupted operation left', { keys: removed });
  }

  /** Removes the log of a range that has no copy here; several who ask share the work. */
  async removeLog(range: RangeId): Promise<void> {
    const removal = this.logs.get(range) ?? this.removeLogPages(range).finally(() => this.logs.delete(range));
    this.logs.set(range, removal);
    await removal;
  }

  private async removeLogPages(range: RangeId): Promise<void> {
    const { storage, copies, yieldTurn } = this.deps;
    while (!this.closed && !copies.get(range) && storage.logBounds(range) !== undefined) {
      await storage.commit({ trims: [{ range, through: OFFSET_MAX, countMax: PAGE }] });
      await yieldTurn();
    }
  }

  private track(work: Promise<void>): void {
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
  }
}

function nextPage(storage: Storage, spans: readonly Interval[]): ReturnType<Storage['keys']> {
  for (const span of spans) {
    const keys = storage.keys(span, PAGE);
    if (keys.length > 0) return keys;
  }
  return [];
}
