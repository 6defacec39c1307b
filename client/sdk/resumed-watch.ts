import type { Key } from '../../model/key.js';
import type { Change, Position, WatchEvent, WatchRequest } from '../../model/store.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { SpanOwners } from '../owners.js';
import { isLoss, isRefusal } from '../store/failures.js';
import { nextNews } from '../store/news.js';
import type { NodeStore } from '../store/node-store.js';

export interface ResumedWatchDeps {
  readonly owners: SpanOwners;
  readonly connect: (address: string) => NodeStore;
  readonly clock: Clock;
}

/**
 * A watch through a proxy that goes on through another, or the same one again, when the
 * connection breaks. It begins behind the last token; changes that were told after
 * that one come again, and are left out. Tokens come at least each second, so that is
 * as much as has to be remembered.
 */
export async function* resumedWatch({ owners, connect, clock }: ResumedWatchDeps, request: WatchRequest, signal: AbortSignal | undefined): AsyncGenerator<WatchEvent, void, undefined> {
  let from = request;
  /** The last change of each key that was told behind the token. */
  let told: ReadonlyMap<Key, Position> = new Map();
  for (let tries = 0; ; tries++) {
    const owner = owners.find(request.span.start);
    if (!owner) throw new AppError('INVALID_ARGUMENT', 'no proxy is given');
    const store = connect(owner.address);
    const again = new Map(told);
    const untold = new Map(told);
    try {
      for await (const { changes, token } of store.watch(from, { signal })) {
        tries = 0;
        const news = changes.filter((change) => isNew(again, change));
        for (const change of news) untold.set(change.key, change);
        if (token) {
          from = { span: request.span, token };
          untold.clear();
          for (const [key, position] of again) untold.set(key, position);
        }
        told = untold;
        if (news.length > 0 || token) yield { changes: news, token };
      }
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (signal?.aborted === true || !(isLoss(error) || isRefusal(error))) throw error;
      const resumable = told.size === 0 || from.token !== undefined || from.afterOffset !== undefined;
      if (!resumable) throw new AppError('UNAVAILABLE', `${error.message}, before the watch had told where to go on`, { cause: error });
    } finally {
      store.close();
    }
    await nextNews(owners, clock, { tries, signal });
  }
}

/** Changes of one key come in the same order each time; up to the last that was told they are known. */
function isNew(again: Map<Key, Position>, change: Change): boolean {
  const last = again.get(change.key);
  if (!last) return true;
  if (last.epoch === change.epoch && last.offset === change.offset) again.delete(change.key);
  return false;
}
