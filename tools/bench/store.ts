import { type CallKind, KEYS_PER_CALL } from './calls.js';
import { Cluster } from './cluster.js';
import { fill } from './fill.js';
import type { Lap } from './load.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';
import { CALLERS, CONNECTIONS, KEYS, perSecond, times } from './throughput.js';

/** A scan keeps a server busy with few callers; the others wait for the disk. */
const KINDS: readonly { readonly kind: CallKind; readonly callers: number }[] = [
  { kind: 'unary', callers: CALLERS },
  { kind: 'http', callers: CALLERS },
  { kind: 'batch', callers: CALLERS },
  { kind: 'scan', callers: 8 },
];

interface Target {
  readonly name: string;
  readonly address: string;
  readonly laps: Readonly<Record<CallKind, Lap[]>>;
}

/** HTTP, and batches and scans of kv.Store, beside the same keys one call each; all in turns. */
export async function store(bench: Bench): Promise<Figure[]> {
  const { root, clock, quick } = bench;
  const cluster = await Cluster.start({ root, clock, nodes: 1 });
  try {
    const { owner } = await cluster.onlyRange();
    await fill(owner.address, KEYS);
    const targets = [target('through the proxy', cluster.proxy.address), target('straight to a node', owner.address)];
    // The first round of each is for the compilers.
    const rounds = quick ? 3 : 5;
    for (let round = 0; round <= rounds; round++) {
      for (const { name, address, laps } of targets) {
        for (const { kind, callers } of KINDS) {
          const lap = await bench.generator.measure({ address, connections: CONNECTIONS, keys: KEYS, calls: kind, shape: { callers } }, 300, quick ? 700 : 2_000);
          bench.say(`round ${round}, ${kind} ${name}: ${Math.round(perSecond(lap) * KEYS_PER_CALL[kind])} keys/s, ${lap.errors} errors ${lap.error ?? ''}`);
          if (round > 0) laps[kind].push(lap);
        }
      }
    }
    const failed = targets.flatMap(({ laps }) => Object.values(laps).flat()).reduce((sum, { errors }) => sum + errors, 0);
    return [...targets.flatMap(figures), { what: '  failed calls', value: failed, unit: '', aim: { is: 'under', value: 1 } }];
  } finally {
    await cluster.stop();
  }
}

function target(name: string, address: string): Target {
  return { name, address, laps: { unary: [], http: [], batch: [], scan: [] } };
}

function figures({ name, laps }: Target): Figure[] {
  const keys = (kind: CallKind): number => median(laps[kind].map((lap) => perSecond(lap) * KEYS_PER_CALL[kind]));
  /** Within each round, so that a noisy machine is noisy for both. */
  const overUnary = (kind: CallKind): number => median(laps[kind].map((lap, i) => (perSecond(lap) * KEYS_PER_CALL[kind]) / perSecond(laps.unary[i] ?? lap)));
  return [
    { what: `HTTP GET and PUT, ${name}`, value: keys('http'), unit: 'requests/s', note: `${times(laps.http)}, ${CALLERS} connections; kv.KV ${Math.round(keys('unary')).toLocaleString('en-US')} requests/s` },
    { what: `batch / unary, per key, ${name}`, value: overUnary('batch'), unit: '', aim: { is: 'at least', value: 10 }, note: `${KEYS_PER_CALL.batch} keys a batch, half reads: ${Math.round(keys('batch')).toLocaleString('en-US')} keys/s` },
    { what: `scan / unary, per key, ${name}`, value: overUnary('scan'), unit: '', aim: { is: 'at least', value: 10 }, note: `${KEYS_PER_CALL.scan} keys a scan: ${Math.round(keys('scan')).toLocaleString('en-US')} keys/s` },
  ];
}
