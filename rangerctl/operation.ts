import { boolean } from '@oclif/core/flags';
import type { Operation, OperationEvent, OperationResult } from '../client/admin.js';
import { AppError } from '../runtime/errors.js';
import { Screen } from '../runtime/screen.js';
import { formatBytes } from '../runtime/units.js';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS } from './base.js';
import { EXIT } from './failure.js';
import { print } from './io.js';
import { ProgressMeter } from './progress.js';

export const OPERATION_FLAGS = {
  ...CONTROLLER_FLAGS,
  ...COMMON_FLAGS,
  steps: boolean({ summary: 'With JSON output, print each step as a JSON line on standard error.' }),
};

interface OperationFlags {
  readonly addr: string;
  readonly timeout?: string | undefined;
  readonly json?: boolean | undefined;
  readonly request: boolean;
  readonly steps: boolean;
}

/** A wait that ended before what was waited for; the exit code says how. */
export class Detached extends Error {
  constructor(
    message: string,
    readonly exitCode: number,
  ) {
    super(message);
  }
}

/** What move, split and join share: running an operation, and showing how it goes. */
export abstract class OperationCommand extends BaseCommand {
  protected async runOperation(operation: Operation, flags: OperationFlags): Promise<void> {
    const timeoutMs = this.timeoutMs(flags, undefined);
    if (flags.request) {
      await this.printRequest(operation);
      return;
    }
    const json = this.wantsJson(flags);
    const reporter = json ? this.#jsonReporter(flags.steps) : this.#textReporter();
    const interrupt = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      interrupt.abort();
    });
    try {
      const result = await this.withController(flags, (admin) => admin.run(operation, { timeoutMs, signal: interrupt.signal, onEvent: reporter.event }));
      reporter.end();
      await reporter.done(result);
    } catch (thrown) {
      reporter.end();
      throw detachedOr(thrown, { operation, interrupted: interrupt.signal.aborted, timeout: this.timeoutText, started: reporter.started() });
    } finally {
      stopListening();
    }
  }

  /** Standard output stays one document: the answer, as the Go tool prints it. */
  #jsonReporter(steps: boolean): Reporter {
    const { stderr } = this.io;
    let started = false;
    return {
      event: (event) => {
        started = true;
        if (steps) stderr.write(`${JSON.stringify(event)}\n`);
        else if (stderr.isTTY && event.kind === 'step') stderr.write(`${event.text}\n`);
      },
      end: () => undefined,
      done: () => this.printJson({}),
      started: () => started,
    };
  }

  #textReporter(): Reporter {
    const { stdout, stderr } = this.io;
    const screen = new Screen(stderr);
    const meter = new ProgressMeter();
    let started = false;
    /** Both streams are one terminal as a rule: the bar gives way to the line. */
    const line = (text: string): void => {
      screen.clear();
      stdout.write(`${text}\n`);
    };
    return {
      event: (event) => {
        started = true;
        if (event.kind === 'progress') {
          meter.add(event);
          screen.status(meter.text());
        } else if (event.kind === 'step') line(event.text);
        else if (event.kind === 'started') line(event.description);
        else screen.status('the controller reports no steps; waiting for the end');
      },
      end: () => {
        screen.clear();
      },
      done: (result) => print(stdout, `${doneText(result)}\n`),
      started: () => started,
    };
  }
}

interface Reporter {
  readonly event: (event: OperationEvent) => void;
  /** Takes away what is redrawn in place. */
  end(): void;
  done(result: OperationResult): Promise<void>;
  /** The controller accepted the operation. */
  started(): boolean;
}

function doneText(result: OperationResult): string {
  const now = result.ranges.length === 0 ? '' : `; serving now: ${result.ranges.map((id) => `R${id}`).join(', ')}`;
  const copied = result.keys > 0 ? `${result.keys.toLocaleString('en')} ${result.keys === 1 ? 'key' : 'keys'} (${formatBytes(result.bytes)}) copied` : 'nothing copied between nodes';
  const took = result.elapsedMs >= 1000 ? `${(result.elapsedMs / 1000).toFixed(1)} s` : `${Math.round(result.elapsedMs)} ms`;
  return result.ranges.length === 0 ? `done in ${took}` : `done in ${took}, ${copied}${now}`;
}

interface Wait {
  readonly operation: Operation;
  readonly interrupted: boolean;
  readonly timeout: string | undefined;
  readonly started: boolean;
}

/** An operation that began goes on without whoever watches it; that has to be said. */
function detachedOr(thrown: unknown, wait: Wait): unknown {
  const look = `\`rangerctl range ${rangeOf(wait.operation)}\` shows how it goes`;
  const goesOn = wait.started ? `the operation goes on; ${look}` : `the operation may have begun; ${look}`;
  if (wait.interrupted) return new Detached(`detached: ${goesOn}`, EXIT.detached);
  if (!(thrown instanceof AppError)) return thrown;
  if (thrown.code === 'DEADLINE_EXCEEDED') return new Detached(`not done within ${wait.timeout ?? 'the time-out'}: ${goesOn}`, EXIT.unreachable);
  const lost = thrown.code === 'UNAVAILABLE' || thrown.code === 'CANCELLED' || thrown.code === 'UNKNOWN';
  if (lost && wait.started) return new Detached(`lost the connection to the controller: ${goesOn}`, EXIT.unreachable);
  return thrown;
}

function rangeOf(operation: Operation): number {
  return operation.kind === 'join' ? operation.left : operation.range;
}
