import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { systemClock } from './clock.js';
import { AppError } from './errors.js';
import { runMain, type ProcessLike } from './lifecycle.js';

function fakeProcess(): ProcessLike & EventEmitter & { exits: number[]; errors: string[] } {
  const emitter = new EventEmitter() as ReturnType<typeof fakeProcess>;
  emitter.exits = [];
  emitter.errors = [];
  emitter.exit = (code) => emitter.exits.push(code);
  emitter.writeError = (line) => emitter.errors.push(line);
  return emitter;
}

describe('runMain', () => {
  it('closes on SIGTERM and exits 0', async () => {
    const host = fakeProcess();
    let closed = 0;
    await runMain('node', () => Promise.resolve({ close: async () => { closed++; } }), host);
    expect(host.exits).toEqual([]);
    host.emit('SIGTERM');
    await expect.poll(() => host.exits).toEqual([0]);
    expect(closed).toBe(1);
  });

  it('leaves at once on a second signal', async () => {
    const host = fakeProcess();
    await runMain('node', () => Promise.resolve({ close: () => new Promise<void>(() => {}) }), host);
    host.emit('SIGINT');
    host.emit('SIGINT');
    expect(host.exits).toEqual([1]);
  });

  it('tells a program that is still starting, and closes it once it has', async () => {
    const host = fakeProcess();
    let ready = (): void => {};
    let closed = false;
    const starting = runMain(
      'node',
      async (ctx) => {
        await new Promise<void>((resolve) => (ready = resolve));
        expect(ctx.stopping.aborted).toBe(true);
        return { close: async () => { closed = true; } };
      },
      host,
    );
    host.emit('SIGTERM');
    expect(host.exits).toEqual([]);
    ready();
    await starting;
    expect(closed).toBe(true);
    expect(host.exits).toEqual([0]);
  });

  it('takes a start that gave up because of the stop for no failure', async () => {
    const host = fakeProcess();
    const starting = runMain(
      'node',
      (ctx) => new Promise((_resolve, reject) => { ctx.stopping.addEventListener('abort', () => { reject(ctx.stopping.reason as Error); }); }),
      host,
    );
    host.emit('SIGTERM');
    await starting;
    expect(host.exits).toEqual([0]);
    expect(host.errors).toEqual([]);
  });

  it('says in one line why a start failed', async () => {
    const host = fakeProcess();
    await runMain('node', () => Promise.reject(new AppError('ALREADY_EXISTS', 'port 5200 is taken')), host);
    expect(host.exits).toEqual([1]);
    expect(host.errors).toEqual(['node: could not start: port 5200 is taken\n']);
  });

  it('exits 1 for what nobody caught, with its stack', async () => {
    for (const event of ['uncaughtException', 'unhandledRejection']) {
      const host = fakeProcess();
      await runMain('node', () => Promise.resolve({ close: () => Promise.resolve() }), host);
      host.emit(event, new Error('bug'));
      expect(host.exits).toEqual([1]);
      expect(host.errors.join('')).toMatch(/^node: un\w+ \w+: Error: bug\n +at /);
    }
  });

  it('closes in order and exits 1 when the program cannot go on', async () => {
    const host = fakeProcess();
    let fail = (): void => {};
    let closed = false;
    await runMain(
      'controller',
      (ctx) => {
        fail = () => { ctx.fail(new AppError('ABORTED', 'the lock is lost')); };
        return Promise.resolve({ close: async () => { closed = true; } });
      },
      host,
    );
    fail();
    await expect.poll(() => host.exits).toEqual([1]);
    expect(closed).toBe(true);
    expect(host.errors).toEqual(['controller: stopping because of a failure: the lock is lost\n']);
  });

  it('exits 1 when closing fails, and when it takes for ever', async () => {
    const failing = fakeProcess();
    await runMain('node', () => Promise.resolve({ close: () => Promise.reject(new AppError('INTERNAL', 'disk')) }), failing);
    failing.emit('SIGTERM');
    await expect.poll(() => failing.exits).toEqual([1]);
    expect(failing.errors).toEqual(['node: could not stop cleanly: disk\n']);

    const hanging = fakeProcess();
    const timers: (() => void)[] = [];
    const clock = { ...systemClock, after: (_ms: number, callback: () => void) => { timers.push(callback); return () => {}; } };
    await runMain('node', () => Promise.resolve({ close: () => new Promise<void>(() => {}) }), hanging, clock);
    hanging.emit('SIGTERM');
    for (const timer of timers) timer();
    expect(hanging.exits).toEqual([1]);
  });
});
