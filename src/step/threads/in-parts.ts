/**
 * Loops over long arrays in parts of a fixed length. What a part finds is kept by part and put together in their order, so that
 * it is the same to the bit whoever takes which part: this thread alone, or others with it (pool.ts).
 */

/** Entries of a part, a whole number of blocks: a fraction of a millisecond of work. */
export const PART = 2 ** 16;

/** Parts below which a task stays in this thread: waking another one takes as long as a part of the quickest. */
export const LEAST_PARTS = 4;

/** A loop over a stretch of arrays. */
export interface Task<Input> {
  /** Unique among the tasks of a worker. */
  readonly name: string;
  /** @param found of this stretch; zeros before */
  run(input: Input, start: number, end: number, found: Float64Array): void;
}

/** Of a task what a thread has to know. */
export interface Spread<Input = unknown> {
  /** All arrays are read in memory that threads share; the rest is copied. */
  readonly input: Input;
  readonly length: number;
  /** Length of a part, the last one apart. */
  readonly part: number;
  /** How many numbers a part finds. */
  readonly count: number;
}

/** Runs a task on several threads: what its parts found, the first of them first. */
type Spreader = <Input>(task: Task<Input>, spread: Spread<Input>) => Float64Array;

let spreader: Spreader | null = null;

/** Says who spreads tasks from now on; null: nobody. */
export const spreadBy = (next: Spreader | null): void => {
  spreader = next;
};

/**
 * Runs a task on each part of a length.
 *
 * @param arrays all that it reads or writes: others than those in shared memory stay in this thread
 * @param count how many numbers a part finds
 * @returns those of the first part, of the second, and so on
 */
export function inParts<Input>(
  task: Task<Input>,
  input: Input,
  arrays: readonly ArrayBufferView[],
  length: number,
  count: number,
  part = PART,
): Float64Array {
  if (spreader !== null && length > (LEAST_PARTS - 1) * part && arrays.every(isShared))
    return spreader(task, { input, length, part, count });
  if (length <= part) {
    // A view of what was found takes as long as the task of a small tensor.
    const found = new Float64Array(length === 0 ? 0 : count);
    if (length > 0) task.run(input, 0, length, found);
    return found;
  }
  const found = new Float64Array(count * Math.ceil(length / part));
  for (let start = 0, at = 0; start < length; start += part, at += count)
    task.run(input, start, Math.min(start + part, length), found.subarray(at, at + count));
  return found;
}

const isShared = ({ buffer }: ArrayBufferView): boolean => !(buffer instanceof ArrayBuffer);

/** Memory of zeros: shared while tasks are spread. */
export const memoryOf = (bytes: number): ArrayBuffer | SharedArrayBuffer =>
  spreader === null ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes);
