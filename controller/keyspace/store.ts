import type { Change, Persister } from '../../coordination/interfaces.js';
import { AppError } from '../../runtime/errors.js';
import { type ChangeGroup, Keyspace, toPersisted, wishesToPersisted } from './keyspace.js';

interface Waiting {
  readonly group: readonly Change[];
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

/**
 * Writes the keyspace down, in order, one write at a time. After a failure it is
 * unknown how much was written, so everything is refused until the next load.
 */
export class KeyspaceStore {
  private queue: Waiting[] = [];
  private writing = false;
  private failure: AppError | undefined = new AppError('UNAVAILABLE', 'the keyspace was not loaded yet');
  private idle: (() => void)[] = [];

  constructor(private readonly persister: Persister) {}

  /** Why nothing can be written now; undefined when it can. */
  get broken(): AppError | undefined {
    return this.failure;
  }

  async load(): Promise<Keyspace> {
    if (this.writing) await new Promise<void>((resolve) => this.idle.push(resolve));
    const keyspace = Keyspace.load(await this.persister.load());
    this.failure = undefined;
    return keyspace;
  }

  /** Resolves when these groups, and all given before, are written. */
  async write(groups: readonly ChangeGroup[]): Promise<void> {
    if (this.failure) throw this.failure;
    const written = groups.map(
      (group) =>
        new Promise<void>((resolve, reject) => {
          this.queue.push({ group: [...toPersisted(group.changes), ...wishesToPersisted(group.wishes ?? [])], resolve, reject });
        }),
    );
    if (!this.writing) void this.drain();
    await Promise.all(written);
  }

  private async drain(): Promise<void> {
    this.writing = true;
    while (this.queue.length > 0) {
      const batch = takeBatch(this.queue);
      this.queue = this.queue.slice(batch.length);
      try {
        await this.persister.write(batch.map((w) => w.group));
        for (const { resolve } of batch) resolve();
      } catch (thrown) {
        this.fail(AppError.from(thrown), batch);
      }
    }
    this.writing = false;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private fail(error: AppError, batch: readonly Waiting[]): void {
    this.failure = error;
    for (const { reject } of [...batch, ...this.queue]) reject(error);
    this.queue = [];
  }
}

/** As many groups as can go in one write: each document at most once, since a compare-and-set sees only what was there before. */
function takeBatch(queue: readonly Waiting[]): Waiting[] {
  const keys = new Set<string>();
  const batch: Waiting[] = [];
  for (const waiting of queue) {
    if (waiting.group.some((change) => keys.has(change.key))) break;
    for (const change of waiting.group) keys.add(change.key);
    batch.push(waiting);
  }
  return batch;
}
