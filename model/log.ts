import type { RangeId } from './range.js';
import type { Change } from './store.js';

/** What is wanted of a range's log. */
export interface LogRequest {
  readonly range: RangeId;
  /** The first offset wanted; the oldest that is kept when not given. */
  readonly from?: number | undefined;
  /** Goes on with what is written from now on. */
  readonly follow?: boolean;
}

/** A committed write, and when its primary took it, by its wall clock. */
export interface LogEntry extends Change {
  readonly timeMs: number | undefined;
}

export interface LogPage {
  readonly entries: readonly LogEntry[];
  /** Everything up to here is committed. */
  readonly end: number;
}
