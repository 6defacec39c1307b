import { keyFromBytes } from '../../model/key.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { LogRecord, Storage } from '../storage/storage.js';
import type { Copy } from './copy.js';
import { type KnownWrite, hashOf } from './write-ids.js';

export type Done = (error: AppError | undefined, record: LogRecord) => void;

/** When a write is done. `ASYNC`: it is durable here, and a fail-over may lose it. `SAFE`: every member has it. */
export type WriteLevel = 'ASYNC' | 'SAFE';

/** What a write says besides key and value. */
export interface WriteOptions {
  readonly contentType?: string | undefined;
  /** SAFE when not given. */
  readonly level?: WriteLevel | undefined;
  /** 16 bytes that no other write has: a second try with the same is answered like the first. */
  readonly writeId?: Buffer | undefined;
  /** On this node's monotonic clock: when the first try of unknown outcome was sent; undefined when there was none. */
  readonly firstSentAt?: number | undefined;
}

export interface Write extends WriteOptions {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

interface Waiting {
  readonly copy: Copy;
  readonly record: LogRecord;
  readonly level: WriteLevel;
  readonly done: Done;
}

/** Writes of ASYNC are not waited for, so something else has to bound what they leave behind. */
const UNCOMMITTED_MAX = 100_000;

/** A batch this large is on its way within milliseconds; more would only delay its first write. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Group commit: writes that arrive while one transaction is on its way to the disk
 * share the next. A write is answered once it is durable.
 */
export class CommitQueue {
  private waiting: Waiting[] = [];
  private committing = false;
  private scheduled = false;
  private bytes = 0;

  constructor(
    private readonly storage: Storage,
    private readonly options: {
      /** Bytes of keys and values on their way to the disk and to the members; beyond, writes are refused. */
      readonly bytesMax: number;
      /** The disk broke its word: what is durable is unknown, so the process must end. */
      readonly onFatal: (error: AppError) => void;
      readonly onCommitted?: (copy: Copy, records: readonly LogRecord[]) => void;
      /** The time of day, for the log. */
      readonly wallMs: () => number;
      /** A second try was met, and is answered like the first. */
      readonly onRepeated?: () => void;
    },
  ) {}

  get pendingBytes(): number {
    return this.bytes;
  }

  append(copy: Copy, write: Write, done: Done): void {
    if (this.answersKnown(copy, write, done)) return;
    const { key, value, contentType, writeId, level = 'SAFE' } = write;
    const size = sizeOf(key, value);
    if (this.bytes + size > this.options.bytesMax) {
      const message = `the node has ${this.bytes} bytes of writes waiting for its disk, and takes ${this.options.bytesMax}: try again later`;
      done(new AppError('RESOURCE_EXHAUSTED', message), nowhere(write));
      return;
    }
    if (copy.uncommitted.size >= UNCOMMITTED_MAX) {
      done(new AppError('RESOURCE_EXHAUSTED', `${copy.uncommitted.size} keys of R${copy.meta.id} wait for copies on other nodes: try again later`), nowhere(write));
      return;
    }
    this.bytes += size;
    const record: LogRecord = { epoch: copy.record.logEpoch, offset: copy.admit(), key, value, contentType, writeId, timeMs: this.options.wallMs() };
    if (writeId) copy.writeIds.add(writeId, { epoch: record.epoch, offset: record.offset, keyHash: hashOf(key) });
    if (copy.replication) copy.begin(keyFromBytes(key), record.offset);
    this.waiting.push({ copy, record, level, done });
    if (this.committing || this.scheduled) return;
    this.scheduled = true;
    // The rest of this turn's requests go along.
    queueMicrotask(() => {
      this.scheduled = false;
      void this.flush();
    });
  }

