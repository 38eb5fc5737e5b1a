/** Runs the command line: in memory, from the sources; or built, in a process of its own, for what only a process has. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Io } from '../../src/app/cli/io.ts';
import { run } from '../../src/run.ts';
import { projectRoot } from './shared-data.ts';

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface CliOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Record<string, string>;
  /** The folder that relative paths start at; the project's root where it is left out. */
  readonly cwd?: string;
  /** What of the world around it is another than a terminal-less, empty one. */
  readonly io?: Partial<Io>;
}

/** Runs `clippy-diag ARGS…` of the sources in this process, without a terminal. */
export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const written = { out: '', err: '' };
  const stream = (name: 'out' | 'err'): Io['stdout'] => ({
    write(text, done) {
      written[name] += text;
      done?.();
    },
  });
  const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...env } = process.env;
  const before = process.cwd();
  // Tests of one file run one after the other, and every file has a process of its own.
  if (options.cwd !== undefined) process.chdir(options.cwd);
  try {
    const code = await run(args, {
      stdout: stream('out'),
      stderr: stream('err'),
      stdin: (async function* () {
        if (options.input !== undefined) yield Buffer.from(options.input);
      })(),
      env: { ...env, ...options.env },
      // Time that passes is no part of what is tested: a busy machine must not spend a budget.
      ...fakeClock(),
      onEnd: () => () => {},
      ...options.io,
    });
    return { code, ...written };
  } finally {
    if (options.cwd !== undefined) process.chdir(before);
  }
}

/** A clock that stands still but for what is slept, and sleeps in no time. */
function fakeClock(): Pick<Io, 'now' | 'processorTime' | 'sleep'> {
  let now = Date.now();
  return {
    now: () => now,
    processorTime: () => 0,
    sleep: async (milliseconds) => {
      now += milliseconds;
    },
  };
}

const bin = join(projectRoot, 'bin/run.js');

/** Runs the built `clippy-diag ARGS…` in a process of its own. `npm test` builds it first. */
export function spawnCli(args: readonly string[], options: Omit<CliOptions, 'io'> = {}): CliResult {
  return runProcess(process.execPath, [bin, ...args], options);
}

/** The shell line, for pipes and redirections. `CLI` in the line stands for the built command. */
export function shell(line: string): CliResult {
  return runProcess('bash', ['-c', line.replaceAll('CLI', `'${process.execPath}' '${bin}'`)], {});
}

/** The same command in a folder from which its modules are loaded, as where another Node built it (bin/program.js). */
export function binOfModules(folder: string): string {
  for (const name of ['bin', 'package.json'])
    cpSync(join(projectRoot, name), join(folder, name), { recursive: true });
  const built = join(projectRoot, 'dist');
  mkdirSync(join(folder, 'dist'));
  for (const name of readdirSync(built))
    if (!name.startsWith('program.')) symlinkSync(join(built, name), join(folder, 'dist', name));
  return join(folder, 'bin/run.js');
}

export function runProcess(
  file: string,
  args: readonly string[],
  options: Omit<CliOptions, 'io'>,
): CliResult {
  if (!existsSync(join(projectRoot, 'dist'))) throw new Error('dist/ is missing: run `npm run build`');
  const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...env } = process.env;
  const result = spawnSync(file, args, {
    cwd: options.cwd ?? projectRoot,
    env: { ...env, ...options.env },
    input: options.input ?? '',
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    // Far above what any of them takes: what ends here hangs.
    timeout: 600_000,
  });
  return { code: result.status, out: result.stdout, err: result.stderr };
}
