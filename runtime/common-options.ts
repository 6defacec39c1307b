/* The flags that several processes share, so that they are called and mean the same everywhere. */
import type { Address } from './units.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export const LOG_FORMATS = ['auto', 'json', 'pretty', 'bare'] as const;

/** The flags of every serving process: controller, proxy and node. */
export function commonOptions<const Listen extends string, const Coordination extends string>(defaults: {
  readonly listen: Listen;
  readonly coordination: Coordination;
}) {
  return {
    listen: {
      kind: 'address',
      flag: 'listen',
      env: 'LISTEN',
      default: defaults.listen,
      help: 'Where gRPC, HTTP and metrics answer, on one port. Port 0 takes a free one.',
    },
    advertise: {
      kind: 'address',
      flag: 'advertise',
      env: 'ADVERTISE',
      help: 'Where the others reach this process, if not at --listen, such as in a container; port 0 stands for that of --listen.',
    },
    coordination: {
      kind: 'string',
      flag: 'coordination',
      env: 'COORDINATION',
      default: defaults.coordination,
      help: 'How the processes find each other: consul://host:8500, or embedded (embedded://host:5000 for nodes and proxies).',
    },
    ident: {
      kind: 'string',
      flag: 'ident',
      env: 'IDENT',
      help: "This process's name in the cluster; the port alone on this machine, else host:port, when not given.",
      check: checkIdent,
    },
    logLevel: {
      kind: 'choice',
      flag: 'log-level',
      env: 'LOG_LEVEL',
      choices: LOG_LEVELS,
      default: 'info',
      help: 'The least important lines to log.',
    },
    logFormat: {
      kind: 'choice',
      flag: 'log-format',
      env: 'LOG_FORMAT',
      choices: LOG_FORMATS,
      default: 'auto',
      help: 'JSON lines, or text for people (bare is without the time); auto gives text to a terminal.',
    },
    grace: {
      kind: 'duration',
      flag: 'grace',
      env: 'GRACE',
      default: '5s',
      min: 0,
      help: 'How long calls in flight may take to finish after SIGTERM.',
    },
  } as const;
}

/** Where a process keeps what must outlive it. */
export function dataDirOption<const Default extends string>(fallback: Default) {
  return {
    kind: 'string',
    flag: 'data-dir',
    env: 'DATA_DIR',
    default: fallback,
    help: 'Directory of the data; made when it is not there.',
  } as const;
}

/** A second door, for clients of a store whose keys were paths: see docs/http.md. */
export const restOption = {
  kind: 'address',
  flag: 'rest-addr',
  env: 'REST_ADDR',
  help: 'Where POST /KEY and GET /KEY answer besides, on a port of their own; nowhere when not given.',
} as const;

/** Where the others are told to reach a process that listens on `listen`. */
export function advertised(listen: Address, advertise: Address | undefined): Address {
  if (advertise === undefined) return listen;
  return advertise.port === 0 ? { host: advertise.host, port: listen.port } : advertise;
}

/** The address others dial, for what one listens on. */
export function dialable({ host, port }: Address): Address {
  return { host: host === '' || host === '0.0.0.0' || host === '::' ? 'localhost' : host, port };
}

function checkIdent(ident: string): string | undefined {
  return /^[A-Za-z0-9._:-]{1,100}$/.test(ident) ? undefined : 'an ident is 1 to 100 letters, digits, dots, colons, dashes or underscores';
}
