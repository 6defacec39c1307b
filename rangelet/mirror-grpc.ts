import * as grpc from '@grpc/grpc-js';
import { Observable } from 'rxjs';
import { type KeepaliveOptions, channelOptions } from '../proto/channel.js';
import { rangesEventFromWire } from '../proto/convert.js';
import { NodeClient, type RangesResponse } from '../proto/gen/ranger/node.js';
import { fromServiceError } from '../proto/status.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError, messageOf } from '../runtime/errors.js';
import { type Logger, silentLogger } from '../runtime/log.js';
import type { LinkEvent, RangesTransport } from './mirror-link.js';

export interface GrpcRangesOptions extends KeepaliveOptions {
  readonly credentials?: grpc.ChannelCredentials;
  /** How long a node has to take the connection. */
  readonly connectMs?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** A frozen node is noticed within this and the time-out together. */
const KEEPALIVE_MS = 1000;
const KEEPALIVE_TIMEOUT_MS = 500;
const CONNECT_MS = 2000;

/** Streams of ranges over gRPC, each on a connection of its own, which is how a node that froze is told from one that is silent. */
export function grpcRanges(options: GrpcRangesOptions = {}): RangesTransport {
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const credentials = options.credentials ?? grpc.credentials.createInsecure();
  const channel = {
    ...channelOptions({
      keepaliveMs: options.keepaliveMs ?? KEEPALIVE_MS,
      keepaliveTimeoutMs: options.keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS,
    }),
    // A connection that another part of the process holds says nothing about this stream.
    'grpc.use_local_subchannel_pool': 1,
  };

  return (address) =>
    new Observable<LinkEvent>((subscriber) => {
      const client = new NodeClient(address, credentials, channel);
      const call = client.ranges({});
      client.waitForReady(clock.wallMs() + (options.connectMs ?? CONNECT_MS), (error) => {
        if (error) subscriber.error(new AppError('UNAVAILABLE', `no connection to ${address}: ${messageOf(error)}`));
        else subscriber.next({ type: 'connected' });
      });
      call.on('data', (message: RangesResponse) => {
        const event = read(message, address, logger);
        if (event) subscriber.next(event);
      });
      call.on('error', (error) => {
        subscriber.error(fromServiceError(error));
      });
      call.on('end', () => {
        subscriber.complete();
      });
      return () => {
        call.cancel();
        client.close();
      };
    });
}

/** One range that a node reports in a way not understood here must not hide its others. */
function read(message: RangesResponse, address: string, logger: Logger): LinkEvent | undefined {
  try {
    return rangesEventFromWire(message);
  } catch (thrown) {
    logger.warn('a report of a range is left out', { address, error: messageOf(thrown) });
    return undefined;
  }
}
