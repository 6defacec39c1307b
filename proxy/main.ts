import { parseCoordination } from '../coordination/choose.js';
import { openDiscovery } from '../coordination/open.js';
import { systemClock } from '../runtime/clock.js';
import { loadConfig } from '../runtime/config.js';
import { type MainContext, type Running, runMain } from '../runtime/lifecycle.js';
import { createLogger } from '../runtime/logging.js';
import { systemRandom } from '../runtime/random.js';
import { PROXY_OPTIONS } from './config.js';
import { startProxy } from './proxy.js';

const PROGRAM = { name: 'proxy', summary: 'The proxy: clients talk to it as if it were the whole store.' };

async function start(ctx: MainContext): Promise<Running> {
  const config = loadConfig(PROGRAM, PROXY_OPTIONS, process.argv.slice(2), process.env);
  const choice = parseCoordination(config.coordination);
  const logger = createLogger({ name: 'proxy', level: config.logLevel, format: config.logFormat });
  ctx.useLogger(logger);
  const clock = systemClock;
  const discovery = await openDiscovery({ choice, clock, random: systemRandom, logger });
  const proxy = await startProxy({
    listen: config.listen,
    advertise: config.advertise,
    restListen: config.restAddr,
    ident: config.ident,
    timeoutMs: config.timeout,
    maxBytesInFlight: config.maxBytesInFlight,
    graceMs: config.grace,
    discovery,
    clock,
    random: systemRandom,
    logger,
    onRefused: (reason) => {
      ctx.fail(reason);
    },
  });
  return {
    async close() {
      await proxy.close();
      await discovery.close();
    },
  };
}

void runMain('proxy', start);
