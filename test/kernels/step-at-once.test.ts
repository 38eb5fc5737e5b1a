/**
 * A step in one pass gives the bits of the plain loops one after the other, for every optimizer that has a kernel; a step that is
 * measured and not written gives its sums to seven digits, and the same where they are not finite.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeChange } from '../../src/experiment/replay/make-change.ts';
import type { Change } from '../../src/step/kernels/change.ts';
import {
  type DrySums,
  dryAtOnce,
  exactlyDryAtOnce,
  finishAtOnce,
  type StepNumbers,
  stepAtOnce,
  sumsAtOnce,
  unclippedAtOnce,
} from '../../src/step/kernels/step-at-once.ts';
import type { Slots } from '../../src/step/optimizers/optimizer.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { sumOfSquares } from '../../src/step/tensor/values.ts';
import { PART } from '../../src/step/threads/in-parts.ts';

const textOf = (values: ArrayLike<number>): string[] =>
  Array.from(values, (value) => (Object.is(value, -0) ? '-0' : String(value)));

interface Arrays {
  readonly g: Float32Array;
  readonly w: Float32Array;
  readonly beside: Float32Array;
  readonly slots: Readonly<Record<string, Float32Array>>;
}

/** Four sums of each part, of every fourth entry, and what they are together: that of the parts in their order. */
function fourSums() {
  const parts: number[][] = [];
  return {
    add: (i: number, value: number) => {
      parts[Math.floor(i / PART)] ??= [0, 0, 0, 0];
      const sums = parts[Math.floor(i / PART)]!;
      sums[i % 4] = sums[i % 4]! + value;
    },
    all: () => parts.reduce((all, [a, b, c, d]) => all + (a! + b! + (c! + d!)), 0),
  };
}

/** The loops that a step takes without the kernel: each of them writes float32. */
function plainStep(
  { optimizer, options }: ReturnType<typeof chooseOptimizer>,
  { g, w, beside, slots }: Arrays,
  { factor, rate, shrink }: StepNumbers,
  context: { readonly learningRate: number; readonly step: number },
) {
  const x = g.map((value) => factor * value);
  const r = new Float32Array(g.length);
  optimizer.direction(x, r, slots, options, context);
  const [squares, stored, product, parameters] = [fourSums(), fourSums(), fourSums(), fourSums()] as const;
  const bare = fourSums();
  const largest = r.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const movement = r.map((value) => rate * value);
  const update = movement.slice();
  for (let i = 0; i < w.length; i++) {
    const old = w[i]!;
    bare.add(i, update[i]! * update[i]!);
    const moved = shrink === 0 ? movement[i]! : movement[i]! + shrink * old;
    movement[i] = moved;
    squares.add(i, moved * moved);
    w[i] = old - moved;
    stored.add(i, movement[i]! * movement[i]!);
    product.add(i, movement[i]! * beside[i]!);
    parameters.add(i, old * old);
  }
  return {
    squares: squares.all(),
    stored: stored.all(),
    product: product.all(),
    parameters: parameters.all(),
    bare: bare.all(),
    largest,
    movement,
    update,
  };
}

const CASES = Object.keys(OPTIMIZERS).flatMap((name) => {
  const variants =
    name === 'sgd'
      ? [{}, { momentum: 0.9 }, { momentum: 0.9, nesterov: true, dampening: 0.1 }]
      : name === 'adagrad'
        ? [{}, { epsilonInside: false, learningRateDecay: 0.1 }, { accumulator: 'delayed', epsilon: 0 }]
        : name === 'rmsprop'
          ? [
              ...[{}, { epsilonInside: true }, { centered: true, epsilon: 1e-3 }, { momentum: 0.9 }],
              { momentum: 0.9, centered: true, epsilonInside: true, learningRateInside: true, epsilon: 1e-3 },
            ]
          : [{}, { epsilonHat: true }, { amsgrad: true }];
  return [...variants, ...(name === 'sgd' ? [{ momentum: 0.9, learningRateInside: true }] : [])].map(
    (options) => ({ title: `${name} ${JSON.stringify(options)}`, choice: chooseOptimizer(name, options) }),
  );
});

/**
 * Sums of an estimate: each Δ is off by 5e-7 of its terms at most, and what is not finite is the same.
 *
 * @param terms ΣΔ² of the same step with all terms positive, and Σ of the squares beside
 */
