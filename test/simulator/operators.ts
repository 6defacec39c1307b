import type { RunningOperation } from '../../controller/operations.js';
import { type Plan, type Refusal, planJoin, planMove, planSplit } from '../../controller/orchestrator/request.js';
import type { World } from '../../controller/orchestrator/types.js';
import { type NodeOrder, planNodeOrder } from '../../controller/orchestrator/wishes.js';
import { adjacent } from '../../model/interval.js';
import { keyFromText } from '../../model/key.js';
import { messageOf } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import { KEYS } from './clients.js';
import type { Cluster } from './cluster.js';

/** How often it is tried to take back what was said of nodes. */
const TIDY_MS = 500;
/** The share of runs with orders on nodes, and how often they come there. */
const ORDERING_RUNS = 0.3;
const ORDER_EVERY_MS = 1500;
const NODE_ORDERS: readonly NodeOrder[] = ['drain', 'undrain', 'cordon', 'uncordon'];

/** Operators who move, split and join at random, and now and then drain a node, or cordon it. */
export class Operators {
  private stopped = false;
  begun = 0;
  done = 0;

  constructor(
    private readonly cluster: Cluster,
    private readonly random: Random,
    /** Theirs alone, so that a run without orders on nodes is the same as if there were none. */
    private readonly whims: Random,
  ) {}

  start(): void {
    this.operateNowAndThen();
    if (this.whims.next() < ORDERING_RUNS) this.orderNowAndThen();
  }

  private orderNowAndThen(): void {
    const { scheduler, weather } = this.cluster;
    scheduler.after(weather.nextMs(this.whims, ORDER_EVERY_MS), () => {
      if (this.stopped) return;
      const pick = <T>(from: readonly T[]): T => from[Math.floor(this.whims.next() * from.length)] as T;
      this.order(pick(NODE_ORDERS), pick(this.cluster.nodeNames));
      this.orderNowAndThen();
    });
  }

  private operateNowAndThen(): void {
    const { scheduler, weather } = this.cluster;
    scheduler.after(weather.nextMs(this.random, weather.profile.operateEveryMs), () => {
      if (this.stopped) return;
      this.operate();
      this.operateNowAndThen();
    });
  }

  /** No more operations; every node may have ranges again. */
  stop(): void {
    this.stopped = true;
    this.tidy();
  }

  private tidy(): void {
    const { leader, scheduler } = this.cluster;
    const wished = [...(leader?.keyspace.wished() ?? [])];
    for (const [node, { drain }] of wished) this.order(drain ? 'undrain' : 'uncordon', node);
    // A leader may go, and take orders with it that it had not written down.
    scheduler.after(TIDY_MS, () => {
      this.tidy();
    });
  }

  private order(kind: NodeOrder, node: string): void {
    this.cluster.leader?.adjust((world) => planNodeOrder(world, kind, node)).then(
      ({ description }) => {
        this.cluster.trace.note('operator', description === '' ? `${kind} ${node}: it is so already` : description);
      },
      (thrown: unknown) => {
        this.cluster.trace.note('operator', `refused: ${messageOf(thrown)}`);
      },
    );
  }

  private operate(): void {
    const plan = this.draw();
    const { leader } = this.cluster;
    leader?.run(plan).then(
      (operation) => {
        this.follow(operation);
      },
      (thrown: unknown) => {
        this.cluster.trace.note('operator', `refused: ${messageOf(thrown)}`);
      },
    );
  }

  private follow(operation: RunningOperation): void {
    const { trace } = this.cluster;
    this.begun++;
    trace.note('operator', `began ${operation.description}`);
    operation.result.then(
      () => {
        this.done++;
        trace.note('operator', `done: ${operation.description}`);
      },
      (thrown: unknown) => {
        trace.note('operator', `not done: ${operation.description}: ${messageOf(thrown)}`);
      },
    );
  }

  private draw(): (world: World) => Plan | Refusal {
    const dice = [this.random.next(), this.random.next(), this.random.next(), this.random.next()] as const;
    const node = (at: number): string | undefined => (at < 0.4 ? undefined : this.cluster.nodeNames[Math.floor(((at - 0.4) / 0.6) * this.cluster.nodeNames.length)]);
    return (world) => {
      const leaves = world.keyspace.leaves();
      const index = Math.floor(dice[1] * leaves.length);
      const range = leaves[index];
      if (!range) return { allowed: false, code: 'ABORTED', because: 'there is no range yet' };
      const right = leaves[index + 1];
      if (dice[0] < 0.3 && right && adjacent(range, right)) return planJoin(world, { left: range.id, right: right.id, node: node(dice[2]) });
      if (dice[0] < 0.6 && leaves.length < 8) {
        const boundary = keyFromText(KEYS[1 + Math.floor(dice[3] * (KEYS.length - 1))] as string);
        return planSplit(world, { range: range.id, boundary, left: node(dice[2]), right: node((dice[2] * 7) % 1) });
      }
      return planMove(world, { range: range.id, node: node(dice[2]) });
    };
  }
}
