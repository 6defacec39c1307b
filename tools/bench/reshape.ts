import { keyFromText } from '../../model/key.js';
import { sleep } from '../../runtime/clock.js';
import { Cluster } from './cluster.js';
import { fill } from './fill.js';
import type { RunningLoad } from './generators.js';
import { middleKey } from './keys.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const LOAD = { connections: 4, shape: { perSecond: 500 } } as const;
const SMALL = 1_000;

/** How long an operation took, and the longest a request waited around it. */
interface Timed {
  readonly ms: number;
  readonly gapMs: number;
  readonly errors: number;
}

/** Operations on small ranges, and those that copy nothing on ranges of any size. */
export async function reshape(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const keys of bench.quick ? [100, 100_000] : [100, 1_000_000]) figures.push(...(await inPlace(bench, keys, 1)));
  figures.push(...(await inPlace(bench, SMALL, 3)));
  return [...(await moveSmall(bench)), ...figures];
}

async function moveSmall(bench: Bench): Promise<Figure[]> {
  return withLoad(bench, { keys: SMALL, nodes: 2, copies: 1 }, async (cluster, load) => {
    const moves: Timed[] = [];
    for (let i = 0; i < rounds(bench); i++) {
      const { range, owner } = await cluster.onlyRange();
      const node = cluster.otherNode(owner.ident).ident;
      moves.push(await timed(bench, load, () => cluster.run({ kind: 'move', range: range.meta.id, node })));
    }
    return [
      { what: `move of ${SMALL} keys, whole operation`, value: median(moves.map(({ ms }) => ms)), unit: 'ms', aim: { is: 'under', value: 250 }, note: note(moves) },
      { what: '  longest a request waited', value: median(moves.map(({ gapMs }) => gapMs)), unit: 'ms', aim: { is: 'under', value: 30 }, note: `${LOAD.shape.perSecond} requests/s through the proxy` },
    ];
  });
}

async function inPlace(bench: Bench, keys: number, copies: number): Promise<Figure[]> {
  return withLoad(bench, { keys, nodes: Math.max(2, copies), copies }, async (cluster, load) => {
    const splits: Timed[] = [];
    const joins: Timed[] = [];
    const what = `${keys} keys${copies > 1 ? `, ${copies} copies` : ''}`;
    for (let i = 0; i < rounds(bench); i++) {
      await cluster.untilWhole();
      const { range, owner } = await cluster.onlyRange();
      const node = owner.ident;
      splits.push(await timed(bench, load, () => cluster.run({ kind: 'split', range: range.meta.id, boundary: keyFromText(middleKey(keys)), left: node, right: node })));
      await cluster.untilWhole();
      const [left, right] = await cluster.ranges();
      if (!left || !right) throw new Error('a split left less than two ranges');
      joins.push(await timed(bench, load, () => cluster.run({ kind: 'join', left: left.meta.id, right: right.meta.id, node })));
    }
    // With copies it is over when all of them follow; what a request waits is in the note.
    const aim = copies > 1 ? {} : ({ aim: { is: 'under', value: 50 } } as const);
    return [
      { what: `split in place, ${what}`, value: median(splits.map(({ ms }) => ms)), unit: 'ms', ...aim, note: note(splits) },
      { what: `join in place, ${what}`, value: median(joins.map(({ ms }) => ms)), unit: 'ms', ...aim, note: note(joins) },
    ];
  });
}

interface Setting {
  readonly keys: number;
  readonly nodes: number;
  readonly copies: number;
}

async function withLoad(bench: Bench, { keys, nodes, copies }: Setting, run: (cluster: Cluster, load: RunningLoad) => Promise<Figure[]>): Promise<Figure[]> {
  const { root, clock, generator } = bench;
  const cluster = await Cluster.start({ root, clock, nodes, copies });
  try {
    await fill(cluster.proxy.address, keys);
    const load = generator.start({ ...LOAD, address: cluster.proxy.address, keys });
    await sleep(clock, 2_000);
    try {
      return await run(cluster, load);
    } finally {
      load.stop();
    }
  } finally {
    await cluster.stop();
  }
}

async function timed({ clock, say }: Bench, load: RunningLoad, operation: () => Promise<unknown>): Promise<Timed> {
  await sleep(clock, 500);
  await load.lap();
  const beganAt = clock.now();
  await operation();
  const ms = clock.now() - beganAt;
  await sleep(clock, 100);
  const { max, errors, error } = await load.lap();
  say(`${ms.toFixed(1)} ms, longest wait ${max.toFixed(1)} ms, ${errors} errors ${error ?? ''}`);
  return { ms, gapMs: max, errors };
}

function rounds({ quick }: Bench): number {
  return quick ? 3 : 9;
}

function note(all: readonly Timed[]): string {
  const errors = all.reduce((sum, one) => sum + one.errors, 0);
  return `median of ${all.length}; longest wait ${median(all.map(({ gapMs }) => gapMs)).toFixed(1)} ms, ${errors} failed requests`;
}