function expectNear(
  found: DrySums,
  exact: DrySums,
  terms: { readonly squares: number; readonly beside: number },
): void {
  const near = (mine: number, theirs: number, scale: number): boolean =>
    Object.is(mine, theirs) ||
    ([mine, theirs].every(Number.isFinite) && !(Math.abs(mine - theirs) > 1e-6 * scale));
  for (const name of ['squares', 'stored'] as const)
    expect(near(found[name], exact[name], terms.squares), `${found[name]} for ${exact[name]}`).toBe(true);
  expect(
    near(found.product, exact.product, Math.sqrt(terms.squares * terms.beside)),
    `${found.product} for ${exact.product}`,
  ).toBe(true);
}

/** One of each kind, and units that follow in turns, in stretches and across blocks. */
const changesOf = (length: number): Change[] => {
  const units = [
    { count: 3, stride: 1 },
    { count: 4100, stride: 1 },
    { count: 5, stride: 2 },
    { count: 3, stride: 5000 },
  ];
  return [
    { factor: 0.25 },
    { factor: 1 },
    { factor: 1 / 3 },
    { bound: 0.01 },
    ...units.map((one) => ({
      units: one,
      factors: Float64Array.from({ length: Math.min(one.count, length) }, (_, u) => 1 / (1 + (u % 7))),
    })),
  ];
};

/** Returns how many changes were measured in the pass. */
function expectSame(
  choice: ReturnType<typeof chooseOptimizer>,
  { g, w, beside, slots }: Arrays,
  numbers: StepNumbers,
): number {
  const context = { learningRate: 0.3, step: 3 };
  const copyOf = () => ({
    g: g.slice(),
    w: w.slice(),
    beside: beside.slice(),
    slots: Object.fromEntries(Object.entries(slots).map(([name, slot]) => [name, slot.slice()])),
  });
  const [twin, mine] = [copyOf(), copyOf()];
  const plain = plainStep(choice, twin, numbers, context);
  const kernelOf = (own: Slots) => choice.optimizer.kernel!(own, choice.options, context)!;
  const kernel = kernelOf(mine.slots);
  const dry = exactlyDryAtOnce(kernel, mine, numbers);
  // Keras' SGD keeps the step down the gradient: its state is of the other sign.
  const sign = choice.optimizer === OPTIMIZERS.sgd && choice.options.learningRateInside === true ? -1 : 1;
  const positive = () => {
    const own = copyOf();
    const ofState = Object.entries(own.slots).map(([name, slot]) => [
      name,
      slot.map((m) => sign * Math.abs(m)),
    ]);
    return { ...own, g: g.map(Math.abs), w: w.map(Math.abs), slots: Object.fromEntries(ofState) };
  };
  expectNear(dryAtOnce(kernel, mine, numbers), dry, {
    squares: plainStep(choice, positive(), numbers, context).squares,
    beside: sumOfSquares(beside),
  });
  expect(textOf([dry.squares, dry.stored, dry.product])).toEqual(
    textOf([plain.squares, plain.stored, plain.product]),
  );
  const movement = new Float32Array(g.length);
  const bare = numbers.shrink === 0 ? undefined : new Float32Array(g.length);
  const unclipped = unclippedAtOnce(kernel, { ...mine, movement, bare }, numbers);
  expect(textOf(movement)).toEqual(textOf(plain.movement));
  if (bare !== undefined) expect(textOf(bare)).toEqual(textOf(plain.update));
  for (const name of ['squares', 'stored', 'parameters', 'bare', 'largest'] as const)
    expect(textOf([unclipped[name]]), name).toEqual(textOf([plain[name]]));
  const changes = changesOf(g.length);
  const { changed } = unclippedAtOnce(kernel, { ...mine, movement, bare }, numbers, changes);
  for (const [k, change] of changes.entries()) {
    const x = new Float32Array(g.length);
    makeChange(change, g, x);
    const same = { ...numbers, factor: 1 };
    const exactly = exactlyDryAtOnce(kernel, { ...mine, g: x, beside: movement }, same);
    if (kernel.code.estimate === undefined) {
      const { squares, stored, product } = changed[k]!;
      expect(textOf([squares, stored, product])).toEqual(
        textOf([exactly.squares, exactly.stored, exactly.product]),
      );
      continue;
    }
    // Where an entry is not ordinary nothing is estimated.
    if (changed[k] === undefined) continue;
    expectNear(changed[k], exactly, {
      squares: plainStep(choice, { ...positive(), g: x.map(Math.abs) }, same, context).squares,
      beside: sumOfSquares(movement),
    });
  }
  // Nothing was written until now.
  expect(mine).toEqual(copyOf());
  const finished = copyOf();
  finishAtOnce(kernelOf(finished.slots), { ...finished, movement, bare }, numbers);
  const taken = stepAtOnce(kernel, mine, numbers);
  expect(textOf([taken.squares, taken.parameters])).toEqual(textOf([plain.squares, plain.parameters]));
  for (const own of [mine, finished]) {
    for (const name of ['g', 'w'] as const) expect(textOf(own[name])).toEqual(textOf(twin[name]));
    for (const name of Object.keys(slots))
      expect(textOf(own.slots[name]!)).toEqual(textOf(twin.slots[name]!));
  }
  return changed.filter((one) => one !== undefined).length;
}

