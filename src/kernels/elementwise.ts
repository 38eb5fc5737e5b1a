/** Loops over float32s in WebAssembly SIMD that tfjs's wasm backend runs in more passes, or not as they should be. */
import {
  assemble,
  type Code,
  I32,
  load,
  op,
  overFours,
  store,
  vec,
  type WasmFunction,
  type WasmMemory,
} from './wasm-assembler.ts';

/** By byte addresses, over whole fours from the first to `end`. */
export interface Elementwise {
  /** out = x, and 0 where x < 0; NaN stays. */
  relu(x: number, end: number, out: number): void;
  /** sum += x */
  addTo(x: number, end: number, sum: number): void;
}

export const elementwise = (memory: WasmMemory): Elementwise =>
  assemble<Elementwise>(
    [
      // + 0 makes 0 of −0.
      overPairs('relu', (x) => op(vec.add, op(vec.larger, load(x), vec.zero), vec.zero)),
      overPairs('addTo', (x, sum) => op(vec.add, load(sum), load(x))),
    ],
    memory,
  );

function overPairs(name: string, value: (x: number, out: number) => Code): WasmFunction {
  const [x, end, out] = [0, 1, 2] as const;
  return {
    name,
    parameters: [I32, I32, I32],
    results: [],
    locals: [],
    body: overFours([x, out], end, store(out, value(x, out))),
  };
}
