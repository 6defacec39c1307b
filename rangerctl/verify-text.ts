import type { VerifyReport } from '../client/admin.js';
import { formatKey, keyFromBytes } from '../model/key.js';
import { formatBytes } from '../runtime/units.js';

/** Found: a copy is wrong. Partial: none is, as far as could be compared. */
export type Verdict = 'alike' | 'partial' | 'found';

export function verdictOf({ copies, problem, unsettled }: VerifyReport): Verdict {
  if (copies.some(({ differences }) => differences > 0n)) return 'found';
  return problem !== '' || unsettled > 0n || copies.some(({ skipped }) => skipped !== '') ? 'partial' : 'alike';
}

export function worst(verdicts: readonly Verdict[]): Verdict {
  if (verdicts.includes('found')) return 'found';
  return verdicts.includes('partial') ? 'partial' : 'alike';
}

/** What a comparison found, line by line. */
export function verifyLines(report: VerifyReport): string[] {
  const { range, keys, bytes, elapsedMs, copies, differences, unsettled, problem } = report;
  const wrong = copies.filter(({ differences: count }) => count > 0n);
  const skipped = copies.filter((copy) => copy.skipped !== '');
  const alike = copies.filter((copy) => !wrong.includes(copy) && !skipped.includes(copy)).map(({ node }) => node);
  const speed = elapsedMs > 0n ? `, ${amount((keys * 1000n) / elapsedMs)} keys/s` : '';
  const lines: string[] = [];
  if (alike.length > 1) lines.push(`R${range}: ${alike.join(', ')} are alike: ${count(keys, 'key')}, ${formatBytes(Number(bytes))}${speed}`);
  for (const { node, differences: count_, condemned } of wrong) {
    lines.push(`R${range}: ${node} is wrong in ${count(count_, 'key')} of ${amount(keys)}${condemned ? ', and is made anew' : ': nothing is done about it by itself'}`);
  }
  for (const { key, node, what } of differences) lines.push(`  ${formatKey(keyFromBytes(key))}: ${node} ${what}`);
  const more = wrong.reduce((sum, copy) => sum + copy.differences, 0n) - BigInt(differences.length);
  if (more > 0n) lines.push(`  … and ${amount(more)} more`);
  for (const { node, skipped: why } of skipped) lines.push(`R${range}: ${node} was not compared: ${why}`);
  if (unsettled > 0n) lines.push(`R${range}: ${count(unsettled, 'key')} could not be compared, for the writes that came meanwhile`);
  if (problem !== '') lines.push(`R${range} was not compared${keys > 0n ? ' to its end' : ''}: ${problem}`);
  return lines;
}

/** The last line, over all ranges. */
export function verifySummary(verdicts: readonly Verdict[]): string {
  const of = `${verdicts.length} ${verdicts.length === 1 ? 'range' : 'ranges'}`;
  const found = verdicts.filter((verdict) => verdict === 'found').length;
  const partial = verdicts.filter((verdict) => verdict === 'partial').length;
  if (found > 0) return `${found} of ${of} with a damaged copy; \`rangerctl status\` shows what is done`;
  if (partial > 0) return `nothing was found, but ${partial} of ${of} could not be compared as a whole`;
  return `${of} compared: all copies are alike`;
}

/** For programs. */
export function verifyJson(report: VerifyReport): object {
  return {
    range: Number(report.range),
    keys: Number(report.keys),
    bytes: Number(report.bytes),
    elapsed_ms: Number(report.elapsedMs),
    copies: report.copies.map(({ node, differences, skipped, condemned }) => ({ node, differences: Number(differences), skipped, condemned })),
    differences: report.differences.map(({ key, node, what }) => ({ key: formatKey(keyFromBytes(key)), node, what })),
    unsettled: Number(report.unsettled),
    done: report.done,
    problem: report.problem,
  };
}

function amount(value: bigint): string {
  return value.toLocaleString('en');
}

function count(value: bigint, noun: string): string {
  return `${amount(value)} ${value === 1n ? noun : `${noun}s`}`;
}
