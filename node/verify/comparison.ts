import { type Key, keyToBytes } from '../../model/key.js';
import type { NodeIdent } from '../../model/range.js';
import type { Member } from '../../model/report.js';
import { type Clock, sleep } from '../../runtime/clock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import type { Copy } from '../range/copy.js';
import type { Pacer } from '../range/pacer.js';
import type { PackedPairs } from '../storage/packed.js';
import type { Storage } from '../storage/storage.js';
import { type Deviation, type Found, type KeyState, deviations, digestOf, judge, stateOf, statesOf, unlike } from './compare.js';
import { CHUNK_BYTES, CHUNK_KEYS, type DigestAnswer, STATES_MAX, type VerifyContext, type VerifyPeer, type VerifyTransport } from './messages.js';
import { within } from './wait.js';

export interface ComparisonDeps {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly pacer: Pacer;
  readonly transport: VerifyTransport;
  readonly yieldTurn: () => Promise<void>;
  readonly ident: NodeIdent;
}

/** A follower that is compared. */
export interface Compared {
  readonly member: Member;
  readonly peer: VerifyPeer;
  differences: number;
  /** Why it is not compared any more. */
  skipped: string;
}

/** A key that is different is looked at again, ever later, until two looks in a row say the same. */
const LOOKS_MAX = 6;
const LOOK_AGAIN_MS = 25;
/** How long the primary waits until its own disk has what its followers may have. */
const DISK_PATIENCE_MS = 5_000;
/** How long a follower may lag. */
const LOG_PATIENCE_MS = 3_000;
/** Enough is known then of a follower that is damaged. */
const ENOUGH = 1_000;
const NAMED_MAX = 20;

/** One comparison of an active copy with its followers, chunk by chunk. Nothing waits for it. */
export class Comparison {
  keys = 0;
  bytes = 0;
  unsettled = 0;
  /** The first keys that were found different. */
  readonly named: (Deviation & { readonly key: Key })[] = [];
  /** How many keys this copy itself is wrong in. */
  differences = 0;
  readonly followers: Compared[];
  private readonly epoch: number;

  constructor(
    private readonly deps: ComparisonDeps,
    private readonly copy: Copy,
  ) {
    this.epoch = copy.record.logEpoch;
    this.followers = (copy.replication?.report() ?? []).map(({ member, inSync }) => ({
      member,
      peer: deps.transport(member.address),
      differences: 0,
      skipped: inSync ? '' : 'it is not in sync',
    }));
  }

  /** Those that are compared still. */
  get open(): Compared[] {
    return this.followers.filter(({ skipped, differences }) => skipped === '' && differences <= ENOUGH);
  }

  get found(): { readonly primary: Found; readonly followers: readonly Found[] } {
    const followers = this.followers.map(({ member, differences, skipped }) => ({ node: member.node, differences, compared: skipped === '' }));
    return { primary: { node: this.deps.ident, differences: this.differences, compared: true }, followers };
  }

  /** `told` is called after each chunk. Rejects when the copy is no primary any more. */
  async run(told: () => void, signal: AbortSignal): Promise<void> {
    const { storage, pacer, yieldTurn } = this.deps;
    const { meta } = this.copy;
    for (let from: Key | undefined = meta.start; from !== undefined && this.open.length > 0; ) {
      this.check(signal);
      const { pairs, next }: ReturnType<Storage['scanPacked']> = storage.scanPacked({ start: from, end: meta.end }, { countMax: CHUNK_KEYS, bytesMax: CHUNK_BYTES });
      const context = await this.contextOfWhatWasRead();
      const digest = digestOf(pairs);
      const span = { start: from, end: next ?? meta.end };
      const answers: DigestAnswer[] = [];
      await this.ask(context, async ({ peer }) => {
        answers.push(await peer.digest(context, span, digest, signal));
      });
      const suspects = suspected(pairs, answers);
      for (let i = 0; i < suspects.length; i += STATES_MAX) await this.settle(suspects.slice(i, i + STATES_MAX), signal);
      this.keys += pairs.count;
      this.bytes += pairs.bytes.length;
      told();
      await pacer.take(pairs.bytes.length, signal);
      await yieldTurn();
      from = next;
    }
    this.check(signal);
  }

  /** What followers are asked about. */
  context(): VerifyContext {
    return { range: this.copy.meta.id, epoch: this.epoch, offset: this.copy.durableOffset };
  }

  /** Everything that may have been read here until now has an offset up to that of the result. */
  private async contextOfWhatWasRead(): Promise<VerifyContext> {
    await this.untilDurable();
    return this.context();
  }

  /** Throws when the copy is not the primary that it was. */
  check(signal: AbortSignal): void {
    signal.throwIfAborted();
    const { copy } = this;
    if (!copy.admitting || copy.gone || copy.record.logEpoch !== this.epoch) throw new AppError('ABORTED', `R${copy.meta.id} is active elsewhere now`);
  }

