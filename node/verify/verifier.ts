import { formatKey } from '../../model/key.js';
import { type RangeId, formatRange } from '../../model/range.js';
import type { Cancel } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Copies } from '../range/copies.js';
import type { Copy } from '../range/copy.js';
import { condemned } from './compare.js';
import { Comparison, type ComparisonDeps } from './comparison.js';
import { condemnCopy } from './follower.js';
import type { VerifyReport } from './messages.js';

export interface VerifyLimits {
  /** Each range is compared so often; 0 is never, unless somebody asks. */
  readonly everyMs: number;
  /** Of all ranges together; 0 is without limit. */
  readonly bytesPerSecond: number;
}

export interface VerifierDeps extends ComparisonDeps {
  readonly copies: Copies;
  readonly logger: Logger;
  /** Estimated keys of a copy. */
  readonly keysOf: (copy: Copy) => number;
  readonly tell: (copy: Copy) => void;
}

/** How often it is looked whether a range's turn has come; less often when that is rare. */
const LOOK_MS_MAX = 60_000;
/** What could not be compared as a whole is tried again after this. */
const RETRY_MS = 600_000;
/** How often a run tells how far it is. */
const TELL_MS = 200;
/** Comparisons that operators asked for at once. */
const RUNS_MAX = 4;

/** Compares the ranges that are active here with their followers: regularly, and when asked. */
export class Verifier {
  /** Since the start of the process, for metrics. */
  readonly totals = { keys: 0, differences: 0 };
  private readonly retryAt = new Map<RangeId, number>();
  private readonly closing = new AbortController();
  private cancelLook: Cancel | undefined;
  private runs = 0;
  private working: Promise<void> | undefined;

  constructor(
    private readonly deps: VerifierDeps,
    private readonly everyMs: number,
  ) {}

  start(): void {
    if (this.everyMs > 0) this.lookLater();
  }

  /** Compares one range now. Rejects when it is not active here. */
  async run(range: RangeId, tell: (report: VerifyReport) => void, signal: AbortSignal): Promise<void> {
    const copy = this.deps.copies.get(range);
    if (!copy?.admitting) throw new AppError('FAILED_PRECONDITION', `R${range} is not active on this node: ask the node where it is`);
    if (this.runs >= RUNS_MAX) throw new AppError('RESOURCE_EXHAUSTED', `${this.runs} comparisons are under way on this node: wait until one is done`);
    this.runs++;
    try {
      tell(await this.compare(copy, tell, AbortSignal.any([signal, this.closing.signal])));
    } finally {
      this.runs--;
    }
  }

  async close(): Promise<void> {
    this.closing.abort(new AppError('UNAVAILABLE', 'this node is stopping'));
    this.cancelLook?.();
    await this.working;
  }

  private lookLater(): void {
    this.cancelLook = this.deps.clock.after(
      Math.min(this.everyMs, LOOK_MS_MAX),
      () => {
        this.working = this.work().finally(() => {
          this.working = undefined;
          if (!this.closing.signal.aborted) this.lookLater();
        });
      },
      { unref: true },
    );
  }

  /** Compares every range whose turn it is, the longest waiting first. */
  private async work(): Promise<void> {
    for (let copy = this.due(); copy && !this.closing.signal.aborted; copy = this.due()) {
      this.retryAt.set(copy.meta.id, this.deps.clock.now() + RETRY_MS);
      await this.compare(copy, () => undefined, this.closing.signal);
    }
  }

  private due(): Copy | undefined {
    const { copies, clock } = this.deps;
    const lastMs = (copy: Copy): number => copy.record.verifiedMs ?? 0;
    const isDue = (copy: Copy): boolean =>
      copy.admitting && (copy.replication?.inSync ?? 1) > 1 && lastMs(copy) + this.everyMs <= clock.wallMs() && (this.retryAt.get(copy.meta.id) ?? 0) <= clock.now();
    return copies
      .all()
      .filter(isDue)
      .sort((a, b) => lastMs(a) - lastMs(b))[0];
  }

