import type { Step } from '../../model/notation.js';
import type { NodeIdent, RangeId } from '../../model/range.js';
import { type PlacementState, type RangeState, canBecome } from '../../model/states.js';
import { assert } from '../../runtime/errors.js';
import type { ChangeGroup, KeyspaceView } from '../keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, placementAt, sortedIndexes, withPlacement, withoutPlacement } from '../keyspace/record.js';
import type { Avoidance, Decision, Ended, Notice, Problem, WantedCommand, World } from './types.js';

/** A node's word is not decided by for longer. */
const FRESH_MS = 1_000;

/**
 * The world with the decisions of this pass so far laid over it. Strategies read
 * and write it, so that several steps that follow from each other are taken, and
 * persisted, at once.
 */
export class Draft implements KeyspaceView {
  private readonly changed = new Map<RangeId, RangeRecord | undefined>();
  private readonly open = new Set<RangeId>();
  private readonly groups: ChangeGroup[] = [];
  private deferrable = true;
  private readonly commands: WantedCommand[] = [];
  private readonly steps: Step[] = [];
  private readonly waiting = new Map<RangeId, string>();
  private readonly ended: Ended[] = [];
  private readonly avoided: Avoidance[] = [];
  private readonly problems: Problem[] = [];
  private readonly notices: Notice[] = [];
  private readonly given = new Map<NodeIdent, number>();
  private readonly repairs = new Set<RangeId>();
  private wakeAtMs: number | undefined;
  private readonly again: RangeId[] = [];
  private readonly asked = new Set<NodeIdent>();

  constructor(readonly world: World) {}

  get(id: RangeId): RangeRecord | undefined {
    return this.changed.has(id) ? this.changed.get(id) : this.world.keyspace.get(id);
  }

  /** The record of a range that is known to be there. */
  range(id: RangeId): RangeRecord {
    const record = this.get(id);
    assert(record, `range ${id} is in the keyspace`);
    return record;
  }

  // --- changes -----------------------------------------------------------------

  /** A decision: it has to be on disk before any command that follows from it. */
  decide(record: RangeRecord): void {
    this.deferrable = false;
    this.note(record);
  }

  /** Only what was seen: after a crash it will be seen again. */
  note(record: RangeRecord): void {
    this.changed.set(record.id, record);
    this.open.add(record.id);
  }

  bump(id: RangeId): void {
    const range = this.range(id);
    this.decide({ ...range, epoch: range.epoch + 1 });
  }

  add(id: RangeId, placement: PlacementRecord): void {
    this.decide(withPlacement(this.range(id), placement));
    this.given.set(placement.node, (this.given.get(placement.node) ?? 0) + 1);
    this.steps.push({ range: id, placement, from: 'New', to: placement.state });
  }

  /** How many placements the node has, with those that were decided in this pass. */
  countOn(node: NodeIdent): number {
    return this.world.keyspace.on(node).size + (this.given.get(node) ?? 0);
  }

  /** A copy that is missing is to be made; its range counts against how many are repaired at once. */
  addRepair(id: RangeId, placement: PlacementRecord): void {
    if (!this.world.keyspace.repairing.has(id)) this.repairs.add(id);
    this.add(id, placement);
  }

  /** Whether one more range may have copies made now. */
  mayRepair(id: RangeId): boolean {
    const { repairing } = this.world.keyspace;
    return repairing.has(id) || this.repairs.has(id) || repairing.size + this.repairs.size < this.world.tuning.repairsMax;
  }

  /** Changes who is in sync, and says so. */
  setInSync(id: RangeId, insync: readonly number[]): void {
    const before = this.range(id);
    this.decide({ ...before, insync: sortedIndexes(insync) });
    for (const placement of before.placements) {
      const was = before.insync.includes(placement.index);
      const is = insync.includes(placement.index);
      if (was !== is) this.steps.push({ range: id, placement, from: was ? 'InSync' : 'Learner', to: is ? 'InSync' : 'Learner' });
    }
  }

