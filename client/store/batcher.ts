import type { Operation, OperationAnswer } from '../../model/store.js';
import { operationLength } from '../../proto/store-wire.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Turn } from '../../runtime/turn.js';
import { NOTHING_APPLIED, isLoss } from './failures.js';
import type { NodeStore } from './node-store.js';

/** The connection failed, so there is no answer. */
export interface LostOperation {
  readonly is: 'lost';
  /** The node has not seen it: it may be sent again. */
  readonly notApplied: boolean;
  readonly error: AppError;
}

interface Pending {
  readonly operation: Operation;
  readonly dueAt: number;
  readonly done: (answer: OperationAnswer | LostOperation) => void;
  /** The node may have seen it. */
  sent: boolean;
  /** Its time is over: it is not sent any more. */
  over: boolean;
}

const CHUNK_OPERATIONS = 1000;
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Calls of one kind under way; what comes meanwhile makes the next ones larger. */
const CALLS_MAX = 4;
const CONNECT_MS_MAX = 1000;

/** The answer to whoever was told already that there will be none. */
const UNWANTED: LostOperation = { is: 'lost', notApplied: true, error: new AppError('DEADLINE_EXCEEDED', 'it was not sent in time') };

/**
 * Operations for one node: those of one event-loop turn travel together. Reads and
 * writes apart, so that no read waits for a disk.
 */
export class Batcher {
  private readonly reads = new Lane();
  private readonly writes = new Lane();

  constructor(
    private readonly node: NodeStore,
    private readonly deps: { readonly clock: Clock; readonly turn: Turn },
  ) {}

  ask(operation: Operation, dueAt: number): Promise<OperationAnswer | LostOperation> {
    const lane = operation.is === 'get' ? this.reads : this.writes;
    return new Promise((resolve) => {
      const cancel = this.deps.clock.after(Math.max(0, dueAt - this.deps.clock.now()), () => {
        pending.over = true;
        const unsent = pending.sent ? ': whether the write was applied is unknown' : `. ${NOTHING_APPLIED}`;
        const fate = operation.is === 'get' ? '' : unsent;
        resolve({ is: 'failed', error: new AppError('DEADLINE_EXCEEDED', `no answer from ${this.node.address} in time${fate}`) });
      });
      const done: Pending['done'] = (answer) => {
        cancel();
        resolve(answer);
      };
      const pending: Pending = { operation, dueAt, done, sent: false, over: false };
      lane.queue.push(pending);
      this.sendLater(lane);
    });
  }

  private sendLater(lane: Lane): void {
    if (lane.due || lane.calls >= CALLS_MAX || lane.queue.length === 0) return;
    lane.due = true;
    this.deps.turn(() => {
      lane.due = false;
      while (lane.queue.length > 0 && lane.calls < CALLS_MAX) void this.send(lane, lane.take());
    });
  }

  private async send(lane: Lane, chunk: readonly Pending[]): Promise<void> {
    lane.calls++;
    try {
      const answers = await this.call(chunk);
      const retries = chunk.filter(({ operation }, i) => operation.is === 'get' && isCutOff(answers, i));
      lane.queue.unshift(...retries);
      chunk.forEach((pending, i) => {
        if (!retries.includes(pending)) pending.done(answers[i] as OperationAnswer | LostOperation);
      });
    } finally {
      lane.calls--;
      this.sendLater(lane);
    }
  }

  private async call(chunk: readonly Pending[]): Promise<readonly (OperationAnswer | LostOperation)[]> {
    const { clock } = this.deps;
    const timeoutMs = Math.max(1, ...chunk.map(({ dueAt }) => dueAt - clock.now()));
    let sent = false;
    try {
      await this.node.ready(Math.min(timeoutMs, CONNECT_MS_MAX));
      const wanted = chunk.filter(({ over }) => !over);
      for (const pending of wanted) pending.sent = true;
      sent = true;
      const operations = wanted.map(({ operation }) => operation);
      const answers = operations.length === 0 ? [] : await this.node.batch(operations, { timeoutMs });
      const answerOf = new Map(wanted.map((pending, i) => [pending, answers[i]]));
      return chunk.map((pending) => answerOf.get(pending) ?? UNWANTED);
    } catch (thrown) {
      const error = AppError.from(thrown);
      const lost = isLoss(error) ? ({ is: 'lost', notApplied: !sent, error } as const) : ({ is: 'failed', error } as const);
      return chunk.map(() => lost);
    }
  }
}

class Lane {
  readonly queue: Pending[] = [];
  calls = 0;
  due = false;

  take(): Pending[] {
    let bytes = 0;
    let count = 0;
    for (const { operation } of this.queue) {
      bytes += operationLength(operation);
      if (count > 0 && (bytes > CHUNK_BYTES || count >= CHUNK_OPERATIONS)) break;
      count++;
    }
    return this.queue.splice(0, count);
  }
}

/** Its value found no room in the answer, behind others that did: next time it is among the first. */
function isCutOff(answers: readonly (OperationAnswer | LostOperation)[], i: number): boolean {
  const answer = answers[i];
  return i > 0 && answer?.is === 'failed' && AppError.from(answer.error).code === 'RESOURCE_EXHAUSTED';
}
