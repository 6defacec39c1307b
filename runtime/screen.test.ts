import { describe, expect, it } from 'vitest';
import { Screen } from './screen.js';

function screen(isTTY: boolean, columns?: number): { made: Screen; written: () => string } {
  let written = '';
  const made = new Screen({ isTTY, columns, write: (text) => (written += text) });
  return { made, written: () => written };
}

describe('Screen', () => {
  it('redraws the status in place, below the lines', () => {
    const { made, written } = screen(true);
    made.status('1 of 2');
    made.line('a step');
    made.clear();
    expect(written()).toBe('\r\x1b[2K1 of 2\r\x1b[2Ka step\n\r\x1b[2K1 of 2\r\x1b[2K');
  });

  it('writes lines only where there is no terminal', () => {
    const { made, written } = screen(false);
    made.status('1 of 2');
    made.line('a step');
    made.clear();
    expect(written()).toBe('a step\n');
  });

  it('cuts a status that would wrap, because a wrapped one cannot be redrawn', () => {
    const { made, written } = screen(true, 20);
    made.status('x'.repeat(50));
    expect(written()).toBe(`\r\x1b[2K${'x'.repeat(18)}…`);
  });
});
