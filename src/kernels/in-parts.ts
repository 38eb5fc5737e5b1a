/**
 * Loops over arrays in parts of a fixed length. What a part finds is kept by part and put together in their order, so that it
 * is the same whoever takes which part.
 */

/** Entries of a part, a whole number of blocks: a fraction of a millisecond of work. */
export const PART = 2 ** 16;

/** A loop over a stretch of arrays. */
export interface Task<Input> {
  /** Unique. */
  readonly name: string;
  /** @param found of this stretch; zeros before */
  run(input: Input, start: number, end: number, found: Float64Array): void;
}

/**
 * Runs a task on each part of a length.
 *
 * @param count how many numbers a part finds
 * @returns those of the first part, of the second, and so on
 */
export function inParts<Input>(
  { run }: Task<Input>,
  input: Input,
  length: number,
  count: number,
): Float64Array {
  const found = new Float64Array(count * Math.ceil(length / PART));
  for (let start = 0, at = 0; start < length; start += PART, at += count)
    run(input, start, Math.min(start + PART, length), found.subarray(at, at + count));
  return found;
}
