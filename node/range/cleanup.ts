import { EVERYTHING, type Interval, subtract } from '../../model/interval.js';
import type { RangeId } from '../../model/range.js';
import type { Logger } from '../../runtime/log.js';
import type { Storage } from '../storage/storage.js';
import type { Copies } from './copies.js';

/** The largest offset the log's format holds. */
const OFFSET_MAX = 2 ** 48 - 2;
/** Removed with one commit: a few milliseconds of work, so that requests hardly wait. */
const PAGE = 2_000;

/**
 * Removes the pairs of `span` that no copy on this node covers, page by page. Which
 * copies there are is looked at anew for each page, so a copy that arrives
 * meanwhile keeps what it brings.
 */
export async function removeUncovered(storage: Storage, copies: Copies, span: Interval, yieldTurn: () => Promise<void>): Promise<number> {
  let removed = 0;
  for (;;) {
    const page = nextPage(storage, copies.uncovered(span));
    if (page.length === 0) return removed;
    await storage.commit({ removeKeys: page });
    removed += page.length;
    await yieldTurn();
  }
}

function nextPage(storage: Storage, spans: readonly Interval[]): ReturnType<Storage['keys']> {
  for (const span of spans) {
    const keys = storage.keys(span, PAGE);
    if (keys.length > 0) return keys;
  }
  return [];
}

/** Removes a dropped range's log, page by page. */
export async function removeLog(storage: Storage, range: RangeId, yieldTurn: () => Promise<void>): Promise<void> {
  while (storage.logBounds(range) !== undefined) {
    await storage.commit({ trims: [{ range, through: OFFSET_MAX, countMax: PAGE }] });
    await yieldTurn();
  }
}

/** What an interrupted operation left behind: pairs outside every copy, and logs of ranges that are not here. */
export async function removeLeftovers(
  storage: Storage,
  copies: Copies,
  logger: Logger,
  yieldTurn: () => Promise<void>,
): Promise<void> {
  for (const range of storage.loggedRanges()) {
    if (!copies.get(range)) await removeLog(storage, range, yieldTurn);
  }
  const gaps = subtract(EVERYTHING, copies.all().map(({ meta }) => meta));
  let removed = 0;
  for (const gap of gaps) removed += await removeUncovered(storage, copies, gap, yieldTurn);
  if (removed > 0) logger.info('removed what an interrupted operation left', { keys: removed });
}
