import { describe, expect, it } from 'vitest';
import { readCommandLine } from './argv.js';

function read(line: string): unknown {
  const { command, rest, help, version } = readCommandLine(line.split(' ').filter((word) => word !== ''));
  return { command, rest: rest.join(' '), ...(help && { help }), ...(version && { version }) };
}

describe('readCommandLine', () => {
  it.each([
    ['nodes', { command: 'nodes', rest: '' }],
    ['move 1 5201', { command: 'move', rest: '1 5201' }],
    ['-addr localhost:5000 nodes', { command: 'nodes', rest: '--addr localhost:5000' }],
    ['-addr=localhost:5000 nodes', { command: 'nodes', rest: '--addr localhost:5000' }],
    ['--addr localhost:5000 -request move 1', { command: 'move', rest: '--addr localhost:5000 --request 1' }],
    ['ranges -render', { command: 'ranges', rest: '--render' }],
    ['nodes -json', { command: 'nodes', rest: '--json' }],
    ['nodes -no-json', { command: 'nodes', rest: '--no-json' }],
    ['put a -5', { command: 'put', rest: 'a -5' }],
    ['put a -- -addr', { command: 'put', rest: 'a -- -addr' }],
    ['put a -', { command: 'put', rest: 'a -' }],
    ['nodes -frob', { command: 'nodes', rest: '-frob' }],
    ['nodes --addr', { command: 'nodes', rest: '--addr' }],
    ['', { command: undefined, rest: '' }],
    ['-h', { command: undefined, rest: '', help: true }],
    ['move --help', { command: 'move', rest: '', help: true }],
    ['move -help', { command: 'move', rest: '', help: true }],
    ['help move', { command: 'move', rest: '', help: true }],
    ['help', { command: undefined, rest: '', help: true }],
    ['--version', { command: undefined, rest: '', version: true }],
  ])('%s', (line, expected) => {
    expect(read(line)).toEqual(expected);
  });
});
