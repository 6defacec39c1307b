import { shareReplay } from 'rxjs';
import { parseCoordination } from '../../coordination/choose.js';
import { openDiscovery } from '../../coordination/open.js';
import type { Store } from '../../model/store.js';
import { Mirror } from '../../rangelet/mirror.js';
import { grpcRanges } from '../../rangelet/mirror-grpc.js';
import { MirroredOwners } from '../../rangelet/mirrored-owners.js';
import { systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import { systemRandom } from '../../runtime/random.js';
import { formatAddress, parseAddress } from '../../runtime/units.js';
import type { SpanOwners } from '../owners.js';
import { DEFAULT_TIMEOUT_MS, Router } from '../router.js';
import { GrpcStore } from '../store/grpc-store.js';
import { RoutedStore } from '../store/routed-store.js';
import { grpcTransports } from '../transport.js';
import type { Client, ConnectOptions } from './api.js';
import { toKeyrangerError } from './errors.js';
import { Proxies } from './proxies.js';
import { resumedWatch } from './resumed-watch.js';
import { StoreClient } from './store-client.js';

const [clock, random, logger] = [systemClock, systemRandom, silentLogger];
const dial = (address: string): GrpcStore => new GrpcStore(address, clock);

/**
 * A client of a store. Resolves at once, whether the store can be reached or not: calls
 * wait for it, each for as long as it may take. Keeps connections, and the process with
 * them, until `close`. Rejects with `invalid_argument` when an address makes no sense.
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  try {
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (!(timeoutMs > 0 && timeoutMs <= 2 ** 31 - 1)) throw new AppError('INVALID_ARGUMENT', `timeoutMs is ${timeoutMs}, but must be above 0 and at most ${2 ** 31 - 1}`);
    if (options.coordination !== undefined) return await connectToOwners(options.coordination, timeoutMs);
    return connectToProxies(options.proxy, timeoutMs);
  } catch (thrown) {
    throw toKeyrangerError(thrown, 'read');
  }
}

/** As a proxy does, for itself. */
async function connectToOwners(coordination: string, timeoutMs: number): Promise<Client> {
  const discovery = await openDiscovery({ choice: parseCoordination(coordination), clock, random, logger });
  const nodes = discovery.watch('node').pipe(shareReplay({ bufferSize: 1, refCount: true }));
  const mirror = new Mirror({ nodes, connect: grpcRanges({ clock, logger }), clock, random, logger });
  return clientOver({
    owners: new MirroredOwners(mirror, nodes),
    timeoutMs,
    close: async () => {
      mirror.close();
      await discovery.close();
    },
  });
}

function connectToProxies(proxy: string | readonly string[] | undefined, timeoutMs: number): Client {
  const given = typeof proxy === 'string' ? [proxy] : (proxy ?? []);
  if (given.length === 0) throw new AppError('INVALID_ARGUMENT', 'neither the address of a proxy is given, nor coordination');
  const owners = new Proxies(given.map(readAddress));
  return clientOver({ owners, timeoutMs, watch: (request, { signal } = {}) => resumedWatch({ owners, connect: dial, clock }, request, signal) });
}

function readAddress(text: string): string {
  const address = parseAddress(text);
  if (!address || address.host === '' || address.port === 0) throw new AppError('INVALID_ARGUMENT', `proxy '${text}' is not host:port with a port from 1 to 65535`);
  return formatAddress(address);
}

function clientOver({ owners, timeoutMs, watch, close }: { readonly owners: SpanOwners; readonly timeoutMs: number; readonly watch?: Store['watch']; readonly close?: () => Promise<void> }): Client {
  const router = new Router({ owners, transports: grpcTransports(clock), clock, random, logger, timeoutMs });
  const routed = new RoutedStore({ owners, connect: dial, router, budget: router.budget, clock, random, timeoutMs });
  const store: Store = {
    get: (...asked) => routed.get(...asked),
    put: (...asked) => routed.put(...asked),
    delete: (...asked) => routed.delete(...asked),
    batch: (...asked) => routed.batch(...asked),
    scan: (...asked) => routed.scan(...asked),
    watch: watch ?? ((...asked) => routed.watch(...asked)),
  };
  return new StoreClient({
    store,
    router,
    close: async () => {
      routed.close();
      router.close();
      await close?.();
    },
  });
}
