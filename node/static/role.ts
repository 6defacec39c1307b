import { EVERYTHING } from '../../model/interval.js';
import { type RangeMeta, formatRange } from '../../model/range.js';
import { type Member, NO_MEMBERSHIP } from '../../model/report.js';
import type { CommandAnswer, CommandRequest } from '../../rangelet/rangelet.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { KvNode } from '../node.js';

/** What a node is for good, where no controller says it. */
export type StaticRole = { readonly is: 'primary'; readonly self: Member } | { readonly is: 'replica'; /** Where its primary answers. */ readonly primary: string };

export interface StaticRoleDeps {
  readonly node: Pick<KvNode, 'rangelet' | 'copies' | 'isCommanded'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The one range there is. */
const WHOLE: RangeMeta = { id: 1, ...EVERYTHING };
const RETRY_MS = 500;

/**
 * In the place of a controller that never decides anything: commands the rangelet of its
 * own node, and nobody else's. A primary makes the range, and waits for nobody. A replica
 * follows it for ever.
 */
export class StaticController {
  private readonly closing = new AbortController();
  private toldReason = '';

  constructor(
    private readonly role: StaticRole,
    private readonly deps: StaticRoleDeps,
  ) {
    const misfit = misfitOf(role, deps.node);
    if (misfit !== undefined) throw new AppError('FAILED_PRECONDITION', misfit);
  }

  /** Resolves once the node is what it is to be, or is closing. */
  async run(): Promise<void> {
    while (!this.closing.signal.aborted && !(await this.step())) {
      await sleep(this.deps.clock, RETRY_MS, this.closing.signal).catch(() => undefined);
    }
  }

  /** Why requests had better not be sent here yet; undefined when they can. */
  get waiting(): string | undefined {
    const copy = this.deps.node.copies.get(WHOLE.id);
    if (this.role.is === 'primary') return copy?.admitting === true ? undefined : 'the range is being made';
    return copy?.answersStale === true ? undefined : `the primary at ${this.role.primary} was not copied yet`;
  }

  close(): void {
    this.closing.abort(new AppError('CANCELLED', 'the node is closing'));
  }

  private async step(): Promise<boolean> {
    try {
      const { state, lastError } = await (this.role.is === 'primary' ? this.lead(this.role.self) : this.follow(this.role.primary));
      if (lastError !== '') this.tell(lastError);
      return state === (this.role.is === 'primary' ? 'Active' : 'Inactive');
    } catch (thrown) {
      this.tell(AppError.from(thrown).message);
      return false;
    }
  }

  private async lead(self: Member): Promise<CommandAnswer> {
    const { rangelet } = this.deps.node;
    const known = rangelet.rangeInfo(WHOLE.id);
    if (known?.state === 'Active') return { state: 'Active', lastError: '', info: known };
    // No other disk ever writes a log that could be taken for this one's: by its epoch a copy is known to be of this store.
    const epoch = Math.max(1, known?.epoch ?? 0, this.deps.clock.wallMs());
    const prepared = await rangelet.execute({ command: 'Prepare', meta: WHOLE, epoch, parents: [], initial: true });
    if (prepared.state !== 'Inactive') return prepared;
    const membership = { ...NO_MEMBERSHIP, members: [self] };
    return rangelet.execute({ command: 'Activate', id: WHOLE.id, epoch, force: false, sources: [], initial: true, membership });
  }

  private follow(primary: string): Promise<CommandAnswer> {
    const { rangelet } = this.deps.node;
    const epoch = Math.max(1, rangelet.rangeInfo(WHOLE.id)?.epoch ?? 0);
    const source = { range: WHOLE, parents: [], placements: [{ node: primary, state: 'Active' as const, index: 0 }] };
    const request: CommandRequest = { command: 'Prepare', meta: WHOLE, epoch, parents: [source], initial: false };
    return rangelet.execute(request);
  }

  /** Once for each reason: it may stay the same for long. */
  private tell(reason: string): void {
    if (this.closing.signal.aborted || reason === this.toldReason) return;
    this.toldReason = reason;
    this.deps.logger.warn('static: not there yet, trying on', { role: this.role.is, reason });
  }
}

/** Why what is on the disk cannot be what the role says; undefined when it can. */
function misfitOf(role: StaticRole, { copies, isCommanded }: Pick<KvNode, 'copies' | 'isCommanded'>): string | undefined {
  for (const { meta, record } of copies.all()) {
    const isWhole = meta.id === WHOLE.id && meta.start === WHOLE.start && meta.end === WHOLE.end;
    const isReplicated = (record.replica?.minInSync ?? 0) > 0 || record.handed.length > 0;
    if (!isWhole || isReplicated || isCommanded) return `the data directory has ${formatRange(meta)} of a cluster with a controller: start it without a role`;
    const follows = record.links.length > 0;
    if (role.is === 'primary' && follows) return 'the data directory is that of a replica: a static primary begins with its own, or with none';
    if (role.is === 'replica' && record.owned.length > 0) return 'the data directory is that of the primary: start it with ROLE=primary, or give the replica another';
  }
  return undefined;
}
