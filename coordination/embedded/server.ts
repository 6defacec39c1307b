import type * as grpc from '@grpc/grpc-js';
import { distinctUntilChanged, type Observable, Subject, takeUntil } from 'rxjs';
import {
  DiscoveryService,
  type RegisterRequest,
  type RegisterResponse,
  type WatchRequest,
  type WatchResponse,
} from '../../proto/gen/ranger/coordination.js';
import { addService, type CallContext, failCall, send } from '../../proto/serve.js';
import type { Cancel, Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import { sameInstances, validateInstance } from '../instances.js';
import type { Discovery, Instance, Registration, ServiceName } from '../interfaces.js';
import { type Lease, Registry } from './registry.js';
import { instanceFromWire, instanceToWire, LEASE_MS, serviceFromWire } from './wire.js';

type RegisterCall = grpc.ServerDuplexStream<RegisterRequest, RegisterResponse>;
type WatchCall = grpc.ServerWritableStream<WatchRequest, WatchResponse>;

/**
 * The embedded backend's server, which the controller mounts on its port: nodes and
 * proxies hold a Register stream as their lease. `close` comes before the port's
 * closing (give `register` the port's signal), so that nobody is told of the others'
 * streams ending one by one.
 */
export class EmbeddedDiscoveryServer {
  /** The controller's own view, without a network. */
  readonly local: Discovery;
  private readonly registry = new Registry();
  private readonly closed = new Subject<void>();
  private readonly calls = new Set<NodeJS.EventEmitter>();
  private isClosed = false;

  constructor(private readonly deps: { readonly clock: Clock; readonly logger: Logger }) {
    this.local = new LocalDiscovery(this.registry, this.closed);
  }

  /** Adds the `ranger.Discovery` service; with a signal that says when the port begins to close. */
  register(server: grpc.Server, closing?: AbortSignal): void {
    closing?.addEventListener('abort', () => this.close(), { once: true });
    addService(
      server,
      DiscoveryService,
      {
        register: (call, ctx) => {
          this.track(call, ctx);
          this.serveRegistration(call, ctx);
        },
        watch: (call, ctx) => {
          this.track(call, ctx);
          return this.serveWatch(call, ctx);
        },
      },
      { logger: this.deps.logger, clock: this.deps.clock },
    );
  }

  /** Ends every stream; those at the other ends keep what they know, and come back when a controller answers again. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.closed.next();
    this.closed.complete();
    for (const call of this.calls) failCall(call, closing());
  }

  private track(call: NodeJS.EventEmitter, ctx: CallContext): void {
    if (this.isClosed) throw closing();
    this.calls.add(call);
    ctx.signal.addEventListener('abort', () => this.calls.delete(call), { once: true });
  }

  private serveRegistration(call: RegisterCall, ctx: CallContext): void {
    const held = new HeldStream(call, this.registry, this.deps);
    ctx.signal.addEventListener(
      'abort',
      () => {
        held.end();
      },
      { once: true },
    );
    call.on('data', (message: RegisterRequest) => {
      held.heard(message);
    });
    call.on('end', () => {
      held.end();
      call.end();
    });
    call.on('error', () => {
      held.end();
    });
  }

  /** A slow reader is sent the newest list only, however often it changed meanwhile. */
  private async serveWatch(call: WatchCall, ctx: CallContext): Promise<void> {
    const service = serviceFromWire(call.request.service);
    let newest: readonly Instance[] | undefined;
    let wake = (): void => {};
    const subscription = this.local.watch(service).subscribe((instances) => {
      newest = instances;
      wake();
    });
    ctx.signal.addEventListener('abort', () => {
      subscription.unsubscribe();
      wake();
    });
    while (!ctx.signal.aborted) {
      if (newest) {
        const instances = newest.map(instanceToWire);
        newest = undefined;
        await send(call, { instances }, ctx.signal);
      } else {
        await new Promise<void>((resolve) => (wake = resolve));
      }
    }
  }
}

/** One Register stream: registers at its first message, leaves when it ends or falls silent. */
class HeldStream implements Lease {
  private instance: Instance | undefined;
  private over = false;
  private cancelLease: Cancel;

  constructor(
    private readonly call: RegisterCall,
    private readonly registry: Registry,
    private readonly deps: { readonly clock: Clock; readonly logger: Logger },
  ) {
    this.cancelLease = this.armLease();
  }

  heard(message: RegisterRequest): void {
    if (this.over) return;
    this.cancelLease();
    this.cancelLease = this.armLease();
    if (this.instance) return;
    try {
      if (!message.instance) throw new AppError('INVALID_ARGUMENT', 'instance is missing in the first message');
      const instance = instanceFromWire(message.instance);
      this.registry.enter(instance, this);
      this.instance = instance;
      this.call.write({});
      this.deps.logger.info('registered', { service: instance.service, ident: instance.ident, address: instance.address });
    } catch (thrown) {
      this.fail(AppError.from(thrown));
    }
  }

  replaced(): void {
    this.fail(new AppError('ABORTED', 'the same process has registered again on another connection'));
  }

  end(): void {
    if (this.over) return;
    this.over = true;
    this.cancelLease();
    if (!this.instance) return;
    const { service, ident } = this.instance;
    this.registry.leave(this.instance, this);
    this.deps.logger.info('registration ended', { service, ident });
  }

  private fail(error: AppError): void {
    if (this.over) return;
    this.end();
    failCall(this.call, error);
  }

  private armLease(): Cancel {
    const silent = (): void => {
      const what = this.instance ? 'the process has been silent' : 'no registration came';
      this.fail(new AppError('DEADLINE_EXCEEDED', `${what} for ${LEASE_MS} ms`));
    };
    return this.deps.clock.after(LEASE_MS, silent, { unref: true });
  }
}

class LocalDiscovery implements Discovery {
  private readonly mine = new Set<Registration>();

  constructor(
    private readonly registry: Registry,
    private readonly closed: Observable<void>,
  ) {}

  register(instance: Instance): Promise<Registration> {
    const lease: Lease = { replaced: () => {} };
    try {
      validateInstance(instance);
      this.registry.enter(instance, lease);
    } catch (thrown) {
      return Promise.reject(AppError.from(thrown));
    }
    const registration: Registration = {
      deregister: () => {
        this.mine.delete(registration);
        this.registry.leave(instance, lease);
        return Promise.resolve();
      },
    };
    this.mine.add(registration);
    return Promise.resolve(registration);
  }

  watch(service: ServiceName): Observable<readonly Instance[]> {
    return this.registry.watch(service).pipe(distinctUntilChanged(sameInstances), takeUntil(this.closed));
  }

  async close(): Promise<void> {
    await Promise.all([...this.mine].map((registration) => registration.deregister()));
  }
}

function closing(): AppError {
  return new AppError('UNAVAILABLE', 'the controller is closing');
}
