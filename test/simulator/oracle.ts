/** A value that a client wrote, or what deletes one. */
export type Written = string | undefined;

export interface Write {
  readonly key: string;
  readonly value: Written;
  readonly client: string;
  /** Counted in steps of the world, so that no two are equal. */
  readonly invokedAt: number;
  respondedAt: number;
  outcome: 'pending' | 'done' | 'failed' | 'unknown';
  epoch: number;
  offset: number;
}

export interface Read {
  readonly key: string;
  readonly client: string;
  readonly invokedAt: number;
  respondedAt: number;
  outcome: 'pending' | 'done' | 'failed';
  value: Written;
}

/**
 * What clients asked and were told. It says at once when a value is older than an
 * acknowledged write; the whole judgement of a history is linearizable.ts.
 */
export class Oracle {
  readonly writes = new Map<string, Write[]>();
  readonly reads = new Map<string, Read[]>();
  /** For each key the acknowledged writes that no other acknowledged one is known to have followed. */
  private readonly newest = new Map<string, Write[]>();
  private ticks = 0;

  beginWrite(client: string, key: string, value: Written): Write {
    const write: Write = { key, value, client, invokedAt: ++this.ticks, respondedAt: Infinity, outcome: 'pending', epoch: 0, offset: 0 };
    listOf(this.writes, key).push(write);
    return write;
  }

  /** Why the answer cannot be; undefined when it can. */
  acknowledge(write: Write, position: { readonly epoch: number; readonly offset: number }): string | undefined {
    Object.assign(write, position, { outcome: 'done', respondedAt: ++this.ticks });
    const newest = listOf(this.newest, write.key);
    const before = newest.filter((other) => other.respondedAt < write.invokedAt);
    this.newest.set(write.key, [...newest.filter((other) => !before.includes(other)), write]);
    const later = before.find((other) => other.epoch > write.epoch || (other.epoch === write.epoch && other.offset >= write.offset));
    return later && `write ${show(write)} got position ${write.epoch}/${write.offset}, but ${show(later)} before it had ${later.epoch}/${later.offset}`;
  }

  endWrite(write: Write, outcome: 'failed' | 'unknown'): void {
    write.outcome = outcome;
    write.respondedAt = outcome === 'unknown' ? Infinity : ++this.ticks;
    if (outcome === 'unknown') this.ticks++;
  }

  beginRead(client: string, key: string): Read {
    const read: Read = { key, client, invokedAt: ++this.ticks, respondedAt: Infinity, outcome: 'pending', value: undefined };
    listOf(this.reads, key).push(read);
    return read;
  }

  endRead(read: Read, value: Written): string | undefined {
    Object.assign(read, { outcome: 'done', respondedAt: ++this.ticks, value });
    return this.problem(read.key, value, read.invokedAt);
  }

  failRead(read: Read): void {
    read.outcome = 'failed';
    read.respondedAt = ++this.ticks;
  }

  /** Why a key cannot have this value for whoever looked after `since`; undefined when it may. */
  problem(key: string, value: Written, since = this.ticks + 1): string | undefined {
    const newest = this.acknowledgedBefore(key, since);
    if (newest.length === 0 && value === undefined) return undefined;
    const writers = listOf(this.writes, key).filter((write) => write.value === value && write.outcome !== 'failed');
    if (writers.some((write) => !newest.some((other) => write.respondedAt < other.invokedAt))) return undefined;
    const last = newest.map(show).join(', ') || 'nothing';
    const fate = writers.length === 0 ? 'nobody wrote that, or it was refused' : 'which is older';
    return `key ${key} is ${value ?? 'absent'} (${fate}), although ${last} was acknowledged`;
  }

  /** Whether the key certainly has a value. */
  mustExist(key: string): boolean {
    return this.problem(key, undefined) !== undefined;
  }

  keys(): string[] {
    return [...new Set([...this.writes.keys(), ...this.reads.keys()])].sort();
  }

  private acknowledgedBefore(key: string, since: number): Write[] {
    const now = listOf(this.newest, key);
    if (now.every((write) => write.respondedAt < since)) return now;
    const done = listOf(this.writes, key).filter((write) => write.outcome === 'done' && write.respondedAt < since);
    return done.filter((write) => !done.some((other) => write.respondedAt < other.invokedAt));
  }
}

function show(write: Write): string {
  return `${write.value ?? 'delete'} (${write.client})`;
}

function listOf<T>(map: Map<string, T[]>, key: string): T[] {
  let list = map.get(key);
  if (!list) map.set(key, (list = []));
  return list;
}
