import { shareReplay } from 'rxjs';
import { Router } from '../client/router.js';
import { GrpcStore } from '../client/store/grpc-store.js';
import { RoutedStore } from '../client/store/routed-store.js';
import { grpcTransports } from '../client/transport.js';
import type { Discovery } from '../coordination/interfaces.js';
import { defaultIdent } from '../model/range.js';
import { GET, PUT } from '../proto/kv-codec.js';
import { Mirror } from '../rangelet/mirror.js';
import { grpcRanges } from '../rangelet/mirror-grpc.js';
import { addStoreService } from '../proto/store-server.js';
import type { Clock } from '../runtime/clock.js';
import { dialable } from '../runtime/common-options.js';
import type { Logger } from '../runtime/log.js';
import { createMetrics } from '../runtime/metrics.js';
import type { Random } from '../runtime/random.js';
import { RequestMetrics } from '../runtime/request-metrics.js';
import { listen } from '../runtime/server.js';
import { endOfTurn } from '../runtime/turn.js';
import { type Address, formatAddress } from '../runtime/units.js';
import { registerRouterMetrics } from './metrics.js';
import { MirroredOwners, ProxyReadiness } from './owners.js';
import { addProxyServices } from './services.js';

export interface ProxyOptions {
  readonly listen: Address;
  /** The proxy's name in the cluster; from the address when not given. */
  readonly ident?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBytesInFlight: number;
  readonly graceMs: number;
  readonly discovery: Discovery;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Discovery refuses the proxy for good, because another process has its ident. */
  readonly onRefused: (reason: unknown) => void;
}

export interface Proxy {
  readonly address: string;
  readonly ident: string;
  close(): Promise<void>;
}

/**
 * A running proxy. It is in discovery once it can be reached, and on closing leaves
 * discovery first, so that clients turn elsewhere while the last answers go out.
 */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const { clock, random, logger, discovery } = options;
  const nodes = discovery.watch('node').pipe(shareReplay({ bufferSize: 1, refCount: true }));
  const mirror = new Mirror({ nodes, connect: grpcRanges({ clock, logger }), clock, random, logger });
  const owners = new MirroredOwners(mirror, nodes);
  const router = new Router({
    owners,
    transports: grpcTransports(clock),
    clock,
    logger,
    timeoutMs: options.timeoutMs,
    maxBytesInFlight: options.maxBytesInFlight,
    limitName: '--max-bytes-in-flight',
  });
  const store = new RoutedStore({ owners, connect: (address) => new GrpcStore(address, clock), router, budget: router.budget, clock, timeoutMs: options.timeoutMs });
  const stopRouting = (): void => {
    store.close();
    router.close();
    mirror.close();
  };
  try {
    const server = await startServer(options, { router, store, mirror });
    const { host } = dialable(options.listen);
    const address = formatAddress({ host, port: server.port });
    const ident = options.ident ?? defaultIdent(options.listen.host, server.port);
    // The coordination may be away for now; requests do not wait for the proxy to be announced.
    const registration = discovery.register({ service: 'proxy', ident, address, meta: {} });
    let closing = false;
    registration.catch((reason: unknown) => {
      // A registration that is cut short because the proxy leaves is no refusal.
      if (!closing) options.onRefused(reason);
    });
    logger.info('proxy listens', { address, ident });
    const close = async (): Promise<void> => {
      closing = true;
      const leaving = registration.then(
        (held) => held.deregister(),
        () => undefined,
      );
      await Promise.race([leaving, waitMs(clock, 1000)]);
      await server.close(options.graceMs);
      stopRouting();
    };
    return { address, ident, close };
  } catch (thrown) {
    stopRouting();
    throw thrown;
  }
}

function startServer(options: ProxyOptions, { router, store, mirror }: { readonly router: Router; readonly store: RoutedStore; readonly mirror: Mirror }): ReturnType<typeof listen> {
  const { clock, logger } = options;
  const metrics = createMetrics({ name: 'proxy' });
  const requests = new RequestMetrics('keyranger_proxy', new Map([[GET, 'get'], [PUT, 'put']]));
  requests.register(metrics);
  registerRouterMetrics(metrics, router, mirror);
  return listen({
    listen: options.listen,
    logger,
    clock,
    metrics,
    ready: new ProxyReadiness(mirror, clock).check,
    services: (server, closing) => {
      addProxyServices(server, { router, clock, turn: endOfTurn, closing, observe: requests.observe });
      addStoreService(server, store, { logger, clock, closing });
    },
  });
}

function waitMs(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, { unref: true });
  });
}
