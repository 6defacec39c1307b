import { LOG_LEVELS } from '../../runtime/common-options.js';
import type { Program, Spec } from '../../runtime/config.js';
import { checkChoice } from './coordination.js';

export const PROGRAM: Program = {
  name: 'bin/dev',
  summary: 'Runs a whole cluster on this machine, as the Procfile says. Ctrl-C stops it; a process that dies is reported, and the others go on.',
  notes: `Ports are counted as foreman does: the first line of the Procfile has the base port and what
follows, the second 100 more, and so on: controller 5000, proxy 5100, nodes 5200 5201 5202.
Each process's id is in <data-dir>/run/<name>.pid, such as .data/run/node.1.pid.`,
};

/** Every flag of bin/dev. */
export const SPEC = {
  formation: { kind: 'list', flag: 'formation', short: 'm', default: ['controller=1', 'proxy=1', 'node=3'], help: 'How many of each line of the Procfile.' },
  replicas: { kind: 'integer', flag: 'replicas', env: 'REPLICAS', min: 1, max: 7, default: 1, help: 'How many copies of each range; as many nodes are started, unless the formation says how many.' },
  coordination: {
    kind: 'string',
    flag: 'coordination',
    check: checkChoice,
    help: 'embedded, or consul://host:8500. Consul where an agent answers at CONSUL_HTTP_ADDR or localhost:8500, else embedded, when not given.',
  },
  basePort: { kind: 'integer', flag: 'base-port', env: 'BASE_PORT', min: 1, max: 65535, default: 5000, help: 'The first port.' },
  dataDir: { kind: 'string', flag: 'data-dir', help: "Where everything is kept from run to run; the project's .data when not given." },
  fresh: { kind: 'boolean', flag: 'fresh', help: 'Begin again: remove the data of earlier runs first.' },
  logLevel: { kind: 'choice', flag: 'log-level', env: 'LOG_LEVEL', choices: LOG_LEVELS, default: 'info', help: 'The least important lines to log.' },
  procfile: { kind: 'string', flag: 'procfile', help: 'Another Procfile than that of the project; its commands run where it is.' },
} as const satisfies Spec;
