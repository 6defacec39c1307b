import type { Random } from '../../runtime/random.js';
import type { VerifyReport } from '../../node/verify/messages.js';
import { AppError } from '../../runtime/errors.js';
import type { Copy } from '../../node/range/copy.js';
import type { KvNode } from '../../node/node.js';
import type { Cluster } from './cluster.js';

const EVERY_MS = 700;
/** Before what could not be compared as a whole is compared again. */
const AGAIN_MS = 100;

interface Primary {
  readonly node: KvNode;
  readonly copy: Copy;
}

/** Compares ranges with their other copies, at any time: whatever happens meanwhile, nothing that is sound is found to differ. */
export class Verifications {
  private stopped = false;

  constructor(
    private readonly cluster: Cluster,
    /** Theirs alone, so that a run goes as it would without them as far as that can be. */
    private readonly random: Random,
    private readonly differ: (problem: string) => void,
  ) {}

  start(): void {
    const { scheduler, weather } = this.cluster;
    scheduler.after(weather.nextMs(this.random, EVERY_MS), () => {
      if (this.stopped) return;
      const all = this.primaries();
      const one = all[Math.floor(this.random.next() * all.length)];
      if (one) void this.compare(one.node, one.copy);
      this.start();
    });
  }

  stop(): void {
    this.stopped = true;
  }

  /** Every range, with all its other copies. */
  async compareAll(): Promise<void> {
    for (const { copy } of this.primaries()) {
      // It may be active elsewhere by then.
      for (let at = this.primaryOf(copy); at && !isWhole(await this.compare(at.node, at.copy)); at = this.primaryOf(copy)) await this.pause();
    }
  }

  private primaryOf({ meta }: Copy): Primary | undefined {
    return this.primaries().find(({ copy }) => copy.meta.id === meta.id);
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      this.cluster.scheduler.after(AGAIN_MS, resolve);
    });
  }

  private async compare(node: KvNode, copy: Copy): Promise<VerifyReport | undefined> {
    let last: VerifyReport | undefined;
    try {
      await node.verify.verifier.run(copy.meta.id, (report) => { last = report; }, new AbortController().signal);
    } catch (thrown) {
      this.cluster.trace.note('verify', AppError.from(thrown).message);
    }
    const [first] = last?.differences ?? [];
    if (first) this.differ(`R${copy.meta.id}: key ${first.key} differs on ${first.node}, which ${first.what}`);
    return last;
  }

  private primaries(): Primary[] {
    return [...this.cluster.nodes.values()].flatMap((node) => node.copies.all().flatMap((copy) => (copy.admitting && copy.replication ? [{ node, copy }] : [])));
  }
}

function isWhole(report: VerifyReport | undefined): boolean {
  return report !== undefined && report.problem === '' && report.unsettled === 0 && report.copies.every(({ skipped }) => skipped === '');
}
