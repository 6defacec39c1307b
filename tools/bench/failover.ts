import { UnaryKv } from '../../client/unary.js';
import { keyFromText } from '../../model/key.js';
import { sleep } from '../../runtime/clock.js';
import { messageOf } from '../../runtime/errors.js';
import { Cluster, type Member } from './cluster.js';
import { fill } from './fill.js';
import { keyAtPosition } from './keys.js';
import { Ledger } from './ledger.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median, percentile } from './statistics.js';

const KEYS = 10_000;
const RANGES = 6;
const COPIES = 3;
const LOAD = { connections: 4, keys: KEYS, shape: { perSecond: 300 } } as const;
const GIVE_UP_MS = 30_000;

/** Kills the node that is primary of every range, again and again, under load. */
export async function failover(bench: Bench): Promise<Figure[]> {
  const { root, clock, quick, generator } = bench;
  const cluster = await Cluster.start({ root, clock, nodes: COPIES, copies: COPIES });
  const kv = new UnaryKv({ addresses: [cluster.proxy.address], clock });
  try {
    const starts = Array.from({ length: RANGES }, (_, i) => keyAtPosition(Math.floor((KEYS * i) / RANGES)));
    await cluster.spread(starts.slice(1));
    await fill(cluster.proxy.address, KEYS);
    const ledger = new Ledger(kv, clock, starts.flatMap((start) => [`${start}-a`, `${start}-b`]));
    const load = generator.start({ ...LOAD, address: cluster.proxy.address });
    ledger.start();
    const times: number[] = [];
    let errors = 0;
    try {
      for (let i = 0; i < (quick ? 5 : 20); i++) {
        const victim = cluster.nodes[i % cluster.nodes.length] as Member;
        const ms = await killOnce(cluster, bench, { kv, victim, starts });
        times.push(ms);
        const lap = await load.lap();
        errors += lap.errors;
        bench.say(`kill ${i + 1}: all ${RANGES} ranges accept writes after ${ms.toFixed(0)} ms; ${lap.requests} requests, ${lap.errors} errors ${lap.error ?? ''}`);
      }
    } finally {
      load.stop();
      await ledger.stop();
    }
    const wrong = await ledger.wrong();
    for (const one of wrong) bench.say(one);
    return figures(times, { wrong: wrong.length, acknowledged: ledger.acknowledged, errors: errors + ledger.failed });
  } finally {
    kv.close();
    await cluster.stop();
  }
}

/** From the kill until a write that was sent right after it is acknowledged in each range. */
async function killOnce(cluster: Cluster, { clock }: Bench, { kv, victim, starts }: { readonly kv: UnaryKv; readonly victim: Member; readonly starts: readonly string[] }): Promise<number> {
  for (const range of await cluster.ranges()) await cluster.makePrimary(range, victim);
  await cluster.untilWhole();
  await sleep(clock, 1_000);
  const beganAt = clock.now();
  await cluster.kill(victim);
  await Promise.all(
    starts.map((start) =>
      kv.put(keyFromText(`${start}-probe`), Buffer.from('v'), { timeoutMs: GIVE_UP_MS }).catch(async (thrown: unknown) => {
        throw new Error(`no write to ${start} for ${GIVE_UP_MS} ms after node ${victim.ident} was killed: ${messageOf(thrown)}; ${(await cluster.problem()) ?? 'all ranges are whole'}`);
      }),
    ),
  );
  const ms = clock.now() - beganAt;
  cluster.startAgain(victim);
  await cluster.untilWhole();
  return ms;
}

function figures(times: readonly number[], { wrong, acknowledged, errors }: { readonly wrong: number; readonly acknowledged: number; readonly errors: number }): Figure[] {
  const sorted = [...times].sort((a, b) => a - b).map((ms) => ms / 1000);
  return [
    { what: `fail-over of ${RANGES} ranges by kill -9, until all accept writes, median`, value: median(sorted), unit: 's', note: `of ${sorted.length} kills, under ${LOAD.shape.perSecond} requests/s and ${2 * RANGES} writers` },
    { what: '  shortest', value: sorted[0] ?? NaN, unit: 's' },
    { what: '  p90', value: percentile(sorted, 0.9), unit: 's' },
    { what: '  longest', value: sorted.at(-1) ?? NaN, unit: 's', aim: { is: 'under', value: 5 } },
    { what: '  keys with a missing or wrong value afterwards', value: wrong, unit: '', aim: { is: 'under', value: 1 }, note: `of ${2 * RANGES} that took ${acknowledged} acknowledged writes` },
    { what: '  failed requests', value: errors, unit: '', aim: { is: 'under', value: 1 } },
  ];
}
