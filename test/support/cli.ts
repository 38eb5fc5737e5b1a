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