  /** Changes what stands in a placement beside its state. */
  mark(id: RangeId, index: number, change: Partial<Omit<PlacementRecord, 'index' | 'node' | 'state'>>): void {
    this.decide(withPlacement(this.range(id), { ...this.placement(id, index), ...change }));
  }

  /** The one door through which a placement changes its state. */
  become(id: RangeId, index: number, to: PlacementState, how: 'seen' | 'decided'): void {
    const before = this.placement(id, index);
    assert(canBecome(before.state, to), `R${id} P${index} cannot go from ${before.state} to ${to}`);
    const record = withPlacement(this.range(id), { ...before, state: to });
    if (how === 'decided') this.decide(record);
    else this.note(record);
    this.steps.push({ range: id, placement: before, from: before.state, to });
  }

  /** No longer wanted. One whose node was last heard to serve it, and is passed by, is not to serve first. */
  drop(id: RangeId, index: number): void {
    if (this.placement(id, index).state === 'Active') this.become(id, index, 'Inactive', 'decided');
    this.become(id, index, 'Dropped', 'decided');
  }

  removed(id: RangeId, index: number): void {
    const before = this.placement(id, index);
    this.note(withoutPlacement(this.range(id), index));
    this.steps.push({ range: id, placement: before, from: before.state, to: 'Gone' });
  }

  becomeRange(id: RangeId, to: RangeState): void {
    const before = this.range(id);
    this.decide({ ...before, state: to });
    this.steps.push({ range: id, placement: undefined, from: before.state, to });
  }

  prune(id: RangeId): void {
    this.changed.set(id, undefined);
    this.open.add(id);
  }

  private placement(id: RangeId, index: number): PlacementRecord {
    const placement = placementAt(this.range(id), index);
    assert(placement, `R${id} has a placement P${index}`);
    return placement;
  }

  // --- what else a pass says -----------------------------------------------------

  /**
   * Whether the node has answered what it was asked at that moment or later, and so was well then; and that was
   * not long ago, for this process may have stood still. One that did not is asked: what fails together is not
   * noticed at once of all, and a decision by which nothing but this node counts any more must not be made by a
   * word from before.
   */
  answeredSince(node: NodeIdent, ms: number): boolean {
    const seen = this.world.roster.nodes.get(node);
    if (seen && seen.askedMs >= Math.max(ms, this.world.nowMs - FRESH_MS)) return true;
    this.asked.add(node);
    return false;
  }

  command(command: WantedCommand): void {
    this.commands.push(command);
  }

  /** The first reason given for a range is the one to tell. */
  wait(id: RangeId, because: string): void {
    if (!this.waiting.has(id)) this.waiting.set(id, because);
  }

  end(ended: Ended): void {
    this.ended.push(ended);
  }

  avoid(range: RangeId, node: string): void {
    this.avoided.push({ range, node, untilMs: this.world.nowMs + this.world.tuning.avoidMs });
  }

  isAvoided(range: RangeId, node: string): boolean {
    return this.avoided.some((a) => a.range === range && a.node === node);
  }

  problem(problem: Problem): void {
    this.problems.push(problem);
  }

  notice(range: RangeId, text: string): void {
    this.notices.push({ range, text });
  }

  lookAgain(id: RangeId): void {
    this.again.push(id);
  }

  lookAgainAt(ms: number): void {
    this.wakeAtMs = Math.min(ms, this.wakeAtMs ?? Infinity);
  }

  /** What was changed since the last call belongs together. */
  closeGroup(): void {
    const changes = [...this.open].map((id) => ({ id, record: this.changed.get(id) }));
    if (changes.length > 0) this.groups.push({ changes, deferrable: this.deferrable });
    this.open.clear();
    this.deferrable = true;
  }

  decision(looked: ReadonlySet<RangeId>): Decision {
    this.closeGroup();
    return {
      looked,
      groups: this.groups,
      commands: this.commands,
      steps: this.steps,
      waiting: this.waiting,
      ended: this.ended,
      avoid: this.avoided,
      problems: this.problems,
      notices: this.notices,
      wakeAtMs: this.wakeAtMs,
      again: this.again,
      ask: [...this.asked],
    };
  }
}
