import type { RangeId, RangeMeta } from '../../model/range.js';
import { type LoadInfo, NO_LOAD, type Parent, type TransferProgress } from '../../model/report.js';
import type { Command } from '../../model/states.js';
import type { ActivateContext, CommandContext, PrepareContext, RangeService } from '../service.js';

export interface Call {
  readonly command: Command;
  readonly range: RangeMeta;
  readonly context: CommandContext & Partial<PrepareContext> & Partial<ActivateContext>;
  succeed(): void;
  fail(reason: Error): void;
}

/** A service whose methods wait until a test says how they end, or succeed at once when `willing`. */
export class FakeService implements RangeService {
  willing = false;
  readonly calls: Call[] = [];
  readonly open = new Map<RangeId, Call>();
  readonly sources: { range: RangeMeta; parents: readonly Parent[] }[] = [];
  readonly progressOf = new Map<RangeId, TransferProgress>();
  load: () => LoadInfo = () => NO_LOAD;

  prepare = (range: RangeMeta, context: PrepareContext): Promise<void> => this.take('Prepare', range, context);
  activate = (range: RangeMeta, context: ActivateContext): Promise<void> => this.take('Activate', range, context);
  deactivate = (range: RangeMeta, context: CommandContext): Promise<void> => this.take('Deactivate', range, context);
  drop = (range: RangeMeta, context: CommandContext): Promise<void> => this.take('Drop', range, context);

  loadInfo(): LoadInfo {
    return this.load();
  }

  progress(id: RangeId): TransferProgress | undefined {
    return this.progressOf.get(id);
  }

  updateSources(range: RangeMeta, parents: readonly Parent[]): void {
    this.sources.push({ range, parents });
  }

  get last(): Call {
    const call = this.calls.at(-1);
    if (!call) throw new Error('the service was not called');
    return call;
  }

  private take(command: Command, range: RangeMeta, context: Call['context']): Promise<void> {
    if (this.open.has(range.id)) throw new Error(`R${range.id} has two commands at once`);
    return new Promise((resolve, reject) => {
      const call: Call = {
        command,
        range,
        context,
        succeed: () => {
          this.open.delete(range.id);
          resolve();
        },
        fail: (reason) => {
          this.open.delete(range.id);
          reject(reason);
        },
      };
      this.calls.push(call);
      this.open.set(range.id, call);
      if (this.willing) call.succeed();
    });
  }
}
