/**
 * The direction of Adagrad in WebAssembly SIMD: the arithmetic of the plain loop, float64 between float32 arrays, two
 * entries at once. Root and division bind that loop, and every result is the same bit for bit.
 */
import { type DirectionCode, NARROW } from './direction-code.ts';
import { BLOCK_BYTES, type BlockMemory, blockMemory, inBlocks } from './in-blocks.ts';
import {
  assemble,
  type Code,
  F64,
  get,
  I32,
  load,
  loadTwo,
  op,
  overFours,
  quotientOrZero,
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

/** With the byte addresses of the three arrays, and of the end of g. */
type Kernel = (
  g: number,
  end: number,
  accumulator: number,
  out: number,
  inside: number,
  outside: number,
  scale: number,
) => void;
export interface AdagradKernels {
  readonly summing: Kernel;
  readonly reading: Kernel;
}

let made: (AdagradKernels & BlockMemory) | undefined;

/**
 * G ← G + g² (unless it comes later); out = scale·g/(√(G + inside) + outside), and 0 where g and the root are 0.
 *
 * @param out may be `g`
 * @returns how many entries were done: all
 */
export function adagradDirection(
  g: Float32Array,
  out: Float32Array,
  accumulator: Float32Array,
  numbers: AdagradNumbers,
): number {
  made ??= make();
  const kernels = made;
  const arrays = [
    { read: g },
    { read: accumulator, ...(numbers.before ? { written: accumulator } : {}) },
    { written: out },
  ];
  inBlocks(kernels, g.length, arrays, (bytes) =>
    runAdagrad(kernels, 0, bytes, BLOCK_BYTES, 2 * BLOCK_BYTES, numbers),
  );
  return g.length;
}

/** The direction of arrays in the kernels' memory, by their addresses. */
export function runAdagrad(
  { summing, reading }: AdagradKernels,
  g: number,
  end: number,
  accumulator: number,
  out: number,
  { before, inside, outside, scale }: AdagradNumbers,
): void {
  // Not one kernel with a factor of 0: that makes NaN of an infinite gradient.
  if (before) summing(g, end, accumulator, out, inside, outside, scale);
  else reading(g, end, accumulator, out, inside, outside, scale);
}

function make(): NonNullable<typeof made> {
  const memory = blockMemory(3);
  return { ...assemble<AdagradKernels>(adagradFunctions(), memory.memory), ...memory };
}

/** {@link AdagradNumbers} in the order in which the code takes them. */
export const numbersOf = ({ inside, outside, scale }: AdagradNumbers): readonly number[] => [
  inside,
  outside,
  scale,
];

/** The accumulator takes g² first where `sums`. */
function codeOf(sums: boolean): DirectionCode {
  const state: DirectionCode['state'] = ({ x, root, slots, offset, stores, stored }) => {
    const [accumulator] = slots as [number];
    const before = stored.read(accumulator, offset);
    if (!sums) return set(root, before);
    const sum = op(wide.add, before, op(wide.mul, get(x), get(x)));
    return stored.keep(root, sum, accumulator, offset, stores);
  };
  return {
    name: sums ? 'adagrad, summing' : 'adagrad, reading',
    slots: 1,
    numbers: 3,
    state,
    direction(place) {
      const { x, root, numbers, stored } = place;
      const [inside, outside, scale] = numbers as [number, number, number];
      return [
        ...state(place),
        ...set(root, op(wide.add, op(wide.sqrt, op(wide.add, get(root), get(inside))), get(outside))),
        ...stored.leave(quotientOrZero(op(wide.mul, get(scale), get(x)), x, root)),
      ];
    },
    estimate: {
      numbers: 0,
      divides: true,
      terms: ([inside, outside, scale]) => ({ share: scale!, inside: inside!, outside: outside! }),
      operands({ x, root, slots }) {
        const before = load(slots[0]!);
        return set(root, sums ? op(vec.add, before, op(vec.mul, get(x), get(x))) : before);
      },
    },
  };
}
const [SUMMING, READING] = [codeOf(true), codeOf(false)] as const;

export const adagradCode = ({ before }: AdagradNumbers): DirectionCode => (before ? SUMMING : READING);

/** {@link AdagradKernels}, four entries at once. */
export function adagradFunctions(): WasmFunction[] {
  const [g, end, accumulator, out] = [0, 1, 2, 3] as const;
  const numbers = [7, 8, 9];
  /** Two entries at an offset; `x` and `root` are locals of their own, so that two pairs overlap in the processor. */
  const pair = (code: DirectionCode, offset: number, x: number, root: number): Code => [
    ...set(x, op(wide.promote, loadTwo(g, offset))),
    ...storeTwo(
      out,
      code.direction({
        ...{ x, root, spare: root, slots: [accumulator], numbers, offset },
        ...{ stores: true, stored: NARROW },
      }),
      offset,
    ),
  ];
  const kernel = (name: string, code: DirectionCode): WasmFunction => ({
    name,
    parameters: [I32, I32, I32, I32, F64, F64, F64],
    results: [],
    locals: new Array<number>(7).fill(V128),
    body: [
      ...numbers.flatMap((number, k) => set(number, op(wide.splat, get(4 + k)))),
      ...overFours([g, accumulator, out], end, [...pair(code, 0, 10, 11), ...pair(code, 8, 12, 13)]),
    ],
  });
  return [kernel('summing', SUMMING), kernel('reading', READING)];
}
