/**
 * Adagrad + Clippy in WebAssembly SIMD, for models whose arrays may live in its memory: four entries at once, where the
 * square root and the division bind plain loops. Two passes as everywhere: measure σ, then apply.
 */

import {
  assemble,
  type Code,
  F32,
  float,
  get,
  I32,
  load,
  newMemory,
  op,
  overFours,
  set,
  store,
  V128,
  vec,
  type WasmFunction,
  type WasmMemory,
} from './wasm-assembler.ts';

export interface FusedOptions {
  readonly variableRelativeThreshold: number;
  readonly absoluteThreshold: number;
  readonly epsilon: number;
  /** √(G + ε), else √G + ε. */
  readonly epsilonInside: boolean;
  readonly accumulator: 'standard' | 'delayed' | 'clipped';
}

export interface FusedTensor {
  /** Views on the kernel's memory: fill them, read them. */
  readonly parameters: Float32Array;
  readonly accumulator: Float32Array;
  readonly gradient: Float32Array;
}

export interface FusedAdagradClippy {
  readonly tensors: readonly FusedTensor[];
  /** Takes one step; returns σ of each tensor, overwritten by the next step. */
  step(learningRate: number): Float64Array;
}

type Measure = (g: number, G: number, w: number, end: number, ...scalars: number[]) => number;
type Apply = (g: number, G: number, w: number, end: number, ...scalars: number[]) => void;

/** σ from the largest |Δ|/bound. */
const factorOf = (largest: number): number => (largest <= 1 ? 1 : 1 / largest);

/** The numbers of a step that do not depend on the entry; `before` is 1 where the direction divides by G + g². */
const scalarsOf = (options: FusedOptions) => ({
  before: options.accumulator === 'standard' ? 1 : 0,
  inside: options.epsilonInside ? options.epsilon : 0,
  outside: options.epsilonInside ? 0 : options.epsilon,
});

/**
 * Makes the kernel and its memory: three arrays for each tensor, zero, accumulators too.
 *
 * The arithmetic is float32 throughout, as the frameworks' own; σ is that of `clippyFactor` within rounding. NaN in w, g or G
 * gives σ = NaN. τ (accumulatorRelativeThreshold) is not part of it. At most 4 GiB: 357 million parameters.
 *
 * @throws RangeError where the memory cannot be had
 */
export function createFusedAdagradClippy(
  sizes: readonly number[],
  options: FusedOptions,
): FusedAdagradClippy {
  // Padded to whole vectors: a gradient of 0 moves nothing.
  const bytes = sizes.map((size) => Math.ceil(size / 4) * 16);
  const total = bytes.reduce((sum, n) => sum + 3 * n, 0);
  const memory = newMemory(total);
  const { measure, apply } = kernels(memory);
  let next = 0;
  const offsets = bytes.map((n) => {
    const start = next;
    next += 3 * n;
    return { gradient: start, accumulator: start + n, parameters: start + 2 * n, end: start + n };
  });
  const factors = new Float64Array(sizes.length);
  const { before, inside, outside } = scalarsOf(options);
  const { variableRelativeThreshold: relative, absoluteThreshold: absolute, accumulator } = options;
  return {
    tensors: offsets.map((offset, t) => ({
      gradient: new Float32Array(memory.buffer, offset.gradient, sizes[t]),
      accumulator: new Float32Array(memory.buffer, offset.accumulator, sizes[t]),
      parameters: new Float32Array(memory.buffer, offset.parameters, sizes[t]),
    })),
    step(learningRate) {
      for (let t = 0; t < sizes.length; t++) {
        const { gradient: g, accumulator: G, parameters: w, end } = offsets[t]!;
        if (g === end) factors[t] = 1;
        else {
          const largest = measure(g, G, w, end, learningRate, before, inside, outside, relative, absolute);
          const factor = factorOf(largest);
          factors[t] = factor;
          const share = accumulator === 'clipped' ? factor * factor : 1;
          apply(g, G, w, end, learningRate * factor, before, inside, outside, share);
        }
      }
      return factors;
    },
  };
}

const { fround } = Math;

