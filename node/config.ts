import { commonOptions, dataDirOption } from '../runtime/common-options.js';

/** Every flag of a node. */
export const NODE_OPTIONS = {
  ...commonOptions({ listen: 'localhost:5200', coordination: 'embedded://localhost:5000' }),
  dataDir: dataDirOption('.data/node'),
  durability: {
    kind: 'choice',
    flag: 'durability',
    env: 'DURABILITY',
    choices: ['full', 'relaxed'],
    default: 'full',
    help: 'full: a write is on the disk before it is answered. relaxed: it may be lost in a power failure, not in a crash of the process.',
  },
  maxPendingBytes: {
    kind: 'bytes',
    flag: 'max-pending-bytes',
    env: 'MAX_PENDING_BYTES',
    default: '64MiB',
    min: 16 * 1024 * 1024,
    help: 'Writes waiting for the disk beyond this are refused with RESOURCE_EXHAUSTED.',
  },
  logKeepBytes: {
    kind: 'bytes',
    flag: 'log-keep-bytes',
    env: 'LOG_KEEP_BYTES',
    default: '16MiB',
    min: 1024 * 1024,
    help: "How much of each range's log is kept for followers that come back.",
  },
  logHoldBytes: {
    kind: 'bytes',
    flag: 'log-hold-bytes',
    env: 'LOG_HOLD_BYTES',
    default: '1GiB',
    min: 1024 * 1024,
    help: 'A connected follower that lags by more than this begins again with a snapshot.',
  },
  fetchPatience: {
    kind: 'duration',
    flag: 'fetch-patience',
    env: 'FETCH_PATIENCE',
    default: '10s',
    min: 100,
    help: 'A Prepare fails when its source sends nothing for so long.',
  },
  handOverPatience: {
    kind: 'duration',
    flag: 'hand-over-patience',
    env: 'HAND_OVER_PATIENCE',
    default: '5s',
    min: 100,
    help: 'An Activate fails when the right to write is not handed over within this.',
  },
} as const;
