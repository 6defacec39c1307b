import { type Interval, covers, formatInterval, intersection } from '../../model/interval.js';
import { type Key, NO_KEY, formatKey, keyFromBytes, keyToBytes, successor } from '../../model/key.js';
import { keyProblem, valueProblem, writeIdProblem } from '../../model/limits.js';
import { type RangeId, formatRange } from '../../model/range.js';
import type { Condition, WriteOutcome } from '../../model/store.js';
import type { Clock } from '../../runtime/clock.js';
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

/** So much of a log's tail is looked through for a stale read. */
const TAIL_BYTES = 256 * 1024;

/** How long a read waits for members to be heard. */
const READ_PATIENCE_MS = 5_000;

/** Largest answer to Dump, which peers cap at 4 MiB. */
const DUMP_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024;

/** Reads and writes of keys, for whatever door they come through. */
export class KeyValues {
  private readonly conditional: ConditionalWrites;

  constructor(
    private readonly storage: Storage,
    private readonly copies: Copies,
    private readonly queue: CommitQueue,
    private readonly clock: Clock,
  ) {
    this.conditional = new ConditionalWrites(storage, queue, (key) => this.servingCopy(key));
  }

  /** The value of a consistent read; undefined when the key is absent. Throws AppError, also when it would have to wait. */
  get(key: Buffer): StoredValue | undefined {
    const copy = this.servingCopy(key);
    copy.reads++;
    if (copy.replication && !mayAnswer(copy, keyFromBytes(key))) throw cannotRead(copy);
    return this.storage.get(key);
  }

  /**
   * The same, but waits while a write of the key is on its way to the members, or
   * while the copy cannot be sure that it still is the primary. Throws AppError for
   * what is refused at once.
   */
  read(key: Buffer, done: (error: AppError | undefined, stored: StoredValue | undefined) => void): void {
    const copy = this.servingCopy(key);
    copy.reads++;
    const name = keyFromBytes(key);
    if (!copy.replication || mayAnswer(copy, name)) done(undefined, this.storage.get(key));
    else this.waitToRead(copy, key, done);
  }

  /** The same as a promise. */
  value(key: Buffer): Promise<StoredValue | undefined> {
    return new Promise((resolve, reject) => {
      this.read(key, (error, stored) => {
        if (error) reject(error);
        else resolve(stored);
      });
    });
  }

  /**
   * Resolves when what was read of `copy` until now is sure to stay: every write in it
   * is committed, and no other copy was primary. Throws AppError when that does not come.
   */
  async confirm(copy: Copy): Promise<void> {
    const { lastOffset } = copy;
    const isSure = (): boolean => !copy.replication || (copy.isDecided(lastOffset) && copy.replication.mayRead);
    if (isSure()) return;
    const patience = new AbortController();
    const cancel = this.clock.after(READ_PATIENCE_MS, () => {
      patience.abort();
      copy.notify();
    });
    await copy.until(() => isSure() || !copy.admitting || copy.gone || patience.signal.aborted);
    cancel();
    if (!copy.admitting || copy.gone) throw notServing(copy);
    if (!isSure()) throw cannotRead(copy);
  }

  private waitToRead(copy: Copy, key: Buffer, done: (error: AppError | undefined, stored: StoredValue | undefined) => void): void {
    const name = keyFromBytes(key);
    const finish = (error: AppError | undefined): void => {
      stopWatching();
      cancelTimer();
      done(error, error ? undefined : this.storage.get(key));
    };
    const stopWatching = copy.watch(() => {
      if (!copy.admitting || copy.gone) finish(notServing(copy));
      else if (!copy.replication || mayAnswer(copy, name)) finish(undefined);
    });
    const cancelTimer = this.clock.after(READ_PATIENCE_MS, () => {
      finish(cannotRead(copy));
    });
  }

  /** Writes, or with no value deletes, and calls back once its level is reached. Throws AppError for what is refused at once. */
  put(key: Buffer, value: Buffer | undefined, done: (error: AppError | undefined, answer: WriteAnswer) => void, options: WriteOptions = {}): void {
    if (value !== undefined) refuse(valueProblem(value.length));
    if (options.writeId) refuse(writeIdProblem(options.writeId.length));
    const copy = this.servingCopy(key);
    copy.writes++;
    const write = { ...options, key, value };
    refuseTooFewCopies(copy, options);
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
    const atOffset = copy.settledOffset;
    if (atOffset < copy.durableOffset && this.mayBeTakenBack(copy, atOffset, name)) {
      throw new AppError('FAILED_PRECONDITION', `R${copy.meta.id} here has a write of key ${formatKey(name)} that is not on all copies yet, and may be taken back: ask another copy`);
    }
    return { stored: this.storage.get(key), atOffset };
  }

