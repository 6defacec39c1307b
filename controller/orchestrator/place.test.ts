import { describe, expect, it } from 'vitest';
import { Keyspace, firstRange } from '../keyspace/keyspace.js';
import { EMPTY_ROSTER, type Roster } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import { reconcile } from './reconcile.js';
import { DEFAULT_TUNING, type World } from './types.js';

function appeared(roster: Roster, ident: string, nowMs: number): Roster {
  const seen = updates.discovered(roster, { ident, address: `localhost:${ident}`, incarnation: ident }, nowMs);
  return updates.reported(seen, ident, { ranges: [], wantDrain: false, incarnation: ident }, nowMs, nowMs);
}

const keyspace = new Keyspace([firstRange()]);
const world = (roster: Roster, nowMs: number): World => ({ keyspace, roster: updates.settled(roster), nowMs, tuning: DEFAULT_TUNING });
const placedOn = (at: World): string | undefined => reconcile(at).steps.find(({ to }) => to === 'Pending')?.placement?.node;

describe('the first range of a new cluster', () => {
  const early = appeared(EMPTY_ROSTER, '5202', 100);

  it('waits a moment for the nodes that start with the first one', () => {
    const decision = reconcile(world(early, 200));
    expect(decision.commands).toEqual([]);
    expect(decision.waiting.get(1)).toContain('given a moment');
    expect(decision.wakeAtMs).toBe(100 + DEFAULT_TUNING.gatherMs);
  });

  it('goes to the first of them by name, whichever was quickest', () => {
    const all = appeared(appeared(early, '5200', 300), '5201', 900);
    expect(placedOn(world(all, 1_100))).toBe('5200');
  });

  it('does not wait for ever for nodes that come one by one', () => {
    expect(placedOn(world(appeared(early, '5300', 1_099), 1_100))).toBe('5202');
  });
});
