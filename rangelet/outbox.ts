import type { RangeId } from '../model/range.js';

/** From this many waiting on, only the newest of each range is kept. */
const COALESCE_FROM = 256;

/**
 * What one reader of a stream has yet to be told. While the reader keeps up it is
 * told of every change; when it lags it is told each range's latest, so what waits
 * is bounded by the number of ranges, and no range's last word is ever lost.
 */
export class Outbox<T extends { readonly id: RangeId }> {
  private waiting: T[] = [];
  private head = 0;
  private coalesceAt: number;

  constructor(
    private readonly max: number,
    private readonly coalesceFrom = COALESCE_FROM,
  ) {
    this.coalesceAt = coalesceFrom;
  }

  get size(): number {
    return this.waiting.length - this.head;
  }

  /** False when so many ranges wait that the reader had better start again. */
  push(item: T): boolean {
    this.waiting.push(item);
    if (this.size > this.coalesceAt) this.coalesce();
    return this.size <= this.max;
  }

  shift(): T | undefined {
    const item = this.waiting[this.head];
    if (item === undefined) return undefined;
    this.head++;
    if (this.head * 2 > this.waiting.length) {
      this.waiting = this.waiting.slice(this.head);
      this.head = 0;
    }
    return item;
  }

  /** Next time at twice what remains, so that the cost a push is constant however many ranges there are. */
  private coalesce(): void {
    const latest = new Map<RangeId, T>();
    for (let i = this.head; i < this.waiting.length; i++) {
      const item = this.waiting[i] as T;
      latest.delete(item.id);
      latest.set(item.id, item);
    }
    this.waiting = [...latest.values()];
    this.head = 0;
    this.coalesceAt = Math.max(this.coalesceFrom, this.waiting.length * 2);
  }
}
