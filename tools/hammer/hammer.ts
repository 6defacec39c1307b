import type { WriteIdSource } from '../../client/write-id.js';
import { type Key, keyFromText } from '../../model/key.js';
import { type Cancel, type Clock, sleep } from '../../runtime/clock.js';
import { AppError, type ErrorCode, unreachable } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import { ABSENT, type Verdict, type Version, type WriteTicket } from './expectation.js';
import { type Violation, describeViolation, keyName } from './judge.js';
import { Pacer } from './pacer.js';
import type { Action, Plan } from './plan.js';
import { KeyPool, type TestedKey, noteWrite } from './pool.js';
import { type SeriesSummary, Tally, type TallySummary } from './tally.js';
import { ValueCodec } from './values.js';

/** What is hammered. Rejects with AppErrors. */
export interface Target {
  /** A write may be tried again with its id, and is applied once. */
  readonly repeatable: boolean;
  get(key: Key, options: { readonly timeoutMs: number; readonly stale: boolean }): Promise<{ readonly value: Uint8Array } | undefined>;
  put(key: Key, value: Buffer, options: WriteOptions): Promise<unknown>;
  delete(key: Key, options: WriteOptions): Promise<unknown>;
}

export interface WriteOptions {
  readonly timeoutMs: number;
  readonly level: WriteLevel;
  readonly writeId: Buffer;
  readonly retryAgeMs: number;
}

export type WriteLevel = 'safe' | 'async';

/** Workers at given rates, or callers that each send the next request when the last is answered. */
export type Load = { readonly kind: 'workers'; readonly plan: Plan } | { readonly kind: 'closed'; readonly callers: number };

export interface HammerOptions {
  readonly target: Target;
  readonly load: Load;
  /** Unique among all runs on a cluster: it is in every key and value. */
  readonly run: string;
  readonly keysMax: number;
  readonly valueBytes: number;
  readonly timeoutMs: number;
  readonly level: WriteLevel;
  /** Reads during the run ask any copy; the final verification asks for the newest all the same. */
  readonly stale: boolean;
  /** How long after the hammer gave up on a write it may still take effect. */
  readonly settleMs: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Not of `random`: one that is seeded would make the ids of an earlier run again. */
  readonly ids: WriteIdSource;
  /** Called for those that are kept. */
  readonly onViolation?: (violation: Violation) => void;
}

export const VIOLATIONS_KEPT = 20;
const IN_FLIGHT_MAX = 4096;
const TICK_MS = 10;
const VERIFY_CALLERS = 64;
const VERIFY_TRIES = 4;
const FOREIGN: Version = -1;
/** Between two tries of a write. */
const RETRY = { firstMs: 20, maxMs: 500 };
/** With these the next try may succeed. */
const LOST: readonly ErrorCode[] = ['UNAVAILABLE', 'UNKNOWN', 'CANCELLED', 'INTERNAL'];

/** Sends the load, and judges every answer. */
export class Hammer {
  readonly #options: HammerOptions;
  readonly #clock: Clock;
  readonly #codec: ValueCodec;
  readonly #pools: readonly KeyPool[];
  readonly #tally: Tally;
  readonly #startMs: number;
  readonly #violations: Violation[] = [];
  readonly #unsettled: Unsettled[] = [];
  readonly #verification = { keys: 0, verified: 0, unreadable: 0, asked: false };
  #wrong = 0;
  #missing = 0;
  #unknownOutcomes = 0;
  #retries = 0;
  #skipped = 0;
  #stallMs = 0;
  #inFlight = 0;
  #stopping = false;
  #pacer: Pacer | undefined;
  #cancelTick: Cancel | undefined;
  #onIdle: (() => void) | undefined;
  #loadSummary: TallySummary | undefined;

  constructor(options: HammerOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#codec = new ValueCodec({ run: options.run, bytes: options.valueBytes });
    this.#startMs = options.clock.now();
    this.#tally = new Tally(this.#startMs);
    this.#pools = makePools(options);
  }

