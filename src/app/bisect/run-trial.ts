/** Runs the command of a trial: without a shell, its output into files of the trial's folder. */
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { HAS_GROUPS, limitChild } from '../cli/limited-child.ts';

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
      const limit = limitChild(child, limitSeconds * 1000, onEnd);
      child.on('error', (error) => {
        limit.release();
        reject(diagError('launcher-failed', { program: program!, reason: error.message }));
      });
      child.on('close', (code) => {
        limit.release();
        resolve({
          exitCode: code ?? 128,
          seconds: (now() - started) / 1000,
          timedOut: limit.isLate(),
        });
      });
    });
  } finally {
    await out.close();
    await err.close();
  }
}
