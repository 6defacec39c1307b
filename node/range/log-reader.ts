import { keyFromBytes } from '../../model/key.js';
import type { LogEntry, LogPage, LogRequest } from '../../model/log.js';
import { formatRange } from '../../model/range.js';
import { AppError } from '../../runtime/errors.js';
import type { LogHold, LogRetention } from '../follow/source.js';
import { type LogRecord, type Storage, writesNothing } from '../storage/storage.js';
import { Bell } from './bell.js';
import type { Copies } from './copies.js';
import type { Copy } from './copy.js';

export interface LogReaderDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly log: LogRetention;
  /** Lets waiting requests go between two pages. */
  readonly yieldTurn: () => Promise<void>;
}

const READ_BYTES = 256 * 1024;

/** Reads the logs of the copies here, of primaries and followers alike: what is committed, as far as the copy knows. */
export class LogReader {
  constructor(private readonly deps: LogReaderDeps) {}

  async *read({ range, from, follow = false }: LogRequest, { signal }: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<LogPage, void, undefined> {
    const copy = this.deps.copies.get(range);
    if (!copy || copy.fetching) throw new AppError('NOT_FOUND', `R${range} is not on this node`);
    const after = this.startOf(copy, from);
    const hold = this.deps.log.hold(copy);
    const bell = new Bell(copy, signal);
    try {
      yield* this.pages(copy, after, follow, hold, bell);
    } finally {
      bell.close();
      hold.release();
    }
  }

  private async *pages(copy: Copy, after: number, follow: boolean, hold: LogHold, bell: Bell): AsyncGenerator<LogPage, void, undefined> {
    const { storage, yieldTurn } = this.deps;
    const served = copy.admitting;
    let at = after;
    for (;;) {
      bell.throwIfOver();
      hold.offset = at;
      const end = copy.settledOffset;
      if (at >= end) {
        if (!follow) return;
        // What is admitted may still be committed: it is told before the end.
        if (copy.gone || (served && copy.quiet)) throw new AppError('ABORTED', `${formatRange(copy.meta)} is not served here any more: go on with offset ${at + 1} where it is now`);
        await bell.next();
        continue;
      }
      if (copy.gone) throw new AppError('ABORTED', `${formatRange(copy.meta)} left this node: go on with offset ${at + 1} where it is now`);
      if (at < copy.trimmedThrough) throw this.trimmed(copy, at + 1);
      const records = storage.readLog(copy.meta.id, at, READ_BYTES).filter(({ offset }) => offset <= end);
      // The offsets in between belong to writes that failed; nothing is missing.
      at = records.at(-1)?.offset ?? end;
      const entries = records.filter((record) => !writesNothing(record)).map(entryOf);
      if (entries.length > 0) yield { entries, end };
      await yieldTurn();
    }
  }

  /** The offset behind which to read. */
  private startOf(copy: Copy, from: number | undefined): number {
    const oldest = this.oldest(copy);
    if (from === undefined) return oldest - 1;
    if (from < oldest) throw this.trimmed(copy, from);
    if (from > copy.lastOffset + 1) throw new AppError('INVALID_ARGUMENT', `from: ${from} is beyond the end of the log of ${formatRange(copy.meta)}, ${copy.lastOffset}`);
    return from - 1;
  }

  private oldest(copy: Copy): number {
    const first = this.deps.storage.logBounds(copy.meta.id)?.first ?? copy.durableOffset + 1;
    return Math.max(1, first, copy.trimmedThrough + 1);
  }

  private trimmed(copy: Copy, from: number): AppError {
    return new AppError('OUT_OF_RANGE', `the log of ${formatRange(copy.meta)} does not reach back to offset ${from} here: the oldest that is kept is ${this.oldest(copy)}`);
  }
}

function entryOf({ key, value, contentType, epoch, offset, timeMs }: LogRecord): LogEntry {
  return { key: keyFromBytes(key), value, contentType, epoch, offset, timeMs };
}
