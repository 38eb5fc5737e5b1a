/**
 * The directions of Adam and RMSProp in WebAssembly SIMD: the arithmetic of the plain loops, float64 between float32
 * arrays, two entries at once. Every result is the same bit for bit.
 */
import { type DirectionCode, type DirectionPlace, type EstimatePlace, NARROW } from './direction-code.ts';
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

/** What a direction has besides v and its root. */
interface MomentForm {
  /** Slot m, the moving mean of the gradient: what is divided, or what the variance under the root is taken about. */
  readonly mean?: 'divided' | 'taken off';
  /** Slot v_max: under the root is the largest v so far. */
  readonly largest?: boolean;
  /** Slot momentum: M ← μM + unit·r; the direction is M/unit. */
  readonly momentum?: boolean;
}

/** The numbers of the momentum, behind all others. */
export const momentumNumbers = (mu: number, unit: number): readonly number[] => [mu, unit];

/** Slots in the order v, m, v_max, momentum. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one WebAssembly function is one list of instructions, read from top to bottom
function codeOf(name: string, { mean, largest = false, momentum = false }: MomentForm): DirectionCode {
  const slotsOf = (slots: readonly number[]) => {
    const [v, ...others] = slots as [number, ...number[]];
    const m = mean === undefined ? v : others.shift()!;
    const most = largest ? others.shift()! : v;
    return { v, m, most, speed: momentum ? others.shift()! : v };
  };
  const divides = mean === 'divided';
  const count = divides ? 8 : 5;
  const state: DirectionCode['state'] = ({ x, root, spare, slots, numbers, offset, stores, stored }) => {
    const { v, m, most, speed } = slotsOf(slots);
    const [decay, rest] = numbers as [number, number];
    const [meanDecay, meanRest] = divides ? (numbers.slice(5) as [number, number]) : [decay, rest];
    const kept = (local: number, pointer: number, value: Code): Code =>
      stored.keep(local, value, pointer, offset, stores);
    const moved = (local: number, pointer: number, share: number, added: Code): Code =>
      kept(local, pointer, op(wide.add, op(wide.mul, get(share), stored.read(pointer, offset)), added));
    const ofMean = (local: number): Code => moved(local, m, meanDecay, op(wide.mul, get(meanRest), get(x)));
    const [mu, unit] = numbers.slice(count) as [number, number];
    return [
      ...moved(root, v, decay, op(wide.mul, op(wide.mul, get(rest), get(x)), get(x))),
      ...(divides ? ofMean(x) : []),
      ...(mean === 'taken off'
        ? [...ofMean(spare), ...set(root, op(wide.sub, get(root), op(wide.mul, get(spare), get(spare))))]
        : []),
      // NaN in v stays, and one that is in the largest alone goes.
      ...(largest
        ? [
            ...set(spare, stored.read(most, offset)),
            ...kept(
              root,
              most,
              op(vec.choose, get(spare), get(root), op(wide.notBelow, get(spare), get(root))),
            ),
          ]
        : []),
      // What it moves by takes root and quotient.
      ...(momentum
        ? [
            ...set(
              x,
              op(
                wide.add,
                op(wide.mul, get(mu), stored.read(speed, offset)),
                op(wide.mul, get(unit), quotient({ x, root, numbers })),
              ),
            ),
            ...(stores ? stored.write(speed, get(x), offset) : []),
          ]
        : []),
    ];
  };
  const quotient = ({ x, root, numbers }: Pick<DirectionPlace, 'x' | 'root' | 'numbers'>): number[] => {
    const [inside, scale, outside] = numbers.slice(2) as [number, number, number];
    return [
      ...set(
        root,
        op(
          wide.add,
          op(wide.mul, op(wide.sqrt, op(wide.add, get(root), get(inside))), get(scale)),
          get(outside),
        ),
      ),
      ...quotientOrZero(divides ? op(wide.mul, get(x), get(numbers[7]!)) : get(x), x, root),
    ];
  };
  return {
    name,
    slots: 1 + [mean !== undefined, largest, momentum].filter(Boolean).length,
    numbers: count + (momentum ? 2 : 0),
    state,
    direction: (place) => [
      ...state(place),
      ...place.stored.leave(
        momentum ? op(wide.div, get(place.x), get(place.numbers[count + 1]!)) : quotient(place),
      ),
    ],
    // v less the square of the mean: what is left of both in float32 may be nothing.
    ...(mean === 'taken off' ? {} : { estimate: estimateOf() }),
  };

  function estimateOf(): NonNullable<DirectionCode['estimate']> {
    return {
      numbers: 2 + (divides ? 1 : 0) + (momentum ? 1 : 0),
      divides: true,
      terms(given) {
        const [decay, rest, inside, scale, outside, ...others] = given as [
          number,
          number,
          number,
          number,
          number,
        ];
        const [meanDecay = 0, meanRest = 1, meanScale = 1] = divides ? (others as number[]) : [];
        // 1 − decay is taken out of the mean, where the ratio is often a whole number; v could overflow.
        const share = (meanScale * meanRest) / scale;
        const [mu, unit] = given.slice(count) as [number, number];
        return {
          share,
          inside,
          outside: outside / scale,
          numbers: [
            ...[decay, rest],
            ...(divides ? [meanDecay / meanRest] : []),
            ...(momentum ? [mu / unit / share] : []),
          ],
        };
      },
      operands({ x, root, slots, numbers }) {
        const { v, m, most } = slotsOf(slots);
        const [decay, rest, ratio] = numbers as [number, number, number];
        const square = op(vec.mul, op(vec.mul, get(rest), get(x)), get(x));
        const moment = op(vec.add, op(vec.mul, get(decay), load(v)), square);
        return [
          ...set(root, largest ? op(vec.larger, moment, load(most)) : moment),
          ...(divides ? set(x, op(vec.add, op(vec.mul, get(ratio), load(m)), get(x))) : []),
        ];
      },
      ...(momentum
        ? {
            added: ({ slots, numbers }: EstimatePlace): Code =>
              op(vec.mul, get(numbers.at(-1)!), load(slotsOf(slots).speed)),
          }
        : {}),
    };
  }
}

/** Of Adam, whose mean is divided, and with amsgrad. */
export const WITH_MEAN = codeOf('moments', { mean: 'divided' });
export const WITH_LARGEST = codeOf('moments, largest', { mean: 'divided', largest: true });
/** Of RMSProp, plain and centered, each with momentum and without. */
export const WITHOUT_MEAN = codeOf('second moment', {});
const RMSPROP = {
  plain: { still: WITHOUT_MEAN, moving: codeOf('second moment, momentum', { momentum: true }) },
  centered: {
    still: codeOf('variance', { mean: 'taken off' }),
    moving: codeOf('variance, momentum', { mean: 'taken off', momentum: true }),
  },
} as const;
export const rmspropCode = (centered: boolean, momentum: boolean): DirectionCode =>
  RMSPROP[centered ? 'centered' : 'plain'][momentum ? 'moving' : 'still'];

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
    ...storeTwo(
      g,
      code.direction({ ...{ x, root, spare: root, slots, numbers, offset }, stores: true, stored: NARROW }),
      offset,
    ),
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
