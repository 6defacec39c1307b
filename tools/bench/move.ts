import { sleep } from '../../runtime/clock.js';
import { Cluster, type Member } from './cluster.js';
import { fill } from './fill.js';
import type { Lap } from './load.js';
import { cpuSecondsOf, memoryOf } from './processes.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const LOAD = { connections: 4, shape: { perSecond: 1_000 } } as const;
const MEBIBYTE = 1024 * 1024;

interface Move {
  readonly copyMs: number;
  readonly wholeMs: number;
  /** Of both nodes, until the copy was complete; the requests' share included. */
  readonly cpuSeconds: number;
  readonly lap: Lap;
}

/** Moves a large range between two nodes, there and back, while requests come through the proxy. */
export async function moveLarge(bench: Bench): Promise<Figure[]> {
  const { root, clock, quick, generator } = bench;
  const keys = quick ? 200_000 : 1_000_000;
  const cluster = await Cluster.start({ root, clock, nodes: 2 });
  const memory = new PeakMemory(cluster.nodes);
  let stop = (): void => undefined;
  try {
    await sleep(clock, 1_000);
    memory.noteIdle();
    const beganAt = clock.now();
    await fill(cluster.proxy.address, keys);
    bench.say(`${keys} keys written in ${seconds(clock.now() - beganAt)}`);
    await sleep(clock, 2_000);
    const load = generator.start({ ...LOAD, address: cluster.proxy.address, keys });
    const stopWatching = memory.watch(clock);
    stop = () => {
      stopWatching();
      load.stop();
    };
    await sleep(clock, 2_000);
    const quiet = await load.lap();
    const moves: Move[] = [];
    for (let i = 0; i < (quick ? 2 : 4); i++) {
      await sleep(clock, 2_000);
      await load.lap();
      const move = await moveOnce(cluster, bench);
      const { copyMs, wholeMs } = move;
      const lap = await load.lap();
      moves.push({ ...move, lap });
      bench.say(`move ${i + 1}: copied in ${seconds(copyMs)}, whole operation ${seconds(wholeMs)}, p99.9 ${lap.p999.toFixed(1)} ms, longest ${lap.max.toFixed(1)} ms, ${lap.errors} errors ${lap.error ?? ''}; ${memory.text()}`);
    }
    return figures(keys, moves, quiet, memory);
  } finally {
    stop();
    await cluster.stop();
  }
}

async function moveOnce(cluster: Cluster, { clock }: Bench): Promise<Omit<Move, 'lap'>> {
  const { range, owner } = await cluster.onlyRange();
  const to = cluster.otherNode(owner.ident);
  const cpu = (): number => cpuSecondsOf(owner.pid) + cpuSecondsOf(to.pid);
  const cpuBefore = cpu();
  const beganAt = clock.now();
  let cpuSeconds = NaN;
  let copiedAt = NaN;
  const { elapsedMs } = await cluster.run({ kind: 'move', range: range.meta.id, node: to.ident }, (event) => {
    if (event.kind !== 'step' || event.node !== to.ident || !event.text.endsWith('Pending -> Inactive')) return;
    copiedAt = clock.now();
    cpuSeconds = cpu() - cpuBefore;
  });
  return { copyMs: copiedAt - beganAt, wholeMs: elapsedMs, cpuSeconds };
}

function figures(keys: number, moves: readonly Move[], quiet: Lap, memory: PeakMemory): Figure[] {
  const over = memory.mostOverIdle();
  return [
    { what: `move of ${keys} keys under load, copied`, value: median(moves.map(({ copyMs }) => (keys * 1000) / copyMs)), unit: 'keys/s', aim: { is: 'at least', value: 150_000 }, note: `median of ${moves.length} moves` },
    { what: '  CPU of both nodes', value: median(moves.map(({ cpuSeconds }) => (cpuSeconds * 1_000_000) / keys)), unit: 'µs', note: 'a key, that of the load included' },
    { what: '  whole operation', value: median(moves.map(({ wholeMs }) => wholeMs)), unit: 'ms' },
    { what: '  p99.9 of requests during it', value: median(moves.map(({ lap }) => lap.p999)), unit: 'ms', aim: { is: 'under', value: 100 }, note: `${LOAD.shape.perSecond} requests/s through the proxy; p99.9 without a move ${quiet.p999.toFixed(1)} ms` },
    { what: '  longest a request waited', value: median(moves.map(({ lap }) => lap.max)), unit: 'ms' },
    { what: '  failed requests', value: moves.reduce((sum, { lap }) => sum + lap.errors, 0), unit: '', aim: { is: 'under', value: 1 } },
    { what: '  most memory of a node over idle', value: over.bytes / MEBIBYTE, unit: 'MiB', aim: { is: 'under', value: 64 }, note: `anonymous memory, without the storage map; idle ${(over.idle / MEBIBYTE).toFixed(0)} MiB before anything was written` },
  ];
}

/** The most that each of some processes has had. */
class PeakMemory {
  private readonly idle = new Map<Member, number>();
  private readonly peak = new Map<Member, number>();

  constructor(private readonly members: readonly Member[]) {}

  noteIdle(): void {
    for (const member of this.members) this.idle.set(member, memoryOf(member.pid).anonymousBytes);
  }

  watch(clock: Bench['clock']): () => void {
    let cancel = (): void => undefined;
    const look = (): void => {
      for (const member of this.members) this.peak.set(member, Math.max(this.peak.get(member) ?? 0, memoryOf(member.pid).anonymousBytes));
      cancel = clock.after(50, look);
    };
    look();
    return () => {
      cancel();
    };
  }

  mostOverIdle(): { bytes: number; idle: number } {
    const all = this.members.map((member) => ({ bytes: (this.peak.get(member) ?? NaN) - (this.idle.get(member) ?? NaN), idle: this.idle.get(member) ?? NaN }));
    return all.reduce((most, one) => (one.bytes > most.bytes ? one : most));
  }

  text(): string {
    return this.members.map((member) => `${member.name} ${mib(this.idle.get(member))} -> ${mib(this.peak.get(member))} MiB`).join(', ');
  }
}

function mib(bytes = NaN): string {
  return (bytes / MEBIBYTE).toFixed(0);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
