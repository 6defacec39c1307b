import { type RangeId, formatRange } from '../model/range.js';
import type { NewsItem } from './news.js';
import { type Availability, availabilityOf } from './orchestrator/availability.js';
import type { World } from './orchestrator/types.js';

/** Longer than any handover takes: what is not available for so long is an outage. */
export const OUTAGE_AFTER_MS = 5000;

interface Outage {
  readonly sinceMs: number;
  /** Told to those who follow. */
  readonly told: boolean;
}

/** Since when ranges are not available. */
export class Outages {
  private readonly outages = new Map<RangeId, Outage>();

  sinceMs(id: RangeId): number | undefined {
    return this.outages.get(id)?.sinceMs;
  }

  clear(): void {
    this.outages.clear();
  }

  /** Looks at ranges again; what is news. */
  note(world: World, looked: Iterable<RangeId>, waiting: (id: RangeId) => string | undefined): NewsItem[] {
    const news: NewsItem[] = [];
    for (const id of looked) {
      const range = world.keyspace.get(id);
      const now = range && availabilityOf(world, range);
      const before = this.outages.get(id);
      if (!range || !now || now.available) {
        this.outages.delete(id);
        if (before?.told === true && range && now) {
          news.push({ kind: 'range', range: id, text: `${formatRange(range)} is available again after ${seconds(world.nowMs - before.sinceMs)}` });
        }
        continue;
      }
      const sinceMs = before?.sinceMs ?? world.nowMs;
      const tell = before?.told !== true && isOutage(now, world.nowMs - sinceMs);
      if (tell) news.push({ kind: 'range', range: id, text: `${formatRange(range)} is unavailable: ${waiting(id) ?? now.because}` });
      this.outages.set(id, { sinceMs, told: tell || before?.told === true });
    }
    return news;
  }
}

export function isOutage(now: Availability, forMs: number): boolean {
  return !now.available && (now.lasting || forMs >= OUTAGE_AFTER_MS);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
