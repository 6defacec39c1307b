import type { Interval } from '../../model/interval.js';
import type { Key } from '../../model/key.js';
import type { LoadInfo } from '../../model/report.js';
import type { Clock } from '../../runtime/clock.js';
import type { Storage } from '../storage/storage.js';
import type { Copy } from './copy.js';

/** One key in so many is looked at, so a million keys cost a few milliseconds. */
const STRIDE = 4_096;
/** Strides in one turn: under two milliseconds. */
const STRIDES_A_TURN = 8;
/** Samples of value sizes at each stride. */
const SIZE_SAMPLES = 4;
/** The share of writes since the last walk, in keys, that makes another worth it. */
const STALE_SHARE = 0.1;
const STALE_WRITES_MIN = 200;

interface Walk {
  readonly keys: number;
  readonly bytes: number;
  readonly split: Key | undefined;
  /** The copy's count of changes when the walk began. */
  readonly changes: number;
}

interface Rates {
  at: number;
  reads: number;
  writes: number;
  readsPerSecond: number;
  writesPerSecond: number;
}

/**
 * How many keys and bytes a copy has, and which key halves it. Requests pay nothing:
 * the figures come from a walk over every 4,096th key, in small slices, made again
 * when a tenth of the range may have changed and somebody asks.
 */
export class Estimator {
  private readonly walks = new Map<Copy, Walk>();
  private readonly walking = new Set<Copy>();
  private readonly rates = new Map<Copy, Rates>();
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly storage: Storage,
    private readonly clock: Clock,
    private readonly yieldTurn: () => Promise<void>,
  ) {}

  loadInfo(copy: Copy): LoadInfo {
    const walk = this.walks.get(copy);
    const { readsPerSecond, writesPerSecond } = this.rate(copy);
    if (!walk || changesOf(copy) - walk.changes > Math.max(STALE_WRITES_MIN, walk.keys * STALE_SHARE)) this.startWalk(copy);
    const known = this.walks.get(copy) ?? { keys: 0, bytes: 0, split: undefined };
    return {
      keys: known.keys,
      bytes: known.bytes,
      readsPerSecond,
      writesPerSecond,
      splits: known.split === undefined ? [] : [known.split],
    };
  }

  forget(copy: Copy): void {
    this.walks.delete(copy);
    this.rates.delete(copy);
  }

  private startWalk(copy: Copy): void {
    if (this.walking.has(copy)) return;
    this.walking.add(copy);
    // One after the other: a node may be asked about a thousand ranges at once.
    this.last = this.last
      .then(() => this.walk(copy))
      .catch(() => {
        // The storage was closed; nobody asks any more.
      })
      .finally(() => this.walking.delete(copy));
  }

  private async walk(copy: Copy): Promise<void> {
    const changes = changesOf(copy);
    const samples: { key: Key; bytes: number }[] = [];
    let keys = 0;
    let bytes = 0;
    let from: Key | undefined = copy.meta.start;
    for (let strides = 1; from !== undefined; strides++) {
      if (copy.gone) return;
      const span: Interval = { start: from, end: copy.meta.end };
      const pairBytes = this.pairBytes(span);
      const { key, skipped } = this.storage.stride(span, STRIDE);
      keys += skipped;
      bytes += skipped * pairBytes;
      if (key !== undefined) samples.push({ key, bytes });
      from = key;
      if (strides % STRIDES_A_TURN === 0) await this.yieldTurn();
    }
    const split = samples.length > 1 ? nearest(samples, bytes / 2) : this.exactMiddle(copy.meta, keys);
    this.walks.set(copy, { keys, bytes: Math.round(bytes), split, changes });
    await this.yieldTurn();
  }

  /** The mean size of the first pairs of a span. */
  private pairBytes(span: Interval): number {
    const { pairs } = this.storage.scan(span, { countMax: SIZE_SAMPLES, bytesMax: Infinity });
    const sum = pairs.reduce((total, { key, value }) => total + key.length + value.length, 0);
    return pairs.length === 0 ? 0 : sum / pairs.length;
  }

  private exactMiddle(span: Interval, keys: number): Key | undefined {
    if (keys < 2) return undefined;
    return this.storage.stride(span, Math.floor(keys / 2)).key;
  }

  private rate(copy: Copy): Rates {
    const now = this.clock.now();
    const last = this.rates.get(copy);
    if (!last) {
      const fresh = { at: now, reads: copy.reads, writes: copy.writes, readsPerSecond: 0, writesPerSecond: 0 };
      this.rates.set(copy, fresh);
      return fresh;
    }
    const seconds = (now - last.at) / 1000;
    if (seconds >= 0.5) {
      last.readsPerSecond = (copy.reads - last.reads) / seconds;
      last.writesPerSecond = (copy.writes - last.writes) / seconds;
      last.at = now;
      last.reads = copy.reads;
      last.writes = copy.writes;
    }
    return last;
  }
}

function changesOf(copy: Copy): number {
  return copy.writes + copy.changes;
}

function nearest(samples: readonly { key: Key; bytes: number }[], bytes: number): Key | undefined {
  return samples.reduce((best, next) => (Math.abs(next.bytes - bytes) < Math.abs(best.bytes - bytes) ? next : best)).key;
}

