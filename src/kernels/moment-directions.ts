/**
 * The directions of Adam and RMSProp in WebAssembly SIMD: the arithmetic of the plain loops, float64 between float32
 * arrays, two entries at once. Every result is the same bit for bit.
 */
import { BLOCK_BYTES, type BlockMemory, blockMemory, inBlocks } from './in-blocks.ts';
import {
  assemble,
  type Code,
  F64,
  get,
  I32,
  loadTwo,
  op,
  overFours,
  quotientOrZero,
  set,
  storeTwo,
  V128,
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
  { decay, inside, scale, outside }: MomentNumbers,
  mean?: MeanNumbers & { readonly m: Float32Array },
): void {
  made ??= make();
  const kernels = made;
  const numbers = [decay, 1 - decay, inside, scale, outside];
  const arrays = [
    { read: g, written: out },
    { read: v, written: v },
  ];
  if (mean === undefined)
    inBlocks(kernels, g.length, arrays, (bytes) => kernels.plain(0, bytes, BLOCK_BYTES, ...numbers));
  else {
    numbers.push(2 * BLOCK_BYTES, mean.decay, 1 - mean.decay, mean.scale);
    arrays.push({ read: mean.m, written: mean.m });
    inBlocks(kernels, g.length, arrays, (bytes) => kernels.withMean(0, bytes, BLOCK_BYTES, ...numbers));
  }
}

function make(): NonNullable<typeof made> {
  const memory = blockMemory(3);
  const functions = [kernel('plain', false), kernel('withMean', true)];
  return { ...assemble<Kernels>(functions, memory.memory), ...memory };
}

function kernel(name: string, withMean: boolean): WasmFunction {
  const [g, end, v] = [0, 1, 2] as const;
  const ofV = [3, 4, 5, 6, 7];
  const m = 8;
  const ofM = withMean ? [9, 10, 11] : [];
  const numbers = [...ofV, ...ofM];
  const parameters = [
    I32,
    I32,
    I32,
    ...ofV.map(() => F64),
    ...(withMean ? [I32, ...ofM.map(() => F64)] : []),
  ];
  /** Each number in both halves of a vector. */
  const splats = numbers.map((_, k) => parameters.length + k);
  const [decay, rest, inside, scale, outside, meanDecay, meanRest, meanScale] = splats as [
    ...[number, number, number, number, number],
    ...[number, number, number],
  ];
  const free = parameters.length + splats.length;
  /** decay·old + new, rounded to float32, in place. */
  const moved = (pointer: number, offset: number, share: number, added: Code): Code =>
    storeTwo(
      pointer,
      op(
        wide.demote,
        op(wide.add, op(wide.mul, get(share), op(wide.promote, loadTwo(pointer, offset))), added),
      ),
      offset,
    );
  /** Two entries at an offset; `x` and `root` are locals of their own, so that two pairs overlap in the processor. */
  const pair = (offset: number, x: number, root: number): Code => [
    ...set(x, op(wide.promote, loadTwo(g, offset))),
    ...moved(v, offset, decay, op(wide.mul, op(wide.mul, get(rest), get(x)), get(x))),
    ...set(
      root,
      op(
        wide.add,
        op(
          wide.mul,
          op(wide.sqrt, op(wide.add, op(wide.promote, loadTwo(v, offset)), get(inside))),
          get(scale),
        ),
        get(outside),
      ),
    ),
    ...(withMean
      ? [
          ...moved(m, offset, meanDecay, op(wide.mul, get(meanRest), get(x))),
          ...set(x, op(wide.promote, loadTwo(m, offset))),
        ]
      : []),
    ...storeTwo(
      g,
      op(wide.demote, quotientOrZero(withMean ? op(wide.mul, get(x), get(meanScale)) : get(x), x, root)),
      offset,
    ),
  ];
  return {
    name,
    parameters,
    results: [],
    locals: new Array<number>(splats.length + 4).fill(V128),
    body: [
      ...numbers.flatMap((number, k) => set(splats[k]!, op(wide.splat, get(number)))),
      ...overFours(withMean ? [g, v, m] : [g, v], end, [
        ...pair(0, free, free + 1),
        ...pair(8, free + 2, free + 3),
      ]),
    ],
  };
}
