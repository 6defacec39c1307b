import { createServer } from 'node:net';
import { messageOf } from '../../runtime/errors.js';
import type { Planned } from './plan.js';

/** Which of the ports cannot be had, before anything is started. */
export async function takenPorts(planned: readonly Planned[]): Promise<readonly string[]> {
  const checked = await Promise.all(planned.map(async ({ name, port }) => ({ name, port, problem: await tryPort(port) })));
  return checked.flatMap(({ name, port, problem }) => (problem === undefined ? [] : [`port ${port}, wanted for ${name}, ${problem}`]));
}

function tryPort(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRINUSE' ? 'is taken by another process' : `cannot be had: ${messageOf(error)}`);
    });
    server.listen({ port, host: 'localhost' }, () => {
      server.close(() => {
        resolve(undefined);
      });
    });
  });
}
