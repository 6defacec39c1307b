import type { Random } from '../../runtime/random.js';

/** How bad things get in one run. Probabilities are for each chance that there is. */
export interface Profile {
  /** A message that is not part of a stream gets lost; comes twice; takes seconds. */
  readonly drop: number;
  readonly double: number;
  readonly slow: number;
  /** A commit finds the disk full; takes long. */
  readonly diskFull: number;
  readonly diskSlow: number;
  /** The keyspace cannot be read or written, or the answer gets lost. */
  readonly persisterFails: number;
  /** Mean times between misfortunes; Infinity for never. */
  readonly crashEveryMs: number;
  readonly controllerCrashEveryMs: number;
  readonly proxyCrashEveryMs: number;
  readonly lockLostEveryMs: number;
  readonly freezeEveryMs: number;
  readonly partitionEveryMs: number;
  readonly streamBreakEveryMs: number;
  readonly operateEveryMs: number;
}

export const CALM: Profile = {
  drop: 0,
  double: 0,
  slow: 0,
  diskFull: 0,
  diskSlow: 0,
  persisterFails: 0,
  crashEveryMs: Infinity,
  controllerCrashEveryMs: Infinity,
  proxyCrashEveryMs: Infinity,
  lockLostEveryMs: Infinity,
  freezeEveryMs: Infinity,
  partitionEveryMs: Infinity,
  streamBreakEveryMs: Infinity,
  operateEveryMs: Infinity,
};

/** Each run has its own mixture: some faults often, some never, for one may hide another. */
export function drawProfile(random: Random): Profile {
  const chance = (most: number): number => (random.next() < 0.5 ? 0 : most * random.next() ** 2);
  const every = (least: number): number => (random.next() < 0.4 ? Infinity : least * (1 + 4 * random.next()));
  return {
    drop: chance(0.3),
    double: chance(0.4),
    slow: chance(0.2),
    diskFull: chance(0.05),
    diskSlow: chance(0.1),
    persisterFails: chance(0.2),
    crashEveryMs: every(1500),
    controllerCrashEveryMs: every(2000),
    proxyCrashEveryMs: every(3000),
    lockLostEveryMs: every(1500),
    freezeEveryMs: every(1500),
    partitionEveryMs: every(1500),
    streamBreakEveryMs: every(400),
    operateEveryMs: 200 + 800 * random.next(),
  };
}

/** The state of the weather: what the profile says, until everything is healed. */
export class Weather {
  constructor(public profile: Profile) {}

  happens(random: Random, probability: number): boolean {
    return probability > 0 && random.next() < probability;
  }

  clear(): void {
    this.profile = { ...CALM };
  }

  /** How long a message is on its way. */
  travelMs(random: Random): number {
    const usual = 0.1 + random.next() * 0.9;
    return this.happens(random, this.profile.slow) ? usual + random.next() ** 3 * 4000 : usual;
  }

  /** In a stream messages wait for those before them, so none may take as long. */
  streamMs(random: Random): number {
    const usual = 0.1 + random.next() * 0.9;
    return this.happens(random, this.profile.slow / 4) ? usual + random.next() ** 3 * 500 : usual;
  }

  diskMs(random: Random): number {
    const usual = 0.05 + random.next();
    return this.happens(random, this.profile.diskSlow) ? usual + random.next() * 300 : usual;
  }

  /** The time to the next misfortune of a kind. */
  nextMs(random: Random, meanMs: number): number {
    return -Math.log(1 - random.next()) * meanMs;
  }
}
