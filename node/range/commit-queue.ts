import { AppError, messageOf } from '../../runtime/errors.js';
import type { LogRecord, Storage } from '../storage/storage.js';
import type { Copy } from './copy.js';

export type Done = (error: AppError | undefined, record: LogRecord) => void;

interface Waiting {
  readonly copy: Copy;
  readonly record: LogRecord;
  readonly done: Done;
}

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
      /** Bytes of keys and values on their way to the disk; beyond, writes are refused. */
      readonly bytesMax: number;
      /** The disk broke its word: what is durable is unknown, so the process must end. */
      readonly onFatal: (error: AppError) => void;
      readonly onCommitted?: (copy: Copy, records: readonly LogRecord[]) => void;
    },
  ) {}

  get pendingBytes(): number {
    return this.bytes;
  }

  append(copy: Copy, key: Buffer, value: Buffer | undefined, done: Done, contentType?: string): void {
    const size = sizeOf(key, value);
    if (this.bytes + size > this.options.bytesMax) {
      const message = `the node has ${this.bytes} bytes of writes waiting for its disk, and takes ${this.options.bytesMax}: try again later`;
      done(new AppError('RESOURCE_EXHAUSTED', message), { epoch: 0, offset: 0, key, value });
      return;
    }
    this.bytes += size;
    const record = { epoch: copy.record.logEpoch, offset: copy.admit(), key, value, contentType };
    this.waiting.push({ copy, record, done });
    if (this.committing || this.scheduled) return;
    this.scheduled = true;
    // The rest of this turn's requests go along.
    queueMicrotask(() => {
      this.scheduled = false;
      void this.flush();
    });
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
    for (const { record } of batch) this.bytes -= sizeOf(record.key, record.value);
    for (const { copy, records } of groups) {
      copy.settle(records.length, error ? 0 : (records[records.length - 1] as LogRecord).offset);
      if (!error) this.options.onCommitted?.(copy, records);
    }
    for (const { record, done } of batch) done(error, record);
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

/** What a waiting write takes beyond its bytes: many small ones must not fill the memory. */
const WRITE_OVERHEAD_BYTES = 256;

function sizeOf(key: Buffer, value: Buffer | undefined): number {
  return WRITE_OVERHEAD_BYTES + key.length + (value?.length ?? 0);
}
