import type { Interval } from '../../model/interval.js';
import { type Key, keyToBytes } from '../../model/key.js';
import { formatRange } from '../../model/range.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Copies } from '../range/copies.js';
import type { Copy } from '../range/copy.js';
import type { Storage } from '../storage/storage.js';
import { type KeyState, digestOf, stateOf, statesOf } from './compare.js';
import { type DigestAnswer, LISTED_MAX, STATES_MAX, type VerifyContext } from './messages.js';
import { within } from './wait.js';

export interface FollowerAnswersDeps {
  readonly storage: Storage;
  readonly copies: Copies;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What the node says of the copy has changed. */
  readonly tell: (copy: Copy) => void;
}

/** How long a follower waits for the log that it is asked about. */
const LOG_PATIENCE_MS = 3_000;
const LISTED_BYTES_MAX = 16 * 1024 * 1024;

/** What followers on this node answer to a primary that compares. */
export class FollowerAnswers {
  constructor(private readonly deps: FollowerAnswersDeps) {}

  async digest(context: VerifyContext, span: Interval, digest: Buffer): Promise<DigestAnswer> {
    await this.upTo(context);
    const { pairs, next } = this.deps.storage.scanPacked(span, { countMax: LISTED_MAX, bytesMax: LISTED_BYTES_MAX });
    if (next === undefined && digestOf(pairs).equals(digest)) return { alike: true };
    return { alike: false, states: statesOf(pairs), more: next !== undefined };
  }

  async states(context: VerifyContext, keys: readonly Key[]): Promise<KeyState[]> {
    if (keys.length > STATES_MAX) throw new AppError('INVALID_ARGUMENT', `keys: ${keys.length} were given, and at most ${STATES_MAX} are answered at once`);
    await this.upTo(context);
    return keys.map((key) => stateOf(this.deps.storage.get(keyToBytes(key))));
  }

  /** Resolves when it is on the disk. */
  async condemn(context: VerifyContext, because: string): Promise<void> {
    const copy = this.copyOf(context);
    await condemnCopy(this.deps, copy, because, () => {
      this.copyOf(context);
    });
  }

  private async upTo(context: VerifyContext): Promise<void> {
    const copy = this.copyOf(context);
    const done = await within(this.deps.clock, LOG_PATIENCE_MS, copy, () => copy.gone || copy.durableOffset >= context.offset);
    this.copyOf(context);
    if (!done) throw new AppError('UNAVAILABLE', `${formatRange(copy.meta)} here has the log up to ${copy.durableOffset}, and ${context.offset} is asked about`);
  }

  /** The follower that is asked, if it is one of that primary. */
  private copyOf({ range, epoch }: VerifyContext): Copy {
    const copy = this.deps.copies.get(range);
    if (!copy || copy.gone || copy.fetching) throw new AppError('NOT_FOUND', `R${range} is not on this node`);
    const follows = copy.record.state === 'Inactive' && copy.record.links.some((link) => link.range === range);
    if (!follows || (copy.record.fork ?? 0) > epoch || copy.lastEpoch > epoch) throw new AppError('FAILED_PRECONDITION', `R${range} here does not follow the primary of epoch ${epoch}`);
    if (!copy.isWhole) throw new AppError('UNAVAILABLE', `R${range} here is still being filled`);
    return copy;
  }
}

/** Notes on the disk that the copy is not what it should be; the controller is told then. `check` throws when that holds no more. */
export async function condemnCopy(deps: Omit<FollowerAnswersDeps, 'storage' | 'clock'>, copy: Copy, because: string, check: () => void): Promise<void> {
  const { copies, logger, tell } = deps;
  await copies.change(
    () => [copy],
    async () => {
      check();
      if (copy.record.damaged === true) return;
      await copies.save([{ copy, record: { ...copy.record, damaged: true } }]);
      logger.error('a copy is damaged, and is to be made anew: see whether the disk is well', { range: formatRange(copy.meta), because });
      tell(copy);
    },
  );
}
