import { isEmpty } from '../model/interval.js';
import type { RangeId, RangeMeta } from '../model/range.js';
import type { RemoteState, Command } from '../model/states.js';
import { type Clock, systemClock } from '../runtime/clock.js';
import { AppError } from '../runtime/errors.js';
import { type Logger, silentLogger } from '../runtime/log.js';
import { type EpochFences, memoryFences } from './fences.js';
import type { RangeService } from './service.js';
import { type TermFence, memoryTermFence } from './terms.js';

/** A range that the service still has after a restart. */
export interface RestoredRange {
  readonly meta: RangeMeta;
  readonly state: 'Active' | 'Inactive';
  readonly epoch: number;
}

/**
 * What became of a command: `started` its work, or found it done or under way
 * (`repeated`), or was `refused`, or has to be asked for again (`postponed`) because
 * what stood before it took the whole grace period.
 */
export type CommandOutcome = 'started' | 'repeated' | 'refused' | 'postponed';

/** For metrics. What they throw is logged and goes no further. */
export interface RangeletHooks {
  answered?(event: { readonly command: Command; readonly outcome: CommandOutcome; readonly ms: number }): void;
  /** A transition ended. */
  settled?(event: { readonly command: Command; readonly range: RangeId; readonly ok: boolean; readonly ms: number }): void;
  /** A range changed its state. */
  moved?(event: { readonly range: RangeId; readonly from: RemoteState; readonly to: RemoteState }): void;
}

export interface RangeletOptions {
  readonly service: RangeService;
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** A command that takes longer is answered with the transitional state, and carries on. */
  readonly graceMs?: number;
  /** How long `close` lets commands finish before it aborts them. */
  readonly drainMs?: number;
  /** The node's name in the cluster. */
  readonly ident?: string;
  /** Made when the node's data was created; a node that lost its data has a new one. */
  readonly incarnation?: string;
  /** What the service has from before a restart. */
  readonly restored?: readonly RestoredRange[];
  /** Where the newest epochs are kept; in memory when not given. */
  readonly fences?: EpochFences;
  /** Where the newest term of a controller is kept; in memory when not given. */
  readonly terms?: TermFence;
  readonly hooks?: RangeletHooks;
  /** More ranges than this are refused. */
  readonly rangesMax?: number;
  /** More commands than this at once are refused. */
  readonly commandsMax?: number;
  /** More readers of the stream of ranges than this are refused. */
  readonly readersMax?: number;
}

export type Settings = Required<RangeletOptions>;

const METHODS = ['prepare', 'activate', 'deactivate', 'drop', 'loadInfo'] as const;
const OPTIONAL_METHODS = ['progress', 'serving', 'updateSources', 'updateMembership', 'replica'] as const;
const DAY_MS = 86_400_000;

/** Every problem at once, so that nobody has to start a program five times. */
export function readOptions(options: RangeletOptions): Settings {
  const settings: Settings = {
    service: options.service,
    clock: options.clock ?? systemClock,
    logger: options.logger ?? silentLogger,
    graceMs: options.graceMs ?? 1000,
    drainMs: options.drainMs ?? 5000,
    ident: options.ident ?? '',
    incarnation: options.incarnation ?? '',
    restored: options.restored ?? [],
    fences: options.fences ?? memoryFences(),
    terms: options.terms ?? memoryTermFence(),
    hooks: options.hooks ?? {},
    rangesMax: options.rangesMax ?? 200_000,
    commandsMax: options.commandsMax ?? 10_000,
    readersMax: options.readersMax ?? 1000,
  };
  const problems = [...serviceProblems(settings.service), ...limitProblems(settings), ...restoredProblems(settings)];
  if (problems.length > 0) throw new AppError('INVALID_ARGUMENT', `the rangelet cannot start: ${problems.join('; ')}`);
  return Object.freeze(settings);
}

function serviceProblems(service: unknown): string[] {
  if (typeof service !== 'object' || service === null) return ['service has to be an object with the methods of RangeService'];
  const methods = service as Record<string, unknown>;
  return [
    ...METHODS.filter((name) => typeof methods[name] !== 'function').map((name) => `service.${name} has to be a method`),
    ...OPTIONAL_METHODS.filter((name) => methods[name] !== undefined && typeof methods[name] !== 'function').map(
      (name) => `service.${name} has to be a method when it is there`,
    ),
  ];
}

function limitProblems(settings: Settings): string[] {
  const problems: string[] = [];
  for (const name of ['graceMs', 'drainMs'] as const) {
    const ms = settings[name];
    if (!(ms >= 0 && ms <= DAY_MS)) problems.push(`${name} has to be between 0 and ${DAY_MS}, not ${ms}`);
  }
  for (const name of ['rangesMax', 'commandsMax', 'readersMax'] as const) {
    const limit = settings[name];
    if (!Number.isSafeInteger(limit) || limit < 1) problems.push(`${name} has to be a whole number from 1 up, not ${limit}`);
  }
  return problems;
}

function restoredProblems({ restored, rangesMax }: Settings): string[] {
  const problems: string[] = [];
  const seen = new Set<RangeId>();
  for (const { meta, state, epoch } of restored) {
    const name = `restored range ${meta.id}`;
    if (!Number.isSafeInteger(meta.id) || meta.id < 1) problems.push(`${name} needs a whole number from 1 up as its id`);
    if (seen.has(meta.id)) problems.push(`${name} is given twice`);
    if (isEmpty(meta)) problems.push(`${name} has to start below its end`);
    if (!Number.isSafeInteger(epoch) || epoch < 0) problems.push(`${name} has epoch ${epoch}; it has to be a whole number from 0 up`);
    if (!['Active', 'Inactive'].includes(state)) problems.push(`${name} is ${state}; only Active and Inactive outlive a restart`);
    seen.add(meta.id);
  }
  if (restored.length > rangesMax) problems.push(`${restored.length} restored ranges are more than rangesMax (${rangesMax})`);
  return problems;
}
