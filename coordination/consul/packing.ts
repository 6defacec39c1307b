import { AppError } from '../../runtime/errors.js';
import type { Change } from '../interfaces.js';
import type { KvOperation } from './client.js';

/** What Consul takes in one transaction. */
export const OPERATIONS_MAX = 64;
export const BODY_BYTES_MAX = 512 * 1024;
/** Brackets, and what surrounds an operation in the body: `{"KV":…},`. */
const BODY_OVERHEAD_BYTES = 64;
const OPERATION_OVERHEAD_BYTES = 8;

export interface PackLimits {
  readonly operationsMax: number;
  readonly bodyBytesMax: number;
}

/** The changes of one or more whole groups, the last for each key. */
export type Pack = ReadonlyMap<string, Change>;

/**
 * Packs the groups, in order, into as few transactions as the limits allow. A group is
 * never divided, so each prefix of the transactions is a prefix of the groups.
 * Throws INVALID_ARGUMENT for a group that does not fit into one.
 */
export function packGroups(groups: readonly (readonly Change[])[], bytesOf: (change: Change) => number, limits: PackLimits): readonly Pack[] {
  const packs: Pack[] = [];
  let current = new Map<string, Change>();
  for (const group of groups) {
    const joined = join(current, group);
    if (fits(joined, bytesOf, limits)) {
      current = joined;
      continue;
    }
    if (current.size > 0) packs.push(current);
    current = join(new Map(), group);
    if (!fits(current, bytesOf, limits)) throw tooBig(current, bytesOf, limits);
  }
  if (current.size > 0) packs.push(current);
  return packs;
}

function join(pack: Pack, group: readonly Change[]): Map<string, Change> {
  const joined = new Map(pack);
  for (const change of group) joined.set(change.key, change);
  return joined;
}

function bodyBytes(pack: Pack, bytesOf: (change: Change) => number): number {
  let bytes = BODY_OVERHEAD_BYTES;
  for (const change of pack.values()) bytes += bytesOf(change) + OPERATION_OVERHEAD_BYTES;
  return bytes;
}

function fits(pack: Pack, bytesOf: (change: Change) => number, limits: PackLimits): boolean {
  return pack.size <= limits.operationsMax && bodyBytes(pack, bytesOf) <= limits.bodyBytesMax;
}

function tooBig(pack: Pack, bytesOf: (change: Change) => number, limits: PackLimits): AppError {
  return new AppError(
    'INVALID_ARGUMENT',
    `a group of ${pack.size} changes and ${bodyBytes(pack, bytesOf)} bytes cannot be atomic: Consul takes ${limits.operationsMax} changes and ${limits.bodyBytesMax} bytes`,
  );
}

/** The operation that makes a change, if the document still has the version; undefined is no document. */
export function operationOf(key: string, value: string | undefined, version: number | undefined): KvOperation {
  if (value !== undefined) return { Verb: 'cas', Key: key, Value: Buffer.from(value, 'utf8').toString('base64'), Index: version ?? 0 };
  return version === undefined ? { Verb: 'check-not-exists', Key: key } : { Verb: 'delete-cas', Key: key, Index: version };
}
