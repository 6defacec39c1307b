import { hostname } from 'node:os';
import { parseCoordination } from '../coordination/choose.js';
import type { Discovery } from '../coordination/interfaces.js';
import { openDiscovery } from '../coordination/open.js';
import { httpObserver } from '../gateway/metrics.js';
import { defaultIdent } from '../model/range.js';
import { GET, PUT } from '../proto/kv-codec.js';
import { STORE_METHODS, addStoreService } from '../proto/store-server.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { advertised, dialable } from '../runtime/common-options.js';
import { loadConfig } from '../runtime/config.js';
import { lockDirectory } from '../runtime/directory-lock.js';
import { listenHttp } from '../runtime/http.js';
import { type MainContext, type Running, runMain } from '../runtime/lifecycle.js';
import type { Logger } from '../runtime/log.js';
import { createLogger } from '../runtime/logging.js';
import { createMetrics } from '../runtime/metrics.js';
import { freePort } from '../runtime/ports.js';
import { type Random, systemRandom } from '../runtime/random.js';
import { RequestMetrics } from '../runtime/request-metrics.js';
import { listen } from '../runtime/server.js';
import { endOfTurn } from '../runtime/turn.js';
import { formatAddress } from '../runtime/units.js';
import { readVersion } from '../runtime/version.js';
import { ChaoticService, chaoticCommands } from './chaos/chaos.js';
import { ArmedFailpoints, parseFailpoints } from './chaos/failpoints.js';
import { NODE_OPTIONS } from './config.js';
import { drainNode } from './drain.js';
import { commandMetrics, registerNodeMetrics } from './metrics.js';
import { KvNode, type NodeOptions } from './node.js';
import { Elsewhere } from './server/elsewhere.js';
import { nodeGateway } from './server/gateway.js';
import { addFollowService, grpcFollowTransport, grpcPeerDump } from './server/follow-service.js';
import { addKvServices } from './server/kv-services.js';
import { addLogService } from '../proto/log-server.js';
import { addVerifyService, grpcVerifyTransport } from './server/verify-service.js';
import { StaticDiscovery } from './static/discovery.js';
import { staticEnvironment } from './static/environment.js';
import { staticPlan } from './static/plan.js';
import { StaticController } from './static/role.js';
import { openLmdb } from './storage/lmdb.js';

/** How long leaving discovery may take before the node stops all the same. */
const LEAVE_MS_MAX = 1_000;
const CLOSE_AFTER_DRAIN_MS = 30_000;
const PROGRAM = { name: 'node', summary: 'A storage node: keeps ranges of keys, and serves them.' };

/** Troubles made on purpose, when they were asked for. */
function disturbances(
  config: { readonly chaos: number; readonly chaosDelay: number; readonly failpoint: string },
  deps: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
): Pick<NodeOptions, 'chaos' | 'failpoints'> {
  const chaos = { rate: config.chaos, delayMsMax: config.chaosDelay, ...deps };
  const actions = parseFailpoints(config.failpoint);
  if (chaos.rate > 0) deps.logger.warn('chaos: commands are delayed and made to fail on purpose', { rate: chaos.rate, delayMsMax: chaos.delayMsMax });
  const crash = (): void => {
    process.kill(process.pid, 'SIGKILL');
  };
  return {
    ...(chaos.rate > 0
      ? { chaos: { commands: (execute) => chaoticCommands(execute, chaos), service: (service) => new ChaoticService(service, chaos) } }
      : {}),
    ...(actions.size > 0 ? { failpoints: new ArmedFailpoints(actions, { ...deps, crash }) } : {}),
  };
}

