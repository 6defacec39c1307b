import { commonOptions, dataDirOption } from '../runtime/common-options.js';

/** Every flag of a controller. */
export const CONTROLLER_OPTIONS = {
  ...commonOptions({ listen: 'localhost:5000', coordination: 'embedded' }),
  dataDir: dataDirOption('.data/controller'),
  poll: {
    kind: 'duration',
    flag: 'poll',
    env: 'POLL',
    default: '1s',
    min: 10,
    help: 'How often a node is asked for its whole report, besides what it pushes.',
  },
  goneAfter: {
    kind: 'duration',
    flag: 'gone-after',
    env: 'GONE_AFTER',
    default: '4s',
    min: 100,
    help: 'How long a registered node may be silent before its ranges count as missing.',
  },
  settle: {
    kind: 'duration',
    flag: 'settle',
    env: 'SETTLE',
    default: '4s',
    min: 0,
    help: 'How long after the start a node that is not there yet may still be coming.',
  },
  commandTimeout: {
    kind: 'duration',
    flag: 'command-timeout',
    env: 'COMMAND_TIMEOUT',
    default: '1s',
    min: 10,
    help: 'How long a node has to answer a command.',
  },
  commandsInFlight: {
    kind: 'integer',
    flag: 'commands-in-flight',
    env: 'COMMANDS_IN_FLIGHT',
    default: 256,
    min: 1,
    max: 10_000,
    help: 'How many commands may wait for their answers at once, over all nodes.',
  },
} as const;
