/** Runs a command of the user's when something happened. */
import { spawn } from 'node:child_process';
import { inertName } from '../model/inert-text.ts';

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
): Promise<string | undefined> {
  const environment = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`CLIPPY_DIAG_${name}`, inertName(String(value ?? ''))]),
  );
  return new Promise((resolve) => {
    const child = spawn(command, {
      shell: true,
      // Its output is no part of the report.
      stdio: ['ignore', 2, 2],
      env: { ...process.env, ...environment },
      timeout: TIMEOUT_MS,
    });
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(code === 0 ? undefined : signal === null ? `exit code ${code}` : `ended by ${signal}`),
    );
  });
}
