/**
 * A step of one tensor in one pass, in WebAssembly SIMD: gradient, direction, update and the sums over it, two entries at
 * once. The arithmetic is that of the plain loops, float64 between float32 arrays and rounded where these write one, to the
 * same bits. Each sum is four, of every fourth entry, which are added at the end: added one by one, entries wait for each other.
 */
import type { DirectionCode, DirectionKernel } from './direction-code.ts';
import { BLOCK_BYTES, type BlockMemory, type BlockOf, blockMemory, inBlocks } from './in-blocks.ts';
import {
  assemble,
  type Code,
  constant,
  F64,
  get,
  I32,
  load,
  loadTwo,
  op,
  overFours,
  set,
  store,
  storeTwo,
  V128,
  vec,
  type WasmFunction,
  wide,
} from './wasm-assembler.ts';

/** With the gradient f·g and its direction r, a step is w ← w − Δ with Δ = rate·r + shrink·w. */
export interface StepNumbers {
  /** f */
  readonly factor: number;
  readonly rate: number;
  readonly shrink: number;
}

/** Arrays of one length. */
export interface StepArrays {
  readonly g: Float32Array;
  readonly w: Float32Array;
}

/** Sums over a step; not finite where an entry of theirs is not. */
export interface StepSums {
  /** ΣΔ², before Δ is rounded to float32. */
  readonly squares: number;
  /** Σw², before the step. */
  readonly parameters: number;
}

/** What a step would do, beside the step without a rule. */
export interface DrySums extends Pick<StepSums, 'squares'> {
  /** ΣΔ² and ΣΔ·Δ₀, of Δ as it is stored in float32. */
  readonly stored: number;
  readonly product: number;
}

/** What a step without a rule would do. */
export interface UnclippedSums extends StepSums {
  readonly stored: number;
  /** Largest |r|; NaN if one is. */
  readonly largest: number;
}

/** Takes a step: w and the state move on. */
export function stepAtOnce(kernel: DirectionKernel, { g, w }: StepArrays, numbers: StepNumbers): StepSums {
  const { squares, parameters } = run('take', kernel, g, { read: w, written: w }, {}, numbers);
  return { squares, parameters };
}

/**
 * Measures what a step would do; nothing is written.
 *
 * @param beside Δ₀
 */
export function dryAtOnce(
  kernel: DirectionKernel,
  { g, w, beside }: StepArrays & { readonly beside: Float32Array },
  numbers: StepNumbers,
): DrySums {
  const ofW = numbers.shrink === 0 ? {} : { read: w };
  const { squares, stored, product } = run('measure', kernel, g, ofW, { read: beside }, numbers);
  return { squares, stored, product };
}

/** Writes Δ; w and the state stay. */
export function unclippedAtOnce(
  kernel: DirectionKernel,
  { g, w, movement }: StepArrays & { readonly movement: Float32Array },
  numbers: StepNumbers,
): UnclippedSums {
  const { product: _, ...sums } = run('keep', kernel, g, { read: w }, { written: movement }, numbers);
  return sums;
}

type Purpose = 'take' | 'measure' | 'keep';
type Kernel = (g: number, end: number, w: number, other: number, ...slotsAndNumbers: number[]) => void;

/** Of g, w and the array beside or written; slots come after them. */
const OTHERS = 3;
const MOST_SLOTS = 2;
/** Behind the blocks: four of each sum, which go on from block to block, of the largest, and whether none was NaN. */
const SUMS_AT = (OTHERS + MOST_SLOTS) * BLOCK_BYTES;
const SUMS = ['squares', 'parameters', 'stored', 'product'] as const;
type Sum = (typeof SUMS)[number];
const SUM_BYTES = 32;
const LARGEST_AT = SUMS.length * SUM_BYTES;
const NUMBERS_AT = LARGEST_AT + 16;

