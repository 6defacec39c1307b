import type { Clock } from '../../runtime/clock.js';
import { sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import { suggest } from '../../runtime/suggest.js';

/**
 * The moments at which a node can be made to fail on purpose. Behind a commit there is
 * nothing left to refuse, so an error there would be a lie: only a delay or a crash is
 * possible. (The two hand-over points behind a commit may fail: there the peer asks again.)
 */
export const FAILPOINTS = {
  'before-prepare': { mayFail: true },
  'before-prepare-commit': { mayFail: true },
  'after-prepare': { mayFail: false },
  'before-deactivate-commit': { mayFail: true },
  'after-deactivate-commit': { mayFail: false },
  'before-hand-over-commit': { mayFail: true },
  'after-hand-over-commit': { mayFail: true },
  'before-take-over-commit': { mayFail: true },
  'after-take-over-commit': { mayFail: true },
  'before-activate-commit': { mayFail: true },
  'after-activate-commit': { mayFail: false },
  'before-drop-commit': { mayFail: true },
  'after-drop-commit': { mayFail: false },
} as const satisfies Record<string, { readonly mayFail: boolean }>;

export type FailpointName = keyof typeof FAILPOINTS;

export type FailpointAction = { readonly kind: 'error' } | { readonly kind: 'delay'; readonly ms: number } | { readonly kind: 'crash' };

export interface Failpoints {
  /** Called at the named moment, and awaited there; rejects when the step is to fail. */
  reach(name: FailpointName): Promise<void> | undefined;
}

/** What every node has that was not asked for anything else. */
export const NO_FAILPOINTS: Failpoints = Object.freeze({ reach: () => undefined });

const DELAY_MS_MAX = 600_000;

/** Reads `name=action` words joined by commas; throws INVALID_ARGUMENT naming the word. */
export function parseFailpoints(text: string): ReadonlyMap<FailpointName, FailpointAction> {
  const actions = new Map<FailpointName, FailpointAction>();
  for (const word of text.split(',').map((part) => part.trim())) {
    if (word === '') continue;
    const at = word.indexOf('=');
    const name = word.slice(0, at < 0 ? undefined : at);
    if (!isFailpoint(name)) {
      const close = suggest(name, Object.keys(FAILPOINTS));
      throw wrong(`there is no failpoint ${name}${close === undefined ? '' : `, did you mean ${close}?`}`);
    }
    const action = parseAction(at < 0 ? '' : word.slice(at + 1));
    if (!action) throw wrong(`${word}: the action is one of error, delay:MS (up to ${DELAY_MS_MAX}) and crash`);
    if (action.kind === 'error' && !FAILPOINTS[name].mayFail) throw wrong(`${word}: what happened before ${name} cannot be refused any more; use delay:MS or crash`);
    actions.set(name, action);
  }
  return actions;
}

/** For a flag: what is wrong, or undefined. */
export function checkFailpoints(text: string): string | undefined {
  try {
    parseFailpoints(text);
    return undefined;
  } catch (thrown) {
    return AppError.from(thrown).message;
  }
}

function isFailpoint(name: string): name is FailpointName {
  return Object.hasOwn(FAILPOINTS, name);
}

function parseAction(text: string): FailpointAction | undefined {
  if (text === 'error' || text === 'crash') return { kind: text };
  const [, digits] = /^delay:(\d{1,6})$/.exec(text) ?? [];
  const ms = Number(digits);
  return digits === undefined || ms > DELAY_MS_MAX ? undefined : { kind: 'delay', ms };
}

function wrong(message: string): AppError {
  return new AppError('INVALID_ARGUMENT', message);
}

/** Failpoints that do something. */
export class ArmedFailpoints implements Failpoints {
  constructor(
    private readonly actions: ReadonlyMap<FailpointName, FailpointAction>,
    private readonly deps: {
      readonly clock: Clock;
      readonly logger: Logger;
      /** Ends the process as a power failure would. */
      readonly crash: () => void;
    },
  ) {}

  reach(name: FailpointName): Promise<void> | undefined {
    const action = this.actions.get(name);
    if (!action) return undefined;
    const { clock, logger, crash } = this.deps;
    logger.warn('a failpoint was reached', { failpoint: name, action: action.kind });
    switch (action.kind) {
      case 'error':
        return Promise.reject(new AppError('ABORTED', `failpoint ${name}`));
      case 'delay':
        return sleep(clock, action.ms);
      case 'crash':
        crash();
        // Nothing goes on from here, however long the process takes to die.
        return new Promise(() => undefined);
    }
  }
}
