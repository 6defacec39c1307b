import type { NodeIdent, RangeId } from '../model/range.js';
import type { Scope } from './orchestrator/reconcile.js';
import type { Decision, Problem } from './orchestrator/types.js';

export interface Reason {
  readonly because: string;
  readonly sinceMs: number;
}

/** What the last passes said of ranges that should come on and do not, and of copies that are left alone. */
export class Findings {
  private readonly reasons = new Map<RangeId, Reason>();
  private readonly byNode = new Map<NodeIdent, readonly Problem[]>();

  waiting(id: RangeId): Reason | undefined {
    return this.reasons.get(id);
  }

  waitingRanges(): ReadonlyMap<RangeId, Reason> {
    return this.reasons;
  }

  get problems(): readonly Problem[] {
    return [...this.byNode.values()].flat();
  }

  clear(): void {
    this.reasons.clear();
    this.byNode.clear();
  }

  /** Takes a decision in; the problems that are new. */
  note(decision: Decision, scope: Scope | undefined, nowMs: number): readonly Problem[] {
    for (const id of decision.looked) {
      const because = decision.waiting.get(id);
      const before = this.reasons.get(id);
      if (because === undefined) this.reasons.delete(id);
      else this.reasons.set(id, { because, sinceMs: before?.sinceMs ?? nowMs });
    }
    return this.noteProblems(decision.problems, scope);
  }

  private noteProblems(problems: readonly Problem[], scope: Scope | undefined): readonly Problem[] {
    const known = new Set(this.problems.map((p) => p.because));
    for (const node of scope?.nodes ?? [...this.byNode.keys()]) this.byNode.delete(node);
    for (const problem of problems) this.byNode.set(problem.node, [...(this.byNode.get(problem.node) ?? []), problem]);
    return problems.filter((p) => !known.has(p.because));
  }
}
