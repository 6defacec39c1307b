import * as grpc from '@grpc/grpc-js';
import { FollowClient, type FollowRequest, type FollowResponse, FollowService } from '../../proto/gen/kv/follow.js';
import { KVClient } from '../../proto/gen/kv/kv.js';
import { channelOptions } from '../../proto/channel.js';
import { addService, failCall, send } from '../../proto/serve.js';
import { fromServiceError } from '../../proto/status.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { FollowConnection, FollowTransport, PeerDump, SourceChannel } from '../follow/messages.js';
import { FollowSource, type SourceDeps } from '../follow/source.js';
import { toFollowerFromWire, toFollowerWire, toSourceFromWire, toSourceWire } from './follow-convert.js';

/** Serves kv.Follow from this node's copies. */
export function addFollowService(server: grpc.Server, deps: SourceDeps & { readonly logger: Logger }, closing: AbortSignal): void {
  addService(
    server,
    FollowService,
    {
      open: (call, { signal }) => {
        serveFollower(call, AbortSignal.any([signal, closing]), deps);
      },
    },
    { logger: deps.logger },
  );
}

type SourceCall = grpc.ServerDuplexStream<FollowRequest, FollowResponse>;

function serveFollower(call: SourceCall, signal: AbortSignal, deps: SourceDeps): void {
  let source: FollowSource | undefined;
  const channel: SourceChannel = {
    send: (message) => send(call, toFollowerWire(message), signal),
    signal,
  };
  const fail = (thrown: unknown): void => {
    if (signal.aborted && !call.cancelled) failCall(call, new AppError('UNAVAILABLE', 'this node is stopping'));
    else if (!call.cancelled) failCall(call, thrown);
  };
  call.on('data', (request: FollowRequest) => {
    try {
      const message = toSourceFromWire(request);
      if (message.type !== 'start') {
        if (!source) throw new AppError('INVALID_ARGUMENT', 'message: the first one must be start');
        source.receive(message);
        return;
      }
      if (source) throw new AppError('INVALID_ARGUMENT', 'start was given before');
      source = new FollowSource(deps, message.start, channel);
      source.run().catch(fail);
    } catch (thrown) {
      fail(thrown);
    }
  });
  call.on('end', () => {
    call.end();
  });
}

/** Connects to sources over gRPC, a channel an address, kept while something uses it. */
export function grpcFollowTransport(): FollowTransport {
  return (address, start) => {
    const client = new FollowClient(address, grpc.credentials.createInsecure(), {
      ...channelOptions(),
      'grpc-node.flow_control_window': 2 * 1024 * 1024,
      'grpc.use_local_subchannel_pool': 1,
    });
    const call = client.open();
    call.write(toSourceWire({ type: 'start', start }));
    let closed = false;
    const connection: FollowConnection = {
      send: (message) => {
        if (!closed) call.write(toSourceWire(message));
      },
      messages: receive(call),
      close: () => {
        if (closed) return;
        closed = true;
        call.cancel();
        client.close();
      },
    };
    return connection;
  };
}

/** A source that cannot be followed sends all of a range in one answer. */
const DUMP_MS_MAX = 30_000;

export function grpcPeerDump(clock: Clock): PeerDump {
  return (address, range, signal) =>
    new Promise((resolve, reject) => {
      const client = new KVClient(address, grpc.credentials.createInsecure(), channelOptions());
      const call = client.dump({ rangeIdent: BigInt(range) }, new grpc.Metadata(), { deadline: clock.wallMs() + DUMP_MS_MAX }, (error, answer) => {
        signal.removeEventListener('abort', onAbort);
        client.close();
        if (error) reject(fromServiceError(error));
        else resolve(answer.pairs);
      });
      const onAbort = (): void => {
        call.cancel();
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
}

/** Reading pauses the stream while a message is worked on, so a slow disk holds the source back. */
async function* receive(call: grpc.ClientDuplexStream<FollowRequest, FollowResponse>): AsyncGenerator<ReturnType<typeof toFollowerFromWire>> {
  try {
    for await (const response of call) yield toFollowerFromWire(response as FollowResponse);
  } catch (thrown) {
    throw isServiceError(thrown) ? fromServiceError(thrown) : AppError.from(thrown);
  }
}

function isServiceError(thrown: unknown): thrown is grpc.ServiceError {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'number';
}
