/**
 * Adagrad + Clippy in WebAssembly SIMD, for models whose arrays may live in its memory: four entries at once, where the
 * square root and the division bind plain loops. Two passes as everywhere: measure σ, then apply.
 */

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

/** What is used of WebAssembly: Node's types leave it out. */
interface Wasm {
  readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { m: { m: object } },
  ) => { readonly exports: { readonly measure: Measure; readonly apply: Apply } };
}
const { Memory, Module, Instance } = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;

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
  const memory = new Memory({ initial: Math.ceil(total / 65536) });
  const instance = new Instance(new Module(kernelBytes()), { m: { m: memory } });
  const { measure, apply } = instance.exports;
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
 * The module's bytes: memory from `m.m`, functions `measure` and `apply`. With v = four entries:
 *
 *     measure(g, G, w, end, η, before, εin, εout, λrel, λabs) → max |Δ|/bound
 *       q = η|g| / ((√(G + before·g² + εin) + εout) · (λrel|w| + λabs)), 0 where η|g| = 0
 *     apply(g, G, w, end, ση, before, εin, εout, share)
 *       w ← w − ση·g/(√(G + before·g² + εin) + εout) where g ≠ 0;  G ← G + share·g²
 */
function kernelBytes(): Uint8Array<ArrayBuffer> {
  const [I32, F32, V128] = [0x7f, 0x7d, 0x7b] as const;
  /** Unsigned LEB128. */
  const leb = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)];
  const vector = (items: readonly (readonly number[])[]): number[] => [...leb(items.length), ...items.flat()];
  const section = (id: number, content: readonly number[]): number[] => [
    id,
    ...leb(content.length),
    ...content,
  ];
  const text = (name: string): number[] => [...leb(name.length), ...new TextEncoder().encode(name)];

  const get = (local: number): number[] => [0x20, ...leb(local)];
  const set = (local: number): number[] => [0x21, ...leb(local)];
  const simd = (opcode: number): number[] => [0xfd, ...leb(opcode)];
  const splat = simd(0x13);
  const equal = simd(0x41);
  const andNot = simd(0x4f);
  const abs = simd(0xe0);
  const sqrt = simd(0xe3);
  const add = simd(0xe4);
  const sub = simd(0xe5);
  const mul = simd(0xe6);
  const div = simd(0xe7);
  const max = simd(0xe9);
  const zero = [...simd(0x0c), ...new Array<number>(16).fill(0)];
  const load = (pointer: number): number[] => [...get(pointer), ...simd(0x00), 4, 0];
  const store = (pointer: number, value: readonly number[]): number[] => [
    ...get(pointer),
    ...value,
    ...simd(0x0b),
    4,
    0,
  ];
  const op = (code: readonly number[], ...operands: readonly (readonly number[])[]): number[] => [
    ...operands.flat(),
    ...code,
  ];

  const [g, G, w, end] = [0, 1, 2, 3] as const;
  const POINTERS = [I32, I32, I32, I32];
  const func = (scalars: number, locals: number, body: (first: number) => number[]): number[] => {
    // Every scalar is splat into a vector of its own once; the locals of the body come after them.
    const first = POINTERS.length + 2 * scalars;
    const splats = Array.from({ length: scalars }, (_, k) => [
      ...get(POINTERS.length + k),
      ...splat,
      ...set(POINTERS.length + scalars + k),
    ]).flat();
    const code = [...vector([[...leb(scalars + locals), V128]]), ...splats, ...body(first), 0x0b];
    return [...leb(code.length), ...code];
  };
  /** do { body; pointers += 16 } while (g < end) */
  const loop = (body: readonly number[]): number[] => [
    ...[0x03, 0x40],
    ...body,
    ...[G, w, g].flatMap((pointer) => [...get(pointer), 0x41, 16, 0x6a, ...set(pointer)]),
    ...[...get(g), ...get(end), 0x49, 0x0d, 0x00, 0x0b],
  ];
  const root = (vg: number, before: number, inside: number, outside: number): number[] =>
    op(
      add,
      op(sqrt, op(add, op(add, load(G), op(mul, get(before), op(mul, get(vg), get(vg)))), get(inside))),
      get(outside),
    );

  const measure = func(6, 3, (first) => {
    const [rate, before, inside, outside, relative, absolute] = [10, 11, 12, 13, 14, 15] as const;
    const [largest, vg, size] = [first, first + 1, first + 2] as const;
    const bound = op(add, op(mul, get(relative), op(abs, load(w))), get(absolute));
    const quotient = op(
      div!,
      op(mul, get(rate), op(abs, get(vg))),
      op(mul, root(vg, before, inside, outside), bound),
    );
    const lane = (k: number): number[] => [...get(largest), ...simd(0x1f), k];
    return [
      ...loop([
        ...load(g),
        ...set(vg),
        ...op(mul, get(rate), op(abs, get(vg))),
        ...set(size),
        ...op(max, get(largest), op(andNot, quotient, op(equal, get(size), zero))),
        ...set(largest),
      ]),
      ...[...lane(0), ...lane(1), 0x97, ...lane(2), 0x97, ...lane(3), 0x97],
    ];
  });
  const apply = func(5, 1, (first) => {
    const [rate, before, inside, outside, share] = [9, 10, 11, 12, 13] as const;
    const vg = first;
    const move = op(
      andNot,
      op(div, op(mul, get(rate), get(vg)), root(vg, before, inside, outside)),
      op(equal, get(vg), zero),
    );
    return loop([
      ...load(g),
      ...set(vg),
      ...store(w, op(sub, load(w), move)),
      ...store(G, op(add, load(G), op(mul, get(share), op(mul, get(vg), get(vg))))),
    ]);
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      vector([
        [
          0x60,
          ...vector([...POINTERS, F32, F32, F32, F32, F32, F32].map((type) => [type])),
          ...vector([[F32]]),
        ],
        [0x60, ...vector([...POINTERS, F32, F32, F32, F32, F32].map((type) => [type])), ...vector([])],
      ]),
    ),
    ...section(2, vector([[...text('m'), ...text('m'), 0x02, 0x00, 0x01]])),
    ...section(3, vector([[0], [1]])),
    ...section(
      7,
      vector([
        [...text('measure'), 0x00, 0],
        [...text('apply'), 0x00, 1],
      ]),
    ),
    ...section(10, vector([measure, apply])),
  ]);
}