  /**
   * Whether the write needs no place in the log: it was made before, or is on its way,
   * and this is a second try; or nobody knows any more.
   */
  answersKnown(copy: Copy, write: Write, done: Done): boolean {
    const { writeId, firstSentAt } = write;
    if (!writeId) return false;
    const known = copy.writeIds.find(writeId);
    if (known) {
      this.options.onRepeated?.();
      if (known.keyHash === hashOf(write.key)) answerAsFirst(copy, { ...write, writeId }, known, done);
      else done(new AppError('INVALID_ARGUMENT', `write id ${writeId.toString('hex')} was used for another key: make a new one for each write`), nowhere(write));
      return true;
    }
    if (firstSentAt === undefined || copy.writeIds.vouchesFor(firstSentAt)) return false;
    done(new AppError('UNKNOWN', `whether an earlier try of the write was applied is unknown: R${copy.meta.id} does not know the ids of writes of so long ago any more`), nowhere(write));
    return true;
  }

  private async flush(): Promise<void> {
    this.committing = true;
    while (this.waiting.length > 0) {
      const batch = this.takeBatch();
      const groups = groupByCopy(batch);
      let error: AppError | undefined;
      try {
        await this.storage.commit({
          appends: groups.map(({ copy, records }) => ({ range: copy.meta.id, records })),
        });
      } catch (thrown) {
        error = AppError.from(thrown);
      }
      this.finish(batch, groups, error);
    }
    this.committing = false;
  }

  private takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { record } of this.waiting) {
      if (count > 0 && bytes > BATCH_BYTES_MAX) break;
      bytes += sizeOf(record.key, record.value);
      count++;
    }
    return this.waiting.splice(0, count);
  }

  private finish(batch: readonly Waiting[], groups: readonly Group[], error: AppError | undefined): void {
    if (error && error.code !== 'RESOURCE_EXHAUSTED') {
      this.options.onFatal(new AppError('DATA_LOSS', `cannot tell what is on the disk any more: ${messageOf(error)}`, { cause: error }));
      return;
    }
    for (const { copy, records } of groups) {
      if (error) for (const { writeId } of records) if (writeId) copy.writeIds.remove(writeId);
      const last = records[records.length - 1] as LogRecord;
      if (!error) copy.lastEpoch = last.epoch;
      copy.settle(records.length, error ? undefined : last.offset);
      if (!error) this.options.onCommitted?.(copy, records);
    }
    for (const { copy, record, level, done } of batch) {
      if (error || level === 'ASYNC') this.end(record, done, error);
      else copy.whenCommitted(record.offset, (problem) => { this.end(record, done, problem); });
    }
  }

  private end(record: LogRecord, done: Done, error: AppError | undefined): void {
    this.bytes -= sizeOf(record.key, record.value);
    done(error, record);
  }
}

interface Group {
  readonly copy: Copy;
  readonly records: LogRecord[];
}

function groupByCopy(batch: readonly Waiting[]): Group[] {
  const groups = new Map<Copy, Group>();
  for (const { copy, record } of batch) {
    const group = groups.get(copy);
    if (group) group.records.push(record);
    else groups.set(copy, { copy, records: [record] });
  }
  return [...groups.values()];
}

/** The outcome of the first try is that of all; one that is on its way is waited for. */
function answerAsFirst(copy: Copy, write: Write & { readonly writeId: Buffer }, known: KnownWrite, done: Done): void {
  const { key, value, writeId } = write;
  const outcome = (): (() => void) | undefined => {
    if (copy.writeIds.find(writeId)?.offset !== known.offset) {
      return () => done(new AppError('UNAVAILABLE', 'the first try of the write failed: nothing was applied'), nowhere(write));
    }
    if (copy.gone || !copy.admitting) return () => done(new AppError('UNKNOWN', `whether the write was applied is unknown: R${copy.meta.id} stopped serving before it was committed`), nowhere(write));
    if (known.offset <= copy.committedOffset) return () => done(undefined, { epoch: known.epoch, offset: known.offset, key, value });
    return undefined;
  };
  const answer = outcome();
  if (answer) {
    answer();
    return;
  }
  const stop = copy.watch(() => {
    const late = outcome();
    if (!late) return;
    stop();
    late();
  });
}

function nowhere({ key, value }: Write): LogRecord {
  return { epoch: 0, offset: 0, key, value };
}

/** What a waiting write takes beyond its bytes: many small ones must not fill the memory. */
const WRITE_OVERHEAD_BYTES = 256;

function sizeOf(key: Buffer, value: Buffer | undefined): number {
  return WRITE_OVERHEAD_BYTES + key.length + (value?.length ?? 0);
}
