import { readFileSync, statfsSync } from 'node:fs';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * A folder in memory for scratch files, where there is one with room from which programs run: the tests write thousands of
 * small files, each of them synced to the disk. Files of 20 GB are sparse and take no room there either.
 */
function scratchInMemory(): { TMPDIR?: string } {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    const runs = !/ \/dev\/shm .*\bnoexec\b/.test(readFileSync('/proc/mounts', 'utf8'));
    return runs && bavail * bsize > 2 ** 32 ? { TMPDIR: '/dev/shm' } : {};
  } catch {
    return {};
  }
}

const SCRATCH_ENV = process.env.TMPDIR === undefined ? scratchInMemory() : {};
const FULL_LENGTH_ENV = { ...SCRATCH_ENV, CLIPPY_DIAG_FUZZ: process.env.CLIPPY_DIAG_FUZZ ?? '2000' };

const LONG = 'test/**/*.long.test.ts';
/** Fast tests that draw their cases by chance, at full length. */
const SOAK = 'test/**/*.soak.test.ts';

/**
 * Fast tests with a process for each file: those that load TensorFlow.js, whose backend is of the whole process, and
 * those that replace a module. The others share a process, so that the sources are loaded once and not 150 times.
 */
const ALONE = [
  'test/{autodiff,cause,curvature,engine,kernels,recorders,replay}/**/*.test.ts',
  'test/cli/json-documents.test.ts',
  'test/cli/report.test.ts',
  'test/bytes/atomic-write.test.ts',
  'test/bytes/block-file.test.ts',
  'test/captures/account-fuzz.test.ts',
  'test/gate/faults.test.ts',
];

/** The long tests that take a minute and more, the longest first. */
const LONGEST = [
  'docs/commands',
  'cause/controls',
  'reports/html-page',
  'cause/weight-decay',
  'sources/real-servers',
  'experiment/ledger-frameworks',
  'docs/site',
].map((name) => `/test/${name}.long.test.ts`);

/**
 * Long files first: one that starts last leaves a core idle. Where no run before this one left its times, Vitest starts
 * with the largest file, and those that take longest have two lines.
 */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((end) => moduleId.endsWith(end));
      return found < 0 ? LONGEST.length : found;
    };
    // Projects stay apart, as they are sorted.
    return (await super.sort(files)).sort((a, b) =>
      a.project.name === b.project.name ? rank(a) - rank(b) : 0,
    );
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    setupFiles: ['test/support/seed.ts'],
    // Style that is imported as text (`?raw`) is empty otherwise.
    css: true,
    // Only what hangs ends here: on a busy machine everything else may take as long as it takes.
    testTimeout: 1_800_000,
    hookTimeout: 1_800_000,
    // Two workers: the machines that run this have two cores, and more workers only fight over them.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: [LONG, SOAK, ...ALONE],
          isolate: false,
          env: SCRATCH_ENV,
        },
      },
      {
        extends: true,
        test: {
          name: 'fast-alone',
          include: ALONE,
          exclude: [LONG, SOAK],
          env: SCRATCH_ENV,
        },
      },
      {
        extends: true,
        test: {
          name: 'long',
          include: [LONG],
          // Both cores have a worker: threads that collect garbage for one take time from the other.
          execArgv: ['--single-threaded-gc'],
          env: FULL_LENGTH_ENV,
        },
      },
      {
        extends: true,
        test: {
          name: 'soak',
          include: [SOAK],
          env: FULL_LENGTH_ENV,
        },
      },
    ],
  },
});
