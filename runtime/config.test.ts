import { describe, expect, expectTypeOf, it } from 'vitest';
import { advertised } from './common-options.js';
import { commonOptions, type ConfigOf, dataDirOption, dialable, parseConfig, type Spec } from './config.js';

const PROGRAM = { name: 'thing', summary: 'Does a thing.' };

const SPEC = {
  ...commonOptions({ listen: 'localhost:5200', coordination: 'embedded' }),
  dataDir: dataDirOption('.data/thing'),
  callers: { kind: 'integer', flag: 'callers', short: 'n', env: 'CALLERS', min: 1, max: 10, default: 2, help: 'How many.' },
  ratio: { kind: 'number', flag: 'ratio', help: 'How much.' },
  memory: { kind: 'bytes', flag: 'memory', default: '64MiB', help: 'How large.' },
  timeout: { kind: 'duration', flag: 'timeout', env: 'TIMEOUT', min: 1, default: '10s', help: 'How long.' },
  fast: { kind: 'boolean', flag: 'fast', env: 'FAST', help: 'Whether.' },
  safe: { kind: 'boolean', flag: 'safe', default: true, help: 'Whether.' },
  peers: { kind: 'list', flag: 'peers', env: 'PEERS', help: 'Who.' },
} as const satisfies Spec;

function config(argv: string[], env: NodeJS.ProcessEnv = {}): ConfigOf<typeof SPEC> {
  const parsed = parseConfig(PROGRAM, SPEC, argv, env);
  if (parsed.kind !== 'config') throw new Error(JSON.stringify(parsed));
  return parsed.config;
}

function problems(spec: Spec, argv: string[], env: NodeJS.ProcessEnv = {}): readonly string[] {
  const parsed = parseConfig(PROGRAM, spec, argv, env);
  return parsed.kind === 'problems' ? parsed.problems : [];
}

