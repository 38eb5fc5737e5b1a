/** Kernels over arrays of any length: their memory holds a block of each, which is copied in and, where it is written, out. */
import { newMemory, type WasmMemory } from './wasm-assembler.ts';

/** Entries of a block: a few of them stay in the processor's cache. */
const BLOCK = 4096;
/** Bytes from a block to the next: block k begins at k·BLOCK_BYTES. */
export const BLOCK_BYTES = 4 * BLOCK;

export interface BlockMemory {
  readonly memory: WasmMemory;
  readonly blocks: readonly Float32Array[];
}

/** Room for so many blocks, for kernels that read four entries where one is left, and for bytes behind the blocks. */
export function blockMemory(count: number, behind = 16): BlockMemory {
  const memory = newMemory(count * BLOCK_BYTES + behind);
  return {
    memory,
    blocks: Array.from({ length: count }, (_, k) => new Float32Array(memory.buffer, k * BLOCK_BYTES, BLOCK)),
  };
}

/** What block k holds a stretch of: copied in before the kernel runs where it is read, out where it is written. */
export interface BlockOf {
  readonly read?: Float32Array;
  readonly written?: Float32Array;
}

/**
 * Runs a kernel on each stretch of arrays of one length.
 *
 * @param length the entry at which the last stretch ends
 * @param arrays one for each block in use; an array may be in several places
 * @param run gets the bytes that the stretch has in a block, 4·BLOCK or in the last maybe fewer, and its first entry
 * @param first the entry at which the first stretch begins
 */
export function inBlocks(
  { blocks }: BlockMemory,
  length: number,
  arrays: readonly BlockOf[],
  run: (bytes: number, start: number) => void,
  first = 0,
): void {
  for (let start = first; start < length; start += BLOCK) {
    const end = Math.min(start + BLOCK, length);
    for (let k = 0; k < arrays.length; k++) {
      const { read } = arrays[k]!;
      if (read !== undefined) blocks[k]!.set(read.subarray(start, end));
    }
    run(4 * (end - start), start);
    for (let k = 0; k < arrays.length; k++)
      arrays[k]!.written?.set(
        end - start === BLOCK ? blocks[k]! : blocks[k]!.subarray(0, end - start),
        start,
      );
  }
}
