/**
 * A WebAssembly memory that a model's parameters share with their gradients, the optimizer's state and the buffers of its
 * step, and loops over their entries: nothing is copied. The arithmetic is that of the plain loops, float64 between float32
 * arrays, to the same bits.
 */
import {
  type AdagradKernels,
  type AdagradNumbers,
  adagradFunctions,
  runAdagrad,
} from './adagrad-direction.ts';
import {
  assemble,
  constant,
  double,
  F64,
  get,
  I32,
  loadTwo,
  op,
  overFours,
  pairs,
  set,
  storeDouble,
  storeTwo,
  V128,
  vec,
  type WasmFunction,
  type WasmMemory,
  wide,
} from './wasm-assembler.ts';

/** float32s at the start of the memory that take the results of a kernel: no array lies there. */
export const HEAP_START = 4;

/** The loops take whole fours, from the first entry on, and return how many entries they did: plain loops do the rest. */
export interface Heap {
  /**
   * An array on the heap.
   *
   * @throws RangeError where there is no room
   */
  allocate(length: number): Float32Array;
  /** {@link adagradDirection} */
  adagradDirection(
    g: Float32Array,
    out: Float32Array,
    accumulator: Float32Array,
    numbers: AdagradNumbers,
  ): number;
  /** out = factor·x */
  scale(factor: number, x: Float32Array, out: Float32Array): number;
  /** r ← factor·r + shrink·w, w ← w − r; Σr² and Σ0·w into {@link moved}, where any entry was done. */
  move(w: Float32Array, r: Float32Array, factor: number, shrink: number): number;
  readonly moved: Float64Array;
}

interface Kernels extends AdagradKernels {
  scale(x: number, end: number, out: number, factor: number): void;
  move(r: number, end: number, w: number, factor: number, shrink: number): void;
}

/** The loops on a memory, and arrays from entry `start` of it to its end; with a new heap they begin anew. */
export function heapsOn(memory: WasmMemory, start: number): () => Heap {
  const kernels = assemble<Kernels>([...adagradFunctions(), scaleFunction(), moveFunction()], memory);
  const moved = new Float64Array(memory.buffer, 0, 2);
  const end = memory.buffer.byteLength / 4;
  return () => {
    let next = start;
    return {
      moved,
      allocate(length) {
        if (next + length > end) throw new RangeError(`no room for ${length} entries`);
        const array = new Float32Array(memory.buffer, 4 * next, length);
        next += (length + 3) & ~3;
        return array;
      },
      adagradDirection(g, out, accumulator, numbers) {
        const whole = g.length & ~3;
        const at = g.byteOffset;
        if (whole > 0)
          runAdagrad(kernels, at, at + 4 * whole, accumulator.byteOffset, out.byteOffset, numbers);
        return whole;
      },
      scale(factor, x, out) {
        const whole = x.length & ~3;
        if (whole > 0) kernels.scale(x.byteOffset, x.byteOffset + 4 * whole, out.byteOffset, factor);
        return whole;
      },
      move(w, r, factor, shrink) {
        const whole = r.length & ~3;
        if (whole > 0) kernels.move(r.byteOffset, r.byteOffset + 4 * whole, w.byteOffset, factor, shrink);
        return whole;
      },
    };
  };
}

function scaleFunction(): WasmFunction {
  const [x, end, out, given, factor] = [0, 1, 2, 3, 4] as const;
  return {
    name: 'scale',
    parameters: [I32, I32, I32, F64],
    results: [],
    locals: [V128],
    body: [
      ...set(factor, op(wide.splat, get(given))),
      ...overFours(
        [x, out],
        end,
        pairs((offset) =>
          storeTwo(
            out,
            op(wide.demote, op(wide.mul, get(factor), op(wide.promote, loadTwo(x, offset)))),
            offset,
          ),
        ),
      ),
    ],
  };
}

/** Squares are added one by one, as a plain loop adds them. */
function moveFunction(): WasmFunction {
  const [r, end, w] = [0, 1, 2] as const;
  const [factor, shrink, old, moved, next, check, sum] = [5, 6, 7, 8, 9, 10, 11] as const;
  const add = (lane: number): number[] => set(sum, op(double.add, get(sum), op(wide.lane(lane), get(next))));
  return {
    name: 'move',
    parameters: [I32, I32, I32, F64, F64],
    results: [],
    locals: [...new Array<number>(6).fill(V128), F64],
    body: [
      ...[0, 1].flatMap((k) => set(factor + k, op(wide.splat, get(3 + k)))),
      ...overFours(
        [r, w],
        end,
        pairs((offset) => [
          ...set(old, op(wide.promote, loadTwo(w, offset))),
          ...set(
            moved,
            op(
              wide.add,
              op(wide.mul, get(factor), op(wide.promote, loadTwo(r, offset))),
              op(wide.mul, get(shrink), get(old)),
            ),
          ),
          ...storeTwo(r, op(wide.demote, get(moved)), offset),
          ...set(next, op(wide.mul, get(moved), get(moved))),
          ...add(0),
          ...add(1),
          ...set(next, op(wide.sub, get(old), get(moved))),
          ...storeTwo(w, op(wide.demote, get(next)), offset),
          ...set(check, op(wide.add, get(check), op(wide.mul, get(next), vec.zero))),
        ]),
      ),
      ...storeDouble(constant(0), get(sum)),
      ...storeDouble(constant(8), op(double.add, op(wide.lane(0), get(check)), op(wide.lane(1), get(check)))),
    ],
  };
}
