import type { Clock } from '../../runtime/clock.js';
import type { Generator } from './generators.js';
import type { Figure } from './report.js';

/** What each part of the benchmark is given. */
export interface Bench {
  /** Of the project, with its bin/. */
  readonly root: string;
  readonly clock: Clock;
  readonly generator: Generator;
  /** Less of everything, for a first look. */
  readonly quick: boolean;
  readonly say: (text: string) => void;
}

export type Section = (bench: Bench) => Promise<Figure[]>;
