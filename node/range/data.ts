import { type Interval, covers, formatInterval, intersection } from '../../model/interval.js';
import { type Key, NO_KEY, formatKey, keyFromBytes, keyToBytes, successor } from '../../model/key.js';
import { keyProblem, valueProblem, writeIdProblem } from '../../model/limits.js';
import { type RangeId, formatRange } from '../../model/range.js';
import type { Condition, WriteOutcome } from '../../model/store.js';
import { AppError, assert } from '../../runtime/errors.js';
import { ConditionalWrites } from './conditional.js';
import type { ScanLimits, ScanResult, Storage, StoredPair, StoredValue } from '../storage/storage.js';
import type { CommitQueue, WriteOptions } from './commit-queue.js';
import type { Copies } from './copies.js';
import type { Copy } from './copy.js';

export interface WriteAnswer {
  readonly epoch: number;
  readonly offset: number;
}

/** Largest answer to Dump, which peers cap at 4 MiB. */
const DUMP_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024;

/** Reads and writes of keys, for whatever door they come through. */
export class KeyValues {
  private readonly conditional: ConditionalWrites;

  constructor(
    private readonly storage: Storage,
    private readonly copies: Copies,
    private readonly queue: CommitQueue,
  ) {
    this.conditional = new ConditionalWrites(storage, queue, (key) => this.servingCopy(key));
  }

  /** The value, of which a consistent read is sure; undefined when the key is absent. Throws AppError. */
  get(key: Buffer): StoredValue | undefined {
    const copy = this.servingCopy(key);
    copy.reads++;
    return this.storage.get(key);
  }

  /** Writes, or with no value deletes, and calls back once it is durable. Throws AppError for what is refused at once. */
  put(key: Buffer, value: Buffer | undefined, done: (error: AppError | undefined, answer: WriteAnswer) => void, options: WriteOptions = {}): void {
    if (value !== undefined) refuse(valueProblem(value.length));
    if (options.writeId) refuse(writeIdProblem(options.writeId.length));
    const copy = this.servingCopy(key);
    copy.writes++;
    const write = { ...options, key, value };
    if (this.conditional.holdsUp(write, done)) return;
    this.queue.append(copy, write, done);
  }

  /** What any copy here has of the key, which was whole up to the offset told. Throws AppError. */
  getStale(key: Buffer): { readonly stored: StoredValue | undefined; readonly atOffset: number } {
    refuse(keyProblem(key.length));
    const name = keyFromBytes(key);
    const copy = this.copies.servingKey(name) ?? this.copies.staleKey(name);
    if (!copy) throw new AppError('ABORTED', `no copy on this node can be read for key ${formatKey(name)}: your map of ranges is stale`);
    copy.reads++;
    return { stored: this.storage.get(key), atOffset: copy.committedOffset };
  }

  /**
   * The same if the condition holds of what every write before it, those on their way
   * to the disk included, leaves there. Throws AppError for what is refused at once.
   */
  putIf(write: { readonly key: Buffer; readonly value: Buffer | undefined; readonly contentType?: string | undefined; readonly condition: Condition }, done: (error: AppError | undefined, outcome: WriteOutcome) => void): void {
    if (write.value !== undefined) refuse(valueProblem(write.value.length));
    const copy = this.servingCopy(write.key);
    copy.writes++;
    this.conditional.write(copy, write, done);
  }

