import { describe, expect, it } from 'vitest';
import { type Plan, type Refusal, planJoin, planMove, planSplit } from '../../controller/orchestrator/request.js';
import type { World } from '../../controller/orchestrator/types.js';
import { keyFromText } from '../../model/key.js';
import { FAILPOINTS, type FailpointName } from '../../node/chaos/failpoints.js';
import { AppError } from '../../runtime/errors.js';
import { type Build, SOUND } from './build.js';
import { JudgedCluster } from './judged.js';
import type { Process } from './process.js';

/*
 * Operations, each as often as there are moments in it: every failpoint that a node
 * reaches, every write of the keyspace and every command of the controller that leads. At
 * each such moment in turn a process dies. It comes back before it is missed, or after. The
 * operation ends, one way or the other, and clients, who read and write all the while,
 * notice nothing but time.
 */

type Asked = (world: World) => Plan | Refusal;

interface Operation {
  readonly name: string;
  /** What is done before, so that the ranges are where the operation has them. */
  readonly before: readonly Asked[];
  readonly asked: Asked;
  /** Where it leads from and to; or to, when it named no node and its own was away. */
  readonly from: string;
  readonly to: string;
  readonly orTo?: RegExp;
  /** The nodes that take part. */
  readonly nodes: readonly string[];
  /** A failpoint that fails on a node each time, so that the operation is taken back. */
  readonly fails?: { readonly node: string; readonly at: FailpointName };
}

const move = (range: number, node: string): Asked => (world) => planMove(world, { range, node });
const split = (range: number, left: string | undefined, right: string | undefined): Asked => (world) => planSplit(world, { range, boundary: keyFromText('k03'), left, right });
const join = (left: number, right: number, node: string | undefined): Asked => (world) => planJoin(world, { left, right, node });

const AT_N1 = [move(1, 'n1')];
const MOVE = { before: AT_N1, asked: move(1, 'n2'), from: 'R1@n1', to: 'R1@n2', nodes: ['n1', 'n2'] };
const SPLIT = { before: AT_N1, asked: split(1, 'n2', 'n3'), from: 'R1@n1', to: 'R2@n2 R3@n3', nodes: ['n1', 'n2', 'n3'] };
const JOIN = { before: [...AT_N1, split(1, 'n1', 'n2')], asked: join(2, 3, 'n3'), from: 'R2@n1 R3@n2', to: 'R4@n3', nodes: ['n1', 'n2', 'n3'] };

/** Reaching all failpoints. */
const ELSEWHERE: readonly Operation[] = [
  { name: 'a move', ...MOVE },
  { name: 'a split to other nodes', ...SPLIT },
  { name: 'a join on another node', ...JOIN },
];
const OTHERS: readonly Operation[] = [
  { name: 'a split in place', ...SPLIT, asked: split(1, undefined, undefined), to: 'R2@n1 R3@n1', orTo: /^R2@n\d R3@n\d$/, nodes: ['n1'] },
  { name: 'a join in place', ...JOIN, before: [...AT_N1, split(1, undefined, undefined)], asked: join(2, 3, undefined), from: 'R2@n1 R3@n1', to: 'R4@n1', nodes: ['n1'] },
  { name: 'a move that is taken back', ...MOVE, fails: { node: 'n2', at: 'before-activate-commit' } },
  { name: 'a split that is taken back', ...SPLIT, fails: { node: 'n3', at: 'before-activate-commit' } },
  { name: 'a join that is taken back', ...JOIN, fails: { node: 'n3', at: 'before-activate-commit' } },
];

interface Moment {
  readonly process: string;
  readonly what: string;
}

interface Kill {
  readonly moment: number;
  readonly victim: string;
  readonly backMs: number;
}

/** Before a node is missed, and after. */
const BACK_MS = [30, 6000];

/** One run of an operation, through the death of a process at one of its moments. */
class Trial {
  readonly moments: Moment[] = [];
  private armed = false;
  private readonly judged: JudgedCluster;

  constructor(
    private readonly operation: Operation,
    private readonly kill?: Kill,
  ) {
    this.judged = new JudgedCluster({ seed: 1, build: this.build(), keepLines: 60 });
  }

  /** How the ranges lie in the end. */
  async run(): Promise<string> {
    const { judged, operation } = this;
    await judged.start();
    judged.clients.start(8);
    await judged.during(500);
    // The first may find that it is so already.
    for (const asked of operation.before) await this.operate(asked);
    expect(this.layout()).toBe(operation.from);
    this.armed = true;
    await this.operate(operation.asked);
    this.armed = false;
    await judged.judge();
    return this.layout();
  }

  trace(): string {
    return this.judged.cluster.trace.last().join('\n');
  }

