import type { Socket } from 'node:net';
import type { Clock } from './clock.js';

/** What a client of HTTP/2, and so of gRPC, sends first. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export type Protocol = 'grpc' | 'http' | 'undecided' | 'garbage';

/**
 * Tells the protocol from the first bytes of a connection. The whole preface is
 * waited for, so that half of one is stopped by our time-out and never reaches
 * gRPC. Whatever does not begin like it goes to the HTTP server, which knows how
 * to refuse what is not HTTP.
 */
export function protocolOf(head: Buffer): Protocol {
  const length = Math.min(head.length, PREFACE.length);
  if (head.compare(PREFACE, 0, length, 0, length) === 0) return length === PREFACE.length ? 'grpc' : 'undecided';
  // PRI is no method of HTTP/1.1; `POST`, `PUT` and `PROPFIND` part from it within four bytes.
  return head.length >= 4 && head.compare(PREFACE, 0, 4, 0, 4) === 0 ? 'garbage' : 'http';
}

export interface Sniffing {
  /** Closes the connection unless it was decided before. */
  cancel(): void;
}

/**
 * Waits for enough bytes to tell, gives them back to the socket, and calls `decided`.
 * A connection that ends, fails, or is silent for `timeoutMs` is closed.
 */
export function sniff(
  socket: Socket,
  options: { readonly clock: Clock; readonly timeoutMs: number },
  decided: (protocol: 'grpc' | 'http') => void,
  gone: () => void,
): Sniffing {
  let head: Buffer = Buffer.alloc(0);
  const stop = (): void => {
    cancelTimer();
    socket.removeListener('data', onData);
    socket.removeListener('end', giveUp);
    socket.removeListener('close', giveUp);
  };
  const giveUp = (): void => {
    stop();
    socket.destroy();
    gone();
  };
  const onData = (bytes: Buffer): void => {
    head = head.length === 0 ? bytes : Buffer.concat([head, bytes]);
    const protocol = protocolOf(head);
    if (protocol === 'undecided') return;
    if (protocol === 'garbage') {
      giveUp();
      return;
    }
    stop();
    // Nothing may flow before the new owner listens.
    socket.pause();
    socket.unshift(head);
    decided(protocol);
  };
  const cancelTimer = options.clock.after(options.timeoutMs, giveUp, { unref: true });
  socket.on('data', onData);
  socket.on('end', giveUp);
  socket.on('close', giveUp);
  return { cancel: giveUp };
}
