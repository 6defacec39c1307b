import { compareEnds } from '../model/interval.js';
import { type RangeId, type RangeMeta, formatRange } from '../model/range.js';
import { type Command, type RemoteState, remoteTransition } from '../model/states.js';
import { AppError, assert } from '../runtime/errors.js';

/*
 * What a node decides about one range, without doing any of it: the shell puts an
 * input, and carries the verdict out. Every step comes from REMOTE_TRANSITIONS.
 */

/** A range the node has. A range it does not have is `undefined`. */
export interface RangeRecord {
  readonly meta: RangeMeta;
  readonly state: Exclude<RemoteState, 'NotFound'>;
  /** The command under way, exactly while `state` is a transitional one. */
  readonly running: { readonly command: Command; readonly epoch: number } | undefined;
  /** Why the last command failed; empty when it did not. */
  readonly lastError: string;
}

export interface CommandInput {
  readonly type: 'command';
  readonly command: Command;
  readonly id: RangeId;
  /** Given with Prepare, which alone makes a range known. */
  readonly meta: RangeMeta | undefined;
  /** 0 from a controller that knows no epochs; never fenced. */
  readonly epoch: number;
  /** The newest epoch seen of this range. */
  readonly fence: number;
}

/** The service's method ended; `error` is why it refused. */
export interface EndedInput {
  readonly type: 'ended';
  readonly error: string | undefined;
}

export type Input = CommandInput | EndedInput;

export type Verdict =
  | { readonly type: 'refuse'; readonly error: AppError }
  /** Keep the epoch as the fence first, then put the same command again. */
  | { readonly type: 'raise'; readonly epoch: number }
  /** What is under way is of an older decision: stop it, and when it ended put the same command again. */
  | { readonly type: 'overtake' }
  /** Call the service's method. */
  | { readonly type: 'start'; readonly next: RangeRecord }
  /** Nothing to start: the state is the answer. */
  | { readonly type: 'answer'; readonly next: RangeRecord | undefined }
  | { readonly type: 'settled'; readonly next: RangeRecord | undefined };

/**
 * Which commands of a newer epoch make the one under way pointless, so that it is
 * asked to stop (it may still succeed). A repeated Prepare is not among them, for it
 * brings its new sources to the one under way; and a Drop is never called back, for
 * half of the data may be gone.
 */
const OVERTAKEN_BY: Readonly<Record<Command, readonly Command[]>> = {
  Prepare: ['Drop'],
  Activate: ['Prepare', 'Activate', 'Deactivate', 'Drop'],
  Deactivate: ['Activate'],
  Drop: [],
};

export function stateOf(record: RangeRecord | undefined): RemoteState {
  return record?.state ?? 'NotFound';
}

/** A range as it stands after a restart. */
export function restoredRecord(meta: RangeMeta, state: 'Active' | 'Inactive'): RangeRecord {
  return { meta, state, running: undefined, lastError: '' };
}

export function step(record: RangeRecord | undefined, input: Input): Verdict {
  return input.type === 'command' ? decide(record, input) : settle(record, input.error);
}

function decide(record: RangeRecord | undefined, input: CommandInput): Verdict {
  const { command, epoch, fence } = input;
  if (epoch > 0 && epoch < fence) return { type: 'refuse', error: staleError(input) };
  if (record && input.meta && !sameBounds(record.meta, input.meta)) {
    return { type: 'refuse', error: boundsError(record.meta, input.meta) };
  }
  if (epoch > fence) return { type: 'raise', epoch };

  const row = remoteTransition(command);
  const state = stateOf(record);
  if (state === row.from) return { type: 'start', next: begin(record, input) };
  if (isOvertaken(record, input)) return { type: 'overtake' };
  if (state === row.via || state === row.done) return { type: 'answer', next: adopt(record, input) };
  return { type: 'refuse', error: stateError(input, state) };
}

function isOvertaken(record: RangeRecord | undefined, { command, epoch }: CommandInput): boolean {
  const running = record?.running;
  return running !== undefined && epoch > running.epoch && OVERTAKEN_BY[running.command].includes(command);
}

/** A repeated Prepare is served by the one under way, which so belongs to the newer decision. */
function adopt(record: RangeRecord | undefined, { command, epoch }: CommandInput): RangeRecord | undefined {
  if (!record?.running || command !== 'Prepare' || epoch <= record.running.epoch) return record;
  return { ...record, running: { command, epoch } };
}

function begin(record: RangeRecord | undefined, { command, epoch, meta }: CommandInput): RangeRecord {
  const known = record?.meta ?? meta;
  assert(known, `${command} starts on a range without bounds`);
  return { meta: known, state: transit(stateOf(record), command, 'via'), running: { command, epoch }, lastError: '' };
}

function settle(record: RangeRecord | undefined, error: string | undefined): Verdict {
  assert(record?.running, 'a command ended that was not under way');
  const state = transit(record.state, record.running.command, error === undefined ? 'done' : 'failed');
  const lastError = error ?? '';
  return { type: 'settled', next: state === 'NotFound' ? undefined : { meta: record.meta, state, running: undefined, lastError } };
}

function transit(from: RemoteState, command: Command, to: 'via'): RangeRecord['state'];
function transit(from: RemoteState, command: Command, to: 'done' | 'failed'): RemoteState;
/** The one place where a state changes, and the one that throws when it must not. */
function transit(from: RemoteState, command: Command, to: 'via' | 'done' | 'failed'): RemoteState {
  const row = remoteTransition(command);
  const legal = to === 'via' ? row.from : row.via;
  assert(from === legal, `${command} cannot go from ${from} to ${row[to]}`);
  return row[to];
}

function sameBounds(a: RangeMeta, b: RangeMeta): boolean {
  return a.start === b.start && compareEnds(a.end, b.end) === 0;
}

function staleError({ id, command, epoch, fence }: CommandInput): AppError {
  return new AppError('FAILED_PRECONDITION', `R${id}: ${command} at epoch ${epoch} is older than epoch ${fence}, which this node has seen`);
}

function boundsError(known: RangeMeta, given: RangeMeta): AppError {
  return new AppError('INVALID_ARGUMENT', `range: ${formatRange(given)} is known here as ${formatRange(known)}; the bounds of an id never change`);
}

function stateError({ id, command }: CommandInput, state: RemoteState): AppError {
  const { from } = remoteTransition(command);
  const why = state === 'NotFound' ? 'this node does not have it' : `it is ${state}`;
  const wanted = from === 'NotFound' ? 'a range the node does not have' : `a range that is ${from}`;
  return new AppError('INVALID_ARGUMENT', `R${id} cannot take ${command}: ${why}, and ${command} needs ${wanted}`);
}
