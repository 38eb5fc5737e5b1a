/**
 * The direction of Adagrad in WebAssembly SIMD: the arithmetic of the plain loop, float64 between float32 arrays, two
 * entries at once. Root and division bind that loop, and every result is the same bit for bit.
 */
import {
  assemble,
  type Code,
  constant,
  F64,
  get,
  I32,
  int,
  loadTwo,
  loop,
  newMemory,
  op,
  set,
  storeTwo,
  V128,
  vec,
  type WasmFunction,
  wide,
} from './wasm-assembler.ts';

export interface AdagradNumbers {
  /** Whether the accumulator takes g² first. */
  readonly before: boolean;
  readonly inside: number;
  readonly outside: number;
  /** What the gradient is multiplied by. */
  readonly scale: number;
}

type Kernel = (g: number, end: number, inside: number, outside: number, scale: number) => void;

/** Entries that are copied into the kernel's memory at once: three arrays of them stay in the processor's cache. */
const BLOCK = 4096;
const BYTES = 4 * BLOCK;

let made:
  | { readonly summing: Kernel; readonly reading: Kernel; readonly views: readonly Float32Array[] }
  | undefined;

/**
 * G ← G + g² (unless it comes later); out = scale·g/(√(G + inside) + outside), and 0 where g and the root are 0.
 *
 * @param out may be `g`
 */
export function adagradDirection(
  g: Float32Array,
  out: Float32Array,
  accumulator: Float32Array,
  { before, inside, outside, scale }: AdagradNumbers,
): void {
  made ??= make();
  const { summing, reading, views } = made;
  // Not one kernel with a factor of 0: that makes NaN of an infinite gradient.
  const run = before ? summing : reading;
  const [gBlock, aBlock, outBlock] = views as [Float32Array, Float32Array, Float32Array];
  for (let start = 0; start < g.length; start += BLOCK) {
    const length = Math.min(BLOCK, g.length - start);
    const end = start + length;
    gBlock.set(g.subarray(start, end));
    aBlock.set(accumulator.subarray(start, end));
    run(0, 4 * length, inside, outside, scale);
    if (before) accumulator.set(length === BLOCK ? aBlock : aBlock.subarray(0, length), start);
    out.set(length === BLOCK ? outBlock : outBlock.subarray(0, length), start);
  }
}

/** Kernels of (g, end, inside, outside, scale), with the accumulator one block after g and the result two. */
function make(): NonNullable<typeof made> {
  const [g, end] = [0, 1] as const;
  const [inside, outside, scale] = [5, 6, 7] as const;
  /** Two entries at `g` + offset; `x` and `root` are locals of their own, so that two pairs overlap in the processor. */
  const pair = (sums: boolean, offset: number, x: number, root: number): Code => [
    ...set(x, op(wide.promote, loadTwo(g, offset))),
    ...(sums
      ? storeTwo(
          g,
          op(
            wide.demote,
            op(wide.add, op(wide.promote, loadTwo(g, BYTES + offset)), op(wide.mul, get(x), get(x))),
          ),
          BYTES + offset,
        )
      : []),
    ...set(
      root,
      op(
        wide.add,
        op(wide.sqrt, op(wide.add, op(wide.promote, loadTwo(g, BYTES + offset)), get(inside))),
        get(outside),
      ),
    ),
    ...storeTwo(
      g,
      op(
        wide.demote,
        op(
          vec.andNot,
          op(wide.div, op(wide.mul, get(scale), get(x)), get(root)),
          op(vec.and, op(wide.equal, get(x), vec.zero), op(wide.equal, get(root), vec.zero)),
        ),
      ),
      2 * BYTES + offset,
    ),
  ];
  const memory = newMemory(3 * BYTES + 16);
  const kernel = (name: string, sums: boolean): WasmFunction => ({
    name,
    parameters: [I32, I32, F64, F64, F64],
    results: [],
    locals: [V128, V128, V128, V128, V128, V128, V128],
    body: [
      ...[0, 1, 2].flatMap((k) => set(5 + k, op(wide.splat, get(2 + k)))),
      ...loop(
        [...pair(sums, 0, 8, 9), ...pair(sums, 8, 10, 11), ...set(g, op(int.add, get(g), constant(16)))],
        op(int.below, get(g), get(end)),
      ),
    ],
  });
  return {
    ...assemble<{ readonly summing: Kernel; readonly reading: Kernel }>(
      [kernel('summing', true), kernel('reading', false)],
      memory,
    ),
    views: [0, 1, 2].map((k) => new Float32Array(memory.buffer, k * BYTES, BLOCK)),
  };
}
