import type { NodeIdent, RangeId } from '../../model/range.js';
import type { TransferProgress } from '../../model/report.js';
import type { Keyspace } from '../keyspace/keyspace.js';
import { type RangeRecord, isWanted, placementAt } from '../keyspace/record.js';
import { type Roster, attemptOf } from '../roster/roster.js';
import type { Tracked } from './request.js';
import { look } from './sight.js';

/** How an operation stands, as far as it can be read from the world. */
export type Standing =
  | { readonly state: 'running' }
  | { readonly state: 'done'; readonly ranges: readonly RangeId[] }
  | { readonly state: 'ended'; readonly because: string };

/** After so many refusals of a Drop the operator is not kept waiting; the Drop goes on. */
const DROP_FAILURES_TO_WAIT_FOR = 3;

export function standing(keyspace: Keyspace, roster: Roster, tracked: Tracked): Standing {
  switch (tracked.kind) {
    case 'move':
      return standingOfMove(keyspace, roster, tracked);
    case 'transfer':
      return standingOfTransfer(keyspace, tracked);
    case 'split':
    case 'join':
      return standingOfFamily(keyspace, roster, tracked);
  }
}

function standingOfTransfer(keyspace: Keyspace, tracked: Tracked & { kind: 'transfer' }): Standing {
  const range = keyspace.get(tracked.range);
  const to = range && placementAt(range, tracked.to);
  if (!range || !to) return { state: 'ended', because: `R${tracked.range} has no such copy any more` };
  if (to.failed !== undefined || to.relieves !== undefined) return { state: 'running' };
  return range.primary === to.index ? { state: 'done', ranges: [range.id] } : { state: 'ended', because: 'another copy became the primary' };
}

function standingOfMove(keyspace: Keyspace, roster: Roster, tracked: Tracked & { kind: 'move' }): Standing {
  const range = keyspace.get(tracked.range);
  if (!range) return { state: 'ended', because: `R${tracked.range} is no longer there` };
  const done: Standing = { state: 'done', ranges: [range.id] };
  const source = placementAt(range, tracked.source);
  if (!source) return done;
  if (source.lost) return { state: 'ended', because: 'an operator gave up what it was to move' };
  if (source.state === 'Dropped') return isLeftToItself(roster, range, source.index) ? done : { state: 'running' };
  const moving = range.placements.some((p) => p.index !== source.index && p.state !== 'Dropped' && (p.failed !== undefined || (isWanted(p) && p.replaces === source.index)));
  return moving ? { state: 'running' } : { state: 'ended', because: 'the move was given up' };
}

function standingOfFamily(keyspace: Keyspace, roster: Roster, tracked: Tracked & { kind: 'split' | 'join' }): Standing {
  let running = false;
  for (const id of tracked.parents) {
    const parent = keyspace.get(id);
    if (!parent) continue;
    if (parent.state === 'Active') return { state: 'ended', because: `the ${tracked.kind} was taken back` };
    const over = parent.state === 'Obsolete' && parent.placements.every((p) => isLeftToItself(roster, parent, p.index));
    running ||= !over;
  }
  return running ? { state: 'running' } : { state: 'done', ranges: tracked.children };
}

/** Its Drop does not come on; the operation is done for the operator all the same. */
function isLeftToItself(roster: Roster, range: RangeRecord, index: number): boolean {
  const placement = placementAt(range, index);
  if (placement?.state !== 'Dropped') return placement === undefined;
  if (look(roster, range, placement).kind === 'gone') return true;
  const attempt = attemptOf(roster, range.id, placement.node);
  return attempt?.command === 'Drop' && attempt.failures >= DROP_FAILURES_TO_WAIT_FOR;
}

/** Everything that keeps a range from where it should be, for people; empty when nothing does. */
export function explain(range: RangeRecord, waiting: string | undefined): string {
  const reasons = [
    waiting,
    range.abort === undefined ? undefined : `what it was to become is taken back: ${range.abort}`,
    ...range.placements.filter((p) => p.failed !== undefined && p.state !== 'Dropped').map((p) => p.failed),
  ];
  let text = '';
  for (const reason of reasons) {
    if (reason === undefined || reason === '' || text.includes(reason)) continue;
    text = text === '' ? reason : `${text}; ${reason}`;
  }
  return text;
}

/** The ranges whose steps belong to the operation. */
export function membersOf(tracked: Tracked): readonly RangeId[] {
  return 'range' in tracked ? [tracked.range] : [...tracked.parents, ...tracked.children];
}

export interface CopyProgress {
  readonly range: RangeId;
  readonly node: NodeIdent;
  readonly progress: TransferProgress;
}

/** The ranges of which copies are fetched for it. */
export function fetchingFor(tracked: Tracked): readonly RangeId[] {
  if (tracked.kind === 'transfer') return [];
  return tracked.kind === 'move' ? [tracked.range] : tracked.children;
}

/** How far the operation's destinations have come with fetching. */
export function copying(keyspace: Keyspace, roster: Roster, tracked: Tracked): CopyProgress[] {
  const fetching = fetchingFor(tracked);
  return fetching.flatMap((id) => {
    const range = keyspace.get(id);
    return (range?.placements ?? []).flatMap((placement) => {
      const isSource = tracked.kind === 'move' && placement.index === tracked.source;
      const progress = isSource ? undefined : roster.nodes.get(placement.node)?.ranges.get(id)?.progress;
      return progress ? [{ range: id, node: placement.node, progress }] : [];
    });
  });
}
