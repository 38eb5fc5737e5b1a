/**
 * Real servers on loopback, for the sources that read them. Each is looked for on PATH and in the folders of CLIPPY_DIAG_SERVERS, which
 * `.ci/run` sets to what `.ci/servers` installs; tests of one that is missing are skipped.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** The path of a program; undefined where it is not installed. */
export function programOf(name: string): string | undefined {
  const folders =
    `${process.env.CLIPPY_DIAG_SERVERS ?? ''}${delimiter}${process.env.PATH ?? ''}${delimiter}/usr/sbin`.split(
      delimiter,
    );
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Starts a server and waits until it answers.
 *
 * @param ready whether it answers; asked twice a second for four minutes
 * @returns how to end it
 */
export async function startServer(
  program: string,
  args: readonly string[],
  { cwd, env = {}, ready }: { cwd: string; env?: Record<string, string>; ready: () => Promise<boolean> },
): Promise<() => Promise<void>> {
  // A group of its own: some of them start workers.
  const child: ChildProcess = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: 'ignore',
    detached: true,
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {}
    await ended;
  };
  for (let asked = 0; asked < 480; asked++) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
    if (await ready().catch(() => false)) return stop;
    await wait(500);
  }
  await stop();
  throw new Error(`${program} did not answer`);
}

/** Whether a URL answers at all. */
export const answers = (url: string) => async (): Promise<boolean> => (await fetch(url)).status > 0;
