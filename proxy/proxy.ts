import { shareReplay } from 'rxjs';
import { ByteBudget } from '../client/budget.js';
import { Router } from '../client/router.js';
import { GrpcStore } from '../client/store/grpc-store.js';
import { RoutedLogs } from '../client/store/routed-logs.js';
import { RoutedStore } from '../client/store/routed-store.js';
import { grpcTransports } from '../client/transport.js';
import type { Discovery } from '../coordination/interfaces.js';
import { Gateway } from '../gateway/gateway.js';
import { httpObserver } from '../gateway/metrics.js';
import { defaultIdent } from '../model/range.js';
import { GET, PUT } from '../proto/kv-codec.js';
import { Mirror } from '../rangelet/mirror.js';
import { grpcRanges } from '../rangelet/mirror-grpc.js';
import { MirroredOwners } from '../rangelet/mirrored-owners.js';
import { addLogService } from '../proto/log-server.js';
import { STORE_METHODS, addStoreService } from '../proto/store-server.js';
import type { Clock } from '../runtime/clock.js';
import { advertised, dialable } from '../runtime/common-options.js';
import type { Logger } from '../runtime/log.js';
import { createMetrics } from '../runtime/metrics.js';
import type { Random } from '../runtime/random.js';
import { RequestMetrics } from '../runtime/request-metrics.js';
import { type HttpListener, listenHttp } from '../runtime/http.js';
import { type OnePortServer, listen } from '../runtime/server.js';
import { endOfTurn } from '../runtime/turn.js';
import { type Address, formatAddress } from '../runtime/units.js';
import { readVersion } from '../runtime/version.js';
import { registerRouterMetrics } from './metrics.js';
import { ProxyReadiness } from './readiness.js';
import { addProxyServices } from './services.js';

export interface ProxyOptions {
  readonly listen: Address;
  /** Where the others reach it, if not there. */
  readonly advertise?: Address | undefined;
  /** Where the REST paths answer, if anywhere. */
  readonly restListen?: Address | undefined;
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
    random,
    logger,
    timeoutMs: options.timeoutMs,
    maxBytesInFlight: options.maxBytesInFlight,
    limitName: '--max-bytes-in-flight',
  });
  const store = new RoutedStore({ owners, connect: (address) => new GrpcStore(address, clock), router, budget: router.budget, clock, random, timeoutMs: options.timeoutMs });
  const logs = new RoutedLogs({ places: owners, hold: (address) => store.hold(address), clock, timeoutMs: options.timeoutMs });
  const stopRouting = (): void => {
    store.close();
    router.close();
    mirror.close();
  };
  try {
    const { server, rest } = await startServers(options, { router, store, logs, mirror });
    const reached = advertised({ host: options.listen.host, port: server.port }, options.advertise);
    const address = formatAddress(dialable(reached));
    const ident = options.ident ?? defaultIdent(reached.host, reached.port);
    // The coordination may be away for now; requests do not wait for the proxy to be announced.
    const registration = discovery.register({ service: 'proxy', ident, address, meta: {} });
    let closing = false;
    registration.catch((reason: unknown) => {
      // A registration that is cut short because the proxy leaves is no refusal.
      if (!closing) options.onRefused(reason);
    });
    logger.info('proxy listens', { address, ident, ...(rest ? { rest: rest.address } : {}) });
    const close = async (): Promise<void> => {
      closing = true;
      const leaving = registration.then(
        (held) => held.deregister(),
        () => undefined,
      );
      await Promise.race([leaving, waitMs(clock, 1000)]);
      await Promise.all([server.close(options.graceMs), rest?.close(options.graceMs)]);
      stopRouting();
    };
    return { address, ident, close };
  } catch (thrown) {
    stopRouting();
    throw thrown;
  }
}

async function startServers(options: ProxyOptions, { router, store, logs, mirror }: { readonly router: Router; readonly store: RoutedStore; readonly logs: RoutedLogs; readonly mirror: Mirror }): Promise<{ readonly server: OnePortServer; readonly rest: HttpListener | undefined }> {
  const { clock, logger } = options;
  const metrics = createMetrics({ name: 'proxy' });
  const requests = new RequestMetrics('keyranger_proxy', new Map([[GET, 'get'], [PUT, 'put']]), 'kv.KV and kv.Pipe');
  requests.register(metrics);
  const storeRequests = new RequestMetrics('keyranger_proxy_store', STORE_METHODS, 'kv.Store');
  storeRequests.register(metrics);
  registerRouterMetrics(metrics, router, mirror);
  let closing = new AbortController().signal;
  const gateway = new Gateway({
    store,
    role: () => 'proxy',
    status: () => ({ nodes: mirror.nodes().length, ranges: new Set(mirror.current.owners.map(({ range }) => range)).size }),
    budget: new ByteBudget(options.maxBytesInFlight),
    clock,
    logger,
    closing: () => closing,
    version: readVersion(),
    observe: httpObserver(metrics, 'keyranger_proxy'),
  });
  const server = await listen({
    listen: options.listen,
    logger,
    clock,
    metrics,
    ready: new ProxyReadiness(mirror, clock).check,
    http: gateway.handle,
    services: (grpcServer, signal) => {
      closing = signal;
      addProxyServices(grpcServer, { router, clock, turn: endOfTurn, closing, observe: requests.observe });
      addStoreService(grpcServer, store, { logger, clock, closing, observe: storeRequests.observe });
      addLogService(grpcServer, logs, { logger, clock, closing });
    },
  });
  if (!options.restListen) return { server, rest: undefined };
  try {
    const rest = await listenHttp({ listen: options.restListen, flag: '--rest-addr', handler: gateway.handleRest, clock });
    return { server, rest };
  } catch (thrown) {
    await server.close(0);
    throw thrown;
  }
}

function waitMs(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, { unref: true });
  });
}
