/** Runs a command of the user's when something happened. */
import { spawn } from 'node:child_process';
import { inertName } from '../../model/inert-text.ts';
import type { Io } from './io.ts';
import { endGroup, HAS_GROUPS, limitChild } from './limited-child.ts';

const TIMEOUT_MS = 60_000;

/**
 * Runs `command` in the shell. Values reach it by the environment only: they are text of a log, and what is put into
 * a command line is run. After `timeoutMs` it is asked to end, with all that it has started, and killed where it does
 * not within five seconds; it ends with this program too.
 *
 * @returns undefined where it succeeded, else what went wrong
 */
export function runHook(
  command: string,
  values: Readonly<Record<string, string | number | null>>,
  { stderr, env, onEnd }: Pick<Io, 'stderr' | 'env' | 'onEnd'>,
  timeoutMs = TIMEOUT_MS,
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
      detached: HAS_GROUPS,
    });
    const limit = limitChild(child, timeoutMs, onEnd);
    const settle = (reason: string | undefined): void => {
      limit.release();
      resolve(reason);
    };
    for (const output of [child.stdout, child.stderr])
      output?.setEncoding('utf8').on('data', (text: string) => stderr.write(text));
    child.on('error', (error) => settle(error.message));
    // What it has started may outlive it.
    child.on('exit', () => {
      if (limit.isLate()) endGroup(child, 'SIGKILL');
    });
    child.on('close', (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `ended by ${signal}`;
      settle(limit.isLate() ? `not done after ${timeoutMs / 1000} s, ${how}` : code === 0 ? undefined : how);
    });
  });
}
