import { type Key, formatKey } from '../../model/key.js';
import { ABSENT, type Version } from './expectation.js';
import type { TestedKey, WriteNote } from './pool.js';

/** A read that nothing explains. Times are milliseconds since the run began. */
export interface Violation {
  /** `missing`: something had to be there. `wrong`: what was there had no business to be. */
  readonly kind: 'wrong' | 'missing';
  readonly key: string;
  readonly got: string;
  readonly expected: readonly string[];
  /** What kind of lie it looks like. */
  readonly looksLike: string;
  readonly readBeginMs: number;
  readonly readEndMs: number;
  /** The last writes to the key, oldest first. */
  readonly writes: readonly string[];
  readonly during: 'run' | 'verification';
}

export interface Finding {
  readonly key: TestedKey;
  /** Undefined when the value was no version of this key; then `because` says what it was. */
  readonly got: Version | undefined;
  readonly because?: string;
  readonly possible: readonly Version[];
  readonly beginMs: number;
  readonly endMs: number;
  readonly startMs: number;
  readonly during: 'run' | 'verification';
}

export function describeViolation(finding: Finding): Violation {
  const { key, got, possible, startMs } = finding;
  return {
    kind: got === ABSENT ? 'missing' : 'wrong',
    key: formatKey(key.name),
    got: got === undefined ? (finding.because ?? 'something else') : versionText(got),
    expected: possible.map(versionText),
    looksLike: looksLike(key, got, possible),
    readBeginMs: finding.beginMs - startMs,
    readEndMs: finding.endMs - startMs,
    writes: key.writes.map((note) => noteText(note, startMs)),
    during: finding.during,
  };
}

function looksLike(key: TestedKey, got: Version | undefined, possible: readonly Version[]): string {
  if (got === undefined) return 'a value that was never written to this key';
  if (got === ABSENT) return 'a lost write';
  if (got > key.newest) return 'a value that was never written to this key';
  if (possible.length === 1 && possible[0] === ABSENT) return 'a deleted value that came back';
  return 'a stale read, or a lost write';
}

function versionText(version: Version): string {
  return version === ABSENT ? 'absent' : `write ${version}`;
}

function noteText(note: WriteNote, startMs: number): string {
  const what = note.version === ABSENT ? 'delete' : `write ${note.version}`;
  const end = note.endMs === undefined ? '…' : seconds(note.endMs - startMs);
  return `${what} from ${seconds(note.beginMs - startMs)} to ${end}: ${note.outcome}`;
}

export function violationText(violation: Violation): string {
  const { kind, key, got, expected, looksLike: lie } = violation;
  const read = `read from ${seconds(violation.readBeginMs)} to ${seconds(violation.readEndMs)}`;
  const where = violation.during === 'verification' ? ' in the final verification' : '';
  const writes = violation.writes.length === 0 ? 'never written' : violation.writes.join('; ');
  return `${kind}: key ${key}, ${read}${where}: got ${got}, expected ${expected.join(' or ')} (${lie}; ${writes})`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(3)}s`;
}

/** Keys of a run: never met before by any cluster, and spread as the prefixes are. */
export function keyName(options: { readonly prefix: Key; readonly run: string; readonly index: number }): Key {
  return `${options.prefix}${options.run}-${options.index}` as Key;
}
