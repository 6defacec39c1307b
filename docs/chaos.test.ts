import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FAILPOINTS, checkFailpoints } from '../node/chaos/failpoints.js';

describe('docs/chaos.md', () => {
  it('lists every failpoint, and no other, and where an error is possible', () => {
    const text = readFileSync(new URL('chaos.md', import.meta.url), 'utf8');
    const rows = [...text.matchAll(/^\| `([a-z-]+)` \|.*\| (yes|no) \|$/gm)].map(([, name, error]) => [name, error]);
    expect(rows).toEqual(Object.entries(FAILPOINTS).map(([name, { mayFail }]) => [name, mayFail ? 'yes' : 'no']));
  });

  it('shows orders that a node takes', () => {
    const text = readFileSync(new URL('chaos.md', import.meta.url), 'utf8');
    const orders = [...text.matchAll(/--failpoint ([a-z-]+=\S+)/g)].map(([, order = '']) => order).filter((order) => !order.startsWith('NAME'));
    expect(orders.length).toBeGreaterThan(0);
    expect(orders.map(checkFailpoints)).toEqual(orders.map(() => undefined));
  });
});
