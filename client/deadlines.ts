import type { Cancel, Clock } from '../runtime/clock.js';

/** Something to be called back about. Belongs to one wheel at most. */
export interface Due {
  /** On the wheel's clock. Not to be changed while on the wheel. */
  dueAt: number;
  /** The wheel's own. */
  wheelPrevious: Due | undefined;
  wheelNext: Due | undefined;
  wheelSlot: number;
}

const NO_SLOT = -1;

/** What an item's wheel fields hold before it is first on a wheel. */
export const OFF_WHEEL = { wheelPrevious: undefined, wheelNext: undefined, wheelSlot: NO_SLOT } as const;

/**
 * Calls back about many items, each at its time or up to two ticks later. Adding and
 * removing cost a few assignments and leave no garbage, and there is one timer
 * however many items there are, and none when there are none: nearly every request
 * is answered long before its deadline.
 */
export class DeadlineWheel<T extends Due> {
  private readonly slots: (Due | undefined)[];
  private readonly tickMs: number;
  private count = 0;
  private lastTick = 0;
  private cancelTimer: Cancel | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly onDue: (item: T) => void,
    options: { readonly tickMs?: number; readonly slots?: number } = {},
  ) {
    this.tickMs = options.tickMs ?? 10;
    this.slots = new Array<Due | undefined>(options.slots ?? 1024).fill(undefined);
  }

  get size(): number {
    return this.count;
  }

  add(item: T): void {
    // The timer may be one of before, and fire at any moment of a tick.
    if (this.count === 0) this.lastTick = Math.floor(this.clock.now() / this.tickMs);
    // An item that is due already waits for the next tick: no callback from within add.
    const tick = Math.max(Math.ceil(item.dueAt / this.tickMs), this.lastTick + 1);
    const slot = tick % this.slots.length;
    const head = this.slots[slot];
    item.wheelSlot = slot;
    item.wheelPrevious = undefined;
    item.wheelNext = head;
    if (head) head.wheelPrevious = item;
    this.slots[slot] = item;
    this.count++;
    this.arm();
  }

  /** Does nothing when the item is not on the wheel. */
  remove(item: T): void {
    if (item.wheelSlot === NO_SLOT) return;
    const { wheelPrevious, wheelNext } = item;
    if (wheelPrevious) wheelPrevious.wheelNext = wheelNext;
    else this.slots[item.wheelSlot] = wheelNext;
    if (wheelNext) wheelNext.wheelPrevious = wheelPrevious;
    item.wheelPrevious = undefined;
    item.wheelNext = undefined;
    item.wheelSlot = NO_SLOT;
    this.count--;
  }

  /** Those on the wheel that are so, in no order. */
  filter(wanted: (item: T) => boolean): T[] {
    const found: T[] = [];
    for (const head of this.slots) {
      for (let item = head; item !== undefined; item = item.wheelNext) if (wanted(item as T)) found.push(item as T);
    }
    return found;
  }

  close(): void {
    this.cancelTimer?.();
    this.cancelTimer = undefined;
  }

  private arm(): void {
    if (this.cancelTimer || this.count === 0) return;
    this.cancelTimer = this.clock.after(this.tickMs, () => {
      this.cancelTimer = undefined;
      this.turn();
      this.arm();
    });
  }

  private turn(): void {
    const now = this.clock.now();
    const tick = Math.floor(now / this.tickMs);
    const due: T[] = [];
    // A process that stood still for longer than the wheel goes round needs each slot once.
    const first = Math.max(this.lastTick + 1, tick - this.slots.length + 1);
    for (let at = first; at <= tick; at++) this.collect(at % this.slots.length, now, due);
    this.lastTick = Math.max(tick, this.lastTick);
    due.sort((a, b) => a.dueAt - b.dueAt);
    for (const item of due) {
      // What an earlier callback did may have taken the item off, or put it on anew for later.
      if (item.wheelSlot === NO_SLOT || item.dueAt > now) continue;
      this.remove(item);
      this.onDue(item);
    }
  }

  private collect(slot: number, now: number, due: T[]): void {
    for (let item = this.slots[slot]; item !== undefined; item = item.wheelNext) {
      // The others in the slot are for a later round.
      if (item.dueAt <= now) due.push(item as T);
    }
  }
}
