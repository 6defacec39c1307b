import type { Clock } from '../../runtime/clock.js';
import type { Copy } from '../range/copy.js';

/** Waits for `condition`, which is looked at when the copy changes; false when that takes longer than `ms`. */
export async function within(clock: Clock, ms: number, copy: Copy, condition: () => boolean): Promise<boolean> {
  if (condition()) return true;
  const late = { is: false };
  const cancel = clock.after(ms, () => {
    late.is = true;
    copy.notify();
  });
  await copy.until(() => late.is || condition());
  cancel();
  return condition();
}