  /** Whether the tail of the log, behind what is known to be committed, has a write of the key, or is too long to look. */
  private mayBeTakenBack(copy: Copy, after: number, name: Key): boolean {
    const tail = this.storage.readLog(copy.meta.id, after, TAIL_BYTES);
    const end = tail.at(-1)?.offset ?? copy.durableOffset;
    return end < copy.durableOffset || tail.some(({ key }) => keyFromBytes(key) === name);
  }

  /**
   * The same if the condition holds of what every write before it, those on their way
   * to the disk included, leaves there. Throws AppError for what is refused at once.
   */
  putIf(write: { readonly key: Buffer; readonly value: Buffer | undefined; readonly contentType?: string | undefined; readonly condition: Condition }, done: (error: AppError | undefined, outcome: WriteOutcome) => void): void {
    if (write.value !== undefined) refuse(valueProblem(write.value.length));
    const copy = this.servingCopy(write.key);
    copy.writes++;
    refuseTooFewCopies(copy, {});
    this.conditional.write(copy, write, done);
  }

  /**
   * Pairs of `span` from its first key (or with `reverse`, its last) on, as far as one
   * range that serves here has them, from one snapshot, to be confirmed. `next` is where to go on, in
   * this range or behind it. Throws AppError when the first is not served here.
   */
  page(span: Interval, options: { readonly reverse: boolean; readonly keysOnly: boolean } & ScanLimits): ScanResult & { readonly copy: Copy } {
    const copy = this.servingEdge(span, options.reverse);
    const part = intersection(span, copy.meta);
    assert(part, 'a range that serves a key of the span overlaps it');
    copy.reads++;
    if (options.reverse) {
      const { pairs, next } = options.keysOnly ? bare(this.storage.keysBack(part, options.countMax), options.countMax, (key) => key) : this.storage.scanBack(part, options);
      return { copy, pairs, next: next ?? (part.start === span.start ? undefined : part.start) };
    }
    const { pairs, next } = options.keysOnly ? bare(this.storage.keys(part, options.countMax), options.countMax, successor) : this.storage.scan(part, options);
    return { copy, pairs, next: next ?? (part.end === span.end ? undefined : part.end) };
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
    if (idle) throw notServing(idle);
    throw new AppError('ABORTED', `no range on this node has key ${name === NO_KEY ? '-inf' : formatKey(name)}: your map of ranges is stale`);
  }
}

/** Keys as pairs without values, for those who asked for nothing else. */
function bare(keys: readonly Key[], countMax: number, nextOf: (key: Key) => Key): ScanResult {
  const last = keys.length < countMax ? undefined : keys.at(-1);
  return { pairs: keys.map((key) => ({ key: keyToBytes(key), value: NOTHING, epoch: 0, offset: 0 })), next: last === undefined ? undefined : nextOf(last) };
}

const NOTHING = Buffer.alloc(0);
/** What is stored of the key is committed, and nobody else can be the primary now. */
function mayAnswer(copy: Copy, key: Key): boolean {
  return copy.replication?.mayRead !== false && copy.isSettled(key);
}

function notServing(copy: Copy): AppError {
  return new AppError('FAILED_PRECONDITION', `R${copy.meta.id} is here but does not serve at the moment`);
}

function cannotRead(copy: Copy): AppError {
  const lacking = copy.replication?.lacking ?? [];
  const because = lacking.length > 0 ? `${lacking.join(', ')} did not confirm that it still is the primary` : 'a write of the key waits for its other copies';
  return new AppError('UNAVAILABLE', `R${copy.meta.id} cannot be read consistently at the moment: ${because}`);
}

function refuseTooFewCopies(copy: Copy, { level = 'SAFE' }: WriteOptions): void {
  const { replication } = copy;
  if (!replication || level !== 'SAFE' || replication.inSync >= replication.record.minInSync) return;
  const { inSync, record } = replication;
  throw new AppError('UNAVAILABLE', `R${copy.meta.id} has ${inSync} ${inSync === 1 ? 'copy' : 'copies'} in sync, and --min-in-sync wants ${record.minInSync} for a SAFE write`);
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new AppError('INVALID_ARGUMENT', problem);
}
