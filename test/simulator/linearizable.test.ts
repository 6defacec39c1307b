import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RegisterOp, isLinearizable } from './linearizable.js';

/**
 * A history drawn with time from left to right, one client a line: `w1` writes 1,
 * `r1` reads it, `r-` reads absence, `d` deletes; the dashes behind are how long it
 * takes, and `?` at the end is an outcome that nobody knows.
 */
function draw(...clients: string[]): RegisterOp[] {
  return clients.flatMap((line, client) =>
    [...line.matchAll(/([wrd])([0-9-]?)(-*)(\??)/g)].map(([, kind, value, dashes = '', unknown], i): RegisterOp => {
      const at = [...line.matchAll(/([wrd])([0-9-]?)(-*)(\??)/g)][i]?.index ?? 0;
      return {
        kind: kind === 'r' ? 'read' : 'write',
        value: kind === 'd' || value === '-' ? undefined : value,
        invokedAt: at * 100 + client,
        respondedAt: unknown ? Infinity : (at + 2 + dashes.length) * 100 - 10 + client,
      };
    }),
  );
}

describe('histories known good', () => {
  it.each<[string, string[]]>([
    ['nothing happened', []],
    ['a read of what was never written', ['r-']],
    ['one after the other', ['w1 r1 w2 r2']],
    ['a read beside a write sees the old value or the new one', ['w1 w2--------', '   r1 r1 r2 r2']],
    ['writes side by side take effect in either order', ['w1-----  r1', 'w2-----']],
    ['two readers see two writes in the same order', ['w1----', 'w2----', ' r1 r2   ', ' r1-- r2']],
    ['a write of unknown outcome never happens', ['w1 w2?      ', '        r1 r1']],
    ['a write of unknown outcome happens late', ['w1 w2?        ', '       r1 r1 r2']],
    ['a write of unknown outcome is overtaken by one that came after it', ['w1 w2?        ', '        w3 r3 r2']],
    ['a key is deleted', ['w1 d  r- w2 r2']],
    ['an unknown delete happens', ['w1 d?         ', '        r1 r-']],
  ])('%s', (_, clients) => {
    expect(isLinearizable(draw(...clients))).toBe(true);
  });
});

describe('histories known bad', () => {
  it.each<[string, string[]]>([
    ['a read of what nobody wrote', ['r1']],
    ['an acknowledged write is lost', ['w1 r-']],
    ['an acknowledged write is overwritten by an older one', ['w1 w2 r1']],
    ['a value comes back', ['w1 w2--------', '   r1 r2 r1']],
    ['two readers disagree about the order', ['w1----             ', 'w2----             ', '        r1 r2', '               r1']],
    ['a write of unknown outcome happens twice', ['w1?               ', '       r1 w2 r2 r1']],
    ['a read sees the future', ['   w1', 'r1   ']],
    ['a deleted key comes back', ['w1 d  r- r1']],
    ['an unknown delete happens twice', ['d?                 ', '     w1 r- w2 r2 r-']],
  ])('%s', (_, clients) => {
    expect(isLinearizable(draw(...clients))).toBe(false);
  });
});

describe('histories made at random', () => {
  const op = fc.record({ kind: fc.constantFrom('read' as const, 'write' as const), at: fc.integer({ min: 0, max: 999 }), before: fc.integer({ min: 0, max: 60 }), after: fc.integer({ min: 0, max: 60 }), lost: fc.boolean() });

  /** What a real register did at the instants `at`, seen from outside. */
  function happen(ops: readonly { kind: 'read' | 'write'; at: number; before: number; after: number; lost: boolean }[]): RegisterOp[] {
    let value: string | undefined;
    const history = [...ops].sort((a, b) => a.at - b.at).map(({ kind, at, before, after, lost }, i): RegisterOp => {
      if (kind === 'write') value = `v${i}`;
      return { kind, value, invokedAt: (at - before) * 1000 + i, respondedAt: kind === 'write' && lost ? Infinity : (at + after) * 1000 + 500 + i };
    });
    return history;
  }

  it('of a real register are good', () => {
    fc.assert(fc.property(fc.array(op, { maxLength: 40 }), (ops) => isLinearizable(happen(ops))));
  });

  it('are bad when a read returns what was overwritten before it began', () => {
    fc.assert(
      fc.property(fc.array(op, { minLength: 1, maxLength: 20 }), (ops) => {
        const history = happen(ops);
        const end = Math.max(...history.map(({ invokedAt, respondedAt }) => (respondedAt === Infinity ? invokedAt : respondedAt))) + 200_000;
        const later: RegisterOp[] = [
          { kind: 'write', value: 'last', invokedAt: end, respondedAt: end + 1 },
          { kind: 'read', value: history.find(({ kind, respondedAt }) => kind === 'write' && respondedAt !== Infinity)?.value ?? 'never', invokedAt: end + 2, respondedAt: end + 3 },
        ];
        return !isLinearizable([...history, ...later]);
      }),
    );
  });
});
