/** The sum of two vectors with a weight each. */
import { BLOCK_BYTES, blockMemory, inBlocks } from './in-blocks.ts';
import {
  assemble,
  F64,
  get,
  I32,
  loadTwo,
  op,
  overFours,
  pairs,
  set,
  storeTwo,
  V128,
  type WasmFunction,
  wide,
} from './wasm-assembler.ts';

interface Kernels {
  weightedSum(x: number, end: number, y: number, ofX: number, ofY: number): void;
}

/**
 * A function that sets x to ofX·x + ofY·y, two vectors of one length: float64, rounded once, to the bits of a plain loop,
 * which takes three times as long.
 */
export function weightedSums(): (x: Float32Array, ofX: number, y: Float32Array, ofY: number) => void {
  const memory = blockMemory(2);
  const { weightedSum } = assemble<Kernels>([weightedSumFunction()], memory.memory);
  return (x, ofX, y, ofY) =>
    inBlocks(memory, x.length, [{ read: x, written: x }, { read: y }], (bytes) =>
      weightedSum(0, bytes, BLOCK_BYTES, ofX, ofY),
    );
}

function weightedSumFunction(): WasmFunction {
  const [x, end, y, ofX, ofY, factorX, factorY] = [0, 1, 2, 3, 4, 5, 6] as const;
  const term = (factor: number, pointer: number, offset: number): number[] =>
    op(wide.mul, get(factor), op(wide.promote, loadTwo(pointer, offset)));
  return {
    name: 'weightedSum',
    parameters: [I32, I32, I32, F64, F64],
    results: [],
    locals: [V128, V128],
    body: [
      ...set(factorX, op(wide.splat, get(ofX))),
      ...set(factorY, op(wide.splat, get(ofY))),
      ...overFours(
        [x, y],
        end,
        pairs((offset) =>
          storeTwo(
            x,
            op(wide.demote, op(wide.add, term(factorX, x, offset), term(factorY, y, offset))),
            offset,
          ),
        ),
      ),
    ],
  };
}
