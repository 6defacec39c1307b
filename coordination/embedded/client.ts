import * as grpc from '@grpc/grpc-js';
import { Observable } from 'rxjs';
import { channelOptions } from '../../proto/channel.js';
import { DiscoveryClient, type RegisterRequest, type WatchResponse } from '../../proto/gen/ranger/coordination.js';
import { fromServiceError } from '../../proto/status.js';
import { type Cancel, type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Random } from '../../runtime/random.js';
import { Backoff } from '../backoff.js';
import { validateInstance } from '../instances.js';
import type { Discovery, Instance, Registration, ServiceName } from '../interfaces.js';
import { SteadyList } from '../steady-list.js';
import { HEARTBEAT_MS, instanceFromWire, instanceToWire } from './wire.js';

/** How long after a controller's return everybody has come back to it: its clients dial it at least once a second. */
const SETTLE_MS = 2500;
/** A frozen controller is noticed within the sum. */
const KEEPALIVE = { keepaliveMs: 1000, keepaliveTimeoutMs: 500 };
/** How long a stream may take to begin before it is said in the log. */
const PATIENCE_MS = 3000;

export interface EmbeddedDiscoveryOptions {
  /** Where the controller answers, host:port. */
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Answers of a controller that no repetition changes. */
const REFUSALS: ReadonlySet<string> = new Set(['ALREADY_EXISTS', 'INVALID_ARGUMENT', 'RESOURCE_EXHAUSTED', 'UNIMPLEMENTED']);

/** Discovery for nodes and proxies of a cluster whose controller is the backend. */
export class EmbeddedDiscovery implements Discovery {
  private readonly client: DiscoveryClient;
  private readonly closing = new AbortController();

  constructor(private readonly options: EmbeddedDiscoveryOptions) {
    this.client = new DiscoveryClient(options.address, grpc.credentials.createInsecure(), channelOptions(KEEPALIVE));
  }

  async register(instance: Instance): Promise<Registration> {
    validateInstance(instance);
    if (this.closing.signal.aborted) throw closed();
    const leaving = new AbortController();
    const signal = AbortSignal.any([leaving.signal, this.closing.signal]);
    await new Promise<void>((resolve, reject) => {
      void this.keepRegistered(instance, signal, { resolve, reject });
    });
    return {
      deregister: () => {
        leaving.abort(closed());
        return Promise.resolve();
      },
    };
  }

  watch(service: ServiceName): Observable<readonly Instance[]> {
    return new Observable((subscriber) => {
      const { clock } = this.options;
      const list = new SteadyList({ clock, settleMs: SETTLE_MS, emit: (instances) => subscriber.next(instances) });
      const stopping = new AbortController();
      const signal = AbortSignal.any([stopping.signal, this.closing.signal]);
      // Synchronously, so that whoever closes finds the watches completed.
      this.closing.signal.addEventListener('abort', () => subscriber.complete(), { once: true });
      if (signal.aborted) subscriber.complete();
      else void this.keepWatching(service, list, signal);
      return () => {
        stopping.abort(closed());
        list.close();
      };
    });
  }

  close(): Promise<void> {
    this.closing.abort(closed());
    this.client.close();
    return Promise.resolve();
  }

  private async keepRegistered(
    instance: Instance,
    signal: AbortSignal,
    first: { resolve: () => void; reject: (error: AppError) => void },
  ): Promise<void> {
    const { logger } = this.options;
    let held = false;
    const onHeld = (): void => {
      logger.info(held ? 'registered again with the controller' : 'registered with the controller', { ident: instance.ident });
      held = true;
      first.resolve();
    };
    await this.repeat(signal, async (began) => {
      const error = await this.holdRegistration(instance, signal, () => {
        began();
        onHeld();
      });
      if (REFUSALS.has(error.code)) {
        if (!held) {
          first.reject(this.explain(error));
          return 'stop';
        }
        logger.error('the controller refuses this registration, trying on', { ident: instance.ident, reason: error.message });
      }
      return 'again';
    });
    first.reject(closed());
  }