async function start(ctx: MainContext): Promise<Running> {
  const config = loadConfig(PROGRAM, NODE_OPTIONS, process.argv.slice(2), staticEnvironment(process.env, hostname()));
  const choice = parseCoordination(config.coordination);
  const logger = createLogger({ name: 'node', level: config.logLevel, format: config.logFormat });
  ctx.useLogger(logger);
  const clock = systemClock;
  const random = systemRandom;
  // Peers are told the address before the server is there to ask for its port.
  const { host } = config.listen;
  const port = config.listen.port === 0 ? await freePort(host) : config.listen.port;
  const reached = advertised({ host, port }, config.advertise);
  const address = formatAddress(dialable(reached));
  const ident = config.ident ?? defaultIdent(reached.host, reached.port);

  const plan = staticPlan(config, address);

  const lock = await lockDirectory({ directory: config.dataDir, holder: `node ${ident}`, clock, random });
  const storage = openLmdb({ dir: config.dataDir, random, durable: config.durability === 'full' });
  if (config.durability === 'relaxed') logger.warn('writes are answered before they are on the disk: a power failure may lose them');
  const metrics = createMetrics({ name: 'node' });
  const requests = new RequestMetrics('keyranger_node', new Map([[GET, 'get'], [PUT, 'put']]), 'kv.KV and kv.Pipe');
  requests.register(metrics);
  const storeRequests = new RequestMetrics('keyranger_node_store', STORE_METHODS, 'kv.Store');
  storeRequests.register(metrics);

  const node = new KvNode({
    storage,
    transport: grpcFollowTransport(),
    peerDump: grpcPeerDump(clock),
    verifyTransport: grpcVerifyTransport(clock),
    clock,
    logger,
    ident,
    address,
    yieldTurn: () => new Promise(endOfTurn),
    onFatal: (error) => {
      ctx.fail(error);
    },
    limits: {
      writeBytesMax: config.maxPendingBytes,
      retention: { keepBytes: config.logKeepBytes, holdBytesMax: config.logHoldBytes, keepAgeMs: config.logKeepAge },
      writeIds: { windowMs: config.writeIdWindow, countMax: config.writeIdsMax },
      patience: { fetchMs: config.fetchPatience, handOverMs: config.handOverPatience },
      replicas: { leaseMs: config.lease, promises: plan === undefined },
      repairBytesPerSecond: config.repairRate,
      // With nobody to have a damaged copy made anew, none is looked for.
      verify: { everyMs: plan ? 0 : config.verifyEvery, bytesPerSecond: config.verifyRate },
    },
    hooks: commandMetrics(metrics),
    ...disturbances(config, { clock, random, logger }),
  });
  registerNodeMetrics(metrics, node);

  const fixed = plan && new StaticController(plan.is === 'primary' ? { is: 'primary', self: { node: ident, incarnation: storage.incarnation, address } } : plan, { node, clock, logger });

  const known: { discovery?: Discovery } = {};
  const elsewhere = new Elsewhere({ nodes: () => known.discovery?.watch('node'), address, clock, random, logger });
  let closing = new AbortController().signal;
  const gateway = nodeGateway(node, elsewhere, { clock, logger, closing: () => closing, version: readVersion(), observe: httpObserver(metrics, 'keyranger_node') });
  const server = await listen({
    listen: { host, port },
    logger,
    clock,
    metrics,
    ready: () => {
      const reason = fixed?.waiting;
      return { ready: reason === undefined, ...(reason === undefined ? {} : { reason }), details: { role: node.role, keys: node.keys() } };
    },
    http: gateway.handle,
    services: (grpcServer, signal) => {
      closing = signal;
      node.register(grpcServer);
      addKvServices(grpcServer, { data: node.data, clock, turn: endOfTurn, closing, observe: requests.observe });
      addStoreService(grpcServer, node.store, { logger, clock, closing, observe: storeRequests.observe });
      addFollowService(grpcServer, { ...node.sources, logger }, closing);
      addLogService(grpcServer, node.log, { logger, clock, closing });
      addVerifyService(grpcServer, node.verify, { logger, closing });
    },
  });
  const rest = config.restAddr && (await listenHttp({ listen: config.restAddr, flag: '--rest-addr', handler: gateway.handleRest, clock }));
  node.start();
  const self = { service: 'node', ident, address, meta: { incarnation: storage.incarnation, ...(config.zone === '' ? {} : { zone: config.zone }) } } as const;
  const discovery = plan ? new StaticDiscovery([self, ...plan.peers.map((peer) => ({ service: 'node', ident: peer, address: peer, meta: {} }) as const)]) : await openDiscovery({ choice, clock, random, logger });
  known.discovery = discovery;
  // While the coordination is away the node serves on with what it has.
  const registration = discovery.register(self);
  registration.catch((thrown: unknown) => {
    if (!ctx.stopping.aborted) ctx.fail(thrown);
  });
  void fixed?.run();
  logger.info('node listens', { address, ident, ranges: node.copies.all().length, ...(rest ? { rest: rest.address } : {}), ...(plan ? { role: plan.is } : {}) });

  return {
    // A drain takes as long as it may; what comes after it is quick.
    closeMsMax: config.drain && !plan ? config.drainTimeout + CLOSE_AFTER_DRAIN_MS : undefined,
    async close() {
      if (config.drain && !plan) await drainNode({ node, primariesOnly: config.drainPrimaries, timeoutMs: config.drainTimeout, clock, logger });
      const leaving = registration.then(
        (held) => held.deregister(),
        () => undefined,
      );
      await Promise.race([leaving, new Promise<void>((resolve) => clock.after(LEAVE_MS_MAX, resolve, { unref: true }))]);
      await Promise.all([server.close(config.grace), rest?.close(config.grace)]);
      elsewhere.close();
      fixed?.close();
      await node.close();
      await discovery.close();
      await lock.release();
    },
  };
}

void runMain('node', start);
