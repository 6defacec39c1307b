import { Cluster, type Member } from './cluster.js';
import { fill } from './fill.js';
import type { Lap } from './load.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

export const CONNECTIONS = 4;
export const CALLERS = 64;
export const KEYS = 10_000;

interface Target {
  readonly name: string;
  readonly address: string;
  readonly laps: Lap[];
}

/** The same load through the proxy and straight to a node, in turns, so that a noisy machine is noisy for both. */
export async function throughput(bench: Bench): Promise<Figure[]> {
  const { root, clock, quick } = bench;
  const cluster = await Cluster.start({ root, clock, nodes: 1 });
  try {
    const { owner } = await cluster.onlyRange();
    await fill(owner.address, KEYS);
    const proxy: Target = target('through the proxy', cluster.proxy);
    const node: Target = target('straight to a node', owner);
    // The first round of each is for the compilers.
    const rounds = quick ? 3 : 7;
    for (let round = 0; round <= rounds; round++) {
      for (const one of round % 2 === 0 ? [proxy, node] : [node, proxy]) {
        const lap = await bench.generator.measure({ address: one.address, connections: CONNECTIONS, keys: KEYS, shape: { callers: CALLERS } }, 500, quick ? 1_500 : 3_000);
        bench.say(`round ${round}, ${one.name}: ${Math.round(perSecond(lap))} requests/s, ${lap.errors} errors ${lap.error ?? ''}`);
        if (round > 0) one.laps.push(lap);
      }
    }
    return figures(proxy, node);
  } finally {
    await cluster.stop();
  }
}

function target(name: string, { address }: Member): Target {
  return { name, address, laps: [] };
}

function figures(proxy: Target, node: Target): Figure[] {
  const ratios = proxy.laps.map((lap, i) => perSecond(lap) / perSecond(node.laps[i] ?? lap));
  const errors = [...proxy.laps, ...node.laps].reduce((sum, lap) => sum + lap.errors, 0);
  return [
    { what: 'unary, through the proxy / straight to a node', value: median(ratios), unit: '', aim: { is: 'at least', value: 0.75 }, note: `median of ${ratios.length} rounds, ${CALLERS} callers, half reads, durable` },
    ...[proxy, node].map(({ name, laps }): Figure => ({ what: `  ${name}`, value: median(laps.map(perSecond)), unit: 'requests/s', note: times(laps) })),
    { what: '  failed requests', value: errors, unit: '', aim: { is: 'under', value: 1 } },
  ];
}

export function times(laps: readonly Lap[]): string {
  return `p50 ${median(laps.map(({ p50 }) => p50)).toFixed(1)} ms, p99 ${median(laps.map(({ p99 }) => p99)).toFixed(1)} ms`;
}

export function perSecond({ requests, ms }: Lap): number {
  return (requests * 1000) / ms;
}
