import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../runtime/clock.js';
import { Prefixes } from './output.js';
import { takenPorts } from './ports.js';
import { Runner, SYSTEM } from './runner.js';

let dir: string;
let written: string;
let runner: Runner | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'dev-'));
  written = '';
});

afterEach(async () => {
  if (runner && runner.names.length > 0) {
    runner.stop('cleaning up');
    runner.stop('cleaning up');
    await runner.finished;
  }
  rmSync(dir, { recursive: true });
});

function run(commands: Record<string, string>, killAfterMs = 20_000): Runner {
  const planned = Object.entries(commands).map(([name, command], i) => ({ name, entry: name, command, port: 6000 + i, dataDir: dir }));
  runner = new Runner({
    planned,
    env: ({ port }) => ({ ...process.env, PORT: String(port) }),
    cwd: dir,
    pidDir: join(dir, 'run'),
    prefixes: new Prefixes([...Object.keys(commands), SYSTEM], { clock: systemClock, colour: false }),
    out: new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        written += chunk.toString();
        done();
      },
    }),
    clock: systemClock,
    killAfterMs,
  });
  runner.start();
  return runner;
}

/** What was written, without the times. */
const lines = (): string[] => written.split('\n').map((line) => line.replace(/^\d\d:\d\d:\d\d /, ''));
const saw = (line: string): Promise<void> => expect.poll(lines).toContainEqual(line);

/** Waits for ever, and stops with `code` when it is asked to. */
const obedient = (code: number): string => `trap 'exit ${code}' TERM; echo up on $PORT; while :; do sleep 0.05; done`;

describe('Runner', () => {
  it('shows what each process writes, on either output', async () => {
    const one = run({ a: "echo out; echo err >&2; printf 'no newline'" });
    expect(await one.finished).toBe(1);
    expect(lines()).toEqual(expect.arrayContaining(['a      | out', 'a      | err', 'a      | no newline']));
  });

  it('stops all when asked, and ends with 0', async () => {
    const two = run({ a: obedient(0), b: obedient(0) });
    await saw('a      | up on 6000');
    await saw('b      | up on 6001');
    two.stop('SIGINT');
    expect(await two.finished).toBe(0);
    expect(lines()).toContain('system | SIGINT: stopping a, b');
    expect(lines()).toContain('system | a stopped (exit code 0)');
  });

  it('reports one that dies, and the others go on', async () => {
    const two = run({ a: obedient(0), b: '/usr/bin/env sleep 1000' });
    await saw('a      | up on 6000');
    process.kill(Number(readFileSync(join(dir, 'run', 'b.pid'), 'utf8')), 'SIGKILL');
    await saw('system | b died: killed by SIGKILL. The others go on: a');
    expect(existsSync(join(dir, 'run', 'b.pid'))).toBe(false);
    two.stop('SIGTERM');
    expect(await two.finished).toBe(0);
  });

  it('leaves nothing behind of one that dies', async () => {
    const one = run({ a: 'sleep 1000 & echo child $!; exit 7' });
    expect(await one.finished).toBe(1);
    const [, pid] = /child (\d+)/.exec(written) ?? [];
    await expect.poll(() => existsSync(`/proc/${pid ?? 'none'}/fd/0`)).toBe(false);
    expect(written).toMatch(/a died: exit code 7/);
  });

  it('ends with 1 when everything died', async () => {
    const two = run({ a: 'exit 3', b: 'does-not-exist' });
    expect(await two.finished).toBe(1);
    expect(written).toMatch(/a died: exit code 3/);
    expect(written).toMatch(/b died: exit code 127/);
    expect(written).toMatch(/Nothing runs any more/);
  });

  it('kills what does not stop in time, and says so', async () => {
    const one = run({ a: "trap '' TERM; echo up; while :; do sleep 0.05; done" }, 200);
    await saw('a      | up');
    one.stop('SIGTERM');
    expect(await one.finished).toBe(1);
    expect(lines()).toContain('system | killing a: still running 0.2 s after SIGTERM');
    expect(lines()).toContain('system | a stopped (killed by SIGKILL)');
  });

  it('kills at once when asked a second time', async () => {
    const one = run({ a: "trap '' TERM; echo up; while :; do sleep 0.05; done" });
    await saw('a      | up');
    one.stop('SIGINT');
    one.stop('SIGINT');
    expect(await one.finished).toBe(1);
  });
});

describe('takenPorts', () => {
  it('names the port and who wanted it', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    const { port } = server.address() as { port: number };
    const planned = [{ name: 'node.1', entry: 'node', command: '', port, dataDir: '' }];
    expect(await takenPorts(planned)).toEqual([`port ${port}, wanted for node.1, is taken by another process`]);
    await new Promise((resolve) => server.close(resolve));
    expect(await takenPorts(planned)).toEqual([]);
  });
});