  /** Until it has ended, or the one who might say so has died. */
  private async operate(asked: Asked): Promise<void> {
    const { judged } = this;
    let over = false;
    const end = (): void => {
      over = true;
    };
    judged.cluster.leader?.run(asked).then(({ result }) => result).then(end, end);
    await judged.until(() => over || this.isDead(), 60_000, () => 'the operation goes on');
    await judged.rest();
  }

  private layout(): string {
    const ranges = this.judged.cluster.leader?.keyspace.leaves() ?? [];
    return ranges.map(({ id, placements }) => `R${id}@${placements.map(({ node }) => node).join('+')}`).join(' ');
  }

  /** The moment to die was there. */
  isDead(): boolean {
    return this.kill !== undefined && this.moments.length > this.kill.moment;
  }

  /** Undefined to go on; who died never hears of it. */
  private reach(process: Process, what: string): Promise<never> | undefined {
    if (!this.armed || !process.alive) return undefined;
    const { kill } = this;
    const isNow = this.moments.push({ process: process.name, what }) - 1 === kill?.moment;
    if (!isNow) return undefined;
    this.judged.cluster.trace.note(process.name, `reaches: ${what}`);
    this.judged.cluster.crash(kill.victim, kill.backMs);
    return process.alive ? undefined : new Promise(() => undefined);
  }

  private build(): Build {
    const { fails } = this.operation;
    return {
      ...SOUND,
      failpoints: (process) => ({
        reach: (name) => {
          const death = this.reach(process, name);
          if (death) return death;
          return this.armed && fails?.node === process.name && fails.at === name ? Promise.reject(new AppError('ABORTED', `failpoint ${name}`)) : undefined;
        },
      }),
      persister: (persister, process) => ({
        load: () => persister.load(),
        write: async (groups) => {
          await this.reach(process, 'before a write');
          await persister.write(groups);
          await this.reach(process, 'after a write');
        },
        close: () => persister.close(),
      }),
      dial: (dial, process) => (address) => {
        const transport = dial(address);
        return {
          ...transport,
          send: async (command, options) => {
            const what = `${command.command} R${command.range.id} to ${command.node}`;
            await this.reach(process, `before ${what}`);
            const answer = transport.send(command, options);
            await this.reach(process, `after ${what}`);
            return answer;
          },
        };
      },
    };
  }
}

const isNode = ({ process }: Moment): boolean => process.startsWith('n');

async function momentsOf(operation: Operation): Promise<readonly Moment[]> {
  const trial = new Trial(operation);
  expect(await trial.run()).toBe(operation.fails ? operation.from : operation.to);
  return trial.moments;
}

async function failures(operation: Operation, kills: readonly Kill[], moments: readonly Moment[]): Promise<string[]> {
  const failed: string[] = [];
  for (const kill of kills) {
    const trial = new Trial(operation, kill);
    const { process = '', what = '' } = moments[kill.moment] ?? {};
    const problem = await trial.run().then(
      (layout) => (!trial.isDead() ? 'that moment never came' : layout === operation.from || layout === operation.to || operation.orTo?.test(layout) === true ? undefined : `it ended as ${layout}`),
      (thrown: unknown) => String(thrown),
    );
    if (problem !== undefined) failed.push(`${kill.victim} died for ${kill.backMs} ms when ${process} was at: ${what}\n${problem}\n${trial.trace()}`);
  }
  return failed;
}

describe.each([...ELSEWHERE, ...OTHERS])('$name ends well', (operation) => {
  it('at whatever failpoint one of its nodes dies', { timeout: 120_000 }, async () => {
    const moments = await momentsOf(operation);
    const kills = moments.flatMap((moment, at) => {
      if (!isNode(moment)) return [];
      // What is taken back has twice as many moments: there the one that is at it dies, and no other.
      const victims = operation.fails ? [moment.process] : operation.nodes;
      return victims.flatMap((victim) => BACK_MS.map((backMs) => ({ moment: at, victim, backMs })));
    });
    expect(kills.length).toBeGreaterThan(moments.filter(isNode).length);
    const failed = await failures(operation, kills, moments);
    expect(failed.slice(0, 2).join('\n\n')).toBe('');
  });

  it('after whatever write or command its controller dies', { timeout: 120_000 }, async () => {
    const moments = await momentsOf(operation);
    const kills = moments.flatMap((moment, at) => (isNode(moment) ? [] : [{ moment: at, victim: moment.process, backMs: 6000 }]));
    const failed = await failures(operation, kills, moments);
    expect(failed.slice(0, 2).join('\n\n')).toBe('');
  });
});

describe('every failpoint', () => {
  it.each(ELSEWHERE)('is met by $name', async (operation) => {
    const met = new Set((await momentsOf(operation)).filter(isNode).map(({ what }) => what));
    expect([...met].sort()).toEqual(Object.keys(FAILPOINTS).sort());
  });
});
