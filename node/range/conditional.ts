import { type Key, formatKey, keyFromBytes } from '../../model/key.js';
import { type Condition, type Position, type WriteOutcome, holds } from '../../model/store.js';
import { AppError } from '../../runtime/errors.js';
import type { LogRecord, Storage } from '../storage/storage.js';
import type { CommitQueue, Write } from './commit-queue.js';
import type { Copy } from './copy.js';

interface ConditionalWrite extends Write {
  /** Writes without one only wait their turn behind those that have one. */
  readonly condition?: Condition | undefined;
}

interface Waiting extends ConditionalWrite {
  readonly done: (error: AppError | undefined, outcome: WriteOutcome) => void;
}

/** What a key's queue takes, over all keys; beyond, writes are refused. */
const WAITING_MAX = 10_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Writes that are made only if a condition holds. It is asked of the storage in the
 * turn in which the write gets its place in the log, at a moment when no other write
 * of the key is on its way to the disk: until then the key is held, and what comes for it
 * waits behind. Keys that nobody writes conditionally pay a look at an empty map.
 */
export class ConditionalWrites {
  private readonly held = new Map<Key, Waiting[]>();
  private waiting = 0;
  private waitingBytes = 0;

  constructor(
    private readonly storage: Storage,
    private readonly queue: CommitQueue,
    /** Throws for a key that is not served now. */
    private readonly servingCopy: (key: Buffer) => Copy,
  ) {}

  write(copy: Copy, write: ConditionalWrite & { readonly condition: Condition }, done: Waiting['done']): void {
    const name = keyFromBytes(write.key);
    const before = this.held.get(name);
    if (!before && copy.lastOffset === copy.committedOffset) this.decide(copy, { ...write, done });
    else this.enqueue(name, before, { ...write, done });
  }

  /** Whether the key is held: then the write waits, and will be made in its turn. */
  holdsUp(write: Write, done: (error: AppError | undefined, position: Position) => void): boolean {
    if (this.held.size === 0) return false;
    const name = keyFromBytes(write.key);
    const before = this.held.get(name);
    if (!before) return false;
    this.enqueue(name, before, { ...write, done: (error, outcome) => done(error, outcome.applied ? outcome.position : NOWHERE) });
    return true;
  }

  private enqueue(name: Key, before: Waiting[] | undefined, write: Waiting): void {
    const bytes = bytesOf(write);
    if (this.waiting >= WAITING_MAX || this.waitingBytes + bytes > WAITING_BYTES_MAX) {
      write.done(new AppError('RESOURCE_EXHAUSTED', `${this.waiting} writes wait for earlier ones of the same keys, such as ${formatKey(name)}: try again later`), REFUSED);
      return;
    }
    this.waiting++;
    this.waitingBytes += bytes;
    if (before) {
      before.push(write);
      return;
    }
    const queue = [write];
    this.held.set(name, queue);
    void this.work(name, queue);
  }

  private async work(name: Key, queue: Waiting[]): Promise<void> {
    let settled = false;
    for (let write = queue[0]; write; write = queue[0]) {
      if (write.condition && !settled) {
        await this.settle(write.key);
        settled = true;
      }
      queue.shift();
      this.waiting--;
      this.waitingBytes -= bytesOf(write);
      if (this.decideServed(write)) settled = false;
    }
    this.held.delete(name);
  }

  /** Waits until every write that is on its way now is durable, or failed. */
  private async settle(key: Buffer): Promise<void> {
    try {
      const copy = this.servingCopy(key);
      const { lastOffset } = copy;
      await copy.until(() => copy.isDecided(lastOffset) || copy.gone || !copy.admitting);
    } catch {
      // The write that waits finds out for itself.
    }
  }

  /** True when the write is on its way to the disk. */
  private decideServed(write: Waiting): boolean {
    try {
      return this.decide(this.servingCopy(write.key), write);
    } catch (thrown) {
      write.done(AppError.from(thrown), REFUSED);
      return false;
    }
  }

  private decide(copy: Copy, write: Waiting): boolean {
    const { condition, done } = write;
    const appended = (error: AppError | undefined, { epoch, offset }: LogRecord): void => {
      done(error, { applied: true, position: { epoch, offset } });
    };
    if (condition) {
      // What the first try changed is no reason for the second to fail.
      if (this.queue.answersKnown(copy, write, appended)) return false;
      const current = this.storage.get(write.key);
      if (!holds(condition, current)) {
        // That it does not hold is a read, of which only one who is sure to be the primary can be sure.
        if (copy.replication?.mayRead === false) throw new AppError('UNAVAILABLE', `R${copy.meta.id} cannot be read consistently at the moment: its other copies did not confirm that this node still is the primary`);
        done(undefined, { applied: false, current: current && { epoch: current.epoch, offset: current.offset } });
        return false;
      }
    }
    this.queue.append(copy, write, appended);
    return true;
  }
}

const NOWHERE: Position = { epoch: 0, offset: 0 };
const REFUSED: WriteOutcome = { applied: false, current: undefined };

function bytesOf({ key, value }: ConditionalWrite): number {
  return 256 + key.length + (value?.length ?? 0);
}
