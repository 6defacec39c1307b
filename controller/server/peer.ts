import * as grpc from '@grpc/grpc-js';
import { channelOptions } from '../../proto/channel.js';
import { fromServiceError } from '../../proto/status.js';

export type PeerMethod = grpc.MethodDefinition<unknown, unknown>;

export interface PeerCallOptions {
  readonly metadata: grpc.Metadata;
  /** Wall-clock milliseconds; Infinity when there is none. */
  readonly deadline: number;
  readonly signal: AbortSignal;
}

/** Another controller. Calls reject with AppErrors. */
export interface Peer {
  unary(method: PeerMethod, request: unknown, options: PeerCallOptions): Promise<unknown>;
  /** Resolves when the stream ended well. */
  stream(method: PeerMethod, request: unknown, options: PeerCallOptions, onMessage: (message: unknown) => void): Promise<void>;
  close(): void;
}

export class GrpcPeer implements Peer {
  private readonly client: grpc.Client;

  constructor(address: string) {
    this.client = new grpc.Client(address, grpc.credentials.createInsecure(), channelOptions());
  }

  unary(method: PeerMethod, request: unknown, { metadata, deadline, signal }: PeerCallOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const call = this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline }, (error, answer) => {
        stopListening();
        if (error) reject(fromServiceError(error));
        else resolve(answer);
      });
      const stopListening = cancelOn(signal, call);
    });
  }

  stream(method: PeerMethod, request: unknown, { metadata, deadline, signal }: PeerCallOptions, onMessage: (message: unknown) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const call = this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline });
      const stopListening = cancelOn(signal, call);
      call.on('data', onMessage);
      call.on('error', (error) => {
        stopListening();
        reject(fromServiceError(error));
      });
      call.on('end', () => {
        stopListening();
        resolve();
      });
    });
  }

  close(): void {
    this.client.close();
  }
}

function cancelOn(signal: AbortSignal, call: { cancel(): void }): () => void {
  const cancel = (): void => {
    call.cancel();
  };
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  return () => {
    signal.removeEventListener('abort', cancel);
  };
}
