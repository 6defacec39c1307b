import type { LogHold, LogRetention } from '../follow/source.js';
import type { LogRecord, Storage } from '../storage/storage.js';
import type { Copy } from './copy.js';

export interface RetentionLimits {
  /** Kept for followers that may come back, per range. */
  readonly keepBytes: number;
  /** Even a connected follower that lags further starts again from a snapshot. */
  readonly holdBytesMax: number;
  /** Records that are younger than this stay, however many they are; 0: `keepBytes` alone decides. */
  readonly keepAgeMs: number;
}

/** Records go in runs of this size, so that trimming costs little a write. */
const RUN_BYTES = 1024 * 1024;
const RUN_RECORDS = 2_000;
/** Removed with one commit, so that no request waits long behind it. */
const TRIM_COUNT_MAX = 2_000;

interface Run {
  last: number;
  /** When the last one was written, by the wall clock; 0 when nobody knows. */
  lastMs: number;
  bytes: number;
  records: number;
}

interface RangeLog {
  readonly runs: Run[];
  readonly holds: Set<LogHold>;
  trimming: boolean;
}

/** Decides how much of each log stays on disk: a window, and what followers still need. */
export class Retention implements LogRetention {
  private readonly logs = new Map<Copy, RangeLog>();

  constructor(
    private readonly storage: Storage,
    private readonly limits: RetentionLimits,
    private readonly wallMs: () => number,
  ) {}

  hold(copy: Copy): LogHold {
    const log = this.logOf(copy);
    const hold: LogHold = {
      offset: copy.durableOffset,
      release: () => {
        log.holds.delete(hold);
      },
    };
    log.holds.add(hold);
    return hold;
  }

  /** Takes note of new records, and trims when enough of them are old. */
  added(copy: Copy, records: readonly LogRecord[]): void {
    const log = this.logOf(copy, records[0]?.offset);
    for (const { offset, key, value, timeMs } of records) {
      let run = log.runs[log.runs.length - 1];
      if (!run || run.bytes >= RUN_BYTES || run.records >= RUN_RECORDS) {
        run = { last: 0, lastMs: 0, bytes: 0, records: 0 };
        log.runs.push(run);
      }
      run.last = offset;
      run.lastMs = Math.max(run.lastMs, timeMs ?? 0);
      run.bytes += key.length + (value?.length ?? 0) + 32;
      run.records++;
    }
    if (!log.trimming) void this.trim(copy, log);
  }

  forget(copy: Copy): void {
    this.logs.delete(copy);
  }

  /** `before`: where what is known to this process begins, when some of the log was written by it already. */
  private logOf(copy: Copy, before = Infinity): RangeLog {
    let log = this.logs.get(copy);
    if (!log) {
      log = { runs: [], holds: new Set(), trimming: false };
      this.logs.set(copy, log);
      const kept = this.storage.logBounds(copy.meta.id);
      // What an earlier process left is one run, whose size nobody knows: it goes first.
      const last = Math.min(kept?.last ?? 0, before - 1);
      if (kept && last >= kept.first) log.runs.push({ last, lastMs: this.timeOf(copy, last), bytes: RUN_BYTES, records: last - kept.first + 1 });
    }
    return log;
  }

  private timeOf(copy: Copy, offset: number): number {
    return this.storage.readLog(copy.meta.id, offset - 1, 1)[0]?.timeMs ?? 0;
  }

  /** The last offset that nobody needs; undefined when all of the log stays. */
  private trimThrough(log: RangeLog): number | undefined {
    const held = Math.min(...[...log.holds].map((hold) => hold.offset));
    let bytes = log.runs.reduce((sum, run) => sum + run.bytes, 0);
    const oldMs = this.limits.keepAgeMs === 0 ? Infinity : this.wallMs() - this.limits.keepAgeMs;
    let through: number | undefined;
    for (const run of log.runs.slice(0, -1)) {
      const needed = run.last > held && bytes <= this.limits.holdBytesMax;
      if (bytes <= this.limits.keepBytes || run.lastMs > oldMs || needed) break;
      bytes -= run.bytes;
      through = run.last;
    }
    return through;
  }

  private async trim(copy: Copy, log: RangeLog): Promise<void> {
    log.trimming = true;
    try {
      for (let through = this.trimThrough(log); through !== undefined && !copy.gone; through = this.trimThrough(log)) {
        copy.trimmedThrough = Math.max(copy.trimmedThrough, through);
        await this.storage.commit({ trims: [{ range: copy.meta.id, through, countMax: TRIM_COUNT_MAX }] });
        const first = this.storage.logBounds(copy.meta.id)?.first ?? Infinity;
        while (log.runs.length > 1 && (log.runs[0] as Run).last < first) log.runs.shift();
      }
    } catch {
      // A full disk; the next write tries again.
    } finally {
      log.trimming = false;
    }
  }
}
