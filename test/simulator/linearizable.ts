/** One operation on a register. Times only need an order; no two are equal. */
export interface RegisterOp {
  readonly kind: 'read' | 'write';
  /** What was read or written; undefined is absence. */
  readonly value: string | undefined;
  readonly invokedAt: number;
  /** Infinity for a write whose outcome is unknown: it may take effect at any time, or never. */
  readonly respondedAt: number;
}

/**
 * Whether some order of the operations explains every read, each operation taking
 * effect at one instant between its begin and its end. Exact: a depth-first search
 * over the operations that may come next, which remembers where it has been (Wing
 * and Gong, with Lowe's memory).
 */
export function isLinearizable(history: readonly RegisterOp[]): boolean {
  const ops = withoutUnseen(history).sort((a, b) => a.invokedAt - b.invokedAt);
  const seen = new Set<string>();
  // What is done: everything before `from`, and the few in `ahead` behind it.
  const stack: State[] = [{ from: 0, ahead: [], value: undefined }];
  for (let state = stack.pop(); state; state = stack.pop()) {
    const name = `${state.from}|${state.ahead.join(',')}|${state.value ?? ''}|${state.value === undefined}`;
    if (seen.has(name)) continue;
    seen.add(name);
    const next = candidates(ops, state);
    if (next.isOver) return true;
    for (const index of next.indexes) {
      const op = ops[index] as RegisterOp;
      if (op.kind === 'write') stack.push(advance(ops, state, index, op.value));
      else if (op.value === state.value) stack.push(advance(ops, state, index, state.value));
    }
  }
  return false;
}

interface State {
  readonly from: number;
  readonly ahead: readonly number[];
  readonly value: string | undefined;
}

/** The operations that may take effect next: those that began before any other that is left has ended. */
function candidates(ops: readonly RegisterOp[], { from, ahead }: State): { isOver: boolean; indexes: number[] } {
  let firstEnd = Infinity;
  const indexes: number[] = [];
  for (let i = from; i < ops.length; i++) {
    const op = ops[i] as RegisterOp;
    if (op.invokedAt > firstEnd) break;
    if (ahead.includes(i)) continue;
    firstEnd = Math.min(firstEnd, op.respondedAt);
    indexes.push(i);
  }
  return { isOver: firstEnd === Infinity, indexes: indexes.filter((i) => (ops[i] as RegisterOp).invokedAt < firstEnd) };
}

function advance(ops: readonly RegisterOp[], state: State, index: number, value: string | undefined): State {
  const done = new Set([...state.ahead, index]);
  let { from } = state;
  while (from < ops.length && done.delete(from)) from++;
  return { from, ahead: [...done].sort((a, b) => a - b), value };
}

/** A write of unknown outcome that nobody read need not have happened, whatever the rest is. */
function withoutUnseen(history: readonly RegisterOp[]): RegisterOp[] {
  const read = new Set(history.filter(({ kind }) => kind === 'read').map(({ value }) => value));
  return history.filter(({ kind, value, respondedAt }) => kind === 'read' || respondedAt !== Infinity || read.has(value));
}
