import { type Interval, containsKey, overlaps } from '../../model/interval.js';
import { writtenKeys } from '../log/written-keys.js';
import type { CopyRecord } from '../storage/copy-record.js';
import type { Storage } from '../storage/storage.js';
import type { Copies } from './copies.js';
import type { Copy } from './copy.js';
import { subtractAll } from './span-set.js';

/*
 * A fail-over makes a right to write anew, at an epoch that is the range's fork: rights of
 * activations before it count for nothing, whatever disk they are on. Whoever hears of it
 * lets go of them here.
 */

/** The record without rights that a fail-over of its own range left behind. */
export function withoutVoid(record: CopyRecord, fork: number): CopyRecord {
  if (fork === 0 || record.logEpoch >= fork) return record;
  return { ...record, owned: [], handed: [], replica: undefined, fork: Math.max(record.fork ?? 0, fork) };
}

/** The record without the right to `span` that a fail-over of another range, which had these keys then, left behind. */
export function withoutVoidSpan(record: CopyRecord, span: Interval, fork: number): CopyRecord {
  if (record.logEpoch >= fork || !record.owned.some((owned) => overlaps(owned, span))) return record;
  return { ...record, owned: subtractAll(record.owned, [span]) };
}

/** Notes on the disk what is left of a copy's rights. One that is active has to be told to stop first. */
export async function dropVoid(copies: Copies, copy: Copy, leftOf: (record: CopyRecord) => CopyRecord): Promise<void> {
  await copies.change(
    () => [copy],
    async () => {
      const record = leftOf(copy.record);
      if (record !== copy.record && copy.record.state !== 'Active') await copies.save([{ copy, record }]);
    },
  );
}

/**
 * The followers here of ranges that the copy was made from or into. They share its keys, and what it wrote by
 * a right that it still has, and that a fail-over went past, is in none of their logs: they have to be made anew.
 */
export function spoiledBy(storage: Storage, copies: Copies, copy: Copy): Copy[] {
  const { owned } = copy.record;
  const others = copies
    .overlapping(copy.meta, copy)
    .filter(({ meta, record }) => record.state === 'Inactive' && record.owned.length === 0 && owned.some((span) => overlaps(span, meta)));
  // What was trimmed is not known any more.
  if (others.length === 0 || copy.trimmedThrough > copy.record.baseOffset) return others;
  const found = new Set<Copy>();
  for (const key of writtenKeys(storage, copy.meta.id, copy.record.baseOffset)) {
    if (!owned.some((span) => containsKey(span, key))) continue;
    for (const other of others) if (containsKey(other.meta, key)) found.add(other);
    if (found.size === others.length) break;
  }
  return [...found];
}
