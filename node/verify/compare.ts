import { createHash } from 'node:crypto';
import { type Key, keyFromBytes } from '../../model/key.js';
import type { NodeIdent } from '../../model/range.js';
import { encodeValue } from '../storage/format.js';
import { type PackedPairs, forEachPair } from '../storage/packed.js';
import type { StoredValue } from '../storage/storage.js';

/** What a copy has of a key: a digest of its epoch, offset and value as stored; ABSENT when it has nothing. */
export type KeyState = string;

export const STATE_BYTES = 16;
export const ABSENT: KeyState = '0'.repeat(STATE_BYTES * 2);

/** What a key is, at the primary before and after its followers were asked, and at them. */
export interface Reading {
  readonly before: KeyState;
  readonly after: KeyState;
  /** Of each follower, when it had the whole log that `before` came from. */
  readonly followers: ReadonlyMap<NodeIdent, KeyState>;
}

/** A copy that does not have what it should have of a key. */
export interface Deviation {
  readonly node: NodeIdent;
  readonly what: string;
}

export function digestOf({ bytes }: PackedPairs): Buffer {
  return createHash('sha256').update(bytes).digest();
}

export function stateOf(stored: StoredValue | undefined): KeyState {
  return stored ? stateOfBytes(encodeValue(stored.epoch, stored.offset, stored.value, stored.contentType)) : ABSENT;
}

/** Throws DATA_LOSS when the pairs cannot be read. */
export function statesOf(pairs: PackedPairs): Map<Key, KeyState> {
  const states = new Map<Key, KeyState>();
  forEachPair(pairs, (key, stored) => states.set(keyFromBytes(key), stateOfBytes(stored)));
  return states;
}

function stateOfBytes(stored: Buffer): KeyState {
  return createHash('sha256').update(stored).digest('hex').slice(0, STATE_BYTES * 2);
}

/** The keys that are not alike in two listings. */
export function unlike(a: ReadonlyMap<Key, KeyState>, b: ReadonlyMap<Key, KeyState>): Key[] {
  const keys = [...a].filter(([key, state]) => b.get(key) !== state).map(([key]) => key);
  for (const key of b.keys()) if (!a.has(key)) keys.push(key);
  return keys;
}

/**
 * Whether a key is alike everywhere. A follower may have what the primary had before it
 * was asked, or what it had after. Where the primary had the same both times, nothing
 * was written meanwhile, so a follower that has something else is not what it should be,
 * or the primary is not.
 */
export function judge({ before, after, followers }: Reading): 'alike' | 'unsettled' | 'different' {
  const others = [...followers.values()].filter((state) => state !== before && state !== after);
  if (others.length === 0) return 'alike';
  return before === after ? 'different' : 'unsettled';
}

/**
 * Who is wrong about a key that is different: whoever has not what most copies have.
 * Where no state has a majority, what the log says is right (`logged`), and otherwise
 * the primary, whose answers clients have seen.
 */
export function deviations(primary: NodeIdent, state: KeyState, followers: ReadonlyMap<NodeIdent, KeyState>, logged: KeyState | undefined): Deviation[] {
  const states = new Map([[primary, state], ...followers]);
  const votes = [...states.values()];
  const majority = votes.find((candidate) => votes.filter((vote) => vote === candidate).length * 2 > votes.length);
  const right = majority ?? (logged !== undefined && votes.includes(logged) ? logged : state);
  return [...states].filter(([, has]) => has !== right).map(([node, has]) => ({ node, what: wordsFor(has, right) }));
}

function wordsFor(has: KeyState, right: KeyState): string {
  if (has === ABSENT) return 'lacks it';
  return right === ABSENT ? 'has it, though it was deleted' : 'has another value';
}

export interface Found {
  readonly node: NodeIdent;
  readonly differences: number;
  /** It was compared in all keys. */
  readonly compared: boolean;
}

/**
 * The copies to be made anew: all that are wrong in any key, as long as one that is
 * right in all of them is left to copy from. Followers come first, so that none of them
 * takes the place of a primary that is wrong.
 */
export function condemned(primary: Found, followers: readonly Found[]): NodeIdent[] {
  const wrong = [...followers, primary].filter(({ differences }) => differences > 0);
  const isSound = ({ differences, compared }: Found): boolean => differences === 0 && compared;
  return isSound(primary) || followers.some(isSound) ? wrong.map(({ node }) => node) : [];
}