describe('parseConfig', () => {
  it('has the defaults, frozen', () => {
    const defaults = config([]);
    expect(defaults).toEqual({
      listen: { host: 'localhost', port: 5200 },
      coordination: 'embedded',
      ident: undefined,
      logLevel: 'info',
      logFormat: 'auto',
      grace: 5000,
      dataDir: '.data/thing',
      callers: 2,
      ratio: undefined,
      memory: 64 * 1024 * 1024,
      timeout: 10_000,
      fast: false,
      safe: true,
      peers: [],
    });
    expect(Object.isFrozen(defaults)).toBe(true);
  });

  it('knows which values are always there', () => {
    const read = config([]);
    expectTypeOf(read.listen).toEqualTypeOf<{ readonly host: string; readonly port: number }>();
    expectTypeOf(read.ident).toEqualTypeOf<string | undefined>();
    expectTypeOf(read.logLevel).toEqualTypeOf<'debug' | 'info' | 'warn' | 'error'>();
    expectTypeOf(read.callers).toEqualTypeOf<number>();
    expectTypeOf(read.ratio).toEqualTypeOf<number | undefined>();
    expectTypeOf(read.fast).toEqualTypeOf<boolean>();
    expectTypeOf(read.peers).toEqualTypeOf<readonly string[]>();
  });

  it('takes a flag before its variable before the default', () => {
    expect(config([], { TIMEOUT: '3s' }).timeout).toBe(3000);
    expect(config(['--timeout', '2s'], { TIMEOUT: '3s' }).timeout).toBe(2000);
    expect(config([], { TIMEOUT: '' }).timeout).toBe(10_000);
  });

  it.each(['--callers 7', '--callers=7', '-callers 7', '-callers=7', '-n 7', '-n=7'])('reads %s', (line) => {
    expect(config(line.split(' ')).callers).toBe(7);
  });

  it('reads booleans in all their forms', () => {
    expect(config(['--fast', '--no-safe'])).toMatchObject({ fast: true, safe: false });
    expect(config(['-fast=true', '--safe=off'])).toMatchObject({ fast: true, safe: false });
    expect(config([], { FAST: '1' }).fast).toBe(true);
    expect(config(['--no-fast'], { FAST: 'yes' }).fast).toBe(false);
  });

  it('gathers lists from commas and from repeated flags', () => {
    expect(config(['--peers', 'a, b', '--peers=c,']).peers).toEqual(['a', 'b', 'c']);
    expect(config([], { PEERS: 'x,y' }).peers).toEqual(['x', 'y']);
  });

  it('takes negative numbers for values', () => {
    expect(config(['--ratio', '-1.5']).ratio).toBe(-1.5);
  });

  it('lists every problem at once, with the value and what would be right', () => {
    const argv = ['--calers', '3', '--timeout=soon', '--log-level', 'loud', 'extra', '--memory', '--listen', 'here'];
    expect(problems(SPEC, argv, { CALLERS: '11', IDENT: 'a b' })).toEqual([
      'unknown flag --calers, did you mean --callers?',
      '"extra" is not a flag, and no arguments are taken',
      '--memory needs a value: a size such as 64KiB or 16MiB',
      '--listen is "here", but must be host:port, such as localhost:5200',
      'IDENT is "a b": an ident is 1 to 100 letters, digits, dots, colons, dashes or underscores',
      '--log-level is "loud", but must be one of debug, info, warn, error',
      'CALLERS is "11", but must be a whole number, from 1 to 10',
      '--timeout is "soon", but must be a duration such as 500ms, 10s or 2m, at least 1ms',
    ]);
  });

  it('asks for what is required', () => {
    const spec: Spec = { name: { kind: 'string', flag: 'name', env: 'NAME', required: true, help: 'Who.' } };
    expect(problems(spec, [])).toEqual(['--name or NAME is required: text']);
    expect(problems(spec, [], { NAME: 'x' })).toEqual([]);
  });

  it('finds fault with a wrong default, so that no table is wrong for long', () => {
    const spec: Spec = { size: { kind: 'bytes', flag: 'size', default: 'large', help: 'How large.' } };
    expect(problems(spec, [])).toEqual(['the default of --size is "large", but must be a size such as 64KiB or 16MiB']);
  });

  it('shows every flag with its variable and default', () => {
    for (const flag of ['--help', '-h', '-help']) {
      const parsed = parseConfig(PROGRAM, SPEC, ['--unknown', flag], {});
      expect(parsed.kind).toBe('help');
    }
    const parsed = parseConfig(PROGRAM, SPEC, ['--help'], {});
    const text = parsed.kind === 'help' ? parsed.text : '';
    expect(text).toContain('Usage: thing [flags]');
    for (const option of Object.values<Spec[string]>(SPEC)) {
      expect(text).toContain(`${option.short === undefined ? '' : `-${option.short}, `}--${option.flag}`);
      if (option.env !== undefined) expect(text).toContain(`env ${option.env}`);
    }
    expect(text).toMatch(/--timeout DURATION +How long\. \(env TIMEOUT; default 10s\)/);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });
});

describe('dialable', () => {
  it('names a host for what listens everywhere', () => {
    expect(dialable({ host: '', port: 1 }).host).toBe('localhost');
    expect(dialable({ host: '0.0.0.0', port: 1 }).host).toBe('localhost');
    expect(dialable({ host: 'db-1', port: 1 }).host).toBe('db-1');
  });
});

describe('advertised', () => {
  const listen = { host: '0.0.0.0', port: 5200 };
  it('is what is listened on, unless something else was given', () => {
    expect(advertised(listen, undefined)).toBe(listen);
    expect(advertised(listen, { host: 'db-1', port: 80 })).toEqual({ host: 'db-1', port: 80 });
  });
  it('has the port that is listened on for port 0', () => {
    expect(advertised(listen, { host: 'db-1', port: 0 })).toEqual({ host: 'db-1', port: 5200 });
  });
});
