import { BehaviorSubject } from 'rxjs';
import { parseCoordination } from '../coordination/choose.js';
import type { Leadership } from '../coordination/interfaces.js';
import { defaultIdent } from '../model/range.js';
import { systemClock } from '../runtime/clock.js';
import { advertised, dialable } from '../runtime/common-options.js';
import { loadConfig } from '../runtime/config.js';
import { AppError, messageOf } from '../runtime/errors.js';
import { type MainContext, type Running, runMain } from '../runtime/lifecycle.js';
import { createLogger } from '../runtime/logging.js';
import { createMetrics } from '../runtime/metrics.js';
import { freePort } from '../runtime/ports.js';
import { systemRandom } from '../runtime/random.js';
import { listen } from '../runtime/server.js';
import { endOfTurn } from '../runtime/turn.js';
import { formatAddress } from '../runtime/units.js';
import { openBackend } from '../coordination/controller-backend.js';
import { CONTROLLER_OPTIONS } from './config.js';
import { Controller } from './controller.js';
import { DEFAULT_TUNING } from './orchestrator/types.js';
import { prometheusObserver, registerGauges } from './metrics.js';
import { addDebugService } from './server/debug.js';
import { Leaders } from './server/leader.js';
import { addOperatorServices } from './server/operations.js';
import { GrpcPeer } from './server/peer.js';
import { grpcDial } from './transport/grpc.js';

/** How long leaving the election and discovery may take before the controller stops all the same. */
const LEAVE_MS_MAX = 1000;
const PROGRAM = { name: 'controller', summary: 'Decides which node has which range, and answers operators.' };

async function start(ctx: MainContext): Promise<Running> {
  const config = loadConfig(PROGRAM, CONTROLLER_OPTIONS, process.argv.slice(2), process.env);
  if (config.minInSync > config.replicas) {
    throw new AppError('INVALID_ARGUMENT', `--min-in-sync ${config.minInSync} is more than --replicas ${config.replicas}, so every write would be refused: give ${config.replicas} at most`);
  }
  const choice = parseCoordination(config.coordination);
  const logger = createLogger({ name: 'controller', level: config.logLevel, format: config.logFormat });
  ctx.useLogger(logger);
  const clock = systemClock;
  const { host } = config.listen;
  const port = config.listen.port === 0 ? await freePort(host) : config.listen.port;
  const reached = advertised({ host, port }, config.advertise);
  const address = formatAddress(dialable(reached));
  const ident = config.ident ?? defaultIdent(reached.host, reached.port);

  const backend = await openBackend({ choice, dataDir: config.dataDir, clock, random: systemRandom, logger });
  const metrics = createMetrics({ name: 'controller' });
  const leadership = new BehaviorSubject<Leadership>({ leading: false, term: 0, leaderAddress: undefined });
  const leaders = new Leaders({ leadership, connect: (peer) => new GrpcPeer(peer), clock, logger });
  const controller = new Controller({
    clock,
    turn: endOfTurn,
    logger,
    persister: backend.persister,
    discovery: backend.discovery,
    dial: grpcDial(clock),
    observer: prometheusObserver(metrics),
    holdsLock: () => backend.election.leads(),
    tuning: {
      ...DEFAULT_TUNING,
      replicas: config.replicas,
      minInSync: config.minInSync,
      followerTimeoutMs: config.followerTimeout,
      nodeGraceMs: config.nodeGrace,
      repairsMax: config.repairConcurrency,
    },
    timing: {
      pollMs: config.poll,
      goneAfterMs: config.goneAfter,
      settleMs: config.settle,
      commandTimeoutMs: config.commandTimeout,
      commandsInFlightMax: config.commandsInFlight,
    },
  });
  registerGauges(metrics, controller);
  const server = await listen({
    listen: { host, port },
    logger,
    clock,
    metrics,
    ready: () => controller.ready,
    services: (grpcServer, closing) => {
      backend.mount(grpcServer, closing);
      addOperatorServices(grpcServer, controller, leaders, { logger, clock, connect: (node) => new GrpcPeer(node), closing });
      addDebugService(grpcServer, controller, { logger });
    },
  }).catch(async (thrown: unknown) => {
    await backend.close();
    throw thrown;
  });
  controller.start();
  const campaign = backend.election.campaign({ ident, address }).subscribe({
    next: (now) => {
      controller.lead(now);
      leadership.next(now);
    },
    error: (thrown) => {
      ctx.fail(thrown);
    },
  });
  const registration = backend.discovery.register({ service: 'controller', ident, address, meta: {} });
  registration.catch((thrown: unknown) => {
    if (!ctx.stopping.aborted) ctx.fail(thrown);
  });
  logger.info('controller listens', { address, ident, coordination: config.coordination });

  return {
    async close() {
      controller.close();
      leaders.close();
      const leaving = Promise.allSettled([backend.election.resign(), registration.then((held) => held.deregister())]);
      await Promise.race([leaving, new Promise<void>((resolve) => clock.after(LEAVE_MS_MAX, resolve, { unref: true }))]);
      campaign.unsubscribe();
      await server.close(config.grace);
      await backend.close().catch((thrown: unknown) => {
        logger.warn('the coordination was not closed cleanly', { error: messageOf(thrown) });
      });
    },
  };
}

void runMain('controller', start);
