/** Runs the built command line in a process of its own. `npm test` builds it first. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from './shared-data.ts';

const bin = join(projectRoot, 'bin/run.js');
if (!existsSync(join(projectRoot, 'dist'))) throw new Error('dist/ is missing: run `npm run build`');

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `clippy-diag ARGS…` from the project's root, without a terminal. */
export function cli(
  args: readonly string[],
  options: {
    readonly input?: string | Uint8Array;
    readonly env?: Record<string, string>;
    readonly cwd?: string;
  } = {},
): CliResult {
  const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...env } = process.env;
  const result = spawnSync(process.execPath, [bin, ...args], {
    cwd: options.cwd ?? projectRoot,
    env: { ...env, ...options.env },
    input: options.input ?? '',
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: 60_000,
  });
  return { code: result.status, out: result.stdout, err: result.stderr };
}

/** The shell line `clippy-diag ARGS`, for pipes and redirections. `CLI` in the line stands for the command. */
export function shell(line: string): CliResult {
  const result = spawnSync('bash', ['-c', line.replaceAll('CLI', `'${process.execPath}' '${bin}'`)], {
    cwd: projectRoot,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { code: result.status, out: result.stdout, err: result.stderr };
}

/** What oclif gives every command. */
interface RunnableCommand {
  run(argv: string[], root: string): Promise<unknown>;
}

/** Runs a command of the sources in this process: for tests that run it dozens of times. */
export async function inProcess(command: RunnableCommand, args: readonly string[]): Promise<CliResult> {
  const written = { out: '', err: '' };
  const before = { out: process.stdout.write, err: process.stderr.write, code: process.exitCode };
  const into =
    (name: 'out' | 'err') =>
    (text: string | Uint8Array, encoding?: unknown, done?: unknown): boolean => {
      written[name] += String(text);
      const callback = typeof encoding === 'function' ? encoding : done;
      if (typeof callback === 'function') callback();
      return true;
    };
  process.stdout.write = into('out') as typeof process.stdout.write;
  process.stderr.write = into('err') as typeof process.stderr.write;
  process.exitCode = undefined;
  try {
    await command.run([...args], projectRoot);
    return { code: Number(process.exitCode ?? 0), ...written };
  } finally {
    process.stdout.write = before.out;
    process.stderr.write = before.err;
    process.exitCode = before.code;
  }
}
