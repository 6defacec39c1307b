import type { Interval } from '../../model/interval.js';
import type { RangeId } from '../../model/range.js';
import type { LogOrigin } from '../storage/copy-record.js';
import { subtractAll } from './span-set.js';

/** Notes that the log of `range` ended at `offset` for `spans`, and that this copy's goes on behind it. */
export function withOrigins(before: readonly LogOrigin[], spans: readonly Interval[], range: RangeId, offset: number): LogOrigin[] {
  const others = before.flatMap((origin) => subtractAll([origin], spans).map(({ start, end }) => ({ ...origin, start, end })));
  return [...others, ...spans.map(({ start, end }) => ({ start, end, range, offset }))];
}
