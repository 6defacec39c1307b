import type { Random } from '../runtime/random.js';

const RANDOM_BYTES = 10;

/** Makes ids for writes, of which no two are alike: a random part for whoever makes them, and a count. */
export class WriteIdSource {
  private readonly prefix: Buffer;
  private count = 0;

  constructor(random: Random) {
    this.prefix = Buffer.from(random.hex(RANDOM_BYTES), 'hex');
  }

  next(): Buffer {
    const id = Buffer.allocUnsafe(16);
    this.prefix.copy(id);
    id.writeUIntBE(++this.count, RANDOM_BYTES, 6);
    return id;
  }
}
