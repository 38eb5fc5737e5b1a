/** One process that holds Vitest: runs a scope's tests with one mutant after another, as run.ts asks. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { BaseSequencer, createVitest, type TestSpecification } from 'vitest/node';
import { type Mutant, withMutant } from './mutants.ts';

export interface Task {
  /** Path from the root of the project; absent for the run without a mutant. */
  readonly file?: string;
  readonly mutant?: Mutant;
  /** Seconds of processor time after which the process gives up. */
  readonly limit: number;
}

export interface Answer {
  /** Test files that failed; the first is the killer. */
  readonly failed: readonly string[];
  readonly cpuSeconds: number;
}

/** Exit code of a process whose mutant took more processor time than its limit. */
export const TIMED_OUT = 124;

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function main(tests: readonly string[]): Promise<void> {
  let task: Task = { limit: Number.POSITIVE_INFINITY };
  let start = 0;
  /** The file whose code in memory is not that on disk. */
  let mutated: string | undefined;
  /** The test file that killed the mutant before, which is the likeliest to kill the next. */
  let killer: string | undefined;
  /** Milliseconds of each test file when it last ran to its end. */
  const durations = new Map<string, number>();
  class KillerThenShortest extends BaseSequencer {
    override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
      const rank = ({ moduleId }: TestSpecification): number =>
        moduleId === killer ? -1 : (durations.get(moduleId) ?? 0);
      return specifications.sort((a, b) => rank(a) - rank(b));
    }
  }
  const vitest = await createVitest(
    'test',
    {
      config: false,
      watch: false,
      include: [...tests],
      // Long tests, and those that repeat others at full length.
      exclude: ['**/*.{long,soak}.test.ts'],
      setupFiles: ['test/support/seed.ts'],
      reporters: [{}],
      pool: 'threads',
      maxWorkers: 1,
      // A new thread for each mutant, not for each test file: the tests of a scope share no state.
      isolate: false,
      // What the copy in Python says hangs on no source that is mutated; what 10,000 combinations find, the single faults do.
      testNamePattern: /^(?!.*(\bPython\b|seeded combinations))/,
      bail: 1,
      // The limit on processor time decides, not the clock.
      testTimeout: 0,
      hookTimeout: 0,
      sequence: { sequencer: KillerThenShortest },
    },
    {
      plugins: [
        {
          name: 'mutant',
          enforce: 'pre',
          transform(code, id) {
            if (task.mutant === undefined || id !== resolve(task.file!)) return undefined;
            if (code !== readFileSync(id, 'utf8')) throw new Error(`${id} comes changed`);
            return { code: withMutant(code, task.mutant), map: null };
          },
        },
      ],
    },
  );
  const specifications = await vitest.globTestSpecifications();
  // The tests run on a thread, whose endless loop leaves this one free to end the process.
  setInterval(() => {
    if (cpuSeconds() - start > task.limit) process.exit(TIMED_OUT);
  }, 200).unref();

  const run = async (next: Task): Promise<void> => {
    task = next;
    start = cpuSeconds();
    for (const file of [mutated, next.file]) if (file !== undefined) vitest.invalidateFile(resolve(file));
    mutated = next.file;
    const { testModules, unhandledErrors } = await vitest.runTestSpecifications(specifications);
    for (const module of testModules)
      if (module.ok()) durations.set(module.moduleId, module.diagnostic().duration);
    const failed = testModules.filter((module) => !module.ok()).map((module) => module.moduleId);
    if (failed.length === 0 && unhandledErrors.length > 0) failed.push('an error outside of tests');
    killer = failed[0] ?? killer;
    const answer: Answer = { failed, cpuSeconds: cpuSeconds() - start };
    task = { limit: Number.POSITIVE_INFINITY };
    process.send!(answer);
  };
  process.on('message', (next: Task) => void run(next));
  process.on('disconnect', () => process.exit());
  process.send!(specifications.map(({ moduleId }) => moduleId));
}

if (process.send !== undefined) await main(process.argv.slice(2));
