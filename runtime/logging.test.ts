import { describe, expect, it } from 'vitest';
import { systemClock } from './clock.js';
import { createLogger, prettyLine } from './logging.js';

const clock = { ...systemClock, wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) };

function collect(format: 'json' | 'pretty' | 'bare', level: 'debug' | 'info' = 'info'): { lines: string[]; logger: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  return { lines, logger: createLogger({ name: 'node', level, format, clock, destination: { write: (line) => lines.push(line) } }) };
}

describe('createLogger', () => {
  it('writes JSON lines with a constant message and fields', () => {
    const { lines, logger } = collect('json');
    logger.child({ ident: '5200' }).info('listening', { address: 'localhost:5200' });
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { level: 'info', time: '2026-01-02T03:04:05.678Z', name: 'node', ident: '5200', address: 'localhost:5200', message: 'listening' },
    ]);
  });

  it('leaves out what is below its level', () => {
    const { lines, logger } = collect('json');
    logger.debug('not seen');
    expect(lines).toEqual([]);
    const verbose = collect('json', 'debug');
    verbose.logger.debug('seen');
    expect(verbose.lines).toHaveLength(1);
  });

  it('writes text for people', () => {
    const { lines, logger } = collect('pretty');
    logger.warn('slow disk', { ms: 12, path: '/tmp/a b', list: [1] });
    expect(lines).toEqual(['03:04:05.678 WARN  slow disk ms=12 path="/tmp/a b" list=[1]\n']);
    const bare = collect('bare');
    bare.logger.info('hello');
    expect(bare.lines).toEqual(['INFO  hello\n']);
  });

  it('keeps what is known of an error, its stack on lines of its own', () => {
    const error = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    const json = collect('json');
    json.logger.error('cannot write', { error });
    expect(JSON.parse(json.lines[0] ?? '')).toMatchObject({ error: { message: 'no space left', code: 'ENOSPC', stack: error.stack } });
    const bare = collect('bare');
    bare.logger.error('cannot write', { error });
    expect(bare.lines[0]).toBe(`ERROR cannot write error="no space left"\n${error.stack ?? ''}\n`);
  });
});

describe('prettyLine', () => {
  it('leaves alone what is no JSON', () => {
    expect(prettyLine('plain text\n', { withTime: true })).toBe('plain text\n');
  });
});
