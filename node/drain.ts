import type { RemoteState } from '../model/states.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { KvNode } from './node.js';

/** How often it is looked at whether anything is left. */
const LOOK_MS = 100;

export interface DrainOptions {
  readonly node: Pick<KvNode, 'rangelet'>;
  /** Over once nothing is served from here; copies that follow may stay. */
  readonly primariesOnly: boolean;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Asks the controller to move everything away, and waits until that is done, or until
 * the primaries have left, which do first. What is still here when the time is up
 * stays: it waits for this node to come back.
 */
export async function drainNode({ node, primariesOnly, timeoutMs, clock, logger }: DrainOptions): Promise<void> {
  const { rangelet } = node;
  const remaining = (): number => {
    const { ranges } = rangelet.info();
    return primariesOnly ? ranges.filter(isServed).length : ranges.length;
  };
  const untilMs = clock.now() + timeoutMs;
  let left = remaining();
  rangelet.setWantDrain(true);
  logger.info('draining before the stop; a second signal stops at once', { ranges: left });
  while (left > 0 && clock.now() < untilMs) {
    await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
    const now = remaining();
    if (now !== left) logger.info('draining', { ranges: now });
    left = now;
  }
  if (left > 0) logger.warn('stopping with ranges that did not leave in time; they wait for this node to come back', { ranges: left });
  else logger.info('drained');
}

/** Also while that begins or ends: who is to be primary is about to change. */
function isServed({ state }: { readonly state: RemoteState }): boolean {
  return state === 'Active' || state === 'Activating' || state === 'Deactivating';
}
