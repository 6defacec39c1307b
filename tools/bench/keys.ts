/** Prime, and prime to every count of keys used here, so that the keys come in no order. */
const STRIDE = 7_919;

export const VALUE = Buffer.alloc(100, 'v');

/** The `i`th of `count` keys, which are written once each as `i` counts up. */
export function keyAt(i: number, count: number): Buffer {
  return Buffer.from(keyAtPosition((i * STRIDE) % count));
}

/** The key that so many others are before. */
export function keyAtPosition(position: number): string {
  return `key${String(position).padStart(9, '0')}`;
}

/** The key in the middle. */
export function middleKey(count: number): string {
  return keyAtPosition(Math.floor(count / 2));
}
