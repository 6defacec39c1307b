import { formatKey, keyFromBytes } from '../../model/key.js';
import { keyProblem, valueProblem } from '../../model/limits.js';
import type { RangeId } from '../../model/range.js';
import { AppError } from '../../runtime/errors.js';
import type { Storage, StoredPair, StoredValue } from '../storage/storage.js';
import type { CommitQueue } from './commit-queue.js';
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
  constructor(
    private readonly storage: Storage,
    private readonly copies: Copies,
    private readonly queue: CommitQueue,
  ) {}

  /** The value, of which a consistent read is sure; undefined when the key is absent. Throws AppError. */
  get(key: Buffer): StoredValue | undefined {
    const copy = this.servingCopy(key);
    copy.reads++;
    return this.storage.get(key);
  }

  /** Writes, or with no value deletes, and calls back once it is durable. Throws AppError for what is refused at once. */
  put(key: Buffer, value: Buffer | undefined, done: (error: AppError | undefined, answer: WriteAnswer) => void): void {
    if (value !== undefined) refuse(valueProblem(value.length));
    const copy = this.servingCopy(key);
    copy.writes++;
    this.queue.append(copy, key, value, done);
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

  private servingCopy(key: Buffer): Copy {
    refuse(keyProblem(key.length));
    const name = keyFromBytes(key);
    const copy = this.copies.servingKey(name);
    if (copy) return copy;
    const idle = this.copies.anyHolding(name);
    if (idle) throw new AppError('FAILED_PRECONDITION', `R${idle.meta.id} is here but does not serve at the moment`);
    throw new AppError('ABORTED', `no range on this node has key ${formatKey(name)}: your map of ranges is stale`);
  }
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new AppError('INVALID_ARGUMENT', problem);
}
