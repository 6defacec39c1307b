import { describe, expect, it } from 'vitest';
import { ProgressMeter } from './progress.js';

function meter(...reports: readonly [keys: number, total: number, elapsedMs: number, node?: string][]): string {
  const made = new ProgressMeter();
  for (const [keys, keysTotal, elapsedMs, node = '5201'] of reports) {
    made.add({ kind: 'progress', range: 1, node, keys, bytes: 0, keysTotal, elapsedMs });
  }
  return made.text();
}

describe('ProgressMeter', () => {
  it('shows share, speed and time left', () => {
    expect(meter([0, 1_000_000, 0], [450_000, 1_000_000, 3000])).toBe('[#######---------]   45%  450,000 of 1,000,000 keys  150,000 keys/s  4 s left');
  });

  it('takes the speed of the last seconds', () => {
    expect(meter([0, 10_000, 0], [1000, 10_000, 1000], [1010, 10_000, 9000], [1020, 10_000, 10_000])).toContain('10 keys/s  14 min 58 s left');
  });

  it('adds up the copies that take part', () => {
    expect(meter([100, 1000, 0, '5200'], [300, 1000, 1000, '5202'])).toContain('20%  400 of 2,000 keys');
  });

  it('does without a total, and without a speed', () => {
    expect(meter([1234, 0, 10])).toBe('1,234 keys');
  });

  it('never goes beyond the whole when the estimate was too low', () => {
    expect(meter([1500, 1000, 10])).toContain('100%  1,500 of 1,500 keys');
  });
});