  /** Resolves with what ended the stream. */
  private holdRegistration(instance: Instance, signal: AbortSignal, onHeld: () => void): Promise<AppError> {
    return new Promise((resolve) => {
      const stream = this.client.register(waitForReady());
      let cancelHeartbeat: Cancel = () => {};
      const beat = (): void => {
        cancelHeartbeat = this.options.clock.after(HEARTBEAT_MS, beat, { unref: true });
        stream.write({ instance: undefined } satisfies RegisterRequest);
      };
      const stop = (): void => stream.cancel();
      const done = (error: AppError): void => {
        cancelHeartbeat();
        signal.removeEventListener('abort', stop);
        resolve(error);
      };
      signal.addEventListener('abort', stop, { once: true });
      stream.once('data', () => {
        onHeld();
        cancelHeartbeat = this.options.clock.after(HEARTBEAT_MS, beat, { unref: true });
        stream.resume();
      });
      stream.on('error', (error) => done(fromServiceError(error)));
      stream.on('end', () => done(new AppError('UNAVAILABLE', 'the controller ended the registration')));
      stream.write({ instance: instanceToWire(instance) } satisfies RegisterRequest);
    });
  }

  private async keepWatching(service: ServiceName, list: SteadyList, signal: AbortSignal): Promise<void> {
    await this.repeat(signal, async (began) => {
      await this.followWatch(service, signal, (instances) => {
        began();
        list.update(instances);
      });
      list.lost();
      return 'again';
    });
  }

  private followWatch(service: ServiceName, signal: AbortSignal, onList: (instances: readonly Instance[]) => void): Promise<void> {
    return new Promise((resolve) => {
      const stream = this.client.watch({ service }, waitForReady());
      const stop = (): void => stream.cancel();
      const done = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      signal.addEventListener('abort', stop, { once: true });
      stream.on('data', (message: WatchResponse) => {
        if (!signal.aborted) onList(message.instances.flatMap((wire) => this.readable(wire)));
      });
      stream.on('error', done);
      stream.on('end', done);
    });
  }

  /** A newer controller may name things that this process cannot use; the others still count. */
  private readable(wire: WatchResponse['instances'][number]): Instance[] {
    try {
      return [instanceFromWire(wire)];
    } catch (thrown) {
      this.options.logger.warn('an instance is not usable, ignored', { ident: wire.ident, reason: AppError.from(thrown).message });
      return [];
    }
  }

  /** Runs `once` over and over with back-off, and says it once when nothing begins for long. */
  private async repeat(signal: AbortSignal, once: (began: () => void) => Promise<'again' | 'stop'>): Promise<void> {
    const { clock, random, logger, address } = this.options;
    const backoff = new Backoff(random);
    let cancelNotice: Cancel | undefined;
    const began = (): void => {
      backoff.reset();
      cancelNotice?.();
      cancelNotice = undefined;
    };
    while (!signal.aborted) {
      cancelNotice ??= clock.after(PATIENCE_MS, () => logger.warn('the controller does not answer, trying on', { address }), { unref: true });
      if ((await once(began)) === 'stop') break;
      await sleep(clock, backoff.next(), signal).catch(() => {});
    }
    cancelNotice?.();
  }

  private explain(error: AppError): AppError {
    if (error.code !== 'UNIMPLEMENTED') return error;
    return new AppError(
      'FAILED_PRECONDITION',
      `the process at ${this.options.address} does not offer embedded coordination: give the address of a controller that runs with --coordination embedded`,
      { cause: error },
    );
  }
}

/** The call waits for the channel, which dials again and again with its own back-off of at most a second. */
function waitForReady(): grpc.Metadata {
  return new grpc.Metadata({ waitForReady: true });
}

function closed(): AppError {
  return new AppError('CANCELLED', 'the discovery was closed');
}
