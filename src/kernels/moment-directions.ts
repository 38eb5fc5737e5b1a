/**
 * The directions of Adam and RMSProp in WebAssembly SIMD: the arithmetic of the plain loops, float64 between float32
 * arrays, two entries at once. Every result is the same bit for bit.
 */
import type { DirectionCode } from './direction-code.ts';
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

/** v ← decay·v + (1 − decay)·g²; the root is scale·√(v + inside) + outside. */
export interface MomentNumbers {
  readonly decay: number;
  readonly inside: number;
  readonly scale: number;
  readonly outside: number;
}

/** m ← decay·m + (1 − decay)·g, which is multiplied by `scale` where it is divided by the root. */
export interface MeanNumbers {
  readonly decay: number;
  readonly scale: number;
}

/** With the byte addresses of g, which becomes the direction, of its end and of v; one with a mean takes that of m too. */
interface Kernels {
  readonly plain: (g: number, end: number, v: number, ...numbers: number[]) => void;
  readonly withMean: (g: number, end: number, v: number, ...numbersAndM: number[]) => void;
}

let made: (Kernels & BlockMemory) | undefined;

/**
 * Moves v and m forward by g; `out` is g (or the scaled mean, where there is one) over the root, and 0 where both are 0.
 *
 * @param out may be `g`
 */
export function momentDirection(
  g: Float32Array,
  out: Float32Array,
  v: Float32Array,
  moment: MomentNumbers,
  mean?: MeanNumbers & { readonly m: Float32Array },
): void {
  made ??= make();
  const kernels = made;
  const numbers = momentNumbers(moment);
  const arrays = [
    { read: g, written: out },
    { read: v, written: v },
  ];
  if (mean === undefined)
    inBlocks(kernels, g.length, arrays, (bytes) => kernels.plain(0, bytes, BLOCK_BYTES, ...numbers));
  else {
    const rest = [2 * BLOCK_BYTES, ...meanNumbers(mean)];
    arrays.push({ read: mean.m, written: mean.m });
    inBlocks(kernels, g.length, arrays, (bytes) =>
      kernels.withMean(0, bytes, BLOCK_BYTES, ...numbers, ...rest),
    );
  }
}

/** In the order in which the code takes them: those of v, then those of the mean. */
export const momentNumbers = ({ decay, inside, scale, outside }: MomentNumbers): readonly number[] => [
  decay,
  1 - decay,
  inside,
  scale,
  outside,
];
export const meanNumbers = ({ decay, scale }: MeanNumbers): readonly number[] => [decay, 1 - decay, scale];

function codeOf(withMean: boolean): DirectionCode {
  const state: DirectionCode['state'] = ({ x, root, slots, numbers, offset, stores }) => {
    const [v, m] = slots as [number, number];
    const [decay, rest] = numbers as [number, number];
    const [meanDecay, meanRest] = numbers.slice(5) as [number, number];
    /** A local becomes share·old + added, rounded to float32, which an array takes. */
    const moved = (local: number, pointer: number, share: number, added: Code): number[] => [
      ...set(
        local,
        op(
          wide.demote,
          op(wide.add, op(wide.mul, get(share), op(wide.promote, loadTwo(pointer, offset))), added),
        ),
      ),
      ...(stores ? storeTwo(pointer, get(local), offset) : []),
      ...set(local, op(wide.promote, get(local))),
    ];
    return [
      ...moved(root, v, decay, op(wide.mul, op(wide.mul, get(rest), get(x)), get(x))),
      ...(withMean ? moved(x, m, meanDecay, op(wide.mul, get(meanRest), get(x))) : []),
    ];
  };
  return {
    name: withMean ? 'moments' : 'second moment',
    slots: withMean ? 2 : 1,
    numbers: withMean ? 8 : 5,
    state,
    direction(place) {
      const { x, root, numbers } = place;
      const [inside, scale, outside] = numbers.slice(2) as [number, number, number];
      const meanScale = numbers[7]!;
      return [
        ...state(place),
        ...set(
          root,
          op(
            wide.add,
            op(wide.mul, op(wide.sqrt, op(wide.add, get(root), get(inside))), get(scale)),
            get(outside),
          ),
        ),
        ...op(wide.demote, quotientOrZero(withMean ? op(wide.mul, get(x), get(meanScale)) : get(x), x, root)),
      ];
    },
    estimate: {
      numbers: withMean ? 3 : 2,
      divides: true,
      terms([decay, rest, inside, scale, outside, meanDecay = 0, meanRest = 1, meanScale = 1]) {
        // 1 − decay is taken out of the mean, where the ratio is often a whole number; v could overflow.
        return {
          share: (meanScale * meanRest) / scale!,
          inside: inside!,
          outside: outside! / scale!,
          numbers: [decay!, rest!, ...(withMean ? [meanDecay / meanRest] : [])],
        };
      },
      operands({ x, root, slots, numbers }) {
        const [v, m] = slots as [number, number];
        const [decay, rest, ratio] = numbers as [number, number, number];
        const square = op(vec.mul, op(vec.mul, get(rest), get(x)), get(x));
        return [
          ...set(root, op(vec.add, op(vec.mul, get(decay), load(v)), square)),
          ...(withMean ? set(x, op(vec.add, op(vec.mul, get(ratio), load(m)), get(x))) : []),
        ];
      },
    },
  };
}
/** Of Adam's direction, which has slots v and m, and of RMSProp's, which has v alone. */
export const [WITH_MEAN, WITHOUT_MEAN] = [codeOf(true), codeOf(false)] as const;

function make(): NonNullable<typeof made> {
  const memory = blockMemory(3);
  const functions = [kernel('plain', WITHOUT_MEAN), kernel('withMean', WITH_MEAN)];
  return { ...assemble<Kernels>(functions, memory.memory), ...memory };
}

function kernel(name: string, code: DirectionCode): WasmFunction {
  const [g, end, v, m] = [0, 1, 2, 8] as const;
  const withMean = code.slots === 2;
  const given = [3, 4, 5, 6, 7, ...(withMean ? [9, 10, 11] : [])];
  const slots = withMean ? [v, m] : [v];
  const parameters = [I32, I32, I32, ...new Array<number>(5).fill(F64)];
  if (withMean) parameters.push(I32, F64, F64, F64);
  const numbers = given.map((_, k) => parameters.length + k);
  const free = parameters.length + numbers.length;
  /** Two entries at an offset; `x` and `root` are locals of their own, so that two pairs overlap in the processor. */
  const pair = (offset: number, x: number, root: number): Code => [
    ...set(x, op(wide.promote, loadTwo(g, offset))),
    ...storeTwo(g, code.direction({ x, root, slots, numbers, offset, stores: true }), offset),
  ];
  return {
    name,
    parameters,
    results: [],
    locals: new Array<number>(numbers.length + 4).fill(V128),
    body: [
      ...given.flatMap((number, k) => set(numbers[k]!, op(wide.splat, get(number)))),
      ...overFours([g, ...slots], end, [...pair(0, free, free + 1), ...pair(8, free + 2, free + 3)]),
    ],
  };
}
