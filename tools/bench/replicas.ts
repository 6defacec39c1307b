import { Cluster } from './cluster.js';
import { fill } from './fill.js';
import { keyAtPosition } from './keys.js';
import type { Lap } from './load.js';
import { cpuSecondsOf } from './processes.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const CONNECTIONS = 4;
const CALLERS = 64;
const KEYS = 10_000;
const NODES = 3;

interface Target {
  readonly copies: number;
  readonly cluster: Cluster;
  readonly laps: (Lap & { readonly cpuSeconds: number })[];
}

/** The same load on ranges of one copy and of three, on three nodes each, in turns; whoever is not measured does nothing. */
export async function replicas(bench: Bench): Promise<Figure[]> {
  const targets: Target[] = [];
  try {
    for (const copies of [1, NODES]) targets.push(await target(bench, copies));
    const [one, three] = targets as [Target, Target];
    // The first round of each is for the compilers.
    const rounds = bench.quick ? 3 : 7;
    for (let round = 0; round <= rounds; round++) {
      for (const { copies, cluster, laps } of round % 2 === 0 ? [one, three] : [three, one]) {
        const cpu = (): number => cluster.nodes.reduce((sum, { pid }) => sum + cpuSecondsOf(pid), 0);
        const cpuBefore = cpu();
        const lap = await bench.generator.measure({ address: cluster.proxy.address, connections: CONNECTIONS, keys: KEYS, shape: { callers: CALLERS } }, 500, bench.quick ? 1_500 : 3_000);
        const cpuSeconds = cpu() - cpuBefore;
        bench.say(`round ${round}, copies: ${copies}, ${Math.round(perSecond(lap))} requests/s, p50 ${lap.p50.toFixed(1)} ms, CPU of the nodes ${cpuSeconds.toFixed(2)} s, ${lap.errors} errors ${lap.error ?? ''}`);
        if (round > 0) laps.push({ ...lap, cpuSeconds });
      }
    }
    return figures(one, three);
  } finally {
    await Promise.all(targets.map(({ cluster }) => cluster.stop()));
  }
}

async function target({ root, clock }: Bench, copies: number): Promise<Target> {
  const cluster = await Cluster.start({ root, clock, nodes: NODES, copies });
  try {
    await cluster.spread([1, 2].map((third) => keyAtPosition(Math.floor((KEYS * third) / NODES))));
    await fill(cluster.proxy.address, KEYS);
    return { copies, cluster, laps: [] };
  } catch (thrown) {
    await cluster.stop();
    throw thrown;
  }
}

function figures(one: Target, three: Target): Figure[] {
  const ratios = three.laps.map((lap, i) => perSecond(lap) / perSecond(one.laps[i] ?? lap));
  const errors = [...one.laps, ...three.laps].reduce((sum, lap) => sum + lap.errors, 0);
  return [
    { what: 'throughput with 3 copies / with 1', value: median(ratios), unit: '', aim: { is: 'at least', value: 0.5 }, note: `median of ${ratios.length} rounds; ${NODES} ranges on ${NODES} nodes, ${CALLERS} callers through the proxy, half reads, durable` },
    ...[one, three].map(({ copies, laps }): Figure => ({
      what: copies === 1 ? '  with 1 copy' : `  with ${copies} copies`,
      value: median(laps.map(perSecond)),
      unit: 'requests/s',
      note: `p50 ${median(laps.map(({ p50 }) => p50)).toFixed(1)} ms, p99 ${median(laps.map(({ p99 }) => p99)).toFixed(1)} ms`,
    })),
    { what: '  failed requests', value: errors, unit: '', aim: { is: 'under', value: 1 } },
  ];
}

function perSecond({ requests, ms }: Lap): number {
  return (requests * 1000) / ms;
}
