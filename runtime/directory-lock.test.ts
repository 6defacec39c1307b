import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from './clock.js';
import { lockDirectory, type DirectoryLock } from './directory-lock.js';
import { systemRandom } from './random.js';

let base: string;
let children: ChildProcess[];

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'lock-'));
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(base, { recursive: true, force: true });
});

const lock = (directory = base): Promise<DirectoryLock> =>
  lockDirectory({ directory, holder: 'the test', clock: systemClock, random: systemRandom });

/** Another process that listens on a socket as a holder does, until it is killed. */
async function holder(name: string, answer: string): Promise<ChildProcess> {
  const script = `require('net').createServer((s) => s.end(${JSON.stringify(answer)})).listen(process.argv[1], () => console.log('ready'))`;
  const child = spawn(process.execPath, ['-e', script, join(base, name)], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

test('one at a time, and again after the release', async () => {
  const first = await lock();
  const second = lock();
  await expect(second).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  await expect(second).rejects.toThrow(`in use by the test (process ${process.pid})`);
  await first.release();
  const third = await lock();
  await third.release();
  expect(await readdir(base)).toEqual([]);
});

test('of many at once exactly one gets it', async () => {
  for (let round = 0; round < 5; round++) {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => lock()));
    const held = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(held).toHaveLength(1);
    await held[0]?.release();
  }
});

test('the lock of a killed process is free, and its traces are removed', async () => {
  const child = await holder('00.lock', 'holds 1 another');
  await expect(lock()).rejects.toThrow('in use by another (process 1)');
  await killed(child);
  expect(await readdir(base)).toEqual(['00.lock']);
  const mine = await lock();
  expect(await readdir(base)).toHaveLength(1);
  await mine.release();
});

test('a stopped process still holds it', async () => {
  const child = await holder('00.lock', 'holds 1 another');
  child.kill('SIGSTOP');
  await expect(lock()).rejects.toThrow('does not answer');
});

test('a contender gives way to one whose name comes first, and waits for the others', async () => {
  const first = createServer((socket) => socket.end('contends'));
  await new Promise<void>((resolve) => first.listen(join(base, '!.lock'), resolve));
  await expect(lock()).rejects.toThrow('started at the same moment');
  await new Promise((resolve) => first.close(resolve));

  let asked = 0;
  const last = createServer((socket) => {
    socket.end('contends');
    asked += 1;
    if (asked === 3) last.close();
  });
  await new Promise<void>((resolve) => last.listen(join(base, 'z.lock'), resolve));
  const mine = await lock();
  expect(asked).toBe(3);
  await mine.release();
});

test('a path that is too long for a socket works', async ({ skip }) => {
  if (process.platform !== 'linux') return skip('only there a directory can be reached through /proc, however long its path is');
  const deep = join(base, 'x'.repeat(100), 'y'.repeat(100));
  await mkdir(deep, { recursive: true });
  const mine = await lock(deep);
  await expect(lock(deep)).rejects.toThrow('in use');
  await mine.release();
});

test('a file in the place of the directory', async () => {
  await writeFile(join(base, 'file'), '');
  await expect(lock(join(base, 'file'))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
});

test('a directory that cannot be written', async ({ skip }) => {
  if (process.getuid?.() === 0) return skip('nothing is denied to root; test/e2e/disk.bats has it for root too');
  await chmod(base, 0o500);
  await expect(lock()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
});

test('makes the directory, with its parents', async () => {
  const held = await lock(join(base, 'a', 'b', 'c'));
  expect(await readdir(join(base, 'a', 'b', 'c'))).toHaveLength(1);
  await held.release();
});

test('says so where nothing can be made', async ({ skip }) => {
  if (process.platform !== 'linux') return skip('there is no /proc');
  await expect(lock('/proc/nothing/can/be')).rejects.toMatchObject({ message: expect.stringContaining('/proc/nothing/can/be') as string });
});
