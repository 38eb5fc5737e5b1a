/** A command of the user's: it has a time, and takes what it started along. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { runHook } from '../../src/app/cli/run-hook.ts';

const ends = new Set<() => void>();
const io = () => {
  let err = '';
  return {
    stderr: { write: (text: string) => (err += text) },
    env: process.env,
    onEnd: (listener: () => void) => {
      ends.add(listener);
      return () => ends.delete(listener);
    },
    told: () => err,
  };
};

/** Numbers of processes that a hook prints; whether they still run. One that ended and that nobody asked for is a zombie. */
const running = (text: string): boolean[] =>
  text
    .trim()
    .split('\n')
    .map((pid) => /^[^Z\s]/.test(spawnSync('ps', ['-o', 'stat=', '-p', pid], { encoding: 'utf8' }).stdout));

it('what is not done in time is ended, and killed where it does not end, with all it has started', async () => {
  for (const [hook, how] of [
    // Both ignore what asks them to end.
    [`trap '' TERM; sleep 60 & echo $!; echo $$; wait; sleep 60; true`, 'SIGKILL'],
    ['sleep 60 & echo $!; echo $$; wait', 'SIGTERM'],
  ] as const) {
    const streams = io();
    const reason = await runHook(hook, {}, streams as never, 1_000);
    expect(reason).toBe(`not done after 1 s, ended by ${how}`);
    await expect.poll(() => running(streams.told())).toEqual([false, false]);
  }
  expect(ends.size).toBe(0);
});

it('ends when the program is asked to end', async () => {
  const streams = io();
  const hook = runHook('echo $$; sleep 60; true', {}, streams as never);
  await expect.poll(() => streams.told()).not.toBe('');
  for (const end of ends) end();
  expect(await hook).toBe('ended by SIGTERM');
  expect(running(streams.told())).toEqual([false]);
});
