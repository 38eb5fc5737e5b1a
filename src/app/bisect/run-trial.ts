/** Runs the command of a trial: without a shell, its output into files of the trial's folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { diagError } from '../../model/errors.ts';

export interface TrialIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  now(): number;
  /** Calls the listener where the program is asked to end; returns how to stop that. */
  onEnd(listener: () => void): () => void;
}

export interface TrialRun {
  readonly exitCode: number;
  readonly seconds: number;
  readonly timedOut: boolean;
}

/** How long a command that was asked to end may take to do so. */
const GRACE_MS = 5_000;
const HAS_GROUPS = process.platform !== 'win32';

/** Ends a command with all that it has started. */
function end(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (HAS_GROUPS && child.pid !== undefined) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    // It is gone.
  }
}

/**
 * @param limitSeconds after which it is asked to end
 * @throws launcher-failed where the program cannot be started
 */
export async function runTrial(
  [program, ...args]: readonly string[],
  folder: string,
  limitSeconds: number,
  { env, now, onEnd }: TrialIo,
): Promise<TrialRun> {
  const out = await open(join(folder, 'stdout.log'), 'w');
  const err = await open(join(folder, 'stderr.log'), 'w');
  const started = now();
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(program!, args, {
        stdio: ['ignore', out.fd, err.fd],
        env: { ...env },
        detached: HAS_GROUPS,
      });
      let timedOut = false;
      let killing: NodeJS.Timeout | undefined;
      const stop = (): void => {
        end(child, 'SIGTERM');
        killing ??= setTimeout(end, GRACE_MS, child, 'SIGKILL');
      };
      const timer = setTimeout(() => {
        timedOut = true;
        stop();
      }, limitSeconds * 1000);
      const forget = onEnd(stop);
      const settle = (): void => {
        clearTimeout(timer);
        clearTimeout(killing);
        forget();
      };
      child.on('error', (error) => {
        settle();
        reject(diagError('launcher-failed', { program: program!, reason: error.message }));
      });
      child.on('close', (code) => {
        settle();
        resolve({ exitCode: code ?? 128, seconds: (now() - started) / 1000, timedOut });
      });
    });
  } finally {
    await out.close();
    await err.close();
  }
}
