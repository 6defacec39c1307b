import { DEFAULT_MAX_BYTES_IN_FLIGHT } from '../client/router.js';
import { commonOptions, restOption } from '../runtime/common-options.js';

/** Every flag of a proxy. */
export const PROXY_OPTIONS = {
  ...commonOptions({ listen: 'localhost:5100', coordination: 'embedded://localhost:5000' }),
  restAddr: restOption,
  timeout: {
    kind: 'duration',
    flag: 'timeout',
    env: 'TIMEOUT',
    default: '10s',
    min: 1,
    help: 'How long a request may take, waiting for an owner included, when its caller gives no deadline.',
  },
  maxBytesInFlight: {
    kind: 'bytes',
    flag: 'max-bytes-in-flight',
    env: 'MAX_BYTES_IN_FLIGHT',
    default: `${DEFAULT_MAX_BYTES_IN_FLIGHT / 1024 / 1024}MiB`,
    min: 16 * 1024 * 1024,
    help: 'Requests and answers on their way may hold this much memory; what goes beyond is refused with RESOURCE_EXHAUSTED.',
  },
} as const;