  /**
   * Pairs of `span` from its first key (or with `reverse`, its last) on, as far as one
   * range that serves here has them, from one snapshot. `next` is where to go on, in
   * this range or behind it. Throws AppError when the first is not served here.
   */
  page(span: Interval, options: { readonly reverse: boolean; readonly keysOnly: boolean } & ScanLimits): ScanResult {
    const copy = this.servingEdge(span, options.reverse);
    const part = intersection(span, copy.meta);
    assert(part, 'a range that serves a key of the span overlaps it');
    copy.reads++;
    if (options.reverse) {
      const { pairs, next } = options.keysOnly ? bare(this.storage.keysBack(part, options.countMax), options.countMax, (key) => key) : this.storage.scanBack(part, options);
      return { pairs, next: next ?? (part.start === span.start ? undefined : part.start) };
    }
    const { pairs, next } = options.keysOnly ? bare(this.storage.keys(part, options.countMax), options.countMax, successor) : this.storage.scan(part, options);
    return { pairs, next: next ?? (part.end === span.end ? undefined : part.end) };
  }

  /** The copy that serves all of `span`. Throws AppError when none does. */
  servingSpan(span: Interval): Copy {
    const copy = this.servingEdge(span, false);
    if (covers(copy.meta, span)) return copy;
    throw new AppError('ABORTED', `${formatInterval(span)} reaches beyond ${formatRange(copy.meta)}, which this node serves: ask for less, or ask a proxy`);
  }

  /**
   * Every pair of an inactive range, for peers that cannot follow. Whoever asks may
   * become active with it, which is noted before the answer.
   */
  async dump(range: RangeId): Promise<StoredPair[]> {
    const copy = this.copies.get(range);
    if (!copy || copy.fetching || copy.gone) throw new AppError('ABORTED', `range ${range} is not on this node`);
    const { copies } = this;
    return copies.change(
      () => [copy],
      async () => {
        const pairs = this.pairsToGive(copy);
        if (!copy.record.dumped) await copies.save([{ copy, record: { ...copy.record, dumped: true } }]);
        return pairs;
      },
    );
  }

  private pairsToGive(copy: Copy): StoredPair[] {
    const { id: range } = copy.meta;
    if (copy.record.state === 'Active') {
      throw new AppError('FAILED_PRECONDITION', `range ${range} is still writable here: deactivate it first`);
    }
    if (copy.gone || !copy.owns(copy.meta)) throw new AppError('ABORTED', `range ${range} was handed over by this node, or never whole here`);
    const { pairs, next } = this.storage.scan(copy.meta, { countMax: 1_000_000, bytesMax: DUMP_BYTES_MAX });
    if (next !== undefined) {
      throw new AppError('RESOURCE_EXHAUSTED', `range ${range} does not fit one answer of ${DUMP_BYTES_MAX} bytes: follow it (kv.Follow), or split it first`);
    }
    return pairs;
  }

  /** The copy that serves the first key of `span`, or the last. */
  private servingEdge(span: Interval, last: boolean): Copy {
    if (!last) return this.serving(span.start);
    const copy = this.copies.servingBelow(span.end);
    if (copy) return copy;
    throw new AppError('ABORTED', `no range on this node has the keys below ${span.end === NO_KEY ? '+inf' : formatKey(span.end)}: your map of ranges is stale`);
  }

  private servingCopy(key: Buffer): Copy {
    refuse(keyProblem(key.length));
    return this.serving(keyFromBytes(key));
  }

  private serving(name: Key): Copy {
    const copy = this.copies.servingKey(name);
    if (copy) return copy;
    const idle = this.copies.anyHolding(name);
    if (idle) throw new AppError('FAILED_PRECONDITION', `R${idle.meta.id} is here but does not serve at the moment`);
    throw new AppError('ABORTED', `no range on this node has key ${formatKey(name)}: your map of ranges is stale`);
  }
}

/** Keys as pairs without values, for those who asked for nothing else. */
function bare(keys: readonly Key[], countMax: number, nextOf: (key: Key) => Key): ScanResult {
  const last = keys.length < countMax ? undefined : keys.at(-1);
  return { pairs: keys.map((key) => ({ key: keyToBytes(key), value: NOTHING, epoch: 0, offset: 0 })), next: last === undefined ? undefined : nextOf(last) };
}

const NOTHING = Buffer.alloc(0);

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new AppError('INVALID_ARGUMENT', problem);
}
