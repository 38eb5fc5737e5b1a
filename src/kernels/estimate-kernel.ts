/**
 * A kernel for the sums over a step of which nothing is written: gradient, state, root and quotient are float32, four entries at
 * once, and what is made of the quotient is float64. Each entry is off by up to 5e-7 of its terms, to both sides, and sums over
 * many by far less. What would pull all entries to one side is applied in float64 or has two parts, but for ε and β₂, whose
 * rounding pulls by 6e-8 at most (docs/adr/0011-dry-steps-in-float32.md).
 */
import type { DirectionCode, QuotientCode } from './direction-code.ts';
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

/** Whether a factor multiplies the gradient, and whether the parameters decay. */
export interface EstimateForm {
  readonly scales: boolean;
  readonly shrinks: boolean;
}

/** Where in a row of sums four of ΣΔ² and of ΣΔ·Δ₀ are. */
export interface EstimatePlaces {
  readonly squares: number;
  readonly product: number;
}

/** A number as the sum of two float32, to 48 bits. */
export const inTwo = (value: number): readonly [high: number, low: number] => {
  const high = Math.fround(value);
  return [high, value - high];
};

/**
 * Takes pointers to g, its end, w, Δ₀, the row and the slots; both parts of the factor; the rate times `share`, and shrink; of the
 * quotient what is inside and outside of its root, and its numbers. Δ = rate·r + shrink·w, and over the rate without decay.
 */
export function estimateKernel(
  name: string,
  { scales, shrinks }: EstimateForm,
  { slots: count }: DirectionCode,
  quotient: QuotientCode,
  places: EstimatePlaces,
): WasmFunction {
  const [g, end, w, beside, row] = [0, 1, 2, 3, 4] as const;
  const slots = Array.from({ length: count }, (_, k) => 5 + k);
  const given = Array.from({ length: 6 + quotient.numbers }, (_, k) => 5 + count + k);
  const parameters = [I32, I32, I32, I32, I32, ...slots.map(() => I32), ...given.map(() => F64)];
  const splats = given.map((_, k) => parameters.length + k);
  const [factor, rest, rate, shrink, inside, outside, ...numbers] = splats as [
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
  const scaled = op(vec.add, op(vec.mul, get(factor), get(x)), op(vec.mul, get(rest), get(x)));
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
      ...overFours([g, w, beside, ...slots], end, [
        ...set(x, load(g)),
        ...(scales ? set(x, scaled) : []),
        ...quotient.operands({ x, root, slots, numbers }),
        ...set(root, op(vec.add, op(vec.sqrt, op(vec.add, get(root), get(inside))), get(outside))),
        ...set(x, quotientOrZero(get(x), x, root, vec)),
        ...halves.flatMap(sum),
      ]),
      ...eachSum((local, place) => store(row, get(local), place)),
    ],
  };
}
