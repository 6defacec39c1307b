import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FAILPOINTS } from '../node/chaos/failpoints.js';

describe('docs/chaos.md', () => {
  it('lists every failpoint, and no other, and where an error is possible', () => {
    const text = readFileSync(new URL('chaos.md', import.meta.url), 'utf8');
    const rows = [...text.matchAll(/^\| `([a-z-]+)` \|.*\| (yes|no) \|$/gm)].map(([, name, error]) => [name, error]);
    expect(rows).toEqual(Object.entries(FAILPOINTS).map(([name, { mayFail }]) => [name, mayFail ? 'yes' : 'no']));
  });
});
