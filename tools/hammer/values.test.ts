import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyFromText } from '../../model/key.js';
import { ValueCodec } from './values.js';

const codec = new ValueCodec({ run: 'ab12', bytes: 100 });
const KEY = keyFromText('aab12-0-1');

describe('ValueCodec', () => {
  it('recognises what it made, at any size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 1, max: 200_000 }), fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }), (version, bytes, text) => {
        const sized = new ValueCodec({ run: 'ab12', bytes });
        const key = keyFromText(text);
        const value = sized.encode(key, version);
        expect(value.length).toBeGreaterThanOrEqual(bytes);
        expect(sized.decode(key, value)).toEqual({ kind: 'version', version });
      }),
      { numRuns: 200 },
    );
  });

  it('makes every version a different value', () => {
    const values = new Set(Array.from({ length: 1000 }, (_, i) => codec.encode(KEY, i + 1).toString('latin1')));
    expect(values.size).toBe(1000);
  });

  it('finds any single damaged byte, and any cut', () => {
    const value = codec.encode(KEY, 7);
    for (let i = 0; i < value.length; i++) {
      const damaged = Buffer.from(value);
      damaged[i] = (damaged[i] ?? 0) ^ 0x20;
      expect(codec.decode(KEY, damaged)).not.toEqual({ kind: 'version', version: 7 });
      expect(codec.decode(KEY, value.subarray(0, i)).kind).toBe('foreign');
    }
  });

  it('says what a foreign value is', () => {
    const other = keyFromText('other');
    const because = (value: Buffer): unknown => codec.decode(KEY, value);
    expect(because(codec.encode(other, 3))).toMatchObject({ because: expect.stringContaining('a value of another key') as string });
    expect(because(new ValueCodec({ run: 'ffff', bytes: 60 }).encode(KEY, 3))).toMatchObject({ because: expect.stringContaining('not written by this run') as string });
    expect(because(codec.encode(KEY, 3).subarray(0, 90))).toMatchObject({ because: 'write 3 of this key, damaged (90 bytes)' });
    expect(because(Buffer.from('\x00\x1b[2J'))).toMatchObject({ because: 'not written by this run: "..[2J"' });
    expect(because(Buffer.from('hammer ab12 nonsense'))).toMatchObject({ because: expect.stringContaining('damaged') as string });
  });
});
