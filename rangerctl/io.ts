import type { Config } from '@oclif/core/config';
import { type Clock, systemClock } from '../runtime/clock.js';
import type { Terminal } from '../runtime/screen.js';
import type { Files } from './files.js';

/** What a command touches of the world, so that tests can be it. */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly clock: Clock;
  /** Standard input as bytes; stops with an error beyond `bytesMax`. */
  readonly stdin: AsyncIterable<Uint8Array> & { readonly isTTY?: boolean | undefined };
  readFile(path: string): AsyncIterable<Uint8Array>;
  readonly files: Files;
  /** Calls back on Ctrl-C until the result is called. */
  onInterrupt(callback: () => void): () => void;
}

export interface Output extends Terminal {
  write(text: string | Uint8Array, written?: () => void): unknown;
}

/** oclif makes the commands and gives them its configuration: the way in for everything else. */
const byConfig = new WeakMap<Config, Io>();

export function bindIo(config: Config, io: Io): void {
  byConfig.set(config, io);
}

export function ioOf(config: Config): Io {
  const io = byConfig.get(config);
  if (!io) throw new Error('commands run through runCli');
  return io;
}

/** Resolves when the text is on its way; a reader that hung up counts as that. */
export function print(out: Output, text: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    out.write(text, () => {
      resolve();
    });
  });
}

export function processIo(open: (path: string) => AsyncIterable<Uint8Array>, files: Files): Io {
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    clock: systemClock,
    get stdin() {
      return process.stdin;
    },
    readFile: open,
    files,
    onInterrupt(callback) {
      process.on('SIGINT', callback);
      return () => {
        process.off('SIGINT', callback);
      };
    },
  };
}
