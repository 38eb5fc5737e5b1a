/**
 * A kernel for the sums over a step of which nothing is written: gradient, state and direction are float32, four entries at
 * once, and what is made of the direction is float64. Each entry is off by up to 5e-7 of its terms, to both sides, and sums over
 * many by far less. What would pull all entries to one side is applied in float64 or has two parts, but for ε and β₂, whose
 * rounding pulls by 6e-8 at most (docs/adr/0013-dry-steps-in-float32.md).
 */
import type { Change, ChangeKind } from './change.ts';
import type { EstimateCode } from './direction-code.ts';
import {
  type Code,
  F64,
  float,
  get,
  I32,
  load,
  loadTwo,
  op,
  overFours,
  quotientOrZero,
  set,
  store,
  V128,
  vec,
  type WasmFunction,
  wide,
} from './wasm-assembler.ts';

/** What changes the gradient, and whether the parameters decay. */
export interface EstimateForm {
  readonly change: ChangeKind;
  readonly shrinks: boolean;
}

/** What a kernel takes of a change in addition to the pointer to the factors of units. */
export function changeNumbers(change: Change): readonly [number, number] {
  if ('units' in change) return [1, 0];
  if ('bound' in change) return [change.bound, -change.bound];
  // A factor as the sum of two float32, to 48 bits.
  const high = Math.fround(change.factor);
  return [high, change.factor - high];
}

/** Where in a row of sums four of ΣΔ² and of ΣΔ·Δ₀ are. */
export interface EstimatePlaces {
  readonly squares: number;
  readonly product: number;
}

/**
 * @param count arrays of state
 *
 * Takes pointers to g, its end, w, Δ₀, the row, the slots and, where units change, their factor for each entry; the numbers of the
 * change; the rate times `share`, and shrink; what is inside and outside of the root, and the numbers of the estimate.
 * Δ = rate·r + shrink·w, and over the rate without decay.
 */
export function estimateKernel(
  name: string,
  { change, shrinks }: EstimateForm,
  count: number,
  estimate: EstimateCode,
  places: EstimatePlaces,
): WasmFunction {
  const [g, end, w, beside, row] = [0, 1, 2, 3, 4] as const;
  const pointers = Array.from({ length: count + (change === 'units' ? 1 : 0) }, (_, k) => 5 + k);
  const slots = pointers.slice(0, count);
  const given = Array.from({ length: 6 + estimate.numbers }, (_, k) => 5 + pointers.length + k);
  const parameters = [I32, I32, I32, I32, I32, ...pointers.map(() => I32), ...given.map(() => F64)];
  const splats = given.map((_, k) => parameters.length + k);
  const [first, second, rate, shrink, inside, outside, ...numbers] = splats as [
    ...[number, number, number, number, number, number],
    ...number[],
  ];
  const free = parameters.length + splats.length;
  const [x, root, moved] = [free, free + 1, free + 2] as const;
  const halves = [0, 1].map((k) => ({ offset: 8 * k, squares: free + 3 + 2 * k, product: free + 4 + 2 * k }));
  const eachSum = (make: (local: number, place: number) => Code): number[] =>
    halves.flatMap(({ squares, product }, k) => [
      ...make(squares, places.squares + 16 * k),
      ...make(product, places.product + 16 * k),
    ]);
  const changed = {
    none: [],
    factor: set(x, op(vec.add, op(vec.mul, get(first), get(x)), op(vec.mul, get(second), get(x)))),
    units: set(x, op(vec.mul, load(pointers.at(-1)!), get(x))),
    // The comparisons of both leave NaN.
    bound: set(x, op(vec.larger, op(vec.smaller, get(x), get(first)), get(second))),
  }[change];
  const sum = ({ offset, squares, product }: (typeof halves)[number]): Code => {
    const r = op(wide.promote, offset === 0 ? get(x) : op(vec.shuffle(2, 3, 2, 3), get(x), get(x)));
    const old = op(wide.promote, loadTwo(w, offset));
    const add = (local: number, other: Code): number[] =>
      set(local, op(wide.add, get(local), op(wide.mul, get(moved), other)));
    return [
      ...set(moved, shrinks ? op(wide.add, op(wide.mul, get(rate), r), op(wide.mul, get(shrink), old)) : r),
      ...add(squares, get(moved)),
      ...add(product, op(wide.promote, loadTwo(beside, offset))),
    ];
  };
  return {
    name,
    parameters,
    results: [],
    locals: new Array<number>(splats.length + 3 + 2 * halves.length).fill(V128),
    body: [
      ...given.flatMap((number, k) =>
        set(
          splats[k]!,
          [rate, shrink].includes(splats[k]!)
            ? op(wide.splat, get(number))
            : op(vec.splat, op(float.demote, get(number))),
        ),
      ),
      ...eachSum((local, place) => set(local, load(row, place))),
      ...overFours([g, w, beside, ...pointers], end, [
        ...set(x, load(g)),
        ...changed,
        ...estimate.operands({ x, root, slots, numbers }),
        ...(estimate.divides
          ? [
              ...set(root, op(vec.add, op(vec.sqrt, op(vec.add, get(root), get(inside))), get(outside))),
              ...set(x, quotientOrZero(get(x), x, root, vec)),
            ]
          : []),
        ...(estimate.added === undefined
          ? []
          : set(x, op(vec.add, get(x), estimate.added({ x, root, slots, numbers })))),
        ...halves.flatMap(sum),
      ]),
      ...eachSum((local, place) => store(row, get(local), place)),
    ],
  };
}
