import * as grpc from '@grpc/grpc-js';
import { CODE } from '../proto/codes.js';
import { channelOptions } from '../proto/channel.js';
import { GET, decodeValue, encodeGetRequest, encodePutRequest, KNOWS_WRITE_IDS, NO_BYTES, type RequestOptions, type ValueFrame } from '../proto/kv-codec.js';
import type { Clock } from '../runtime/clock.js';

/** How a call ended: a gRPC status. */
export interface EndStatus {
  readonly code: number;
  readonly details: string;
}

export interface PipeEvents {
  /**
   * The node has accepted the stream: what is written from now on may reach it. With
   * `knowsWriteIds` a write that is sent again with its id is applied once.
   */
  onOpen(knowsWriteIds: boolean): void;
  onMessage(bytes: Buffer): void;
  /** Once, last. */
  onEnd(status: EndStatus): void;
}

export interface PipeStream {
  /** `written` is called when the connection has taken the message, or lost it. */
  write(message: Buffer, written: () => void): void;
  /** While paused no message is delivered, and the node is held back by flow control. */
  setPaused(paused: boolean): void;
  /** Ends the stream; `onEnd` still comes. */
  cancel(): void;
}

export interface UnaryRequest extends RequestOptions {
  readonly action: number;
  readonly keyBytes: Buffer;
  readonly value: Buffer | undefined;
}

/** One node's connection, as the pipe needs it: real, or played by a test. */
export interface NodeTransport {
  /** Waits for the connection for as long as it takes. */
  openPipe(events: PipeEvents): PipeStream;
  /** kv.KV of one request. The result gives up on it, after which `done` may be called or not. */
  unary(request: UnaryRequest, timeoutMs: number, done: (status: EndStatus, answer: ValueFrame) => void): () => void;
  /** Whether a unary request would be sent at once. */
  isConnected(): boolean;
  close(): void;
}

export type TransportFactory = (address: string) => NodeTransport;

const NO_ANSWER: ValueFrame = { value: NO_BYTES, epoch: 0, offset: 0 };
const OK: EndStatus = { code: CODE.OK, details: '' };

export function grpcTransports(clock: Clock): TransportFactory {
  return (address) => new GrpcTransport(address, clock);
}

class GrpcTransport implements NodeTransport {
  private readonly client: grpc.Client;

  constructor(
    address: string,
    private readonly clock: Clock,
  ) {
    this.client = new grpc.Client(address, grpc.credentials.createInsecure(), {
      // A node that only stalls must not be taken for one that froze: that leaves the fate of writes unknown.
      ...channelOptions({ keepaliveMs: 1000, keepaliveTimeoutMs: 4000 }),
      // The pipe is one stream for everything: the default window of 64 KiB would be its brake.
      'grpc-node.flow_control_window': 4 * 1024 * 1024,
      // A channel of its own, so that closing it closes the connection.
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  openPipe(events: PipeEvents): PipeStream {
    const metadata = new grpc.Metadata({ waitForReady: true });
    const call = this.client.makeBidiStreamRequest('/kv.Pipe/Open', asIs, asIs, metadata);
    let ended = false;
    call.on('metadata', (headers: grpc.Metadata) => {
      if (!ended) events.onOpen(headers.get(KNOWS_WRITE_IDS)[0] === '1');
    });
    call.on('data', (message: Buffer) => {
      if (!ended) events.onMessage(message);
    });
    call.on('status', (status: grpc.StatusObject) => {
      if (ended) return;
      ended = true;
      events.onEnd({ code: status.code, details: status.details });
    });
    // The status says the same; without a listener the process would end.
    call.on('error', () => undefined);
    return {
      write: (message, written) => {
        call.write(message, written);
      },
      setPaused: (paused) => {
        if (paused) call.pause();
        else call.resume();
      },
      cancel: () => {
        call.cancel();
      },
    };
  }

  unary(request: UnaryRequest, timeoutMs: number, done: (status: EndStatus, answer: ValueFrame) => void): () => void {
    const isGet = request.action === GET;
    const call = this.client.makeUnaryRequest(
      isGet ? '/kv.KV/Get' : '/kv.KV/Put',
      isGet ? (r: UnaryRequest) => encodeGetRequest(r.keyBytes, r) : (r: UnaryRequest) => encodePutRequest(r.keyBytes, r.value, r),
      decodeValue,
      request,
      { deadline: this.clock.wallMs() + timeoutMs },
      (error, answer) => {
        if (error) done({ code: error.code, details: error.details }, NO_ANSWER);
        else done(OK, answer ?? NO_ANSWER);
      },
    );
    return () => {
      call.cancel();
    };
  }

  isConnected(): boolean {
    return this.client.getChannel().getConnectivityState(true) === grpc.connectivityState.READY;
  }

  close(): void {
    this.client.close();
  }
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
