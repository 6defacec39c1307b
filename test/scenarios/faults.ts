import type { RangeId } from '../../model/range.js';
import type { Command } from '../../model/states.js';

/** What goes wrong with a node's commands. */
export type FaultKind =
  /** The node refuses, and says why. */
  | 'refuses'
  /** The request never arrives. */
  | 'loses'
  /** It is done, and the answer never arrives. */
  | 'mutes'
  /** It arrives twice, the second time after whatever else is under way. */
  | 'doubles'
  /** It arrives only when `release` says so; by then nobody waits for the answer. */
  | 'delays'
  /** It takes longer than the grace period: answered with the state in between, done a few seconds later. */
  | 'slows'
  /** As `slows`, and then it fails. */
  | 'fails late';

export const FAULT_KINDS: readonly FaultKind[] = ['refuses', 'loses', 'mutes', 'doubles', 'delays', 'slows', 'fails late'];

export interface Fault {
  readonly kind: FaultKind;
  readonly command: Command;
  /** Of this range only; of any when undefined. */
  readonly range: RangeId | undefined;
  times: number;
}

/** The faults of one node, in the order they were asked for. */
export class Faults {
  private list: Fault[] = [];

  add(fault: Fault): void {
    this.list.push(fault);
  }

  clear(): void {
    this.list = [];
  }

  /** The fault that the command meets now; each counts down. */
  take({ command, range }: { readonly command: Command; readonly range: { readonly id: RangeId } }): FaultKind | undefined {
    const fault = this.list.find((f) => f.command === command && f.times > 0 && (f.range ?? range.id) === range.id);
    if (!fault) return undefined;
    fault.times -= 1;
    return fault.kind;
  }
}
