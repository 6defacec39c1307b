import { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders, connect, constants } from 'node:http2';
import { messageOf } from '../../runtime/errors.js';
import { encodeGetRequest, encodePutRequest } from '../../proto/kv-codec.js';

const { NGHTTP2_CANCEL } = constants;

/**
 * kv.KV and kv.Store on plain HTTP/2. A gRPC client costs twice the CPU that a server does, and
 * would measure itself.
 */
export class Caller {
  private readonly sessions: ClientHttp2Session[];
  private next = 0;

  constructor(address: string, connections: number) {
    this.sessions = Array.from({ length: connections }, () => {
      const session = connect(`http://${address}`);
      // Each request of a broken connection says so itself.
      session.on('error', () => undefined);
      return session;
    });
  }

  get(key: Buffer, done: (problem: string | undefined) => void): void {
    this.call('/kv.KV/Get', encodeGetRequest(key), done);
  }

  put(key: Buffer, value: Buffer, done: (problem: string | undefined) => void): void {
    this.call('/kv.KV/Put', encodePutRequest(key, value), done);
  }

  close(): void {
    for (const session of this.sessions) session.close();
  }

  /** An answer of fewer bytes than `bytesMin` is a failure. */
  call(path: string, request: Buffer, done: (problem: string | undefined) => void, bytesMin = 0): void {
    const session = this.sessions[this.next++ % this.sessions.length];
    if (!session || session.closed || session.destroyed) {
      done('the connection is closed');
      return;
    }
    let stream: ClientHttp2Stream;
    try {
      stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    } catch (thrown) {
      // The other side is closing the connection.
      done(messageOf(thrown));
      return;
    }
    let outcome: string | undefined = 'the stream ended without a status';
    const onHeaders = (headers: IncomingHttpHeaders): void => {
      const status = headers['grpc-status'];
      if (status !== undefined) outcome = status === '0' ? undefined : `status ${status.toString()}: ${headers['grpc-message']?.toString() ?? ''}`;
    };
    stream.on('response', onHeaders);
    stream.on('trailers', onHeaders);
    stream.on('error', (error: Error) => {
      outcome = error.message;
      stream.close(NGHTTP2_CANCEL);
    });
    let bytes = 0;
    stream.on('data', (part: Buffer) => {
      bytes += part.length;
    });
    stream.on('close', () => {
      done(outcome ?? (bytes < bytesMin ? `an answer of ${bytes} bytes` : undefined));
    });
    stream.end(frame(request));
  }
}

/** gRPC's prefix: not compressed, and the length. */
function frame(message: Buffer): Buffer {
  const out = Buffer.allocUnsafe(5 + message.length);
  out[0] = 0;
  out.writeUInt32BE(message.length, 1);
  message.copy(out, 5);
  return out;
}
