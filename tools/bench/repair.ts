import type { PlacementView } from '../../client/admin.js';
import type { TransferProgress } from '../../model/report.js';
import { sleep } from '../../runtime/clock.js';
import { Cluster, type Member } from './cluster.js';
import { fill } from './fill.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const COPIES = 3;
const MEBIBYTE = 1024 * 1024;
const LOOK_MS = 10;
const START_MS_MAX = 60_000;

/** The limit is of the pairs; the records of the log that come with them are not held back. */
const WITH_RECORDS = 1.1;

interface Rate {
  readonly keys: number;
  readonly mebibytes: number;
}

/** How fast a copy is made anew on a node that lost its disk, with and without a limit. */
export async function repair(bench: Bench): Promise<Figure[]> {
  const { quick } = bench;
  const keys = quick ? 200_000 : 1_000_000;
  const free = await rates(bench, { keys, rate: 0, rounds: quick ? 2 : 4 });
  const rateOf = (all: readonly Rate[]): Rate => ({ keys: median(all.map((one) => one.keys)), mebibytes: median(all.map((one) => one.mebibytes)) });
  // So far below what the machine can do that nothing but the limit is reached.
  const limit = Math.max(1, Math.floor(rateOf(free).mebibytes / 3));
  const limited = await rates(bench, { keys, rate: limit * MEBIBYTE, rounds: quick ? 1 : 2 });
  return [
    { what: `a lost copy of ${keys} keys made anew, without limit`, value: rateOf(free).keys, unit: 'keys/s', note: `median of ${free.length}; pairs, and the records of the log that come with them` },
    { what: '  keys and values', value: rateOf(free).mebibytes, unit: 'MiB/s' },
    { what: `  … with --repair-rate ${limit}MiB`, value: rateOf(limited).mebibytes, unit: 'MiB/s', aim: { is: 'under', value: limit * WITH_RECORDS }, note: `${Math.round(rateOf(limited).keys).toLocaleString('en-US')} keys/s` },
  ];
}

async function rates({ root, clock, say }: Bench, { keys, rate, rounds }: { readonly keys: number; readonly rate: number; readonly rounds: number }): Promise<Rate[]> {
  const cluster = await Cluster.start({ root, clock, nodes: COPIES, copies: COPIES, nodeEnv: { REPAIR_RATE: String(rate) } });
  try {
    await fill(cluster.proxy.address, keys);
    await cluster.untilWhole();
    const measured: Rate[] = [];
    for (let i = 0; i < rounds; i++) {
      const { owner } = await cluster.onlyRange();
      const { ms, copied } = await loseAndRepair(cluster, cluster.otherNode(owner.ident), clock);
      const one = { keys: (copied.keys * 1000) / ms, mebibytes: (copied.bytes * 1000) / ms / MEBIBYTE };
      measured.push(one);
      say(`${rate === 0 ? 'no limit' : `limit ${rate / MEBIBYTE} MiB/s`}: ${copied.keys} pairs and records in ${(ms / 1000).toFixed(2)} s, ${one.mebibytes.toFixed(1)} MiB/s`);
    }
    return measured;
  } finally {
    await cluster.stop();
  }
}

/** From the first report of the new copy until it counts as in sync, which takes a decision of the controller. */
async function loseAndRepair(cluster: Cluster, node: Member, clock: Bench['clock']): Promise<{ readonly ms: number; readonly copied: TransferProgress }> {
  await cluster.kill(node);
  cluster.startAgain(node, { withoutData: true });
  const deadline = clock.now() + START_MS_MAX;
  while ((await placementOn(cluster, node))?.report?.state !== 'Preparing') {
    if (clock.now() > deadline) throw new Error(`node ${node.ident} began no copy within ${START_MS_MAX} ms`);
    await sleep(clock, LOOK_MS);
  }
  const beganAt = clock.now();
  await cluster.untilWhole(LOOK_MS);
  const ms = clock.now() - beganAt;
  const copied = (await placementOn(cluster, node))?.report?.progress;
  if (!copied) throw new Error(`node ${node.ident} does not say how much it copied`);
  return { ms, copied };
}

async function placementOn(cluster: Cluster, { ident }: Member): Promise<PlacementView | undefined> {
  const [range] = await cluster.admin.ranges({ timeoutMs: 5_000 });
  return range?.placements.find(({ node }) => node === ident);
}