  /** Looks at each key until it is settled whether it is alike. */
  private async settle(keys: readonly Key[], signal: AbortSignal): Promise<void> {
    let open = keys;
    let before = new Map<Key, string>();
    for (let look = 0; open.length > 0 && look < LOOKS_MAX; look++) {
      if (look > 0) await sleep(this.deps.clock, LOOK_AGAIN_MS * 2 ** look, signal);
      const again: Key[] = [];
      const now = new Map<Key, string>();
      for (const { key, verdict, wrong } of await this.look(open, signal)) {
        if (verdict === 'alike') continue;
        const words = wrong.map(({ node, what }) => `${node} ${what}`).join();
        if (verdict === 'different' && before.get(key) === words) {
          this.note(key, wrong);
          continue;
        }
        again.push(key);
        if (verdict === 'different') now.set(key, words);
      }
      open = again;
      before = now;
    }
    this.unsettled += open.length;
  }

  private async look(keys: readonly Key[], signal: AbortSignal): Promise<{ key: Key; verdict: ReturnType<typeof judge>; wrong: Deviation[] }[]> {
    this.check(signal);
    const before = this.ownStates(keys);
    const context = await this.contextOfWhatWasRead();
    const answers = new Map<NodeIdent, KeyState[]>();
    await this.ask(context, async ({ peer, member }) => {
      answers.set(member.node, await peer.states(context, keys, signal));
    });
    // What a follower has, this copy may just be about to have on its disk too.
    await this.untilDurable();
    this.check(signal);
    const after = this.ownStates(keys);
    return keys.map((key, i) => {
      const followers = new Map([...answers].map(([node, states]) => [node, states[i] as KeyState]));
      const state = after[i] as KeyState;
      const verdict = judge({ before: before[i] as KeyState, after: state, followers });
      return { key, verdict, wrong: verdict === 'different' ? deviations(this.deps.ident, state, followers, this.logged(key)) : [] };
    });
  }

  private note(key: Key, wrong: readonly Deviation[]): void {
    for (const deviation of wrong) {
      if (this.named.length < NAMED_MAX) this.named.push({ key, ...deviation });
      const follower = this.followers.find(({ member }) => member.node === deviation.node);
      if (follower) follower.differences++;
      else this.differences++;
    }
  }

  private ownStates(keys: readonly Key[]): KeyState[] {
    return keys.map((key) => stateOf(this.deps.storage.get(keyToBytes(key))));
  }

  /** What the log here says that the key is, if it has still the write that made it so. */
  private logged(key: Key): KeyState | undefined {
    const { storage } = this.deps;
    const stored = storage.get(keyToBytes(key));
    if (!stored) return undefined;
    const [record] = storage.readLog(this.copy.meta.id, stored.offset - 1, 1);
    if (record?.value === undefined || record.offset !== stored.offset || record.epoch !== stored.epoch || !record.key.equals(keyToBytes(key))) return undefined;
    return stateOf({ epoch: record.epoch, offset: record.offset, value: record.value, contentType: record.contentType });
  }

  private async untilDurable(): Promise<void> {
    const { copy } = this;
    const { lastOffset } = copy;
    const done = await within(this.deps.clock, DISK_PATIENCE_MS, copy, () => copy.gone || !copy.admitting || copy.isOnDisk(lastOffset));
    if (!done) throw new AppError('UNAVAILABLE', 'writes wait for the disk too long to compare anything');
  }

  /** Before that the follower may have what another primary alone had, which it has yet to cut off. */
  private async untilAcked({ member }: Compared, { offset }: VerifyContext): Promise<void> {
    const { copy } = this;
    const acked = (): number => copy.replication?.ackedBy(member) ?? 0;
    const done = await within(this.deps.clock, LOG_PATIENCE_MS, copy, () => copy.gone || !copy.admitting || acked() >= offset);
    if (!done) throw new AppError('UNAVAILABLE', `it has the log up to ${acked()}, and ${offset} was waited for`);
  }

  /** Asks every follower; one that does not answer is compared no further. One whose pairs cannot be read is damaged. */
  private async ask(context: VerifyContext, question: (follower: Compared) => Promise<void>): Promise<void> {
    await Promise.all(
      this.open.map(async (follower) => {
        try {
          await this.untilAcked(follower, context);
          await question(follower);
        } catch (thrown) {
          const { code } = AppError.from(thrown);
          if (code === 'DATA_LOSS') follower.differences++;
          follower.skipped = messageOf(thrown);
        }
      }),
    );
  }

  close(): void {
    for (const { peer } of this.followers) peer.close();
  }
}

/** Keys that some follower may have otherwise. */
function suspected(pairs: PackedPairs, answers: readonly DigestAnswer[]): Key[] {
  const suspects = new Set<Key>();
  const unlikely = answers.flatMap((answer) => (answer.alike ? [] : [answer]));
  if (unlikely.length === 0) return [];
  const own = statesOf(pairs);
  for (const { states, more } of unlikely) {
    // Behind what was listed nothing is known.
    const last = more ? [...states.keys()].at(-1) : undefined;
    for (const key of unlike(own, states)) if (last === undefined || key <= last) suspects.add(key);
  }
  return [...suspects];
}
