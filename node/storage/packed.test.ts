import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PairPacker, checkPacked, forEachPair, packedKeys } from './packed.js';

const bytes = (min: number, max: number): fc.Arbitrary<Buffer> => fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array));
const pairs = fc.array(fc.record({ key: bytes(1, 60), stored: bytes(12, 300) }), { maxLength: 30 });

test('what was packed is unpacked, whatever its size, from buffers that are used again', () => {
  fc.assert(
    fc.property(pairs, fc.integer({ min: 1, max: 1000 }), (given, expected) => {
      const packer = new PairPacker(expected);
      const shared = Buffer.alloc(400);
      for (const { key, stored } of given) {
        shared.set(stored);
        packer.add(key, shared, stored.length);
      }
      expect(packer.pairs).toBe(given.length);
      const packed = checkPacked(packer.finish());
      const found: unknown[] = [];
      forEachPair(packed, (key, stored) => found.push({ key, stored }));
      expect(found).toEqual(given);
      expect(packedKeys(packed).size).toBe(new Set(given.map(({ key }) => key.toString('latin1'))).size);
    }),
  );
});

test('what is cut off or does not hold what it says is refused', () => {
  const packer = new PairPacker(100);
  packer.add(Buffer.from('key'), Buffer.alloc(12), 12);
  const { bytes: whole, count } = packer.finish();
  for (let length = 1; length < whole.length; length++) {
    expect(() => checkPacked({ bytes: whole.subarray(0, length), count })).toThrow('damaged at byte 0');
  }
  expect(() => checkPacked({ bytes: whole, count: 2 })).toThrow('was to have 2 pairs and has 1');
});
