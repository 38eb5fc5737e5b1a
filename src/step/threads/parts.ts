/** The parts of one task that several threads take, each the next one as soon as it is free. */
import type { Spread } from './in-parts.ts';

/** A task as a thread gets it. */
export interface Job extends Spread {
  readonly task: string;
  /** {@link NEXT}, {@link DONE} and {@link FAILED}, in shared memory. */
  readonly control: Int32Array;
  /** What the parts found, in shared memory. */
  readonly found: Float64Array;
}

/** The part that is taken next; how many are done; how many of these failed. */
const [NEXT, DONE, FAILED] = [0, 1, 2] as const;
const CONTROL_BYTES = 16;

export const partsOf = ({ length, part }: Spread): number => Math.ceil(length / part);

export function jobOf(task: string, spread: Spread): Job {
  const memory = new SharedArrayBuffer(CONTROL_BYTES + 8 * spread.count * partsOf(spread));
  return {
    ...spread,
    task,
    control: new Int32Array(memory, 0, 3),
    found: new Float64Array(memory, CONTROL_BYTES),
  };
}

type Run = (input: unknown, start: number, end: number, found: Float64Array) => void;

/**
 * Takes parts of a job until none is left.
 *
 * @param failed gets what a part threw; the others go on
 */
export function takeParts(job: Job, run: Run, failed: (error: unknown) => void): void {
  const { control, found, input, length, part, count } = job;
  const parts = partsOf(job);
  for (let k = Atomics.add(control, NEXT, 1); k < parts; k = Atomics.add(control, NEXT, 1)) {
    try {
      run(input, k * part, Math.min((k + 1) * part, length), found.subarray(k * count, (k + 1) * count));
    } catch (error) {
      failed(error);
      Atomics.add(control, FAILED, 1);
    }
    close(job);
  }
}

/** One part is done, for better or worse. */
function close({ control }: Job): void {
  Atomics.add(control, DONE, 1);
  Atomics.notify(control, DONE);
}

/** A thread that ends takes a part with it. */
export function giveUp(job: Job): void {
  Atomics.add(job.control, FAILED, 1);
  close(job);
}

/**
 * Waits until all parts are done; this thread sleeps.
 *
 * @param patience milliseconds for which no part may be done
 * @returns how many failed; undefined where patience ended
 */
export function awaitParts(job: Job, patience: number): number | undefined {
  const { control } = job;
  const parts = partsOf(job);
  // A process that was stopped for long sees "timed-out" when it goes on, so its threads get a second period.
  let late = 0;
  for (let done = Atomics.load(control, DONE); done < parts; done = Atomics.load(control, DONE)) {
    late = Atomics.wait(control, DONE, done, patience / 2) === 'timed-out' ? late + 1 : 0;
    if (late === 2) return undefined;
  }
  return Atomics.load(control, FAILED);
}
