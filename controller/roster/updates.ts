import type { NodeIdent, RangeId } from '../../model/range.js';
import type { RangeInfo } from '../../model/report.js';
import { type Command, type RemoteState, remoteTransition } from '../../model/states.js';
import { type Attempt, type RemoteRange, type Roster, type RosterNode, attemptOf, copyKey } from './roster.js';

/*
 * Each function makes the roster that follows from one thing seen. When nothing
 * changed the same roster comes back, so that an observer can tell by `===`.
 */

/** How soon a failed command is sent again. */
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 1000;
/** A Drop is tried for ever; after this many failures, slowly. */
export const DROP_FAILURES_MAX = 30;
const DROP_BACKOFF_SLOW_MS = 10_000;

export interface Seen {
  readonly ident: NodeIdent;
  readonly address: string;
  readonly incarnation: string | undefined;
  readonly zone?: string | undefined;
}

function withNode(roster: Roster, node: RosterNode): Roster {
  return { ...roster, nodes: new Map(roster.nodes).set(node.ident, node) };
}

export function discovered(roster: Roster, seen: Seen, nowMs: number): Roster {
  const known = roster.nodes.get(seen.ident);
  const incarnation = seen.incarnation ?? (known?.address === seen.address ? known.incarnation : undefined);
  const moved = known === undefined || known.address !== seen.address || known.incarnation !== incarnation || known.zone !== seen.zone;
  if (!moved && known.discovered && known.link.state !== 'lost') return roster;
  const sameDisk = known !== undefined && known.incarnation === incarnation;
  return withNode(roster, {
    ident: seen.ident,
    address: seen.address,
    incarnation,
    zone: seen.zone,
    discovered: true,
    link: moved || known.link.state === 'lost' ? { state: 'connecting', sinceMs: nowMs } : known.link,
    askedMs: sameDisk ? known.askedMs : 0,
    wantDrain: known?.wantDrain ?? false,
    ranges: sameDisk ? known.ranges : new Map(),
  });
}

/** Discovery lists it no more. A node that still talks to us is there all the same. */
export function undiscovered(roster: Roster, ident: NodeIdent, nowMs: number): Roster {
  const node = roster.nodes.get(ident);
  if (!node?.discovered) return roster;
  const left = withNode(roster, { ...node, discovered: false });
  return node.link.state === 'live' ? left : lost(left, ident, 'it is registered no more', nowMs);
}

export function silent(roster: Roster, ident: NodeIdent, why: string, nowMs: number): Roster {
  const node = roster.nodes.get(ident);
  if (node?.link.state !== 'live') return roster;
  if (!node.discovered) return lost(roster, ident, 'it is registered no more', nowMs);
  return withNode(roster, { ...node, link: { state: 'silent', sinceMs: nowMs, why } });
}

export function lost(roster: Roster, ident: NodeIdent, why: string, nowMs: number): Roster {
  const node = roster.nodes.get(ident);
  if (!node || node.link.state === 'lost') return roster;
  return withNode(roster, { ...node, link: { state: 'lost', sinceMs: nowMs, why } });
}

export function forgotten(roster: Roster, ident: NodeIdent): Roster {
  if (!roster.nodes.has(ident)) return roster;
  const nodes = new Map(roster.nodes);
  nodes.delete(ident);
  return { ...roster, nodes };
}

export function settled(roster: Roster, nowMs = 0): Roster {
  return roster.settled ? roster : { ...roster, settled: true, settledMs: nowMs };
}

/** The keyspace that was read now may be newer than all that was heard: another controller wrote it, by what it heard. */
export function distrusted(roster: Roster, nowMs: number): Roster {
  return { ...roster, trustedFromMs: nowMs };
}

export interface NodeInfo {
  readonly ranges: readonly RangeInfo[];
  readonly wantDrain: boolean;
  readonly incarnation: string | undefined;
}

/** A node's whole report, asked for at `askedMs`; what it told since then by other ways is newer. */
export function reported(roster: Roster, ident: NodeIdent, info: NodeInfo, askedMs: number, nowMs: number): Roster {
  const node = roster.nodes.get(ident);
  if (!node) return roster;
  const incarnation = info.incarnation ?? node.incarnation;
  const sameDisk = node.incarnation === undefined || incarnation === node.incarnation;
  const before = sameDisk ? node.ranges : new Map<RangeId, RemoteRange>();
  const ranges = new Map<RangeId, RemoteRange>();
  let next = roster;
  for (const range of info.ranges) {
    const known = before.get(range.meta.id);
    if (known && known.toldMs > askedMs) ranges.set(range.meta.id, known);
    else if (range.state !== 'NotFound') ranges.set(range.meta.id, told(known, range, nowMs));
    if (!known || known.toldMs <= askedMs) next = countSilentFailure(next, ident, known, range, nowMs);
  }
  for (const [id, known] of before) {
    if (ranges.has(id)) continue;
    if (known.toldMs > askedMs) ranges.set(id, known);
    else next = countSilentFailure(next, ident, known, { ...known, state: 'NotFound' }, nowMs);
  }
  const link = node.link.state === 'live' ? node.link : { state: 'live' as const, sinceMs: nowMs };
  return withNode(next, { ...node, incarnation, link, askedMs: Math.max(askedMs, node.askedMs), wantDrain: info.wantDrain, ranges });
}

