import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import type { Clock } from '../../runtime/clock.js';
import { PrefixedLines, type Prefixes } from './output.js';
import type { Planned } from './plan.js';

export interface RunnerOptions {
  readonly planned: readonly Planned[];
  readonly env: (planned: Planned) => NodeJS.ProcessEnv;
  /** Where the Procfile's commands run. */
  readonly cwd: string;
  /** Each process's id is kept here while it runs, in a file of its name. */
  readonly pidDir: string;
  readonly prefixes: Prefixes;
  readonly out: Writable;
  readonly clock: Clock;
  /** How long a process may take to stop before it is killed. */
  readonly killAfterMs: number;
}

/** The name under which the runner itself speaks. */
export const SYSTEM = 'system';

/** Runs processes side by side. One that dies is reported; the others go on. */
export class Runner {
  private readonly running = new Map<string, ChildProcess>();
  private stopping = false;
  private killed = 0;
  private finish: (exitCode: number) => void = () => {};
  /** The exit code: 0 when it was stopped and everything stopped cleanly. */
  readonly finished = new Promise<number>((resolve) => (this.finish = resolve));

  constructor(private readonly options: RunnerOptions) {
    options.out.setMaxListeners(0);
  }

  get names(): readonly string[] {
    return [...this.running.keys()];
  }

  say(text: string): void {
    this.options.out.write(this.options.prefixes.line(SYSTEM, text));
  }

  start(): void {
    mkdirSync(this.options.pidDir, { recursive: true });
    for (const planned of this.options.planned) this.spawn(planned);
  }

  /** Asks everything to stop. Asked again, it kills. */
  stop(why: string): void {
    if (this.stopping) {
      if (this.running.size > 0) this.kill('as asked again');
      return;
    }
    this.stopping = true;
    this.say(`${why}: stopping ${this.names.join(', ')}`);
    this.signal('SIGTERM');
    const cancel = this.options.clock.after(this.options.killAfterMs, () => {
      this.kill(`still running ${this.options.killAfterMs / 1000} s after SIGTERM`);
    });
    void this.finished.then(cancel);
    this.finishWhenEmpty();
  }

  private spawn(planned: Planned): void {
    const { command, name } = planned;
    // A group of its own: Ctrl-C in the terminal reaches only us, and we pass on one signal, once.
    const child = spawn('/bin/sh', ['-c', becoming(command)], {
      cwd: this.options.cwd,
      env: this.options.env(planned),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.running.set(name, child);
    for (const stream of [child.stdout, child.stderr]) {
      const lines = new PrefixedLines((text) => this.options.prefixes.line(name, text));
      stream.pipe(lines).pipe(this.options.out, { end: false });
    }
    const pidFile = join(this.options.pidDir, `${name}.pid`);
    if (child.pid !== undefined) writeFileSync(pidFile, `${child.pid}\n`);
    child.once('error', (error) => {
      this.gone(name, pidFile, `could not be started: ${error.message}`);
    });
    child.once('exit', (code, signal) => {
      signalGroup(child, 'SIGKILL');
      const report = (): void => {
        this.gone(name, pidFile, signal === null ? `exit code ${code ?? 'unknown'}` : `killed by ${signal}`);
      };
      // Its last words come first, unless somebody else holds its output open.
      child.once('close', report);
      this.options.clock.after(LAST_WORDS_MS, report, { unref: true });
    });
  }

  private gone(name: string, pidFile: string, how: string): void {
    if (!this.running.delete(name)) return;
    rmSync(pidFile, { force: true });
    if (this.stopping) this.say(`${name} stopped (${how})`);
    else this.say(`${name} died: ${how}. ${this.running.size === 0 ? 'Nothing runs any more' : `The others go on: ${this.names.join(', ')}`}`);
    this.finishWhenEmpty();
  }

  private finishWhenEmpty(): void {
    if (this.running.size === 0) this.finish(this.stopping && this.killed === 0 ? 0 : 1);
  }

  private kill(why: string): void {
    this.say(`killing ${this.names.join(', ')}: ${why}`);
    this.killed += this.running.size;
    this.signal('SIGKILL');
  }

  private signal(signal: NodeJS.Signals): void {
    for (const child of this.running.values()) signalGroup(child, signal);
  }
}

const LAST_WORDS_MS = 500;

/** Has the shell become the program where that is all there is to run, so that the process's id is the program's. */
function becoming(command: string): string {
  return /^[^\s=;&|<>(){}]*\/[^;&|<>(){}]*$/.test(command) ? `exec ${command}` : command;
}

/** Reaches a process and whatever it started. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // All of it has ended already.
  }
}
