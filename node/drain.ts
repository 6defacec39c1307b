import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { KvNode } from './node.js';

/** How often it is looked at whether anything is left. */
const LOOK_MS = 100;

export interface DrainOptions {
  readonly node: Pick<KvNode, 'rangelet'>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Asks the controller to move everything away, and waits until that is done. What is
 * still here when the time is up stays: it waits for this node to come back.
 */
export async function drainNode({ node, timeoutMs, clock, logger }: DrainOptions): Promise<void> {
  const { rangelet } = node;
  const untilMs = clock.now() + timeoutMs;
  let left = rangelet.info().ranges.length;
  rangelet.setWantDrain(true);
  logger.info('draining before the stop; a second signal stops at once', { ranges: left });
  while (left > 0 && clock.now() < untilMs) {
    await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
    const now = rangelet.info().ranges.length;
    if (now !== left) logger.info('draining', { ranges: now });
    left = now;
  }
  if (left > 0) logger.warn('stopping with ranges that did not leave in time; they wait for this node to come back', { ranges: left });
  else logger.info('drained');
}
