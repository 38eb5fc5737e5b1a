/** Tasks of the tests: what a thread may do besides its work. */
import { isMainThread, threadId } from 'node:worker_threads';
import type { Task } from '../../src/step/threads/in-parts.ts';

interface Input {
  readonly x: Float32Array;
}

/** Σx, of each part, and the thread that took it. */
export const SUM: Task<Input> = {
  name: 'sum',
  run({ x }, start, end, found) {
    for (let i = start; i < end; i++) found[0] = found[0]! + x[i]!;
    found[1] = threadId;
  },
};

export const FAILS: Task<Input> = {
  name: 'fails in a thread',
  run(_, start) {
    if (!isMainThread) throw new Error(`at ${start >= 0 ? 'a part' : ''}`);
  },
};

export const ENDS: Task<Input> = {
  name: 'ends its thread',
  run() {
    if (!isMainThread) process.exit(7);
  },
};

/** Sleeps in a thread, so that this one has to give it up. */
export const HANGS: Task<Input> = {
  name: 'hangs',
  run() {
    if (!isMainThread) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
};
