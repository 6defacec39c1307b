import { Keyspace } from '../../controller/keyspace/keyspace.js';
import { newPlacement, newRange } from '../../controller/keyspace/record.js';
import { reconcile } from '../../controller/orchestrator/reconcile.js';
import { planMove } from '../../controller/orchestrator/request.js';
import { DEFAULT_TUNING, type Decision, type World } from '../../controller/orchestrator/types.js';
import { EMPTY_ROSTER } from '../../controller/roster/roster.js';
import * as updates from '../../controller/roster/updates.js';
import { NO_KEY, keyFromText } from '../../model/key.js';
import { NO_LOAD } from '../../model/report.js';
import { AppError } from '../../runtime/errors.js';
import type { Figure } from './report.js';
import type { Bench } from './section.js';
import { median } from './statistics.js';

const PASSES = 5;
const CHANGES = 50;

/** What deciding costs a controller with many ranges; the nodes are only told of, and none is there. */
export function controller({ quick, say }: Bench): Promise<Figure[]> {
  const [ranges, nodes] = quick ? [20_000, 200] : [100_000, 1_000];
  say(`building a world of ${ranges} ranges on ${nodes} nodes`);
  const world = calmWorld(ranges, nodes);
  const full = times(PASSES, () => expectCalm(reconcile(world)));
  const changes = times(CHANGES, (i) => {
    move(world, 1 + ((i * 7919) % ranges), nodes);
  });
  const size = `${ranges.toLocaleString('en-US')} ranges on ${nodes.toLocaleString('en-US')} nodes`;
  return Promise.resolve([
    { what: `${size}: a full pass, CPU`, value: median(full), unit: 'ms', aim: { is: 'under', value: 1000 }, note: `median of ${full.length}` },
    { what: '… one change (a move begins), CPU', value: median(changes), unit: 'ms', aim: { is: 'under', value: 5 }, note: `median of ${changes.length}` },
    { what: '… the slowest of them', value: Math.max(...changes), unit: 'ms' },
  ]);
}

/** Every range is where it should be, and its node says so. */
function calmWorld(ranges: number, nodes: number): World {
  const ident = (node: number): string => `node-${node}`;
  const boundary = (id: number) => (id === 0 || id === ranges ? NO_KEY : keyFromText(String(id).padStart(9, '0')));
  const records = Array.from({ length: ranges }, (_, i) => {
    const placement = newPlacement(0, ident(i % nodes), { state: 'Active', incarnation: ident(i % nodes) });
    return newRange({ id: i + 1, start: boundary(i), end: boundary(i + 1) }, { established: true, primary: 0, placements: [placement] });
  });
  let roster = updates.settled(EMPTY_ROSTER);
  for (let node = 0; node < nodes; node++) {
    const incarnation = ident(node);
    const reports = records
      .filter((_, i) => i % nodes === node)
      .map((meta) => ({ meta, state: 'Active' as const, load: NO_LOAD, epoch: meta.epoch, progress: undefined, lastError: '', serving: true }));
    roster = updates.discovered(roster, { ident: ident(node), address: `${ident(node)}:5000`, incarnation }, 0);
    roster = updates.reported(roster, ident(node), { ranges: reports, wantDrain: false, incarnation }, 0, 0);
  }
  return { keyspace: new Keyspace(records), roster, nowMs: 1000, tuning: DEFAULT_TUNING };
}

function expectCalm(decision: Decision): void {
  const done = decision.groups.length + decision.commands.length;
  if (done > 0) throw new AppError('INTERNAL', `a calm world was decided ${done} things on`);
}

/** The deciding part of a pass for one request: plan it, reconcile, and apply the changes. Nothing is persisted or sent. */
function move(world: World, range: number, nodes: number): void {
  const plan = planMove(world, { range, node: `node-${(range + 1) % nodes}` });
  if (!plan.allowed) throw new AppError('INTERNAL', `R${range} may not be moved: ${plan.because}`);
  world.keyspace.apply(plan.changes);
  const decision = reconcile(world, { ranges: [range], nodes: [] });
  for (const group of decision.groups) world.keyspace.apply(group.changes);
  if (!decision.commands.some(({ command }) => command === 'Prepare')) throw new AppError('INTERNAL', `the move of R${range} did not begin`);
}

/** The CPU that each run took. */
function times(runs: number, run: (i: number) => void): number[] {
  return Array.from({ length: runs }, (_, i) => {
    const before = process.cpuUsage();
    run(i);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
}
