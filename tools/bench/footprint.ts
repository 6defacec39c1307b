import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { Cluster, type Member } from './cluster.js';
import { cpuSecondsOf, memoryOf } from './processes.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const MEBIBYTE = 1024 * 1024;

/** What the command line costs to start, and what a node costs that does nothing. */
export async function footprint(bench: Bench): Promise<Figure[]> {
  const { root, clock, quick } = bench;
  const cluster = await Cluster.start({ root, clock, nodes: 3 });
  try {
    const runs: number[] = [];
    for (let i = 0; i < (quick ? 5 : 10); i++) runs.push(await timeNodes(cluster, bench));
    const idle = await idleUse(cluster.nodes, bench, quick ? 5_000 : 20_000);
    return [
      { what: 'bin/rangerctl nodes, from start to exit', value: median(runs), unit: 'ms', aim: { is: 'under', value: 400 }, note: `median of ${runs.length}` },
      { what: 'an idle node, CPU', value: idle.cpu * 100, unit: '%', aim: { is: 'under', value: 1 }, note: `of a core, the busiest of ${cluster.nodes.length}` },
      { what: 'an idle node, memory', value: idle.bytes / MEBIBYTE, unit: 'MiB', aim: { is: 'under', value: 120 }, note: 'resident, shared libraries included' },
    ];
  } finally {
    await cluster.stop();
  }
}

/** As one types it: with the look at whether the build is up to date. */
function timeNodes(cluster: Cluster, { root, clock }: Bench): Promise<number> {
  const { KEYRANGER_BUILT: _told, ...env } = process.env;
  const beganAt = clock.now();
  return new Promise((resolve, reject) => {
    execFile(join(root, 'bin/rangerctl'), ['nodes', '--addr', cluster.controller.address], { env }, (error) => {
      if (error) reject(new AppError('UNKNOWN', `rangerctl failed: ${error.message}`));
      else resolve(clock.now() - beganAt);
    });
  });
}

async function idleUse(nodes: readonly Member[], { clock }: Bench, ms: number): Promise<{ cpu: number; bytes: number }> {
  await sleep(clock, 3_000);
  const before = nodes.map(({ pid }) => cpuSecondsOf(pid));
  const beganAt = clock.now();
  await sleep(clock, ms);
  const seconds = (clock.now() - beganAt) / 1000;
  return {
    cpu: Math.max(...nodes.map(({ pid }, i) => (cpuSecondsOf(pid) - (before[i] ?? 0)) / seconds)),
    bytes: Math.max(...nodes.map(({ pid }) => memoryOf(pid).residentBytes)),
  };
}
