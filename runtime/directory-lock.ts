import { access, mkdir, readdir, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { closeSync, openSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from './clock.js';
import { sleep } from './clock.js';
import { AppError, messageOf } from './errors.js';
import type { Random } from './random.js';

/**
 * Lets one process at a time use a directory. The lock is a Unix socket that the
 * holder listens on, so it ends with the process, however that ends, and a PID
 * that is used again is no trouble. Every contender has a socket of its own, and
 * names are never reused: so who finds a dead one may remove it without the risk
 * of removing the lock of somebody who came in between.
 */
export interface DirectoryLock {
  release(): Promise<void>;
}

export interface DirectoryLockOptions {
  readonly directory: string;
  /** Who holds it, for the message that another process gets. */
  readonly holder: string;
  readonly clock: Clock;
  readonly random: Random;
}

const SUFFIX = '.lock';
const ANSWER_MS = 1000;
/** How often a contender looks again at others that start at the same moment. */
const LOOK_AGAIN_MS = 20;

type Contender =
  | { readonly kind: 'dead' }
  /** It closed while it was asked; the next look tells. */
  | { readonly kind: 'leaving' }
  | { readonly kind: 'holds'; readonly holder: string }
  | { readonly kind: 'contends' };

/** Rejects with FAILED_PRECONDITION when another process, or this one, has the directory. */
export async function lockDirectory(options: DirectoryLockOptions): Promise<DirectoryLock> {
  const { directory, clock, random } = options;
  await makeDirectory(resolve(directory)).catch((thrown: unknown) => {
    throw unusable(directory, thrown);
  });
  const short = new ShortPath(directory);
  const name = `${random.hex(8)}${SUFFIX}`;
  const state = { held: false };
  const server = await listenAt(short.of(name), () => (state.held ? `holds ${process.pid} ${options.holder}` : 'contends')).catch(
    (thrown: unknown) => {
      short.close();
      throw unusable(directory, thrown);
    },
  );
  const release = async (): Promise<void> => {
    await closeServer(server);
    // Node removes the socket of a server that it closes; this is for when it could not.
    await unlink(join(directory, name)).catch(ignore);
    short.close();
  };
  try {
    while (!(await othersGone({ directory, short, name, clock }))) await sleep(clock, LOOK_AGAIN_MS);
  } catch (thrown) {
    await release();
    throw thrown;
  }
  state.held = true;
  server.unref();
  return { release };
}

/** With its parents. Node's own way of doing so never ends where nothing can be made, as below /proc. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || (await isThere(dirname(path)))) throw thrown;
    await makeDirectory(dirname(path));
    await mkdir(path).catch((again: unknown) => {
      if ((again as NodeJS.ErrnoException).code !== 'EEXIST') throw again;
    });
  }
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

interface Look {
  readonly directory: string;
  readonly short: ShortPath;
  readonly name: string;
  readonly clock: Clock;
}

/** False when to look again. Throws when another has the directory, or comes first. */
async function othersGone({ directory, short, name, clock }: Look): Promise<boolean> {
  const names = (await readdir(directory)).filter((other) => other.endsWith(SUFFIX));
  // Somebody found ours between its making and its first listening, and took it for dead.
  if (!names.includes(name)) throw inUse(directory, 'a process that started at the same moment');
  let gone = true;
  for (const other of names) {
    if (other === name) continue;
    const contender = await ask(short.of(other), clock);
    if (contender.kind === 'holds') throw inUse(directory, contender.holder);
    if (contender.kind === 'dead') await unlink(join(directory, other)).catch(ignore);
    else if (contender.kind === 'contends' && other < name) throw inUse(directory, 'a process that started at the same moment');
    else gone = false;
  }
  return gone;
}

function ask(path: string, clock: Clock): Promise<Contender> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = createConnection(path);
    const done = (contender: Contender): void => {
      cancel();
      socket.destroy();
      resolve(contender);
    };
    // It is there but does not answer: a stopped process still has its files open.
    const cancel = clock.after(ANSWER_MS, () => {
      done({ kind: 'holds', holder: 'a process that does not answer' });
    });
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('utf8')));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') done({ kind: 'dead' });
      else if (error.code === 'ECONNRESET' || error.code === 'EPIPE') done({ kind: 'leaving' });
      else done({ kind: 'holds', holder: `another process (${error.message})` });
    });
    socket.on('end', () => {
      const [word, pid, ...holder] = answer.split(' ');
      if (word === 'contends') done({ kind: 'contends' });
      else if (word === 'holds') done({ kind: 'holds', holder: `${holder.join(' ')} (process ${pid ?? '?'})` });
      else done({ kind: 'leaving' });
    });
  });
}

function listenAt(path: string, answer: () => string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket: Socket) => {
      socket.on('error', ignore);
      socket.end(answer());
    });
    server.once('error', reject);
    server.listen(path, () => {
      server.removeListener('error', reject);
      // Failing to accept one question does not end the lock.
      server.on('error', ignore);
      resolve(server);
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}

/** A socket's path has room for about 100 bytes; on Linux an open directory gives any directory a short one. */
class ShortPath {
  private readonly fd: number | undefined;
  private readonly base: string;

  constructor(directory: string) {
    this.fd = process.platform === 'linux' ? openSync(directory, 'r') : undefined;
    this.base = this.fd === undefined ? directory : `/proc/self/fd/${this.fd}`;
  }

  of(name: string): string {
    return join(this.base, name);
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
  }
}

function inUse(directory: string, by: string): AppError {
  return new AppError('FAILED_PRECONDITION', `the data directory '${directory}' is in use by ${by}: stop it first, or choose another directory`);
}

function unusable(directory: string, thrown: unknown): AppError {
  const why = messageOf(thrown);
  const code = (thrown as NodeJS.ErrnoException).code;
  const denied = code === 'EACCES' || code === 'EROFS' || code === 'EPERM';
  const advice = denied ? 'it must be writable for this user' : 'choose a directory on a local disk';
  return new AppError(denied ? 'PERMISSION_DENIED' : 'FAILED_PRECONDITION', `the data directory '${directory}' cannot be used: ${why}; ${advice}`, { cause: thrown });
}

function ignore(): void {
  // Nothing depends on the outcome.
}
