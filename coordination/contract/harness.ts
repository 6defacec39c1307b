import { filter, firstValueFrom, type Observable, tap, timeout } from 'rxjs';
import type { Discovery, Election, Instance, Persister } from '../interfaces.js';

// Why a backend passes a test by.
export const NO_OUTAGE = 'this backend is in the process that uses it: there is nothing to take away';
export const ONE_AT_A_TIME = 'of this backend only one may be open at a time';
export const SEVERAL = 'of this backend several may be open at a time';

/** The weather that a backend's harness can make. */
export interface Faults {
  /** Takes the backend away. Resolves when it no longer answers. */
  stop(): Promise<void>;
  /** Brings it back, having forgotten what it does not keep. */
  start(): Promise<void>;
}

/** A process that finds others and can be found. */
export interface DiscoveryProcess {
  readonly discovery: Discovery;
  /** What it registers; something answers at its address until `kill`. */
  readonly instance: Instance;
  /** Ends it as kill -9 does. */
  kill(): Promise<void>;
}

export interface DiscoveryHarness {
  /** A process with the ident; each has an address of its own. */
  process(ident: string, incarnation?: string): Promise<DiscoveryProcess>;
  /** The same process again at the address of one that was killed. */
  restart(killed: DiscoveryProcess): Promise<DiscoveryProcess>;
  readonly faults?: Faults;
  /** How long to look on when nothing is to become of a kill -9. */
  readonly deathMs: number;
  /** How long to look on when nothing is to become of an outage. */
  readonly recoveryMs: number;
  close(): Promise<void>;
}

export interface PersisterHarness {
  open(): Promise<Persister>;
  /** Whether several may be open at once; else the second is refused. */
  readonly shared: boolean;
  readonly faults?: Faults;
  close(): Promise<void>;
}

export interface ElectionCandidate {
  readonly election: Election;
  /** Ends it as kill -9 does. */
  kill(): Promise<void>;
}

export interface ElectionHarness {
  candidate(): Promise<ElectionCandidate>;
  /** Whether several may stand at once; else one after the other. */
  readonly shared: boolean;
  readonly faults?: Faults;
  close(): Promise<void>;
}

/** Nothing here takes that long; a busy machine may. */
const PATIENCE_MS = 20_000;

/** The first value that satisfies the condition; fails with the last value seen. */
export async function until<T>(values: Observable<T>, condition: (value: T) => boolean): Promise<T> {
  let last: { readonly value: T } | undefined;
  const noted = values.pipe(
    tap((value) => {
      last = { value };
    }),
    filter(condition),
    timeout({ first: PATIENCE_MS }),
  );
  try {
    return await firstValueFrom(noted);
  } catch (thrown) {
    const seen = last ? JSON.stringify(last.value) : 'nothing';
    throw new Error(`not seen within ${PATIENCE_MS} ms; the last value was ${seen}`, { cause: thrown });
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
