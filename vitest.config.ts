import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Those that take long come first, so that no worker has nothing to do while one is still at them. */
const LONG = ['test/simulator/', 'coordination/', 'test/'];

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = LONG.findIndex((folder) => relative(import.meta.dirname, moduleId).startsWith(folder));
      return found < 0 ? LONG.length : found;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**', '.data/**', '.cache/**'],
    // Processes, sockets and storage: each file in its own process, as it is in production.
    pool: 'forks',
    // Much of what they do is waiting.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongFirst },
    // Nothing here waits for luck, but a busy machine may be slow.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000, interval: 20 } },
  },
});
