import { describe, expect, it } from 'vitest';
import type { Results } from './hammer.js';
import type { Violation } from './judge.js';
import { EXIT, type RunFacts, jsonReport, judge, liveLine, textReport } from './report.js';
import { Tally } from './tally.js';

const FACTS: RunFacts = { run: 'ab12', addresses: ['localhost:5100'], load: '64 callers', interrupted: false, maxErrors: undefined };

const VIOLATION: Violation = {
  kind: 'missing',
  key: 'aab12-1',
  got: 'absent',
  expected: ['write 2'],
  looksLike: 'a lost write',
  readBeginMs: 1500,
  readEndMs: 1502.5,
  writes: ['write 2 from 1.000s to 1.004s: acknowledged'],
  during: 'run',
};

function results(changes: Partial<Results> = {}, errors = 0): Results {
  const tally = new Tally(0);
  for (let i = 0; i < 10; i++) tally.succeeded('read', 100 * i, 100 * i + 2);
  for (let i = 0; i < errors; i++) tally.failed('update', { code: 'UNAVAILABLE', message: 'gone' }, 0, 10);
  return {
    tally: tally.summary(1000),
    wrong: 0,
    missing: 0,
    violations: [],
    unknownOutcomes: 0,
    retries: 0,
    skipped: 0,
    stallMs: 0,
    keys: 5,
    verification: { asked: true, keys: 5, verified: 5, unreadable: 0 },
    ...changes,
  };
}

describe('judge', () => {
  it.each([
    ['all is well', results(), undefined, EXIT.ok],
    ['errors alone', results({}, 3), undefined, EXIT.ok],
    ['as many errors as allowed', results({}, 3), 3, EXIT.ok],
    ['more errors than allowed', results({}, 3), 2, EXIT.unfinished],
    ['a wrong value', results({ wrong: 1 }), undefined, EXIT.wrong],
    ['a missing value and errors', results({ missing: 1 }, 3), 0, EXIT.wrong],
    ['keys that cannot be read', results({ verification: { asked: true, keys: 5, verified: 4, unreadable: 1 } }), undefined, EXIT.unfinished],
    ['nothing succeeded', results({ tally: new Tally(0).summary(1000) }), undefined, EXIT.unfinished],
  ])('%s', (_, given, maxErrors, exitCode) => {
    const judgement = judge(given, { maxErrors });
    expect(judgement.exitCode).toBe(exitCode);
    expect(judgement.because.length > 0).toBe(exitCode !== EXIT.ok);
  });
});

describe('textReport', () => {
  it('says everything, and passes', () => {
    const text = textReport(results(), FACTS);
    expect(text).toMatch(/^hammered localhost:5100 for 1\.0 s: 64 callers; run ab12\n/);
    expect(text).toMatch(/^reads +10 +10\.0 +0 +2\.0 ms/m);
    expect(text).toMatch(/^creates +0 +0\.0 +0 +- +- +-/m);
    expect(text).toMatch(/^longest gap in which nothing succeeded +100 ms, 0\.0 s after the start$/m);
    expect(text).toMatch(/^longest that any request waited +2\.0 ms$/m);
    expect(text).toMatch(/^final verification +read 5 of 5 keys$/m);
    expect(text.trimEnd().endsWith('passed: 0 errors, 0 wrong, 0 missing')).toBe(true);
  });

  it('names the lies and errors, and fails', () => {
    const text = textReport(results({ missing: 3, violations: [VIOLATION] }, 2), { ...FACTS, interrupted: true });
    expect(text).toContain('(interrupted)');
    expect(text).toContain('missing: key aab12-1, read from 1.500s to 1.502s: got absent, expected write 2 (a lost write; write 2 from 1.000s to 1.004s: acknowledged)\nand 2 more');
    expect(text).toContain('2 × update: UNAVAILABLE: gone (0.0 s to 0.0 s)');
    expect(text).toContain('FAILED: 3 reads returned a wrong value');
  });
});

describe('jsonReport', () => {
  it('is one document with the same facts', () => {
    const json = JSON.parse(jsonReport(results({ wrong: 1, violations: [VIOLATION] }, 2), FACTS)) as Record<string, unknown>;
    expect(json).toMatchObject({
      errors: 2,
      wrong: 1,
      missing: 0,
      longest_gap_ms: 100,
      longest_wait_ms: 10,
      passed: false,
      exit_code: 1,
      errors_by_kind: [{ operation: 'update', code: 'UNAVAILABLE', message: 'gone', count: 2 }],
      violations: [{ kind: 'missing', key: 'aab12-1', looks_like: 'a lost write' }],
      operations: { read: { ok: 10, latency_ms: { p50: expect.closeTo(2, 1) as number } }, create: { latency_ms: null } },
      verification: { made: true, keys: 5, verified: 5, unreadable: 0 },
    });
  });
});

describe('liveLine', () => {
  it('fits the last second and the totals on a line', () => {
    const tally = new Tally(0);
    tally.succeeded('read', 0, 2);
    const line = liveLine({ elapsedMs: 12_345, recent: tally.takeRecent(1), results: results({ wrong: 1 }) });
    expect(line).toMatch(/^12s {2}1\/s {2}errors 0 wrong 1 missing 0 {2}p50 2\.0 ms .* longest gap 100 ms/);
    expect(line).not.toContain('\n');
  });
});