interface Made extends BlockMemory {
  readonly kernels: Map<string, Kernel>;
  readonly sums: Float64Array;
  readonly largest: Float32Array;
  /** All bits where every direction was a number. */
  readonly areNumbers: Int32Array;
}
let made: Made | undefined;

function run(
  purpose: Purpose,
  { code, slots, numbers }: DirectionKernel,
  g: Float32Array,
  w: BlockOf,
  other: BlockOf,
  { factor, rate, shrink }: StepNumbers,
): Record<Sum | 'largest', number> {
  made ??= make();
  const { kernels, blocks, memory, sums, largest, areNumbers } = made;
  const form: Form = { purpose, scales: factor !== 1, shrinks: shrink !== 0 };
  const name = `${purpose} ${form.scales} ${form.shrinks} ${code.name}`;
  let kernel = kernels.get(name);
  if (kernel === undefined) {
    kernel = assemble<Record<string, Kernel>>([kernelOf(name, form, code)], memory)[name]!;
    kernels.set(name, kernel);
  }
  const arrays: BlockOf[] = [
    { read: g },
    w,
    other,
    ...slots.map((slot) => (purpose === 'take' ? { read: slot, written: slot } : { read: slot })),
  ];
  const parameters = [
    ...slots.map((_, k) => (OTHERS + k) * BLOCK_BYTES),
    ...[factor, rate, shrink],
    ...numbers,
  ];
  sums.fill(0);
  largest.fill(0);
  areNumbers.fill(-1);
  inBlocks(made, g.length, arrays, (bytes) => {
    // An entry of zeros adds nothing to any sum.
    for (let i = bytes / 4; i % 4 !== 0; i++) for (let k = 0; k < arrays.length; k++) blocks[k]![i] = 0;
    kernel(0, bytes, BLOCK_BYTES, 2 * BLOCK_BYTES, ...parameters);
  });
  const found = {
    largest: areNumbers.every((bits) => bits === -1) ? Math.max(...largest) : Number.NaN,
  } as Record<Sum | 'largest', number>;
  for (const [k, sum] of SUMS.entries())
    found[sum] = sums[4 * k]! + sums[4 * k + 1]! + (sums[4 * k + 2]! + sums[4 * k + 3]!);
  // Without decay Δ is a float32 before it is stored.
  if (!form.shrinks) found.stored = found.squares;
  return found;
}

function make(): Made {
  const memory = blockMemory(OTHERS + MOST_SLOTS + 1);
  const { buffer } = memory.memory;
  return {
    ...memory,
    kernels: new Map(),
    sums: new Float64Array(buffer, SUMS_AT, 4 * SUMS.length),
    largest: new Float32Array(buffer, SUMS_AT + LARGEST_AT, 4),
    areNumbers: new Int32Array(buffer, SUMS_AT + NUMBERS_AT, 4),
  };
}

/** What a kernel is for, whether its factor is not 1, and whether the parameters decay. */
interface Form {
  readonly purpose: Purpose;
  readonly scales: boolean;
  readonly shrinks: boolean;
}

