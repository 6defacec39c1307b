import * as grpc from '@grpc/grpc-js';
import { NO_MEMBERSHIP, type RangesEvent } from '../../model/report.js';
import type { Cancel, Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { channelOptions } from '../../proto/channel.js';
import {
  countToWire,
  epochToWire,
  membershipToWire,
  parentToWire,
  rangeIdToWire,
  rangeInfoFromWire,
  rangeMetaToWire,
  rangesEventFromWire,
  remoteStateFromWire,
} from '../../proto/convert.js';
import { type InfoResponse, NodeClient, type PrepareResponse, type ServeResponse } from '../../proto/gen/ranger/node.js';
import type { RangeNodeState } from '../../proto/gen/ranger/types.js';
import { fromServiceError } from '../../proto/status.js';
import type { WantedCommand } from '../orchestrator/types.js';
import type { CommandAnswer, Dial, NodeTransport, SendOptions } from './transport.js';

/** Dials nodes over gRPC. */
export function grpcDial(clock: Clock): Dial {
  return (address) => new GrpcTransport(new NodeClient(address, grpc.credentials.createInsecure(), channelOptions()), clock);
}

type Callback<R> = (error: grpc.ServiceError | null, response: R) => void;
type Invoke<R> = (options: Partial<grpc.CallOptions>, callback: Callback<R>) => grpc.ClientUnaryCall;

class GrpcTransport implements NodeTransport {
  constructor(
    private readonly client: NodeClient,
    private readonly clock: Clock,
  ) {}

  async send(command: WantedCommand, options: SendOptions): Promise<CommandAnswer> {
    const range = rangeIdToWire(command.range.id);
    const epoch = epochToWire(command.epoch);
    const term = countToWire(options.term);
    const none = new grpc.Metadata();
    const parents = command.parents.map(parentToWire);
    const call = <R>(invoke: Invoke<R>): Promise<R> => this.call(invoke, options);
    switch (command.command) {
      case 'Prepare': {
        const request = { range: rangeMetaToWire(command.range), parents, epoch, initial: command.initial, term, fork: epochToWire(command.membership?.fork ?? 0) };
        const { rangeInfo } = await call<PrepareResponse>((o, done) => this.client.prepare(request, none, o, done));
        const info = rangeInfoFromWire(rangeInfo, 'range_info');
        return { state: info.state, lastError: info.lastError, info };
      }
      case 'Activate': {
        const request = { range, force: false, epoch, sources: parents, initial: command.initial, term, ...membershipToWire(command.membership ?? NO_MEMBERSHIP) };
        return served(await call<ServeResponse>((o, done) => this.client.activate(request, none, o, done)));
      }
      case 'Deactivate':
        return served(await call<ServeResponse>((o, done) => this.client.deactivate({ range, epoch, term }, none, o, done)));
      case 'Drop':
        return served(await call<ServeResponse>((o, done) => this.client.drop({ range, force: command.force ?? false, epoch, term }, none, o, done)));
    }
  }

  async info(options: { timeoutMs: number }): ReturnType<NodeTransport['info']> {
    const none = new grpc.Metadata();
    const wire = await this.call<InfoResponse>((o, done) => this.client.info({}, none, o, done), options);
    return {
      ranges: wire.ranges.map((range, i) => rangeInfoFromWire(range, `ranges[${i}]`)),
      wantDrain: wire.wantDrain,
      ident: wire.ident || undefined,
      incarnation: wire.incarnation || undefined,
    };
  }

  ranges(listener: { event(event: RangesEvent): void; ended(reason: AppError): void }): Cancel {
    const call = this.client.ranges({});
    let over = false;
    const end = (reason: AppError): void => {
      if (over) return;
      over = true;
      listener.ended(reason);
    };
    call.on('data', (wire: Parameters<typeof rangesEventFromWire>[0]) => {
      if (over) return;
      try {
        const event = rangesEventFromWire(wire);
        if (event) listener.event(event);
      } catch (thrown) {
        call.cancel();
        end(AppError.from(thrown));
      }
    });
    call.on('error', (thrown) => {
      end(fromServiceError(thrown));
    });
    call.on('end', () => {
      end(new AppError('UNAVAILABLE', 'the node ended its stream of ranges'));
    });
    return () => {
      over = true;
      call.cancel();
    };
  }

  close(): void {
    this.client.close();
  }

  private call<R>(invoke: Invoke<R>, options: { timeoutMs: number; signal?: AbortSignal }): Promise<R> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs } = options;
      if (signal?.aborted) {
        reject(new AppError('CANCELLED', 'not wanted any more'));
        return;
      }
      const onAbort = (): void => {
        call.cancel();
      };
      const call = invoke({ deadline: this.clock.wallMs() + timeoutMs }, (error, response) => {
        signal?.removeEventListener('abort', onAbort);
        if (error) reject(fromServiceError(error));
        else resolve(response);
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

function served(response: { readonly state: RangeNodeState; readonly lastError: string }): CommandAnswer {
  return { state: remoteStateFromWire(response.state, 'state'), lastError: response.lastError, info: undefined };
}
