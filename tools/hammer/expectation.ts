import { assert } from '../../runtime/errors.js';

/**
 * What may be read from one key, given every write and read so far and when each
 * began and ended. It answers exactly the question "is there an order of all
 * operations, each taking effect at one instant between its begin and its end,
 * that explains what was read?", incrementally.
 *
 * It keeps every world that is still possible: the value of the key, the writes
 * that may still take effect, and for each read under way the values it may have
 * seen since it began. A write takes effect in a world only when something forces
 * it: its own acknowledgement, or a read that returned its value. That is enough,
 * because whatever an earlier effect would allow, the later one allows too.
 *
 * A write whose outcome is unknown stays possible until a read shows it or it is
 * declared settled; then it has happened or it never will.
 */
export class Expectation {
  #worlds: readonly World[] = [START];
  readonly #slots: (WriteTicket | undefined)[] = [];
  readonly #reads: ReadTicket[] = [];
  #live: WriteTicket | undefined;
  #overflowed = false;

  /** The one write whose answer is awaited, if any. */
  get writing(): boolean {
    return this.#live !== undefined;
  }

  /** True when a write may begin: no other is under way, and few are of unknown outcome. */
  get writable(): boolean {
    return !this.#overflowed && !this.#live && this.#unknownCount() < UNKNOWN_WRITES_MAX;
  }

  /** True when a read may begin. */
  get readable(): boolean {
    return !this.#overflowed && this.#reads.length < READS_MAX;
  }

  /** Too many worlds to follow: nothing is claimed about this key any more. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** False when the key is absent in every world: nothing to update or delete. */
  get mayExist(): boolean {
    return this.#worlds.some((world) => world.value !== ABSENT);
  }

