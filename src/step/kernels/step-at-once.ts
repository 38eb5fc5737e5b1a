/**
 * A step of one tensor in one pass, in WebAssembly SIMD: gradient, direction, update and the sums over it, two entries at
 * once. The arithmetic is that of the plain loops, float64 between float32 arrays and rounded where these write one, to the
 * same bits; only of a step that is measured and not written the direction is float32 (estimate-kernel.ts). Each sum is four, of every
 * fourth entry, which are added at the end of a part (in-parts.ts): added one by one, entries wait for each other.
 */

import { inParts, type Task } from '../threads/in-parts.ts';
import { type Change, type ChangeKind, kindOf, type UnitFactors, unitFactorsOf } from './change.ts';
import { type DirectionCode, type DirectionKernel, type EstimateCode, NARROW } from './direction-code.ts';
import { changeNumbers, type EstimateForm, estimateKernel } from './estimate-kernel.ts';
import { GRADIENT } from './gradient-directions.ts';
import { BLOCK_BYTES, type BlockMemory, type BlockOf, blockMemory, inBlocks } from './in-blocks.ts';
import {
  advance,
  type Code,
  compile,
  constant,
  F64,
  get,
  I32,
  load,
  loadTwo,
  moduleOf,
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

/** What a step would do, compared with the step without a rule. */
export interface DrySums extends Pick<StepSums, 'squares'> {
  /** ΣΔ² and ΣΔ·Δ₀, of Δ as it is stored in float32. */
  readonly stored: number;
  readonly product: number;
}

/** What a step without a rule would do. */
export interface UnclippedSums extends StepSums {
  readonly stored: number;
  /** ΣΔ² of Δ without decay. */
  readonly bare: number;
  /** Largest |r|; NaN if one is. */
  readonly largest: number;
}

/** Takes a step: w and the state move on. */
export function stepAtOnce(kernel: DirectionKernel, { g, w }: StepArrays, numbers: StepNumbers): StepSums {
  const [sums] = run('take', kernel, g, { read: w, written: w }, {}, numbers);
  return { squares: sums!.squares, parameters: sums!.parameters };
}

/** Takes the step that was kept, without its direction: w and the state move on as by {@link stepAtOnce}, to the same bits. */
export function finishAtOnce(
  kernel: DirectionKernel,
  { g, w, movement, bare }: StepArrays & Kept,
  numbers: StepNumbers,
): void {
  run('finish', kernel, g, { read: w, written: w }, { read: bare ?? movement }, numbers);
}

/**
 * Measures what a step would do; nothing is written. Its direction is float32: Δ differs by up to 5e-7 of its terms from that
 * of the step, to both sides. Where an entry may not be ordinary, the sums are those of the step.
 *
 * @param beside Δ₀
 */
export function dryAtOnce(
  kernel: DirectionKernel,
  arrays: StepArrays & { readonly beside: Float32Array },
  numbers: StepNumbers,
): DrySums {
  if (kernel.code.estimate === undefined) return exactlyDryAtOnce(kernel, arrays, numbers);
  const sums = measured('estimate', kernel, arrays, numbers);
  return isOrdinary(sums, numbers) ? sums : exactlyDryAtOnce(kernel, arrays, numbers);
}

/** The same with the Δ of the step. */
export const exactlyDryAtOnce = (...[kernel, arrays, numbers]: Parameters<typeof dryAtOnce>): DrySums =>
  measured('measure', kernel, arrays, numbers);

function measured(
  purpose: 'measure' | 'estimate',
  kernel: DirectionKernel,
  { g, w, beside }: StepArrays & { readonly beside: Float32Array },
  numbers: StepNumbers,
): DrySums {
  const ofW = numbers.shrink === 0 ? {} : { read: w };
  const [sums] = run(purpose, kernel, g, ofW, { read: beside }, numbers);
  return sums!;
}

/**
 * Whether sums are those of entries that float32 holds with all of its digits: none was too large for it, and those that were too
 * small add nothing.
 */
const isOrdinary = ({ squares, product }: DrySums, { rate }: StepNumbers): boolean =>
  [squares, squares / (rate * rate)].every((sum) => sum > 1e-60 && sum < 1e70) && Number.isFinite(product);

/** Whether nothing moves, for without the change there is no direction. */
const standsStill = ({ squares }: DrySums, { largest }: UnclippedSums, change: Change): boolean =>
  squares === 0 && largest === 0 && 'factor' in change && Math.abs(change.factor) <= 1;

/** Δ as it is stored, and with decay Δ without it, of which the step can be made again. */
export interface Kept {
  readonly movement: Float32Array;
  readonly bare: Float32Array | undefined;
}

/**
 * Writes Δ; w and the state stay.
 *
 * @param bare written where there is decay
 * @param changes of the gradient: the step that each would make is measured with this one in the same pass. Estimates are as by
 * {@link dryAtOnce}, and undefined where an entry may not be ordinary; where nothing is estimated, all are those of the step
 */
export function unclippedAtOnce(
  kernel: DirectionKernel,
  { g, w, movement, bare }: StepArrays & Kept,
  numbers: StepNumbers,
  changes: readonly Change[] = [],
): UnclippedSums & { readonly changed: readonly (DrySums | undefined)[] } {
  const out = { written: movement };
  const after = numbers.shrink === 0 ? [] : [{ written: bare! }];
  const [sums, ...changed] = run('keep', kernel, g, { read: w }, out, numbers, changes, after);
  const { product: _, ...own } = sums!;
  const isKnown = (found: DrySums, change: Change): boolean =>
    kernel.code.estimate === undefined || isOrdinary(found, numbers) || standsStill(found, own, change);
  return {
    ...own,
    changed: changes.map((change, k) => (isKnown(changed[k]!, change) ? changed[k] : undefined)),
  };
}

/** x ← factor·x, rounded to float32, with its sums; the largest is that of before. */
export function scaleAtOnce(x: Float32Array, w: Float32Array, factor: number): UnclippedSums {
  const numbers = { factor: 1, rate: factor, shrink: 0 };
  return unclippedAtOnce(X_ALONE, { g: x, w, movement: x, bare: undefined }, numbers);
}

/** Σx² and the largest |x|, NaN if one is. */
export function sumsAtOnce(x: Float32Array): Pick<UnclippedSums, 'squares' | 'largest'> {
  const [sums] = run('sum', X_ALONE, x, {}, {}, { factor: 1, rate: 1, shrink: 0 });
  return { squares: sums!.squares, largest: sums!.largest };
}
const X_ALONE: DirectionKernel = { code: GRADIENT, slots: [], numbers: [] };

type Purpose = 'take' | 'measure' | 'estimate' | 'keep' | 'finish' | 'sum';
type Kernel = (g: number, end: number, w: number, other: number, sums: number, ...rest: number[]) => void;

/** g, w and the array compared with or written; slots come after them, and behind these Δ without decay. */
const OTHERS = 3;
const ARRAYS = OTHERS + 3 + 1;
const SUMS = ['squares', 'parameters', 'stored', 'bare', 'product'] as const;
type Sum = (typeof SUMS)[number];
/** The factors of units for each entry, behind those blocks: float32, or float64 in two blocks. */
const FACTORS = ARRAYS;
const BLOCKS = FACTORS + 2;
/** A row for each step of a pass, behind the blocks: four of each sum, of the largest, and whether none was NaN. */
const ROWS_AT = BLOCKS * BLOCK_BYTES;
const SUM_BYTES = 32;
const placeOf = (sum: Sum): number => SUMS.indexOf(sum) * SUM_BYTES;
const ESTIMATE_PLACES = { squares: placeOf('squares'), product: placeOf('product') };
const LARGEST_AT = SUMS.length * SUM_BYTES;
const NUMBERS_AT = LARGEST_AT + 16;
const ROW_BYTES = NUMBERS_AT + 16;
/** Of one pass, in addition to the step itself. */
export const MOST_CHANGES = 31;

interface Made extends BlockMemory {
  readonly kernels: Map<string, Kernel>;
  readonly rows: readonly Row[];
  readonly factors: Float64Array;
}
interface Row {
  readonly address: number;
  readonly sums: Float64Array;
  readonly largest: Float32Array;
  /** All bits where every direction was a number. */
  readonly areNumbers: Int32Array;
}
let made: Made | undefined;

function make(): Made {
  const memory = blockMemory(BLOCKS, (1 + MOST_CHANGES) * ROW_BYTES);
  const { buffer } = memory.memory;
  const rows = Array.from({ length: 1 + MOST_CHANGES }, (_, k): Row => {
    const address = ROWS_AT + k * ROW_BYTES;
    return {
      address,
      sums: new Float64Array(buffer, address, 4 * SUMS.length),
      largest: new Float32Array(buffer, address + LARGEST_AT, 4),
      areNumbers: new Int32Array(buffer, address + NUMBERS_AT, 4),
    };
  });
  const factors = new Float64Array(buffer, FACTORS * BLOCK_BYTES, memory.blocks[FACTORS]!.length);
  return { ...memory, kernels: new Map(), rows, factors };
}

type Found = Readonly<Record<Sum | 'largest', number>>;

/** Steps that one pass over the arrays makes, one after the other on each block. */
interface Pass {
  readonly arrays: readonly BlockOf[];
  readonly steps: readonly Step[];
}
interface Step {
  readonly module: KernelModule;
  /** What its kernel takes after the row of its sums. */
  readonly rest: readonly number[];
  /** Factors that the kernel takes from their block. */
  readonly units:
    | { readonly units: UnitFactors['units']; readonly factors: Float32Array | Float64Array }
    | undefined;
}
interface KernelModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What is found of a step, and then of the same with the gradient changed, which is measured with what it writes. */
function run(
  purpose: Purpose,
  direction: DirectionKernel,
  g: Float32Array,
  w: BlockOf,
  other: BlockOf,
  numbers: StepNumbers,
  changes: readonly Change[] = [],
  after: readonly BlockOf[] = [],
): readonly Found[] {
  const { slots } = direction;
  const moves = purpose === 'take' || purpose === 'finish';
  // Without a state nothing but the kept movement moves.
  const seesGradient = purpose !== 'finish' || slots.length > 0;
  const arrays: BlockOf[] = [
    seesGradient ? { read: g } : {},
    w,
    other,
    ...slots.map((slot) => (moves ? { read: slot, written: slot } : { read: slot })),
    ...after,
  ];
  const { estimate } = direction.code;
  const own =
    purpose === 'estimate'
      ? estimateOf(direction, estimate!, numbers, numbers)
      : callOf(purpose, direction, numbers);
  const calls = [
    own,
    ...changes.map((change) =>
      estimate === undefined
        ? callOf('measure', direction, numbers, change)
        : estimateOf(direction, estimate, numbers, change),
    ),
  ];
  const all = arrays.flatMap(({ read, written }) => [read, written].filter((one) => one !== undefined));
  const sums = inParts(STEP, { arrays, steps: calls }, all, g.length, calls.length * FOUND);
  return calls.map((call, k) => foundIn(sums, k, calls.length, call));
}

/** A step of a pass, and what its sums are of. */
interface Call extends Step {
  /** Of Δ over this. */
  readonly weight: number;
  /** Whether they hold no other sum of Δ as it is stored. */
  readonly asStored: boolean;
}

const startsOf = (slots: readonly Float32Array[]): number[] =>
  slots.map((_, k) => (OTHERS + k) * BLOCK_BYTES);

const keepsBare = (purpose: Purpose, shrinks: boolean): boolean => purpose === 'keep' && shrinks;

function callOf(
  purpose: Exclude<Purpose, 'estimate'>,
  { code, slots, numbers }: DirectionKernel,
  { factor, rate, shrink }: StepNumbers,
  given: Change = { factor },
): Call {
  const shrinks = shrink !== 0;
  const change = kindOf(given);
  return {
    module: moduleFor(`${purpose} ${change} ${shrinks} ${code.name}`, (name) =>
      kernelOf(name, { purpose, change, shrinks }, code),
    ),
    rest: [
      ...startsOf(slots),
      ...('units' in given ? [FACTORS * BLOCK_BYTES] : []),
      ...(keepsBare(purpose, shrinks) ? [(OTHERS + slots.length) * BLOCK_BYTES] : []),
      ...['units' in given ? 1 : 'bound' in given ? given.bound : given.factor, rate, shrink],
      ...numbers,
    ],
    units: 'units' in given ? given : undefined,
    weight: 1,
    // Without decay Δ is a float32 before it is stored.
    asStored: !shrinks,
  };
}

function estimateOf(
  { code, slots, numbers: given }: DirectionKernel,
  estimate: EstimateCode,
  { rate, shrink }: StepNumbers,
  change: Change,
): Call {
  const { share, inside = 0, outside = 0, numbers = [] } = estimate.terms(given);
  const form: EstimateForm = { change: kindOf(change), shrinks: shrink !== 0 };
  return {
    module: moduleFor(`estimate ${form.change} ${form.shrinks} ${code.name}`, (name) =>
      estimateKernel(name, form, code.slots, estimate, ESTIMATE_PLACES),
    ),
    rest: [
      ...startsOf(slots),
      ...('units' in change ? [FACTORS * BLOCK_BYTES] : []),
      ...changeNumbers(change),
      ...[rate * share, shrink, inside, outside],
      ...numbers,
    ],
    units:
      'units' in change ? { units: change.units, factors: Float32Array.from(change.factors) } : undefined,
    weight: form.shrinks ? 1 : rate * share,
    asStored: true,
  };
}

/** Of each step its sums, in their order, and the largest. */
const FOUND = SUMS.length + 1;

export const STEP: Task<Pass> = {
  name: 'step',
  run({ arrays, steps }, start, end, sums) {
    made ??= make();
    const here = made;
    const all = steps.map(({ module, rest, units }, k) => ({
      kernel: kernelOn(here, module),
      row: here.rows[k]!,
      rest,
      units,
    }));
    for (const { row } of all) {
      row.sums.fill(0);
      row.largest.fill(0);
      row.areNumbers.fill(-1);
    }
    const onBlock = (bytes: number, first: number): void => {
      const count = bytes / 4;
      // An entry of zeros adds nothing to any sum.
      for (let i = count; i % 4 !== 0; i++) for (const k of arrays.keys()) here.blocks[k]![i] = 0;
      for (const { kernel, row, rest, units } of all) {
        if (units !== undefined) {
          const { factors } = units;
          const each = factors instanceof Float64Array ? here.factors : here.blocks[FACTORS]!;
          unitFactorsOf(units.units, factors, first, each.subarray(0, count));
          each.fill(0, count, (count + 3) & ~3);
        }
        kernel(0, bytes, BLOCK_BYTES, 2 * BLOCK_BYTES, row.address, ...rest);
      }
    };
    inBlocks(here, end, arrays, onBlock, start);
    for (const [k, { row }] of all.entries()) {
      const { sums: four, largest, areNumbers } = row;
      for (let n = 0; n < SUMS.length; n++)
        sums[k * FOUND + n] = four[4 * n]! + four[4 * n + 1]! + (four[4 * n + 2]! + four[4 * n + 3]!);
      sums[k * FOUND + SUMS.length] = areNumbers.every((bits) => bits === -1)
        ? Math.max(...largest)
        : Number.NaN;
    }
  },
};

/** What all parts found of one of several steps. */
function foundIn(sums: Float64Array, step: number, steps: number, { weight, asStored }: Call): Found {
  const found = { largest: 0 } as Record<Sum | 'largest', number>;
  for (const [n, sum] of SUMS.entries()) {
    let all = 0;
    for (let i = step * FOUND + n; i < sums.length; i += steps * FOUND) all += sums[i]!;
    found[sum] = all;
  }
  for (let i = step * FOUND + SUMS.length; i < sums.length; i += steps * FOUND)
    found.largest = Math.max(found.largest, sums[i]!);
  found.squares *= weight * weight;
  found.product *= weight;
  if (asStored) found.stored = found.bare = found.squares;
  return found;
}

const modules = new Map<string, KernelModule>();

function moduleFor(name: string, kernel: (name: string) => WasmFunction): KernelModule {
  let module = modules.get(name);
  if (module === undefined) {
    module = { name, bytes: moduleOf([kernel(name)]) };
    modules.set(name, module);
  }
  return module;
}

function kernelOn({ kernels, memory }: Made, { name, bytes }: KernelModule): Kernel {
  let kernel = kernels.get(name);
  if (kernel === undefined) {
    kernel = compile<Record<string, Kernel>>(bytes, memory)[name]!;
    kernels.set(name, kernel);
  }
  return kernel;
}

/** What a kernel is for, what changes the gradient, and whether the parameters decay. */
interface Form {
  readonly purpose: Exclude<Purpose, 'estimate'>;
  readonly change: ChangeKind;
  readonly shrinks: boolean;
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one WebAssembly function is one list of instructions, read from top to bottom
function kernelOf(name: string, { purpose, change, shrinks }: Form, code: DirectionCode): WasmFunction {
  const [g, end, w, other, row] = [0, 1, 2, 3, 4] as const;
  const ofUnits = change === 'units' ? 1 : 0;
  const pointers = Array.from(
    { length: code.slots + ofUnits + (keepsBare(purpose, shrinks) ? 1 : 0) },
    (_, k) => 5 + k,
  );
  const slots = pointers.slice(0, code.slots);
  const unitFactors = pointers[code.slots]!;
  const given = Array.from({ length: 3 + code.numbers }, (_, k) => 5 + pointers.length + k);
  const parameters = [I32, I32, I32, I32, I32, ...pointers.map(() => I32), ...given.map(() => F64)];
  const splats = given.map((_, k) => parameters.length + k);
  const [amount, rate, shrink, ...numbers] = splats as [number, number, number, ...number[]];
  const moves = purpose === 'take' || purpose === 'finish';
  const summed: readonly Sum[] = [
    ...(purpose === 'finish' ? [] : (['squares'] as const)),
    ...(purpose === 'measure' ? (['product'] as const) : []),
    ...(purpose === 'take' || purpose === 'keep' ? (['parameters'] as const) : []),
    ...(shrinks && !moves ? (['stored'] as const) : []),
    ...(keepsBare(purpose, shrinks) ? (['bare'] as const) : []),
  ];
  const largest = parameters.length + splats.length;
  const areNumbers = largest + 1;
  const seesLargest = purpose === 'keep' || purpose === 'sum';
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
    const keepLargest = (values: Code): number[] => [
      ...set(x, values),
      ...set(largest, op(vec.larger, get(largest), op(vec.abs, get(x)))),
      ...set(areNumbers, op(vec.and, get(areNumbers), op(vec.equal, get(x), get(x)))),
    ];
    if (purpose === 'sum')
      return [
        ...keepLargest(loadTwo(g, offset)),
        ...set(x, op(wide.promote, get(x))),
        ...add('squares', get(x), get(x)),
      ];
    const old = op(wide.promote, loadTwo(w, offset));
    const gradient = op(wide.promote, loadTwo(g, offset));
    const changed = {
      none: gradient,
      factor: rounded(op(wide.mul, get(amount), gradient)),
      units: rounded(op(wide.mul, load(unitFactors, 2 * offset), gradient)),
      // The comparisons of both leave NaN.
      bound: rounded(op(wide.larger, op(wide.smaller, gradient, get(amount)), op(wide.negate, get(amount)))),
    };
    const taken = set(x, changed[change]);
    const decayed = set(moved, op(wide.add, get(moved), op(wide.mul, get(shrink), get(root))));
    const place = { x, root, spare: moved, slots, numbers, offset, stores: moves, stored: NARROW };
    if (purpose === 'finish')
      return [
        ...taken,
        ...code.state(place),
        ...set(root, old),
        ...set(moved, op(wide.promote, loadTwo(other, offset))),
        ...(shrinks ? decayed : []),
        ...storeTwo(w, op(wide.demote, op(wide.sub, get(root), get(moved))), offset),
      ];
    return [
      ...taken,
      ...(purpose === 'keep' ? keepLargest : (values: Code) => set(x, values))(code.direction(place)),
      // The update in float32, and in float64.
      ...set(x, op(wide.demote, op(wide.mul, get(rate), op(wide.promote, get(x))))),
      ...set(moved, op(wide.promote, get(x))),
      ...(shrinks || purpose !== 'measure' ? set(root, old) : []),
      ...(keepsBare(purpose, shrinks)
        ? [...storeTwo(pointers.at(-1)!, get(x), offset), ...add('bare', get(moved), get(moved))]
        : []),
      ...(shrinks ? [...decayed, ...set(x, op(wide.demote, get(moved)))] : []),
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
  /** Each sum with its place in the row. */
  const eachSum = (make: (local: number, place: number) => Code): number[] =>
    pairs.flatMap(({ first }, p) => summed.flatMap((sum, k) => make(first + 3 + k, placeOf(sum) + 16 * p)));
  const ofLargest = (make: (local: number, place: number) => Code): number[] => [
    ...make(largest, LARGEST_AT),
    ...make(areNumbers, NUMBERS_AT),
  ];
  return {
    name,
    parameters,
    results: [],
    locals: [...splats.map(() => V128), ...new Array<number>(2 + 2 * ofPair).fill(V128)],
    body: [
      ...given.flatMap((number, k) => set(splats[k]!, op(wide.splat, get(number)))),
      ...eachSum((local, place) => set(local, load(row, place))),
      ...(seesLargest ? ofLargest((local, place) => set(local, load(row, place))) : []),
      ...overFours([g, w, other, ...pointers], end, [
        ...pairs.flatMap(pairCode),
        // float64s are twice as long.
        ...(ofUnits === 1 ? advance(unitFactors, constant(16)) : []),
      ]),
      ...eachSum((local, place) => store(row, get(local), place)),
      ...(seesLargest ? ofLargest((local, place) => store(row, get(local), place)) : []),
    ],
  };
}
