import { describe, expect, it } from 'vitest';
import { parseOptions } from './options.js';

describe('parseOptions', () => {
  it('takes several addresses, with commas and repeated, and one dash', () => {
    const options = parseOptions(['-addr', 'localhost:5100,localhost:5101', '--addr', '5102', '-duration', '60s'], {});
    expect(options).toMatchObject({ kind: 'config', addresses: ['localhost:5100', 'localhost:5101', 'localhost:5102'], config: { duration: 60_000 } });
  });

  it('has defaults for everything', () => {
    const options = parseOptions([], {});
    expect(options).toMatchObject({
      kind: 'config',
      addresses: ['localhost:5100'],
      config: { duration: undefined, config: undefined, closed: undefined, timeout: 10_000, valueBytes: 100, verify: true, json: false },
    });
  });

  it('lists all problems', () => {
    const options = parseOptions(['--closed', '0', '--duration', '60', '--frob'], {});
    expect(options).toMatchObject({ kind: 'problems', problems: [expect.stringContaining('--frob'), expect.stringContaining('--duration'), expect.stringContaining('--closed')] });
  });

  it('refuses addresses that are none, and loads that exclude each other', () => {
    const options = parseOptions(['--addr', 'localhost:5100,what', '--config', 'f', '--closed', '4'], {});
    expect(options).toMatchObject({ kind: 'problems', problems: [expect.stringContaining('"what"'), expect.stringContaining('exclude each other')] });
  });
});
