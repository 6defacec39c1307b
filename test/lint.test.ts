import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

/*
 * The rules that hold the architecture are worth as much as their power to catch.
 * Each case lints a text under the name of a file that exists, since the rules read types.
 */

const eslint = new ESLint();

async function rulesBroken(file: string, code: string): Promise<(string | null)[]> {
  const results = await eslint.lintText(code, { filePath: file });
  return results.flatMap((result) => result.messages.map((message) => message.ruleId));
}

const DIRECTION = 'project/import-direction';

describe('import direction', () => {
  it.each([
    ['model/key.ts', '../runtime/errors.js'],
    ['runtime/random.ts', '../proto/status.js'],
    ['runtime/random.ts', '../model/key.js'],
    ['proto/status.ts', '../rangelet/rangelet.js'],
    ['rangelet/rangelet.ts', '../node/storage/store.js'],
    ['coordination/interfaces.ts', '../rangelet/rangelet.js'],
    ['tools/dev/plan.ts', '../../proto/status.js'],
    ['tools/dev/plan.ts', '../hammer/plan.js'],
    ['model/key.ts', '../test/lint.test.js'],
    ['client/admin.ts', '../coordination/consul/discovery.js'],
    ['client/router.ts', '../rangelet/mirror.js'],
    ['client/sdk/connect.ts', '../../node/node.js'],
    ['node/node.ts', '../coordination/embedded/discovery.js'],
  ])('%s may not import %s', async (file, imported) => {
    expect(await rulesBroken(file, `import '${imported}';\n`)).toEqual([DIRECTION]);
  });

  it.each([
    ['proto/status.ts', '../runtime/errors.js'],
    ['proto/status.ts', '../model/key.js'],
    ['rangelet/rangelet.ts', '../proto/status.js'],
    ['rangelet/rangelet.ts', 'node:fs'],
    ['rangelet/rangelet.ts', 'rxjs'],
    ['client/admin.ts', '../coordination/interfaces.js'],
    ['client/sdk/connect.ts', '../../rangelet/mirror.js'],
    ['client/sdk/connect.ts', '../../coordination/open.js'],
    ['client/sdk/connect.ts', '../router.js'],
    ['node/node.ts', '../coordination/interfaces.js'],
    ['tools/dev/plan.ts', '../../runtime/errors.js'],
    ['test/lint.test.ts', '../node/storage/store.js'],
  ])('%s may import %s', async (file, imported) => {
    expect(await rulesBroken(file, `import '${imported}';\n`)).toEqual([]);
  });
});

describe('every way to import', () => {
  it.each(["export * from '../node/node.js';", "export { x } from '../node/node.js';", "await import('../node/node.js');", "export type X = import('../node/node.js').X;"])(
    'is seen: %s',
    async (code) => {
      expect(await rulesBroken('model/key.ts', `${code}\n`)).toContain(DIRECTION);
    },
  );
});

describe('time and chance', () => {
  it.each([
    ['Date.now();', 'no-restricted-properties'],
    ['Math.random();', 'no-restricted-properties'],
    ['performance.now();', 'no-restricted-properties'],
    ['new Date();', 'no-restricted-syntax'],
    ['setTimeout(() => {}, 1);', 'no-restricted-globals'],
    ['setInterval(() => {}, 1);', 'no-restricted-globals'],
    ['setImmediate(() => {});', 'no-restricted-globals'],
    ["import 'node:timers/promises';", 'no-restricted-imports'],
  ])('are arguments: %s is caught outside runtime/, and not in tests', async (code, rule) => {
    expect(await rulesBroken('tools/dev/plan.ts', code)).toContain(rule);
    expect(await rulesBroken('test/lint.test.ts', code)).not.toContain(rule);
    if (rule !== 'no-restricted-syntax') expect(await rulesBroken('runtime/random.ts', code)).not.toContain(rule);
  });
});

describe('other rules', () => {
  it('catch a promise nobody waits for, and an enum', async () => {
    expect(await rulesBroken('model/key.ts', 'Promise.reject(new Error());\n')).toEqual(['@typescript-eslint/no-floating-promises']);
    expect(await rulesBroken('model/key.ts', 'export enum Colour { Red }\n')).toEqual(['no-restricted-syntax']);
  });
});
