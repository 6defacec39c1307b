import { closeSync, fstatSync, openSync, readSync, statfsSync } from 'node:fs';
import { messageOf } from './errors.js';

/*
 * LMDB trusts its file: opening one that is damaged ends the process with a
 * segmentation fault, and no error can be caught. So what the first pages say is
 * looked at before.
 */

const PAGE_HEADER = 24;
const MAGIC = 0xbeefc0de;
const PAGE_SIZE_AT = 48;
/** The roots of the list of free pages and of the database. */
const ROOTS_AT = [88, 136];
const NO_ROOT = 2n ** 64n - 1n;
const TXN_AT = 152;
const META_BYTES = 160;

interface Meta {
  readonly pageSize: number;
  readonly roots: readonly bigint[];
  readonly txn: bigint;
}

/** What is wrong with an LMDB file; undefined when it is sound, empty or absent. */
export function lmdbFileProblem(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : String(thrown);
  }
  try {
    return problemOf(file);
  } finally {
    closeSync(file);
  }
}

function problemOf(file: number): string | undefined {
  const { size } = fstatSync(file);
  if (size === 0) return undefined;
  const first = readMeta(file, 0);
  if (!first) return 'its first page is not one of a database';
  const second = readMeta(file, first.pageSize);
  if (!second) return 'its second page is not one of a database';
  const newest = first.txn > second.txn ? first : second;
  // The last pages of the file may never have been written, but the roots always are.
  const last = newest.roots.filter((root) => root !== NO_ROOT).reduce((a, b) => (a > b ? a : b), 1n);
  const needed = (Number(last) + 1) * newest.pageSize;
  return size < needed ? `it has ${size} bytes of at least ${needed}: the end is cut off` : undefined;
}

function readMeta(file: number, at: number): Meta | undefined {
  const bytes = Buffer.alloc(META_BYTES);
  if (readSync(file, bytes, 0, META_BYTES, at) < META_BYTES) return undefined;
  if (bytes.readUInt32LE(PAGE_HEADER) !== MAGIC) return undefined;
  const pageSize = bytes.readUInt32LE(PAGE_SIZE_AT);
  if (pageSize < 256 || pageSize > 65_536) return undefined;
  return { pageSize, roots: ROOTS_AT.map((root) => bytes.readBigUInt64LE(root)), txn: bytes.readBigUInt64LE(TXN_AT) };
}

/**
 * Why a commit failed. lmdb tells the reason through a promise beside the error it
 * throws; nobody waiting for that would end the process as an unhandled rejection.
 */
export async function commitFailure(thrown: unknown): Promise<unknown> {
  const reason = (thrown as { commitError?: unknown } | null)?.commitError;
  if (!(reason instanceof Promise)) return thrown;
  return reason.then(
    () => thrown,
    (cause: unknown) => cause,
  );
}

/** Less than this is no space to a database whose commits write many pages at once. */
const FULL_BYTES = 1024 * 1024;

/**
 * Whether the disk of `directory` was full. A write of which only a part found room is an
 * input/output error to LMDB, like a broken disk; what is left of the space tells them apart.
 */
export function isDiskFull(failure: unknown, directory: string): boolean {
  const text = messageOf(failure);
  if (/ENOSPC|EDQUOT|no space|quota exceeded|MAP_FULL|mapsize/i.test(text)) return true;
  if (!/EIO|input\/output error/i.test(text)) return false;
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize < FULL_BYTES;
  } catch {
    return false;
  }
}
