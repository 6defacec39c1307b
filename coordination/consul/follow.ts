import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import { Backoff } from '../backoff.js';
import { isAborted } from '../signals.js';
import type { BlockingOptions, Indexed } from './client.js';

export interface FollowOptions<T> {
  readonly query: (options: BlockingOptions) => Promise<Indexed<T>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly onValue: (value: T) => void;
  /** The agent went away, or was another one in between: the next value may know too little. */
  readonly onLost: (reason: AppError) => void;
}

/**
 * Repeats a blocking query for ever, and tells of each answer. After a failure, and
 * when the index went backwards (an agent that restarted with nothing), it asks for
 * the state as it is instead of for what is newer.
 */
export async function follow<T>(options: FollowOptions<T>): Promise<void> {
  const { query, clock, random, signal, onValue, onLost } = options;
  const backoff = new Backoff(random);
  let index = 0n;
  while (!signal.aborted) {
    try {
      const answer = await query({ index, signal });
      backoff.reset();
      if (answer.index < index) {
        index = 0n;
        onLost(new AppError('UNAVAILABLE', 'the index went backwards'));
        continue;
      }
      index = answer.index;
      onValue(answer.value);
    } catch (thrown) {
      if (isAborted(signal)) return;
      index = 0n;
      onLost(AppError.from(thrown));
      await sleep(clock, backoff.next(), signal).catch(() => {});
    }
  }
}
