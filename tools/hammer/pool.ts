import type { Key } from '../../model/key.js';
import type { Random } from '../../runtime/random.js';
import { Expectation, type Version } from './expectation.js';

/** A key under test, with what is known of it. */
export interface TestedKey {
  readonly name: Key;
  readonly expectation: Expectation;
  /** Of the newest value written; the next gets one more. */
  newest: Version;
  /** The last few writes, newest last, for the report of a wrong value. */
  readonly writes: WriteNote[];
}

export interface WriteNote {
  readonly version: Version;
  readonly beginMs: number;
  endMs: number | undefined;
  outcome: 'under way' | 'acknowledged' | 'unknown' | 'refused';
}

const WRITES_KEPT = 4;
/** How often another key is drawn before saying that there is none. */
const DRAWS = 8;

/** The keys of one worker. Bounded: once full, a create takes a key that was deleted. */
export class KeyPool {
  readonly #keys: TestedKey[] = [];
  readonly #name: (index: number) => Key;
  readonly #max: number;
  readonly #random: Random;

  constructor(options: { readonly name: (index: number) => Key; readonly max: number; readonly random: Random }) {
    this.#name = options.name;
    this.#max = options.max;
    this.#random = options.random;
  }

  get keys(): readonly TestedKey[] {
    return this.#keys;
  }

  get full(): boolean {
    return this.#keys.length >= this.#max;
  }

  forCreate(): TestedKey | undefined {
    if (this.full) return this.#draw((key) => key.expectation.writable && !key.expectation.mayExist);
    return this.#make();
  }

  /** Of keys that may hold something, as a rule. A plan without creates begins with its updates. */
  forUpdate(): TestedKey | undefined {
    return this.forDelete() ?? this.#draw((key) => key.expectation.writable) ?? this.#first();
  }

  /** A key that may hold something, and can be written now. */
  forDelete(): TestedKey | undefined {
    return this.#draw((key) => key.expectation.writable && key.expectation.mayExist);
  }

  /** Any key, deleted ones too: that they stay away is worth a look. */
  forRead(): TestedKey | undefined {
    return this.#draw((key) => key.expectation.readable) ?? this.#first();
  }

  #first(): TestedKey | undefined {
    return this.#keys.length === 0 ? this.#make() : undefined;
  }

  #make(): TestedKey {
    const key = { name: this.#name(this.#keys.length), expectation: new Expectation(), newest: 0, writes: [] };
    this.#keys.push(key);
    return key;
  }

  #draw(fits: (key: TestedKey) => boolean): TestedKey | undefined {
    for (let i = 0; i < DRAWS; i++) {
      const key = this.#keys[Math.floor(this.#random.next() * this.#keys.length)];
      if (key && fits(key)) return key;
    }
    return undefined;
  }
}

export function noteWrite(key: TestedKey, note: WriteNote): void {
  key.writes.push(note);
  if (key.writes.length > WRITES_KEPT) key.writes.shift();
}
