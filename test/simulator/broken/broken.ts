import type { KvRangeService } from '../../../node/range/service.js';
import { type Build, SOUND } from '../build.js';

/*
 * Each broken build has one fault that somebody might make, put in from outside: the
 * programs themselves have no switches for it. The simulator must notice every one.
 */

/** What a fault replaces is private to the class it is in. */
export type Private = Record<string, unknown>;
export const inside = (object: object): Private => object as Private;
export const serviceOf = (node: object): KvRangeService => inside(node)['service'] as KvRangeService;

export interface BrokenBuild {
  readonly build: Build;
  /** The invariants that it may be caught by. */
  readonly breaks: readonly number[];
}

export const broken = (name: string, breaks: readonly number[], fault: Partial<Build>): BrokenBuild => ({ build: { ...SOUND, ...fault, name }, breaks });