  start(): void {
    const { load, random } = this.#options;
    this.#armTick();
    if (load.kind === 'workers') {
      this.#pacer = new Pacer({ plan: load.plan, random, nowMs: this.#clock.now() });
      return;
    }
    for (let i = 0; i < load.callers; i++) void this.#tracked(this.#callForEver());
  }

  /** Sends nothing more; resolves when every request under way has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelTick?.();
    const stoppedMs = this.#clock.now();
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    // What was under way counts too, whichever way it ended.
    this.#loadSummary ??= this.#tally.summary(stoppedMs);
  }

  /** Reads every key of this run once more. Call after `stop`. */
  async verify(signal: AbortSignal): Promise<void> {
    const keys = this.#pools.flatMap((pool) => pool.keys);
    this.#verification.asked = true;
    this.#verification.keys = keys.length;
    let next = 0;
    const caller = async (): Promise<void> => {
      while (!signal.aborted) {
        const key = keys[next++];
        if (!key) return;
        if (await this.#verifyKey(key, signal)) this.#verification.verified++;
        else this.#verification.unreadable++;
      }
    };
    await Promise.all(Array.from({ length: Math.min(VERIFY_CALLERS, keys.length) }, caller));
  }

  get verifiedCount(): number {
    return this.#verification.verified + this.#verification.unreadable;
  }

  recent(seconds: number): SeriesSummary {
    return this.#tally.takeRecent(seconds);
  }

  results(): Results {
    const tally = this.#loadSummary ?? this.#tally.summary(this.#clock.now());
    return {
      tally,
      wrong: this.#wrong,
      missing: this.#missing,
      violations: this.#violations,
      unknownOutcomes: this.#unknownOutcomes,
      retries: this.#retries,
      skipped: this.#skipped + (this.#pacer?.skipped ?? 0),
      stallMs: this.#stallMs,
      keys: this.#pools.reduce((count, pool) => count + pool.keys.length, 0),
      verification: { ...this.#verification },
    };
  }

  // --- sending ---------------------------------------------------------------

  #armTick(): void {
    const dueMs = this.#clock.now() + TICK_MS;
    this.#cancelTick = this.#clock.after(TICK_MS, () => {
      this.#tick(dueMs);
    });
  }

  /** The one timer of a run: sends what is due, and settles writes given up on long ago. */
  #tick(dueMs: number): void {
    if (this.#stopping) return;
    const now = this.#clock.now();
    this.#stallMs = Math.max(this.#stallMs, now - dueMs);
    this.#settle(now);
    for (const { worker, action } of this.#pacer?.due(now) ?? []) {
      const pool = this.#pools[worker];
      if (!pool || this.#inFlight >= IN_FLIGHT_MAX || !this.#send(pool, action)) this.#skipped++;
    }
    this.#armTick();
  }

  /** False when there is no key to do it on at the moment. */
  #send(pool: KeyPool, action: Action): boolean {
    const doing = this.#begin(pool, action);
    if (!doing) return false;
    void this.#tracked(doing);
    return true;
  }

  #begin(pool: KeyPool, action: Action): Promise<boolean> | undefined {
    const key = keyFor(pool, action);
    if (!key) return undefined;
    return action === 'read' ? this.#read(key) : this.#write(key, action);
  }

  async #callForEver(): Promise<void> {
    const pool = this.#pools[0];
    let failures = 0;
    while (pool && !this.#stopping) {
      const ok = (await this.#begin(pool, this.#closedAction(pool))) ?? false;
      failures = ok ? 0 : failures + 1;
      // A refused connection fails at once: without a pause that would be a busy loop.
      if (failures > 0) await sleep(this.#clock, Math.min(2 ** failures, 100));
    }
  }

  /** Half reads; writes spread evenly over all keys, those not made yet included. */
  #closedAction(pool: KeyPool): Action {
    const { random, keysMax } = this.#options;
    if (pool.keys.length > 0 && random.next() < 0.5) return 'read';
    return random.next() * keysMax >= pool.keys.length ? 'create' : 'update';
  }

  async #tracked(doing: Promise<unknown>): Promise<void> {
    this.#inFlight++;
    try {
      await doing;
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) this.#onIdle?.();
    }
  }

  // --- one request -----------------------------------------------------------

  async #write(key: TestedKey, action: Action): Promise<boolean> {
    const version = action === 'delete' ? ABSENT : ++key.newest;
    const value = version === ABSENT ? undefined : this.#codec.encode(key.name, version);
    const ticket = key.expectation.beginWrite(version);
    const beginMs = this.#clock.now();
    const note = { version, beginMs, endMs: undefined as number | undefined, outcome: 'under way' as 'under way' | Outcome };
    noteWrite(key, note);
    const { error, outcome } = await this.#writeOnce(key.name, value, beginMs);
    const nowMs = this.#clock.now();
    note.endMs = nowMs;
    note.outcome = outcome;
    this.#resolveWrite(key, ticket, note.outcome, nowMs);
    if (error) this.#tally.failed(action, error, beginMs, nowMs);
    else this.#tally.succeeded(action, beginMs, nowMs);
    return error === undefined;
  }

  /** One write, tried again with its id while nobody knows what became of it, until its time is over. */
  async #writeOnce(key: Key, value: Buffer | undefined, beginMs: number): Promise<{ readonly error: AppError | undefined; readonly outcome: Outcome }> {
    const { target, timeoutMs, level, ids } = this.#options;
    const writeId = ids.next();
    for (let tries = 0; ; tries++) {
      const passedMs = this.#clock.now() - beginMs;
      const options = { timeoutMs: Math.max(1, timeoutMs - passedMs), level, writeId, retryAgeMs: tries === 0 ? 0 : Math.max(1, passedMs) };
      const error = await failureOf(value ? target.put(key, value, options) : target.delete(key, options));
      if (!error) return { error, outcome: 'acknowledged' };
      // What is said of a later try tells nothing of the first.
      const outcome = tries > 0 || !hadNoEffect(error) ? 'unknown' : 'refused';
      const pauseMs = Math.min(RETRY.firstMs * 2 ** tries, RETRY.maxMs);
      const isOver = error.code === 'DEADLINE_EXCEEDED' || this.#clock.now() - beginMs + pauseMs >= timeoutMs;
      if (outcome === 'refused' || isOver || !target.repeatable || !LOST.includes(error.code)) return { error, outcome };
      this.#retries++;
      await sleep(this.#clock, pauseMs);
    }
  }

  #resolveWrite(key: TestedKey, ticket: WriteTicket, outcome: Outcome, nowMs: number): void {
    switch (outcome) {
      case 'acknowledged':
        key.expectation.acknowledge(ticket);
        return;
      case 'refused':
        key.expectation.refuse(ticket);
        return;
      case 'unknown':
        this.#unknownOutcomes++;
        key.expectation.giveUp(ticket);
        this.#unsettled.push({ key, ticket, atMs: nowMs + this.#options.settleMs });
    }
  }

  #settle(nowMs: number): void {
    let first = this.#unsettled[0];
    while (first && first.atMs <= nowMs) {
      first.key.expectation.settle(first.ticket);
      this.#unsettled.shift();
      first = this.#unsettled[0];
    }
  }

  async #read(key: TestedKey): Promise<boolean> {
    const beginMs = this.#clock.now();
    const error = await this.#readAndJudge(key, beginMs, 'run');
    const nowMs = this.#clock.now();
    if (error) this.#tally.failed('read', error, beginMs, nowMs);
    else this.#tally.succeeded('read', beginMs, nowMs);
    return error === undefined;
  }

  async #readAndJudge(key: TestedKey, beginMs: number, during: 'run' | 'verification'): Promise<AppError | undefined> {
    const { target, timeoutMs } = this.#options;
    const stale = this.#options.stale && during === 'run';
    const ticket = key.expectation.beginRead();
    let stored: { readonly value: Uint8Array } | undefined;
    try {
      stored = await target.get(key.name, { timeoutMs, stale });
    } catch (thrown) {
      key.expectation.abandonRead(ticket);
      return AppError.from(thrown);
    }
    const decoded = stored ? this.#codec.decode(key.name, stored.value) : undefined;
    const foreign = decoded?.kind === 'foreign' ? decoded.because : undefined;
    const version = !decoded ? ABSENT : decoded.kind === 'version' ? decoded.version : FOREIGN;
    if (stale) key.expectation.abandonRead(ticket);
    const verdict = stale ? staleVerdict(key, version) : key.expectation.endRead(ticket, version);
    if (verdict.right) return undefined;
    const got = foreign === undefined ? { got: version } : { got: undefined, because: foreign };
    this.#accuse(describeViolation({ ...got, key, possible: verdict.possible, beginMs, endMs: this.#clock.now(), startMs: this.#startMs, during }));
    return undefined;
  }

  #accuse(violation: Violation): void {
    if (violation.kind === 'wrong') this.#wrong++;
    else this.#missing++;
    // One broken node can make thousands; the first tell the story.
    if (this.#violations.length >= VIOLATIONS_KEPT) return;
    this.#violations.push(violation);
    this.#options.onViolation?.(violation);
  }

  /** True when the key was read and judged. */
  async #verifyKey(key: TestedKey, signal: AbortSignal): Promise<boolean> {
    for (let tries = 0; tries < VERIFY_TRIES && !signal.aborted && key.expectation.readable; tries++) {
      if (tries > 0) await sleep(this.#clock, 250 * 2 ** tries);
      if (!(await this.#readAndJudge(key, this.#clock.now(), 'verification'))) return true;
    }
    return false;
  }
}

/** An old value is no lie there; one that was never written is. */
function staleVerdict(key: TestedKey, version: Version): Verdict {
  if (version >= ABSENT && version <= key.newest) return { right: true };
  return { right: false, possible: [ABSENT, ...(key.newest === ABSENT ? [] : [key.newest])] };
}

export interface Results {
  readonly tally: TallySummary;
  readonly wrong: number;
  readonly missing: number;
  readonly violations: readonly Violation[];
  /** Writes that failed in a way that leaves open whether they happened. */
  readonly unknownOutcomes: number;
  /** Times that a write was sent again, with its id, because its outcome was unknown. */
  readonly retries: number;
  /** Requests that were due but not sent: no key was free, too many were under way, or the hammer itself was late. */
  readonly skipped: number;
  /** The longest the hammer itself was held up: latencies up to this may be its own. */
  readonly stallMs: number;
  readonly keys: number;
  readonly verification: { readonly keys: number; readonly verified: number; readonly unreadable: number; readonly asked: boolean };
}

interface Unsettled {
  readonly key: TestedKey;
  readonly ticket: WriteTicket;
  readonly atMs: number;
}

function keyFor(pool: KeyPool, action: Action): TestedKey | undefined {
  switch (action) {
    case 'create':
      return pool.forCreate();
    case 'read':
      return pool.forRead();
    case 'update':
      return pool.forUpdate();
    case 'delete':
      return pool.forDelete();
    default:
      return unreachable(action);
  }
}

type Outcome = 'acknowledged' | 'unknown' | 'refused';

/** A proxy may have tried before it refused, so few errors say for certain that nothing was written. */
function hadNoEffect(error: AppError): boolean {
  if (error.code === 'INVALID_ARGUMENT' || error.code === 'UNIMPLEMENTED') return true;
  // What grpc-js says when it had no connection to send the request on.
  return error.code === 'UNAVAILABLE' && error.message.startsWith('No connection established');
}

async function failureOf(doing: Promise<unknown>): Promise<AppError | undefined> {
  try {
    await doing;
    return undefined;
  } catch (thrown) {
    return AppError.from(thrown);
  }
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz';

function makePools(options: HammerOptions): KeyPool[] {
  const { load, run, random, keysMax } = options;
  if (load.kind === 'closed') {
    const name = (index: number): Key => keyName({ prefix: keyFromText(ALPHABET[index % ALPHABET.length] ?? 'a'), run, index });
    return [new KeyPool({ name, max: keysMax, random })];
  }
  const { workers } = load.plan;
  return workers.map((worker, number) => {
    const prefix = keyFromText(worker.prefix);
    const name = (index: number): Key => keyName({ prefix, run: `${run}-${number}`, index });
    return new KeyPool({ name, max: Math.max(1, Math.floor(keysMax / workers.length)), random });
  });
}
