import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/seed.ts'],
    // @oclif/test replaces console methods; vitest's own interception would hide what a command prints.
    disableConsoleIntercept: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two workers: the machines that run this have two cores, and more workers only fight over them.
    maxWorkers: 2,
  },
});
