import { type Key, formatKey } from '../../model/key.js';
import { seededRandom } from '../../runtime/random.js';
import type { Version } from './expectation.js';

/**
 * Values that say who wrote them: `hammer <run> <version> <key>` and then noise up
 * to the wanted length. So a read can be judged without keeping what was written,
 * and a value that is damaged, or belongs to another key, shows as that.
 */
export class ValueCodec {
  readonly #run: string;
  readonly #bytes: number;
  readonly #start: Buffer;

  constructor(options: { readonly run: string; readonly bytes: number }) {
    this.#run = options.run;
    this.#bytes = options.bytes;
    this.#start = Buffer.from(`hammer ${options.run} `, 'latin1');
  }

  encode(key: Key, version: Version): Buffer {
    const head = `hammer ${this.#run} ${version} ${key}\n`;
    const value = Buffer.allocUnsafe(Math.max(head.length, this.#bytes));
    value.write(head, 0, 'latin1');
    fillWithNoise(value, head.length, version * 31 + key.length);
    return value;
  }

  /** What a value read from `key` is. */
  decode(key: Key, value: Uint8Array): Decoded {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    if (!bytes.subarray(0, this.#start.length).equals(this.#start)) {
      return { kind: 'foreign', because: `not written by this run: ${preview(bytes)}` };
    }
    const space = bytes.indexOf(0x20, this.#start.length);
    const version = Number(bytes.toString('latin1', this.#start.length, Math.max(space, this.#start.length)));
    if (!Number.isSafeInteger(version) || version < 1) {
      return { kind: 'foreign', because: `damaged: ${preview(bytes)}` };
    }
    if (this.encode(key, version).equals(bytes)) return { kind: 'version', version };
    return { kind: 'foreign', because: this.#whyNot(key, version, bytes) };
  }

  #whyNot(key: Key, version: Version, bytes: Buffer): string {
    const end = bytes.indexOf(0x0a);
    const writtenTo = bytes.toString('latin1', this.#start.length + String(version).length + 1, end < 0 ? bytes.length : end);
    return writtenTo === key
      ? `write ${version} of this key, damaged (${bytes.length} bytes)`
      : `a value of another key: ${preview(bytes)}`;
  }
}

export type Decoded =
  | { readonly kind: 'version'; readonly version: Version }
  | { readonly kind: 'foreign'; readonly because: string };

const NOISE_BYTES = 64 * 1024;
const NOISE = makeNoise();

/** Printable, so that values can be looked at. */
function makeNoise(): Buffer {
  const random = seededRandom(1);
  const noise = Buffer.allocUnsafe(NOISE_BYTES);
  for (let i = 0; i < NOISE_BYTES; i++) noise[i] = 0x61 + Math.floor(random.next() * 26);
  return noise;
}

function fillWithNoise(value: Buffer, from: number, seed: number): void {
  let at = from;
  let offset = (seed * 7919) % NOISE_BYTES;
  while (at < value.length) {
    at += NOISE.copy(value, at, offset);
    offset = 0;
  }
}

const PREVIEW_BYTES = 48;

function preview(bytes: Buffer): string {
  const text = bytes.toString('latin1', 0, PREVIEW_BYTES).replace(/[^\x20-\x7e]/g, '.');
  return `"${text}"${bytes.length > PREVIEW_BYTES ? ` and ${bytes.length - PREVIEW_BYTES} bytes more` : ''}`;
}

/** For messages: `key a3f-17`. */
export function describeKey(key: Key): string {
  return `key ${formatKey(key)}`;
}
