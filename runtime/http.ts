import { STATUS_CODES, createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
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
  // Node's own refusal of a request without a host has no body.
  const server = createServer({ requestTimeout: requestMs, headersTimeout: requestMs, connectionsCheckingInterval: Math.min(requestMs, 5000), requireHostHeader: false });
  const handled: HttpHandler = (request, response) => {
    if (request.headers.host !== undefined || request.httpVersion === '1.0') handler(request, response);
    else refuse(response, 400, 'bad_request', 'the request has no Host header, which HTTP/1.1 demands');
  };
  server.on('request', handled);
  server.on('checkContinue', handled);
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    refuse(response, 417, 'bad_header', `Expect: ${request.headers.expect ?? ''} is not known here, only 100-continue`);
  });
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    socket.end(rawAnswer(501, 'not_supported', 'CONNECT: nothing is tunnelled here'));
  });
  server.on('clientError', refuseMalformed);
  return server;
}

const STATUS_OF_ERROR: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };

/** The body is not read, so the connection ends with it. */
function refuse(response: ServerResponse, status: number, code: string, detail: string): void {
  response.writeHead(status, { connection: 'close', 'content-type': PROBLEM_TYPE }).end(problemText(status, code, detail));
}

function refuseMalformed(error: NodeJS.ErrnoException, stream: unknown): void {
  const socket = stream as Socket;
  // An answer that is on its way is not to be followed by another one.
  const { _httpMessage: answering } = socket as { _httpMessage?: ServerResponse };
  if (!socket.writable || error.code === 'ECONNRESET' || answering?.headersSent === true) {
    socket.destroy(error);
    return;
  }
  socket.end(rawAnswer(STATUS_OF_ERROR[error.code ?? ''] ?? 400, 'bad_request', `this is no HTTP request that can be read: ${error.message}`));
}

/** Where there is no response to write to. */
function rawAnswer(status: number, code: string, detail: string): string {
  const body = problemText(status, code, detail);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

export const PROBLEM_TYPE = 'application/problem+json';

/** A problem document (RFC 9457). */
export function problemText(status: number, code: string, detail: string): string {
  return `${JSON.stringify({ type: `urn:keyranger:problem:${code}`, title: STATUS_CODES[status] ?? '', status, code, detail })}\n`;
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
