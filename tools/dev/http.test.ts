import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { httpGet } from './http.js';

describe('httpGet', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  function listen(port: number, answer: (end: (status: number, body: string) => void) => void): Promise<boolean> {
    server = createServer((_, response) => {
      answer((status, body) => response.writeHead(status).end(body));
    });
    return new Promise((resolve) => {
      server?.on('error', () => {
        resolve(false);
      });
      server?.listen(port, 'localhost', () => {
        resolve(true);
      });
    });
  }
  const portOf = (): number => (server?.address() as { port: number }).port;

  it('answers with status and body, whatever the port', async () => {
    // One of those that fetch() refuses, whichever is free.
    const refused = [10080, 6697, 6669, 6668, 6667, 6666, 6665, 6566, 6000, 5061];
    for (const port of refused) if (await listen(port, (end) => { end(503, '{"ready":false}'); })) break;
    await expect(fetch(`http://localhost:${portOf()}/ready`)).rejects.toMatchObject({ cause: { message: 'bad port' } });
    expect(await httpGet(`http://localhost:${portOf()}/ready`, 2000)).toEqual({ status: 503, body: '{"ready":false}' });
  });

  it('says that nobody listens, and that nobody answered in time', async () => {
    await listen(0, () => undefined);
    const port = portOf();
    await expect(httpGet(`http://localhost:${port}/`, 20)).rejects.toMatchObject({ name: 'TimeoutError' });
    server?.closeAllConnections();
    server?.close();
    await expect(httpGet(`http://localhost:${port}/`, 2000)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
