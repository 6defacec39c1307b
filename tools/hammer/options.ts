import { parseAddress, formatAddress } from '../../runtime/units.js';
import { type Program, type Spec, type ConfigOf, parseConfig } from '../../runtime/config.js';
import { VALUE_BYTES_MAX } from '../../model/key.js';

export const PROGRAM: Program = {
  name: 'hammer',
  summary: 'Sends load to a cluster, and checks every answer against what was acknowledged before.',
  notes: [
    'Without --config and --closed, nine workers spread over the alphabet send about 300 requests/s.',
    'Exit status: 0 all is well; 1 wrong or missing values; 2 wrong usage; 3 more errors than',
    '--max-errors, or nothing succeeded, or keys that could not be read at the end.',
  ].join('\n'),
};

export const SPEC = {
  addr: {
    kind: 'list',
    flag: 'addr',
    env: 'HAMMER_ADDR',
    default: ['localhost:5100'],
    help: 'Proxies or nodes to send to, in turns; may be given several times.',
  },
  config: { kind: 'string', flag: 'config', help: 'A JSON file of workers: {"workers":[{"prefix":"a","qps":{"create":1,"read":5,"update":1,"delete":0}}]}' },
  duration: { kind: 'duration', flag: 'duration', min: 100, help: 'How long to send, such as 60s; until Ctrl-C when not given.' },
  closed: { kind: 'integer', flag: 'closed', min: 1, max: 10_000, help: 'This many callers as fast as they can, half reads, instead of workers.' },
  keys: { kind: 'integer', flag: 'keys', min: 1, max: 5_000_000, default: 10_000, help: 'At most this many keys.' },
  valueBytes: { kind: 'bytes', flag: 'value-bytes', min: 1, max: VALUE_BYTES_MAX, default: '100', help: 'Size of the values; they are never shorter than the mark by which they are recognised (about 40 bytes).' },
  timeout: { kind: 'duration', flag: 'timeout', min: 1, default: '10s', help: 'Of each request.' },
  level: { kind: 'choice', flag: 'level', choices: ['safe', 'async'], default: 'safe', help: 'Of the writes. With async a fail-over may lose what was acknowledged, and the report says so.' },
  stale: { kind: 'boolean', flag: 'stale', help: 'Reads ask any copy, and may return an old value, but never one that was not written; not so in the final verification.' },
  settle: { kind: 'duration', flag: 'settle', min: 0, default: '60s', help: 'How long after its time-out a write may still take effect without counting as wrong.' },
  connections: { kind: 'integer', flag: 'connections', min: 1, max: 64, default: 4, help: 'Connections to each address.' },
  maxErrors: { kind: 'integer', flag: 'max-errors', min: 0, help: 'More failed requests than this fail the run; any number is allowed when not given.' },
  verify: { kind: 'boolean', flag: 'verify', default: true, help: 'Read every key once more at the end.' },
  json: { kind: 'boolean', flag: 'json', help: 'Print the report as one JSON document.' },
  seed: { kind: 'integer', flag: 'seed', min: 0, help: 'Makes the choice of keys and the order of requests repeatable.' },
} as const satisfies Spec;

export type HammerConfig = ConfigOf<typeof SPEC>;

export type Options =
  | { readonly kind: 'config'; readonly config: HammerConfig; readonly addresses: readonly string[] }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'problems'; readonly problems: readonly string[] };

export function parseOptions(argv: readonly string[], env: NodeJS.ProcessEnv): Options {
  const parsed = parseConfig(PROGRAM, SPEC, argv, env);
  if (parsed.kind !== 'config') return parsed;
  const { config } = parsed;
  const problems: string[] = [];
  const addresses = config.addr.map((text) => {
    const address = parseAddress(text);
    if (address) return formatAddress({ ...address, host: address.host === '' ? 'localhost' : address.host });
    problems.push(`--addr has ${JSON.stringify(text)}, but must be host:port, such as localhost:5100`);
    return text;
  });
  if (addresses.length === 0) problems.push('--addr is empty, but must be host:port, such as localhost:5100');
  if (config.config !== undefined && config.closed !== undefined) {
    problems.push('--config and --closed exclude each other: workers send at given rates, closed callers as fast as they can');
  }
  return problems.length > 0 ? { kind: 'problems', problems } : { kind: 'config', config, addresses };
}
