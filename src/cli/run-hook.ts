/** Runs a command of the user's when something happened. */
import { spawn } from 'node:child_process';
import { inertName } from '../model/inert-text.ts';
import type { Io } from './io.ts';

const TIMEOUT_MS = 60_000;

/**
 * Runs `command` in the shell. Values reach it by the environment only: they are text of a log, and what is put into
 * a command line is run.
 *
 * @returns undefined where it succeeded, else what went wrong
 */
export function runHook(
  command: string,
  values: Readonly<Record<string, string | number | null>>,
  { stderr, env }: Pick<Io, 'stderr' | 'env'>,
): Promise<string | undefined> {
  const environment = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`CLIPPY_DIAG_${name}`, inertName(String(value ?? ''))]),
  );
  return new Promise((resolve) => {
    const child = spawn(command, {
      shell: true,
      // Its output is no part of the report.
      stdio: ['ignore', stderr.fd ?? 'pipe', stderr.fd ?? 'pipe'],
      env: { ...env, ...environment },
      timeout: TIMEOUT_MS,
    });
    for (const output of [child.stdout, child.stderr])
      output?.setEncoding('utf8').on('data', (text: string) => stderr.write(text));
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(code === 0 ? undefined : signal === null ? `exit code ${code}` : `ended by ${signal}`),
    );
  });
}
