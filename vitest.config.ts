import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**', '.data/**', '.cache/**'],
    // Processes, sockets and storage: each file in its own process, as it is in production.
    pool: 'forks',
    // Much of what they do is waiting.
    maxWorkers: '100%',
    // Nothing here waits for luck, but a busy machine may be slow.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000, interval: 20 } },
  },
});
