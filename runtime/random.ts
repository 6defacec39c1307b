import { randomBytes } from 'node:crypto';

/** Randomness as an argument. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `count` bytes as lower-case hex. */
  hex(count: number): string;
}

export const systemRandom: Random = {
  next: () => Math.random(),
  hex: (count) => randomBytes(count).toString('hex'),
};

/** The same sequence for the same seed: mulberry32, good enough to explore with, not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    next,
    hex(count) {
      let out = '';
      for (let i = 0; i < count; i++) out += Math.floor(next() * 256).toString(16).padStart(2, '0');
      return out;
    },
  };
}
