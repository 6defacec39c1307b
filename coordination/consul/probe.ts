import { createConnection } from 'node:net';
import type { Clock } from '../../runtime/clock.js';
import { parseAddress } from '../instances.js';

/** Whether something accepts connections at the address, within the time. */
export function accepts(address: string, ms: number, clock: Clock): Promise<boolean> {
  const at = parseAddress(address);
  if (!at) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = createConnection(at);
    const done = (answer: boolean): void => {
      cancel();
      socket.destroy();
      resolve(answer);
    };
    const cancel = clock.after(ms, () => done(false));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
