import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../runtime/clock.js';
import { PrefixedLines, Prefixes, wantsColour } from './output.js';

const clock = { ...systemClock, wallMs: () => new Date(2026, 0, 2, 23, 15, 1).getTime() };

const prefixed = (chunks: Buffer[]): Promise<string> => text(Readable.from(chunks).pipe(new PrefixedLines((line) => `> ${line}\n`)));

describe('Prefixes', () => {
  it('line up', () => {
    const prefixes = new Prefixes(['node.1', 'controller.1'], { clock, colour: false });
    expect(prefixes.line('node.1', 'hello')).toBe('23:15:01 node.1       | hello\n');
    expect(prefixes.line('controller.1', 'hello')).toBe('23:15:01 controller.1 | hello\n');
  });

  it('are coloured by process', () => {
    const prefixes = new Prefixes(['a', 'b'], { clock, colour: true });
    expect(prefixes.line('a', 'x')).toBe('\x1b[36m23:15:01 a |\x1b[0m x\n');
    expect(prefixes.line('b', 'x')).toContain('\x1b[33m');
  });
});

describe('wantsColour', () => {
  it('is for terminals whose users do not mind', () => {
    expect(wantsColour({}, true)).toBe(true);
    expect(wantsColour({ NO_COLOR: '' }, true)).toBe(true);
    expect(wantsColour({ NO_COLOR: '1' }, true)).toBe(false);
    expect(wantsColour({ TERM: 'dumb' }, true)).toBe(false);
    expect(wantsColour({}, false)).toBe(false);
  });
});

describe('PrefixedLines', () => {
  it('joins chunks into lines, also through a character that is cut in two', async () => {
    const [a, b] = [Buffer.from('one\ntw'), Buffer.from('o …\r\n\nrest')];
    expect(await prefixed([a, b.subarray(0, 3), b.subarray(3)])).toBe('> one\n> two …\n> \n> rest\n');
  });

  it('has nothing to say of nothing', async () => {
    expect(await prefixed([])).toBe('');
    expect(await prefixed([Buffer.from('x\n')])).toBe('> x\n');
  });

  it('cuts a line without end', async () => {
    const lines = (await prefixed([Buffer.alloc(150 * 1024, 'x')])).split('\n');
    expect(lines.map((line) => line.length)).toEqual([65538, 65538, 22530, 0]);
  });
});
