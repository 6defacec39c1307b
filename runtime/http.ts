import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from './clock.js';
import { cannotListen } from './listen-error.js';
import { type Address, formatAddress } from './units.js';

export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** How long an HTTP request may take to arrive. */
export const REQUEST_MS_MAX = 30_000;

/**
 * An HTTP/1.1 server that listens nowhere yet. A client that asks before it sends its
 * body (`Expect: 100-continue`) is given no answer to that: the handler decides. What
 * is no HTTP is told so.
 */
export function createHttp(handler: HttpHandler, { requestMs = REQUEST_MS_MAX }: { readonly requestMs?: number } = {}): Server {
  const server = createServer({ requestTimeout: requestMs, headersTimeout: requestMs, connectionsCheckingInterval: Math.min(requestMs, 5000) });
  server.on('request', handler);
  server.on('checkContinue', handler);
  server.on('clientError', refuseMalformed);
  return server;
}

const STATUS_OF_ERROR: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
};

function refuseMalformed(error: NodeJS.ErrnoException, stream: unknown): void {
  const socket = stream as Socket;
  // An answer that is on its way is not to be followed by another one.
  const { _httpMessage: answering } = socket as { _httpMessage?: ServerResponse };
  if (!socket.writable || error.code === 'ECONNRESET' || answering?.headersSent === true) {
    socket.destroy(error);
    return;
  }
  const [status, title] = STATUS_OF_ERROR[error.code ?? ''] ?? [400, 'Bad Request'];
  const body = `${JSON.stringify({ type: 'urn:keyranger:problem:bad_request', title, status, code: 'bad_request', detail: `this is no HTTP request that can be read: ${error.message}` })}\n`;
  socket.end(`HTTP/1.1 ${status} ${title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

export interface HttpListener {
  /** host:port, with the port that was really taken. */
  readonly address: string;
  /** Takes no more connections, lets requests in flight finish for up to `graceMs`, and cuts off the rest. */
  close(graceMs: number): Promise<void>;
}

/** HTTP on a port of its own. */
export async function listenHttp(options: { readonly listen: Address; readonly flag: string; readonly handler: HttpHandler; readonly clock: Clock }): Promise<HttpListener> {
  const { listen, flag, handler, clock } = options;
  const server = createHttp(handler);
  server.maxConnections = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(cannotListen(listen, error, flag));
    });
    server.listen({ ...(listen.host === '' ? {} : { host: listen.host }), port: listen.port }, resolve);
  });
  const { port } = server.address() as { port: number };
  return {
    address: formatAddress({ host: listen.host, port }),
    async close(graceMs) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const cancel = clock.after(graceMs, () => {
        server.closeAllConnections();
      });
      await closed;
      cancel();
    },
  };
}