function kernelOf(name: string, { purpose, scales, shrinks }: Form, code: DirectionCode): WasmFunction {
  const [g, end, w, other] = [0, 1, 2, 3] as const;
  const slots = Array.from({ length: code.slots }, (_, k) => 4 + k);
  const given = Array.from({ length: 3 + code.numbers }, (_, k) => 4 + code.slots + k);
  const parameters = [I32, I32, I32, I32, ...slots.map(() => I32), ...given.map(() => F64)];
  const splats = given.map((_, k) => parameters.length + k);
  const [factor, rate, shrink, ...numbers] = splats as [number, number, number, ...number[]];
  const summed: readonly Sum[] = [
    'squares',
    ...(purpose === 'measure' ? (['product'] as const) : (['parameters'] as const)),
    ...(shrinks && purpose !== 'take' ? (['stored'] as const) : []),
  ];
  const behind = parameters.length + splats.length;
  const [largest, areNumbers] = [behind + 1, behind + 2] as const;
  /** Locals of two entries: three, and their sums. Of their own, so that two pairs overlap in the processor. */
  const ofPair = 3 + summed.length;
  const pairs = [0, 1].map((p) => ({ offset: 8 * p, first: areNumbers + 1 + p * ofPair }));
  const rounded = (value: Code): number[] => op(wide.promote, op(wide.demote, value));
  const pairCode = ({ offset, first }: (typeof pairs)[number]): Code => {
    const [x, root, moved] = [first, first + 1, first + 2] as const;
    const add = (sum: Sum, left: Code, right: Code): number[] => {
      const local = first + 3 + summed.indexOf(sum);
      return set(local, op(wide.add, get(local), op(wide.mul, left, right)));
    };
    const old = op(wide.promote, loadTwo(w, offset));
    const gradient = op(wide.promote, loadTwo(g, offset));
    return [
      ...set(x, scales ? rounded(op(wide.mul, get(factor), gradient)) : gradient),
      ...set(x, code.direction({ x, root, slots, numbers, offset, stores: purpose === 'take' })),
      ...(purpose === 'keep'
        ? [
            ...set(largest, op(vec.larger, get(largest), op(vec.abs, get(x)))),
            ...set(areNumbers, op(vec.and, get(areNumbers), op(vec.equal, get(x), get(x)))),
          ]
        : []),
      // The update in float32, and in float64.
      ...set(x, op(wide.demote, op(wide.mul, get(rate), op(wide.promote, get(x))))),
      ...set(moved, op(wide.promote, get(x))),
      ...(shrinks || purpose !== 'measure' ? set(root, old) : []),
      ...(shrinks
        ? [
            ...set(moved, op(wide.add, get(moved), op(wide.mul, get(shrink), get(root)))),
            ...set(x, op(wide.demote, get(moved))),
          ]
        : []),
      ...add('squares', get(moved), get(moved)),
      ...(purpose === 'measure' ? [] : add('parameters', get(root), get(root))),
      ...(purpose === 'take'
        ? storeTwo(w, op(wide.demote, op(wide.sub, get(root), get(moved))), offset)
        : []),
      ...(purpose === 'keep' ? storeTwo(other, get(x), offset) : []),
      ...(shrinks && purpose !== 'take'
        ? [...set(moved, op(wide.promote, get(x))), ...add('stored', get(moved), get(moved))]
        : []),
      ...(purpose === 'measure' ? add('product', get(moved), op(wide.promote, loadTwo(other, offset))) : []),
    ];
  };
  /** Each sum with its place behind the blocks. */
  const eachSum = (make: (local: number, place: number) => Code): number[] =>
    pairs.flatMap(({ first }, p) =>
      summed.flatMap((sum, k) => make(first + 3 + k, SUMS.indexOf(sum) * SUM_BYTES + 16 * p)),
    );
  const ofLargest = (make: (local: number, place: number) => Code): number[] => [
    ...make(largest, LARGEST_AT),
    ...make(areNumbers, NUMBERS_AT),
  ];
  return {
    name,
    parameters,
    results: [],
    locals: [...splats.map(() => V128), I32, ...new Array<number>(2 + 2 * ofPair).fill(V128)],
    body: [
      ...given.flatMap((number, k) => set(splats[k]!, op(wide.splat, get(number)))),
      ...set(behind, constant(SUMS_AT)),
      ...eachSum((local, place) => set(local, load(behind, place))),
      ...(purpose === 'keep' ? ofLargest((local, place) => set(local, load(behind, place))) : []),
      ...overFours([g, w, other, ...slots], end, pairs.flatMap(pairCode)),
      ...eachSum((local, place) => store(behind, get(local), place)),
      ...(purpose === 'keep' ? ofLargest((local, place) => store(behind, get(local), place)) : []),
    ],
  };
}