/** One range's report, pushed by the node or given in an answer. */
export function rangeReported(roster: Roster, ident: NodeIdent, info: RangeInfo, nowMs: number): Roster {
  const node = roster.nodes.get(ident);
  if (!node) return roster;
  const known = node.ranges.get(info.meta.id);
  const next = countSilentFailure(roster, ident, known, info, nowMs);
  const ranges = new Map(node.ranges);
  if (info.state === 'NotFound') ranges.delete(info.meta.id);
  else ranges.set(info.meta.id, told(known, info, nowMs));
  return withNode(next, { ...node, ranges });
}

function told(known: RemoteRange | undefined, info: RangeInfo, nowMs: number): RemoteRange {
  return { ...info, sinceMs: known?.state === info.state ? known.sinceMs : nowMs, toldMs: nowMs };
}

// --- commands ----------------------------------------------------------------

export interface SentCommand {
  readonly command: Command;
  readonly range: RangeId;
  readonly node: NodeIdent;
  readonly epoch: number;
}

function withAttempt(roster: Roster, sent: SentCommand, attempt: Attempt): Roster {
  return { ...roster, attempts: new Map(roster.attempts).set(copyKey(sent.range, sent.node), attempt) };
}

/** The attempt that `sent` belongs to; undefined when another command took its place. */
function matching(roster: Roster, sent: SentCommand): Attempt | undefined {
  const attempt = attemptOf(roster, sent.range, sent.node);
  return attempt?.command === sent.command && attempt.epoch === sent.epoch ? attempt : undefined;
}

export function commandSent(roster: Roster, sent: SentCommand): Roster {
  const before = matching(roster, sent);
  return withAttempt(roster, sent, {
    command: sent.command,
    epoch: sent.epoch,
    failures: before?.failures ?? 0,
    lastError: before?.lastError ?? '',
    nextTryMs: before?.nextTryMs ?? 0,
    inFlight: true,
    answered: undefined,
    answeredMs: 0,
  });
}

/** The node answered. A transitional state is no failure: what becomes of it will be reported. */
export function commandAnswered(
  roster: Roster,
  sent: SentCommand,
  answer: { readonly state: RemoteState; readonly lastError: string },
  nowMs: number,
): Roster {
  const attempt = matching(roster, sent);
  if (!attempt) return roster;
  const row = remoteTransition(sent.command);
  if (answer.state === row.failed && row.failed !== row.done) {
    return commandFailed(roster, sent, answer.lastError || `it stayed ${answer.state}`, nowMs);
  }
  return withAttempt(roster, sent, { ...attempt, inFlight: false, answered: answer.state, answeredMs: nowMs });
}

/** The node refused, or did not answer in time. */
export function commandFailed(roster: Roster, sent: SentCommand, why: string, nowMs: number, pauseMs = 0): Roster {
  const attempt = matching(roster, sent);
  if (!attempt) return roster;
  const failures = attempt.failures + 1;
  return withAttempt(roster, sent, {
    ...attempt,
    failures,
    lastError: why,
    inFlight: false,
    answered: undefined,
    nextTryMs: nowMs + Math.max(pauseMs, backoffMs(sent.command, failures)),
  });
}

/** It is not wanted any more, and its answer will not be waited for. */
export function commandCancelled(roster: Roster, sent: SentCommand): Roster {
  const attempt = matching(roster, sent);
  return attempt ? withAttempt(roster, sent, { ...attempt, inFlight: false }) : roster;
}

function backoffMs(command: Command, failures: number): number {
  if (command === 'Drop' && failures >= DROP_FAILURES_MAX) return DROP_BACKOFF_SLOW_MS;
  return Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 10), BACKOFF_MAX_MS);
}

/**
 * A command that was answered with a transitional state has failed when the range
 * is then seen where a refusal leaves it.
 */
function countSilentFailure(
  roster: Roster,
  node: NodeIdent,
  known: RemoteRange | undefined,
  info: RangeInfo,
  nowMs: number,
): Roster {
  const attempt = attemptOf(roster, info.meta.id, node);
  if (!known || !attempt || attempt.inFlight || attempt.answered === undefined) return roster;
  const row = remoteTransition(attempt.command);
  if (known.state !== row.via || info.state !== row.failed) return roster;
  const sent = { command: attempt.command, epoch: attempt.epoch, range: info.meta.id, node };
  // A node that restarted forgot what it was doing; it says nothing of why.
  return commandFailed(roster, sent, info.lastError || `it was ${row.via}, and is ${info.state} again`, nowMs);
}

// --- housekeeping --------------------------------------------------------------

export function avoided(roster: Roster, range: RangeId, node: NodeIdent, untilMs: number): Roster {
  return { ...roster, avoidedUntilMs: new Map(roster.avoidedUntilMs).set(copyKey(range, node), untilMs) };
}

/** Forgets the attempts at copies that are wanted nowhere any more, and what need not be avoided any longer. */
export function tidied(roster: Roster, isPlaced: (copy: string) => boolean, nowMs: number): Roster {
  const attempts = [...roster.attempts].filter(([copy, attempt]) => attempt.inFlight || isPlaced(copy));
  const avoidedUntilMs = [...roster.avoidedUntilMs].filter(([, untilMs]) => untilMs > nowMs);
  if (attempts.length === roster.attempts.size && avoidedUntilMs.length === roster.avoidedUntilMs.size) return roster;
  return { ...roster, attempts: new Map(attempts), avoidedUntilMs: new Map(avoidedUntilMs) };
}