  /** Every value that a read which begins now and meets no new write may return. */
  possible(): Version[] {
    const found = new Set<Version>();
    for (const world of this.#worlds) {
      found.add(world.value);
      for (const slot of this.#pendingSlots(world)) found.add(slot.version);
    }
    return [...found].sort((a, b) => a - b);
  }

  beginWrite(version: Version): WriteTicket {
    assert(this.writable, 'one write at a time, and only while few outcomes are unknown');
    const free = this.#slots.findIndex((slot) => slot === undefined);
    const ticket: WriteTicket = { version, slot: free < 0 ? this.#slots.length : free };
    this.#slots[ticket.slot] = ticket;
    this.#live = ticket;
    this.#worlds = this.#worlds.map((world) => ({ ...world, pending: world.pending | (1 << ticket.slot) }));
    return ticket;
  }

  /** The write was acknowledged: it took effect, between its begin and now. */
  acknowledge(ticket: WriteTicket): void {
    this.#endWrite(ticket);
    const done = (world: World): boolean => !has(world.pending, ticket.slot);
    this.#replace(this.#worlds.flatMap((world) => this.#reach(world, done)));
    this.#slots[ticket.slot] = undefined;
  }

  /** The write certainly had no effect. */
  refuse(ticket: WriteTicket): void {
    this.#endWrite(ticket);
    const without = this.#worlds.filter((world) => has(world.pending, ticket.slot)).map((world) => drop(world, ticket.slot));
    this.#replace(without.length > 0 ? without : this.#worlds);
    this.#slots[ticket.slot] = undefined;
  }

  /** The outcome is unknown: the write may take effect at any time until it is settled. */
  giveUp(ticket: WriteTicket): void {
    this.#endWrite(ticket);
    this.#freeSpentSlots();
  }

  /** A write given up on has either happened by now or never will. */
  settle(ticket: WriteTicket): void {
    if (this.#slots[ticket.slot] !== ticket) return;
    const done = (world: World): boolean => !has(world.pending, ticket.slot);
    const happened = this.#worlds.flatMap((world) => this.#reach(world, done));
    this.#replace([...happened, ...this.#worlds.map((world) => drop(world, ticket.slot))]);
    this.#slots[ticket.slot] = undefined;
  }

  beginRead(): ReadTicket {
    assert(this.readable, 'a bounded number of reads of one key at a time');
    const ticket: ReadTicket = {};
    this.#reads.push(ticket);
    this.#worlds = this.#worlds.map((world) => ({ ...world, seen: [...world.seen, [world.value]] }));
    return ticket;
  }

  /** The read failed, or was not wanted any more: nothing is learned. */
  abandonRead(ticket: ReadTicket): void {
    const index = this.#takeRead(ticket);
    this.#replace(this.#worlds.map((world) => forget(world, index)));
  }

  /**
   * The read returned `version`. When no world explains that, the answer lists what
   * would have been right, and the key goes on from what was read, so that one lie
   * is told once.
   */
  endRead(ticket: ReadTicket, version: Version): Verdict {
    const index = this.#reads.indexOf(ticket);
    assert(index >= 0, 'a read ends once');
    const shown = (world: World): boolean => world.seen[index]?.includes(version) ?? false;
    const explained = this.#worlds.flatMap((world) => this.#reach(world, shown));
    const right = explained.length > 0 || this.#overflowed;
    const possible = right ? [] : this.#allowed(index);
    this.#takeRead(ticket);
    const next = right ? explained : this.#worlds.map((world) => ({ ...world, value: version }));
    this.#replace((next.length > 0 ? next : this.#worlds).map((world) => forget(world, index)));
    return right ? RIGHT : { right: false, possible };
  }

  /** Every value that the read at `index` may return now. */
  #allowed(index: number): Version[] {
    const found = new Set<Version>();
    for (const world of this.#worlds) {
      for (const version of world.seen[index] ?? []) found.add(version);
      for (const slot of this.#pendingSlots(world)) found.add(slot.version);
    }
    return [...found].sort((a, b) => a - b);
  }

  /** The worlds that come of letting pending writes take effect, in any order, until `done` holds. */
  #reach(from: World, done: (world: World) => boolean): World[] {
    if (done(from)) return [from];
    const found: World[] = [];
    for (const write of this.#pendingSlots(from)) {
      const next = apply(from, write);
      found.push(...(done(next) ? [next] : this.#reach(next, done)));
    }
    return found;
  }

  #pendingSlots(world: World): WriteTicket[] {
    return this.#slots.filter((slot): slot is WriteTicket => slot !== undefined && has(world.pending, slot.slot));
  }

  #unknownCount(): number {
    let count = 0;
    for (const slot of this.#slots) if (slot && slot !== this.#live) count++;
    return count;
  }

  #endWrite(ticket: WriteTicket): void {
    assert(this.#live === ticket, 'a write ends once');
    this.#live = undefined;
  }

  #takeRead(ticket: ReadTicket): number {
    const index = this.#reads.indexOf(ticket);
    assert(index >= 0, 'a read ends once');
    this.#reads.splice(index, 1);
    return index;
  }

  #replace(worlds: readonly World[]): void {
    this.#worlds = distinct(worlds);
    if (this.#worlds.length > WORLDS_MAX) {
      this.#overflowed = true;
      this.#worlds = this.#worlds.slice(0, 1);
    }
    this.#freeSpentSlots();
  }

  /** A write of unknown outcome that took effect in every world is unknown no more. */
  #freeSpentSlots(): void {
    for (const [index, slot] of this.#slots.entries()) {
      if (!slot || slot === this.#live) continue;
      if (this.#worlds.every((world) => !has(world.pending, index))) this.#slots[index] = undefined;
    }
  }
}

/** Which write made a value: 0 for an absent one, else a number that is unique for the key. */
export type Version = number;
export const ABSENT: Version = 0;

/** Writes of unknown outcome on one key before writing it has to wait. */
export const UNKNOWN_WRITES_MAX = 4;
export const READS_MAX = 16;
const WORLDS_MAX = 4096;

export interface WriteTicket {
  readonly version: Version;
  readonly slot: number;
}

/** Identity is all that a read under way has. */
export type ReadTicket = Readonly<Record<string, never>>;

export type Verdict = { readonly right: true } | { readonly right: false; readonly possible: readonly Version[] };

const RIGHT: Verdict = { right: true };

interface World {
  readonly value: Version;
  /** Bit `n` is set while the write in slot `n` has not taken effect. */
  readonly pending: number;
  /** For each read under way, in their order, what it may have seen. */
  readonly seen: readonly (readonly Version[])[];
}

const START: World = { value: ABSENT, pending: 0, seen: [] };

function has(pending: number, slot: number): boolean {
  return (pending & (1 << slot)) !== 0;
}

function drop(world: World, slot: number): World {
  return { ...world, pending: world.pending & ~(1 << slot) };
}

function apply(world: World, write: WriteTicket): World {
  const seen = world.seen.map((versions) => (versions.includes(write.version) ? versions : [...versions, write.version]));
  return { value: write.version, pending: world.pending & ~(1 << write.slot), seen };
}

function forget(world: World, read: number): World {
  return { ...world, seen: world.seen.filter((_, index) => index !== read) };
}

function distinct(worlds: readonly World[]): readonly World[] {
  if (worlds.length < 2) return worlds;
  const byText = new Map<string, World>();
  for (const world of worlds) byText.set(textOf(world), world);
  return [...byText.values()];
}

function textOf(world: World): string {
  const seen = world.seen.map((versions) => [...versions].sort((a, b) => a - b).join(','));
  return `${world.value}|${world.pending}|${seen.join(';')}`;
}