/** The same step in plain loops, operation by operation: what tests hold the kernel against, bit for bit. */
export function plainAdagradClippy(tensor: FusedTensor, options: FusedOptions, learningRate: number): number {
  const { parameters: w, accumulator: G, gradient: g } = tensor;
  const scalars = scalarsOf(options);
  const [before, inside, outside] = [scalars.before, scalars.inside, scalars.outside].map(fround) as [
    number,
    number,
    number,
  ];
  const relative = fround(options.variableRelativeThreshold);
  const absolute = fround(options.absoluteThreshold);
  const rootAt = (i: number): number => {
    const square = fround(before * fround(g[i]! * g[i]!));
    return fround(fround(Math.sqrt(fround(fround(G[i]! + square) + inside))) + outside);
  };
  const rate = fround(learningRate);
  let largest = 0;
  for (let i = 0; i < g.length; i++) {
    const bound = fround(fround(relative * Math.abs(w[i]!)) + absolute);
    const size = fround(rate * Math.abs(g[i]!));
    const quotient = size === 0 ? 0 : fround(size / fround(rootAt(i) * bound));
    largest = Math.max(largest, quotient);
  }
  const factor = factorOf(largest);
  const move = fround(learningRate * factor);
  const share = fround(options.accumulator === 'clipped' ? factor * factor : 1);
  for (let i = 0; i < g.length; i++) {
    if (g[i] !== 0) w[i] = w[i]! - fround(fround(move * g[i]!) / rootAt(i));
    G[i] = G[i]! + fround(share * fround(g[i]! * g[i]!));
  }
  return factor;
}

/**
 * The kernels on a memory. With v = four entries:
 *
 *     measure(g, G, w, end, η, before, εin, εout, λrel, λabs) → max |Δ|/bound:
 *       q = η|g| / ((√(G + before·g² + εin) + εout) · (λrel|w| + λabs)), 0 where η|g| = 0;
 *     apply(g, G, w, end, ση, before, εin, εout, share)
 *       w ← w − ση·g/(√(G + before·g² + εin) + εout) where g ≠ 0;  G ← G + share·g²
 */
function kernels(memory: WasmMemory): { readonly measure: Measure; readonly apply: Apply } {
  const [g, G, w, end] = [0, 1, 2, 3] as const;
  const POINTERS = [I32, I32, I32, I32];
  /** Every scalar is splat into a vector of its own once; the locals of the body come after them. */
  const kernel = (
    name: string,
    results: readonly number[],
    scalars: number,
    locals: number,
    body: (first: number) => Code,
  ): WasmFunction => {
    const first = POINTERS.length + 2 * scalars;
    const splats = Array.from({ length: scalars }, (_, k) =>
      set(POINTERS.length + scalars + k, op(vec.splat, get(POINTERS.length + k))),
    ).flat();
    return {
      name,
      parameters: [...POINTERS, ...new Array<number>(scalars).fill(F32)],
      results,
      locals: new Array<number>(scalars + locals).fill(V128),
      body: [...splats, ...body(first)],
    };
  };
  const overEntries = (body: Code): number[] => overFours([g, G, w], end, body);
  const root = (vg: number, before: number, inside: number, outside: number): number[] =>
    op(
      vec.add,
      op(
        vec.sqrt,
        op(
          vec.add,
          op(vec.add, load(G), op(vec.mul, get(before), op(vec.mul, get(vg), get(vg)))),
          get(inside),
        ),
      ),
      get(outside),
    );

  const measure = kernel('measure', [F32], 6, 3, (first) => {
    const [rate, before, inside, outside, relative, absolute] = [10, 11, 12, 13, 14, 15] as const;
    const [largest, vg, size] = [first, first + 1, first + 2] as const;
    const bound = op(vec.add, op(vec.mul, get(relative), op(vec.abs, load(w))), get(absolute));
    const quotient = op(vec.div, get(size), op(vec.mul, root(vg, before, inside, outside), bound));
    const lane = (k: number): number[] => op(vec.lane(k), get(largest));
    return [
      ...overEntries([
        ...set(vg, load(g)),
        ...set(size, op(vec.mul, get(rate), op(vec.abs, get(vg)))),
        ...set(
          largest,
          op(vec.max, get(largest), op(vec.andNot, quotient, op(vec.equal, get(size), vec.zero))),
        ),
      ]),
      ...[1, 2, 3].reduce((all, k) => op(float.max, all, lane(k)), lane(0)),
    ];
  });
  const apply = kernel('apply', [], 5, 1, (first) => {
    const [rate, before, inside, outside, share] = [9, 10, 11, 12, 13] as const;
    const vg = first;
    const move = op(
      vec.andNot,
      op(vec.div, op(vec.mul, get(rate), get(vg)), root(vg, before, inside, outside)),
      op(vec.equal, get(vg), vec.zero),
    );
    return overEntries([
      ...set(vg, load(g)),
      ...store(w, op(vec.sub, load(w), move)),
      ...store(G, op(vec.add, load(G), op(vec.mul, get(share), op(vec.mul, get(vg), get(vg))))),
    ]);
  });
  return assemble([measure, apply], memory);
}
