/** Loops over float32s in WebAssembly SIMD that tfjs's wasm backend runs in more passes, or not as they should be. */
import {
  advance,
  assemble,
  type Code,
  get,
  I32,
  int,
  load,
  loop,
  op,
  overFours,
  set,
  store,
  vec,
  type WasmFunction,
  type WasmMemory,
} from './wasm-assembler.ts';

/** c ← c + rows of `width` bytes that lie one after the other; rows of c `rowStep` bytes apart, 0 to sum all into one. */
export type AddRows = (from: number, end: number, width: number, c: number, rowStep: number) => void;

/** By byte addresses, over whole fours from the first to `end`. */
export interface Elementwise {
  /** out = x, and 0 where x < 0; NaN stays. */
  relu(x: number, end: number, out: number): void;
  /** dx = dy, and 0 where x ≤ 0: NaN is not, and passes dy. */
  reluGradient(x: number, end: number, dy: number, dx: number): void;
  readonly addRows: AddRows;
}

export const elementwise = (memory: WasmMemory): Elementwise =>
  assemble<Elementwise>(
    [
      // + 0 makes 0 of −0.
      overFoursOf('relu', 1, (out, x) =>
        store(out, op(vec.add, op(vec.larger, load(x), vec.zero), vec.zero)),
      ),
      reluGradientFunction(),
      addRowsFunction(),
    ],
    memory,
  );

/** NaN is not ≤ 0: a gradient passes it, as in PyTorch. dx may be dy. */
export const reluGradientFunction = (): WasmFunction =>
  overFoursOf('reluGradient', 2, (dx, x, dy) =>
    store(dx, op(vec.andNot, load(dy!), op(vec.notAbove, load(x), vec.zero))),
  );

/** Parameters are the first array, its end, the other arrays, and the one that is written. */
function overFoursOf(
  name: string,
  count: number,
  body: (out: number, first: number, ...others: number[]) => Code,
): WasmFunction {
  const [first, end] = [0, 1] as const;
  const others = Array.from({ length: count - 1 }, (_, i) => 2 + i);
  const out = 1 + count;
  return {
    name,
    parameters: new Array<number>(2 + count).fill(I32),
    results: [],
    locals: [],
    body: overFours([first, ...others, out], end, body(out, first, ...others)),
  };
}

export function addRowsFunction(): WasmFunction {
  const [from, end, width, c, rowStep, to, rowEnd] = [0, 1, 2, 3, 4, 5, 6] as const;
  return {
    name: 'addRows',
    parameters: [I32, I32, I32, I32, I32],
    results: [],
    locals: [I32, I32],
    body: loop(
      [
        ...set(to, get(c)),
        ...set(rowEnd, op(int.add, get(from), get(width))),
        ...overFours([from, to], rowEnd, store(to, op(vec.add, load(to), load(from)))),
        ...advance(c, get(rowStep)),
      ],
      op(int.below, get(from), get(end)),
    ),
  };
}