const odd = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, -1e-40, 3.4e38, 1];
const entry = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(...odd));
const stepNumbers = fc.record({
  factor: fc.constantFrom(1, 0, 0.1, 1 / 3, 7),
  rate: fc.constantFrom(0.3, 1, 1e-3, 0),
  shrink: fc.constantFrom(0, 1e-4, 0.5),
});

it.each([1, 3, 512, 4097, 10_001, PART, 2 * PART + 1])('sums and the largest of %i entries', (length) => {
  const x = Float32Array.from({ length }, (_, i) => Math.sin(i + 1) * 10 ** ((i % 12) - 6));
  const squares = fourSums();
  x.forEach((value, i) => {
    squares.add(i, value * value);
  });
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(sumsAtOnce(x)).toEqual({ squares: squares.all(), largest });
  x[length - 1] = Number.NEGATIVE_INFINITY;
  expect(sumsAtOnce(x)).toEqual({ squares: Number.POSITIVE_INFINITY, largest: Number.POSITIVE_INFINITY });
  x[length >> 1] = Number.NaN;
  expect(sumsAtOnce(x)).toEqual({ squares: Number.NaN, largest: Number.NaN });
});

it('every optimizer has a kernel in some form', () => {
  const withKernel = CASES.filter(
    ({ choice }) =>
      choice.optimizer.kernel?.(
        Object.fromEntries(
          choice.optimizer.slots(choice.options).map(({ name }) => [name, new Float32Array(1)]),
        ),
        choice.options,
        { learningRate: 0.3, step: 3 },
      ) !== undefined,
  );
  expect(withKernel).toEqual(CASES);
});

const arraysFor = (
  choice: ReturnType<typeof chooseOptimizer>,
  length: number,
  at: (array: number, i: number) => number,
): Arrays => ({
  g: Float32Array.from({ length }, (_, i) => at(0, i)),
  w: Float32Array.from({ length }, (_, i) => at(1, i)),
  beside: Float32Array.from({ length }, (_, i) => at(2, i)),
  slots: Object.fromEntries(
    choice.optimizer
      .slots(choice.options)
      .map(({ name }, k) => [name, Float32Array.from({ length }, (_, i) => Math.abs(at(3 + k, i)))]),
  ),
});
const wave = (array: number, i: number): number => Math.sin(i + array) * 10 ** ((i % 12) - 6);

it.each([PART, PART + 5])('%i entries, part by part', (length) => {
  const choice = chooseOptimizer('adam', {});
  expectSame(choice, arraysFor(choice, length, wave), { factor: 0.7, rate: 0.3, shrink: 1e-3 });
});

describe.each(CASES)('$title', ({ choice }) => {
  it('is the plain loops bit for bit, with NaN, infinities, zeros and subnormal numbers', () => {
    const rows = fc.array(fc.array(entry, { minLength: 6, maxLength: 6 }), { minLength: 1, maxLength: 19 });
    fc.assert(
      fc.property(stepNumbers, rows, (numbers, entries) => {
        expectSame(
          choice,
          arraysFor(choice, entries.length, (array, i) => entries[i]![array]!),
          numbers,
        );
      }),
      { numRuns: 200 },
    );
  });
  it('measures a factor in the pass where there is no gradient', () => {
    const arrays = arraysFor(choice, 100, (array, i) => (array === 1 || array === 2 ? Math.sin(i) : 0));
    const factors = changesOf(100).filter((change) => 'factor' in change);
    // Where nothing is estimated, nothing need be ordinary.
    const measured = choice.options.centered === true ? changesOf(100) : factors;
    expect(expectSame(choice, arrays, { factor: 0.7, rate: 0.3, shrink: 0 })).toBe(measured.length);
  });
  it.each([4095, 4096, 4097, 10_000])('%i entries, block by block', (length) => {
    const arrays = arraysFor(choice, length, wave);
    // All changes are measured in the pass.
    expect(expectSame(choice, arrays, { factor: 0.7, rate: 0.3, shrink: 1e-3 })).toBe(
      changesOf(length).length,
    );
  });
});
