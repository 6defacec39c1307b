import { Keyspace } from '../../controller/keyspace/keyspace.js';
import { type PlacementRecord, type RangeRecord, newPlacement, newRange } from '../../controller/keyspace/record.js';
import { DEFAULT_TUNING, type Decision, type World } from '../../controller/orchestrator/types.js';
import { EMPTY_ROSTER, type Roster } from '../../controller/roster/roster.js';
import * as updates from '../../controller/roster/updates.js';
import { formatStep, parsePlacement, parseRange } from '../../model/notation.js';
import { formatPlacement } from '../../model/range.js';
import { NO_LOAD } from '../../model/report.js';
import type { PlacementState, RemoteState } from '../../model/states.js';

/*
 * Worlds from lines of text, for tests of single decisions:
 *
 *   R1 [-inf, +inf): P0@5200 Active, P1@5201 Inactive -> Activating
 *
 * A placement has the state that the keyspace holds and, after an arrow, what its
 * node says; without one, the node says the same. The first placement is the primary.
 */

export interface Built {
  readonly nodes: readonly string[];
  readonly ranges: readonly string[];
  readonly change?: (range: RangeRecord) => RangeRecord;
  readonly roster?: (roster: Roster) => Roster;
}

export function build({ nodes, ranges, change = (r) => r, roster: seen = (r) => r }: Built): World {
  const parsed = ranges.map(parseLine);
  let roster = updates.settled(EMPTY_ROSTER);
  for (const ident of nodes) {
    const here = parsed.flatMap((line) => line.copies.filter((c) => c.node === ident && c.says !== 'NotFound').map((c) => ({ line, copy: c })));
    const reports = here.map(({ line, copy }) => ({
      meta: line.record,
      state: copy.says,
      load: NO_LOAD,
      epoch: 1,
      progress: undefined,
      lastError: '',
      serving: copy.says === 'Active',
    }));
    roster = updates.discovered(roster, { ident, address: `host:${ident}`, incarnation: ident }, 0);
    roster = updates.reported(roster, ident, { ranges: reports, wantDrain: false, incarnation: ident }, 0, 0);
  }
  const keyspace = new Keyspace(parsed.map((line) => change(line.record)));
  return { keyspace, roster: seen(roster), nowMs: 1000, tuning: { ...DEFAULT_TUNING, gatherMs: 0 } };
}

interface Line {
  readonly record: RangeRecord;
  readonly copies: readonly { readonly node: string; readonly says: RemoteState }[];
}

function parseLine(text: string): Line {
  const [head = '', tail = ''] = text.split(': ');
  const meta = parseRange(head);
  if (!meta) throw new Error(`not a range: ${head}`);
  const copies = tail === '' ? [] : tail.split(', ').map((part) => parseCopy(part));
  const record = newRange(meta, {
    established: true,
    primary: copies[0]?.placement.index,
    placements: copies.map((c) => c.placement),
  });
  return { record, copies: copies.map((c) => ({ node: c.placement.node, says: c.says })) };
}

function parseCopy(text: string): { placement: PlacementRecord; says: RemoteState } {
  const [, name = '', state, says] = /^(\S+) (\w+)(?: -> (\w+))?$/.exec(text) ?? [];
  const ref = parsePlacement(`R1 ${name}`);
  if (!ref || state === undefined) throw new Error(`not a placement: ${text}`);
  const same: RemoteState = state === 'Active' || state === 'Inactive' ? state : 'NotFound';
  return {
    placement: newPlacement(ref.index, ref.node, { state: state as PlacementState, incarnation: ref.node }),
    says: (says as RemoteState | undefined) ?? same,
  };
}

/** A command was refused so often. */
export function refused(command: 'Prepare' | 'Activate' | 'Deactivate' | 'Drop', range: number, node: string, epoch: number, times: number) {
  return (roster: Roster): Roster => {
    const sent = { command, range, node, epoch };
    let next = roster;
    for (let i = 0; i < times; i++) next = updates.commandFailed(updates.commandSent(next, sent), sent, 'no', 0);
    return next;
  };
}

/** A decision as lines: its steps, then what it ended, then its commands. */
export function lines(decision: Decision): string[] {
  return [
    ...decision.steps.map(formatStep),
    ...decision.ended.map((e) => `ended ${e.kind}: ${e.because}`),
    ...decision.commands.map((c) => {
      const copy = c.index === undefined ? `stray R${c.range.id}@${c.node}` : formatPlacement(c.range.id, c.index, c.node);
      return `${c.command} ${copy} epoch ${c.epoch}`;
    }),
  ];
}
