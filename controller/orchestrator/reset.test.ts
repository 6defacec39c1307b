import { describe, expect, it } from 'vitest';
import { build } from '../../test/scenarios/build.js';
import { keyFromText } from '../../model/key.js';
import { NO_LOAD } from '../../model/report.js';
import type { Roster } from '../roster/roster.js';
import * as updates from '../roster/updates.js';
import { planReset } from './reset.js';

describe('a reset', () => {
  const order = { range: 1, acceptDataLoss: true };
  const lost = 'R1 [-inf, +inf): P0@5200 Missing -> NotFound';
  const onDiskOf = (incarnation: string) => ({
    nodes: ['5201'],
    ranges: [lost],
    change: (range: Parameters<NonNullable<Parameters<typeof build>[0]['change']>>[0]) => ({ ...range, placements: range.placements.map((p) => ({ ...p, incarnation })) }),
  });
  const served = (roster: Roster): Roster =>
    updates.rangeReported(roster, '5201', { meta: { id: 1, start: keyFromText(''), end: keyFromText('') }, state: 'Active', load: NO_LOAD, epoch: 4, progress: undefined, lastError: '', serving: true }, 1);

  it('is taken when the node is gone', () => {
    expect(planReset(build(onDiskOf('5200')), order).allowed).toBe(true);
  });

  it('is refused while the disk is up under another name, which is told', () => {
    expect(planReset(build({ ...onDiskOf('5201'), roster: served }), order)).toMatchObject({
      allowed: false,
      because: "5201 is up and has the data of R1 (it says it is Active); its disk was 5200's: start it as 5200 again",
    });
  });

  it('is refused while some other node serves the range', () => {
    expect(planReset(build({ ...onDiskOf('5200'), roster: served }), order)).toMatchObject({ allowed: false, because: expect.stringContaining('5201 is up') as string });
  });
});