  /** The last report; it tells too what went wrong. */
  private async compare(copy: Copy, tell: (report: VerifyReport) => void, signal: AbortSignal): Promise<VerifyReport> {
    const { clock, logger, keysOf } = this.deps;
    const beganAt = clock.now();
    const comparison = new Comparison(this.deps, copy);
    const before = { keys: 0 };
    let toldAt = beganAt;
    const reportNow = (more: { readonly problem?: string; readonly condemned?: readonly string[]; readonly done?: boolean } = {}): VerifyReport => ({
      range: copy.meta.id,
      keys: comparison.keys,
      bytes: comparison.bytes,
      keysTotal: keysOf(copy),
      elapsedMs: clock.now() - beganAt,
      copies: copiesOf(comparison, more.condemned ?? []),
      differences: comparison.named,
      unsettled: comparison.unsettled,
      done: more.done ?? false,
      problem: more.problem ?? '',
    });
    const onChunk = (): void => {
      this.totals.keys += comparison.keys - before.keys;
      before.keys = comparison.keys;
      if (clock.now() - toldAt < TELL_MS) return;
      toldAt = clock.now();
      tell(reportNow());
    };
    let problem = comparison.followers.length === 0 ? 'there is no other copy to compare it with' : '';
    try {
      if (comparison.followers.length > 0) await comparison.run(onChunk, signal);
    } catch (thrown) {
      if (AppError.from(thrown).code === 'DATA_LOSS') comparison.differences++;
      problem = messageOf(thrown);
    }
    const doomed = await this.condemnAll(copy, comparison, signal);
    const report = reportNow({ problem, condemned: doomed, done: true });
    comparison.close();
    this.totals.differences += report.copies.reduce((sum, { differences }) => sum + differences, 0);
    const isWhole = problem === '' && report.copies.every(({ skipped }) => skipped === '');
    if (isWhole) await this.noteVerified(copy);
    logger.info('compared the copies of a range', { range: formatRange(copy.meta), keys: report.keys, ms: Math.round(report.elapsedMs), copies: report.copies.length, ...(problem === '' ? {} : { problem }) });
    return report;
  }

  /** Those that were told that they are damaged. */
  private async condemnAll(copy: Copy, comparison: Comparison, signal: AbortSignal): Promise<string[]> {
    const { ident, logger } = this.deps;
    const { primary, followers } = comparison.found;
    const wrong = [primary, ...followers].filter(({ differences }) => differences > 0);
    if (wrong.length === 0) return [];
    const keys = comparison.named.map(({ key, node, what }) => `${formatKey(key)}: ${node} ${what}`).join(', ');
    logger.error('copies of a range differ', { range: formatRange(copy.meta), copies: wrong.map(({ node, differences }) => `${node} in ${differences}`).join(', '), keys });
    const doomed = condemned(primary, followers);
    if (doomed.length === 0) logger.error('no copy of the range is right in all keys, so none is made anew by itself', { range: formatRange(copy.meta) });
    const done: string[] = [];
    for (const node of doomed) {
      const because = `it differs from the other copies in ${wrong.find((found) => found.node === node)?.differences ?? 0} keys`;
      try {
        comparison.check(signal);
        const follower = comparison.followers.find(({ member }) => member.node === node);
        if (follower) await follower.peer.condemn(comparison.context(), because, signal);
        else if (node === ident) await condemnCopy(this.deps, copy, because, () => {
          comparison.check(signal);
        });
        done.push(node);
      } catch (thrown) {
        logger.warn('a damaged copy could not be told so', { range: formatRange(copy.meta), node, error: messageOf(thrown) });
      }
    }
    return done;
  }

  private async noteVerified(copy: Copy): Promise<void> {
    const { copies, clock } = this.deps;
    this.retryAt.delete(copy.meta.id);
    const note = async (): Promise<void> => {
      if (!copy.gone) await copies.save([{ copy, record: { ...copy.record, verifiedMs: clock.wallMs() } }]);
    };
    await copies.change(() => [copy], note).catch((thrown: unknown) => {
      this.retryAt.set(copy.meta.id, clock.now() + RETRY_MS);
      this.deps.logger.warn('it could not be noted that a range was compared', { range: formatRange(copy.meta), error: messageOf(thrown) });
    });
  }
}

function copiesOf(comparison: Comparison, doomed: readonly string[]): VerifyReport['copies'] {
  const { primary, followers } = comparison.found;
  return [primary, ...followers].map(({ node, differences }, i) => ({
    node,
    differences,
    skipped: i === 0 ? '' : (comparison.followers[i - 1]?.skipped ?? ''),
    condemned: doomed.includes(node),
  }));
}
