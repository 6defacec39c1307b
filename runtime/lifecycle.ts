import { AppError, messageOf } from './errors.js';
import type { Logger } from './log.js';
import { type Clock, systemClock } from './clock.js';

/** What a running program must be able to do. */
export interface Running {
  /** Finishes what is in flight and lets go of everything. The process exits when it resolves. */
  close(): Promise<void>;
  /** How long closing may take, where the usual is too short. */
  readonly closeMsMax?: number | undefined;
}

export interface MainContext {
  readonly clock: Clock;
  /** Aborted as soon as a stop is asked for, also while still starting. */
  readonly stopping: AbortSignal;
  /** Stops the program as SIGTERM would, with exit code 1: for what it cannot go on without. */
  fail(reason: unknown): void;
  /** Errors go to standard error until there is a logger. */
  useLogger(logger: Logger): void;
}

/** What runMain needs of a process, so that tests can be one. */
export interface ProcessLike {
  on(event: string, listener: (argument: unknown) => void): unknown;
  exit(code: number): void;
  writeError(line: string): void;
}

const CLOSE_MS_MAX = 30_000;

/**
 * Runs a program from start to exit. SIGTERM or SIGINT closes it and exits 0; a
 * second one exits 1 at once, as does whatever nobody caught. A start that fails
 * for a known reason says so in one line.
 */
export async function runMain(
  name: string,
  start: (ctx: MainContext) => Promise<Running>,
  host: ProcessLike = thisProcess,
  clock: Clock = systemClock,
): Promise<void> {
  const main = new Main(name, host, clock);
  main.listen();
  try {
    main.running = await start(main);
  } catch (thrown) {
    // A start that gave up because it was told to stop is not a failure.
    if (main.stopping.aborted && thrown === main.stopping.reason) host.exit(main.exitCode);
    else main.die('could not start', thrown);
    return;
  }
  if (main.stopping.aborted) await main.close();
}

class Main implements MainContext {
  running: Running | undefined;
  exitCode = 0;
  private logger: Logger | undefined;
  private closing = false;
  private readonly controller = new AbortController();

  constructor(
    private readonly name: string,
    private readonly host: ProcessLike,
    readonly clock: Clock,
  ) {}

  get stopping(): AbortSignal {
    return this.controller.signal;
  }

  useLogger(logger: Logger): void {
    this.logger = logger;
  }

  fail(reason: unknown): void {
    this.report('stopping because of a failure', reason);
    this.exitCode = 1;
    this.stop('failure');
  }

  listen(): void {
    for (const signal of ['SIGTERM', 'SIGINT']) {
      this.host.on(signal, () => {
        if (this.stopping.aborted) {
          this.logger?.warn('told to stop a second time: leaving at once', { signal });
          this.host.exit(1);
          return;
        }
        this.logger?.info('stopping', { signal });
        this.stop(signal);
      });
    }
    this.host.on('uncaughtException', (thrown: unknown) => {
      this.die('uncaught error', thrown);
    });
    this.host.on('unhandledRejection', (thrown: unknown) => {
      this.die('unhandled rejection', thrown);
    });
  }

  async close(): Promise<void> {
    if (this.closing || !this.running) return;
    this.closing = true;
    const closeMsMax = this.running.closeMsMax ?? CLOSE_MS_MAX;
    const cancel = this.clock.after(
      closeMsMax,
      () => {
        this.die('did not stop in time', new AppError('DEADLINE_EXCEEDED', `closing took more than ${closeMsMax} ms`));
      },
      { unref: true },
    );
    try {
      await this.running.close();
      this.logger?.info('stopped');
      this.host.exit(this.exitCode);
    } catch (thrown) {
      this.die('could not stop cleanly', thrown);
    } finally {
      cancel();
    }
  }

  die(message: string, thrown: unknown): void {
    this.report(message, thrown);
    this.host.exit(1);
  }

  private stop(why: string): void {
    if (this.stopping.aborted) return;
    this.controller.abort(new AppError('CANCELLED', `stopping: ${why}`));
    void this.close();
  }

  /** Weather in one line; a bug with its stack. */
  private report(message: string, thrown: unknown): void {
    if (this.logger) {
      this.logger.error(message, { error: thrown instanceof AppError ? thrown.message : thrown });
      return;
    }
    const text = thrown instanceof AppError || !(thrown instanceof Error) ? messageOf(thrown) : (thrown.stack ?? thrown.message);
    this.host.writeError(`${this.name}: ${message}: ${text}\n`);
  }
}

const thisProcess: ProcessLike = {
  on: (event, listener) => process.on(event, listener),
  exit: (code) => process.exit(code),
  writeError: (line) => {
    process.stderr.write(line);
  },
};
