/** A step in one pass, or taken over from the step without a rule, is the step in stages. */
import { describe, expect, it } from 'vitest';
import type { Unclipped } from '../../src/experiment/replay/bench.ts';
import { createStepper, type StepRecord } from '../../src/experiment/replay/step.ts';
import {
  copyTensors,
  freshTensor,
  type Gradient,
  type TensorState,
  withSums,
} from '../../src/experiment/replay/tensors.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { NO_CLIPPING, type RuleChoice } from '../../src/step/rules/choice.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import type { Values } from '../../src/step/tensor/values.ts';

/** Long enough for a kernel, and no whole number of fours. */
const METAS = [
  { name: 'kernel', shape: [67, 21], layout: 'IO', embedding: false },
  { name: 'table', shape: [50, 33], layout: 'none', embedding: true },
  { name: 'bias', shape: [21], layout: 'none', embedding: false },
] as const;
const sizes = METAS.map(({ shape }) => shape.reduce<number>((n, size) => n * size, 1));
const wave = (length: number, seed: number, size: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => size * Math.sin(12.9898 * (i + 1) + 78.233 * seed));

const OPTIONS = [
  {},
  { weightDecay: 0.01 },
  ...[
    { accumulator: 'delayed' },
    { accumulator: 'delayed', weightDecay: 0.01 },
    { momentum: 0.9 },
    { momentum: 0.9, nesterov: true },
    { amsgrad: true, weightDecay: 0.01 },
    { centered: true, epsilon: 1e-3 },
    { momentum: 0.9, centered: true, epsilon: 1e-3 },
  ],
] as const;
const optimizers = Object.keys(OPTIMIZERS).flatMap((name) =>
  OPTIONS.flatMap((options) => {
    try {
      return [{ name: `${name} ${JSON.stringify(options)}`, choice: chooseOptimizer(name, options) }];
    } catch {
      return [];
    }
  }),
);
const rules = [
  ...Object.keys(RULES),
  'clippy:tfrs',
  'value:0.05',
  'agc:1000',
  'spam:resetEvery=1,rampSteps=0',
  'global-norm:0.1+clippy',
].map((text) => parseRule(text)[0]!);

type Optimizer = (typeof optimizers)[number]['choice'];
const freshTensors = (choice: Optimizer) =>
  METAS.map((meta, t) => freshTensor(meta, wave(sizes[t]!, t, 0.5), choice, 'float32'));
/** Dense ones, and rows of the table. */
function gradientsOf(step: number, size: number): Gradient[] {
  const rows = Int32Array.from({ length: 45 }, (_, k) => k + (k > 20 ? 3 : 0));
  return sizes.map((length, t) =>
    withSums(
      METAS[t]!.embedding
        ? { values: wave(45 * 33, 10 * step + t, size), rows }
        : { values: wave(length, 10 * step + t, size) },
    ),
  );
}
/** Of the parameters and the state. */
const bytesOf = (tensors: readonly TensorState[]): Buffer =>
  Buffer.concat(
    tensors.flatMap(({ w, slots }) => [w, ...Object.values(slots)].map((x) => Buffer.from(x.buffer))),
  );
function stepperOf(rule: RuleChoice, choice: Optimizer) {
  try {
    return createStepper({ rule, optimizers: [choice], precision: 'float32' });
  } catch {
    return null;
  }
}
const near = (a: number, b: number): boolean =>
  Object.is(a, b) || Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b));
function expectNear(mine: StepRecord, staged: StepRecord): void {
  expect([mine.finite, mine.engaged]).toEqual([staged.finite, staged.engaged]);
  for (const name of ['updateNorm', 'minFactor'] as const) expect(mine[name]).toBeCloseTo(staged[name], 12);
  for (const [t, square] of mine.movements.entries()) expect(near(square, staged.movements[t]!)).toBe(true);
  expect(mine.factors).toEqual(staged.factors);
  expect({ ...mine.bottleneck, factor: 0 }).toEqual({ ...staged.bottleneck, factor: 0 });
}

describe.each(optimizers)('$name', ({ choice }) => {
  const pairs = rules.flatMap((rule) => {
    const steppers = [0, 1, 2].map(() => stepperOf(rule, choice));
    return steppers.includes(null) ? [] : [{ rule, steppers: steppers.map((one) => one!) }];
  });
  it.each([1e-3, 0.5])('is the same for gradients of size %d, to the bits of what moves', (size) => {
    expect(pairs.length).toBeGreaterThan(8);
    for (const { rule } of pairs) {
      const mine = stepperOf(rule, choice)!;
      // Without a kernel each stage goes over the whole tensor.
      const inStages = stepperOf(rule, {
        ...choice,
        optimizer: { ...choice.optimizer, kernel: () => undefined },
      })!;
      const [tensors, twin] = [freshTensors(mine.optimizers[0]!), freshTensors(mine.optimizers[0]!)];
      for (let step = 1; step <= 3; step++) {
        const gradients = gradientsOf(step, size);
        const [shown, shownInStages]: Float32Array[][] = [[], []];
        const into = (all: Float32Array[]) => ({
          viewerOf: (t: number) =>
            t === step - 1 ? undefined : (x: Values) => all.push(Float32Array.from(x)),
        });
        const record = mine.step(tensors, gradients, [0.05], false, into(shown!), 1);
        const staged = inStages.step(twin, gradients, [0.05], false, into(shownInStages!), 1);
        expectNear(record, staged);
        expect(bytesOf(tensors).equals(bytesOf(twin)), rule.label).toBe(true);
        expect(shown).toHaveLength(sizes.length - 1);
        expect(shown, rule.label).toEqual(shownInStages);
      }
    }
  });

  it.each([1e-3, 0.5])('takes over the step that was kept, at gradients of size %d', (size) => {
    for (const { rule, steppers } of pairs) {
      const [mine, alone] = steppers as [(typeof steppers)[number], (typeof steppers)[number]];
      const [tensors, twin] = [freshTensors(mine.optimizers[0]!), freshTensors(mine.optimizers[0]!)];
      const without = createStepper({ rule: NO_CLIPPING, optimizers: [choice], precision: 'float32' });
      for (let step = 1; step <= 3; step++) {
        const gradients = gradientsOf(step, size);
        const open = mine.begin(tensors, gradients, [0.05], false, undefined, 1);
        // Each tensor moves once it was looked at, before the next.
        without.step(tensors, gradients, [0.05], true, { unclipped: open.tensor });
        const record = open.end();
        const plain = alone.step(twin, gradients, [0.05], false, undefined, 1);
        expect(record.movements, rule.label).toEqual(plain.movements);
        expectNear(record, plain);
        expect(bytesOf(tensors).equals(bytesOf(twin)), rule.label).toBe(true);
      }
    }
  });

  it.each([
    [1e-3, 'alone'],
    [0.5, 'alone'],
    [0.5, 'in the same pass'],
  ])('a dry step beside the one without a rule, at gradients of size %d, %s', (size, how) => {
    let changed = 0;
    for (const { rule, steppers } of pairs) {
      const [mine, inStages] = steppers as [(typeof steppers)[number], (typeof steppers)[number]];
      const tensors = freshTensors(choice);
      const without = createStepper({ rule: NO_CLIPPING, optimizers: [choice], precision: 'float32' });
      // A state that is not the one that it starts with.
      without.step(tensors, gradientsOf(7, size), [0.05]);
      const before = copyTensors(tensors);
      const gradients = gradientsOf(1, size);
      const [own, plain]: Float32Array[][] = [[], []];
      const staged = inStages.step(
        tensors,
        gradients,
        [0.05],
        true,
        { viewerOf: () => (x) => own!.push(Float32Array.from(x)) },
        1,
      );
      const open = mine.begin(tensors, gradients, [0.05], true, undefined, 1);
      const largest: number[] = [];
      without.step(tensors, gradients, [0.05], true, {
        ...(how === 'alone' ? {} : { changes: (t: number) => [open.ahead(t) ?? []].flat() }),
        unclipped: (t: number, what: Unclipped) => {
          changed += what.changed.size;
          plain!.push(Float32Array.from(what.movement));
          largest.push(what.sums.largest);
          open.tensor(t, what);
        },
      });
      const record = open.end();
      const label = `${rule.label}`;
      expect(record.minFactor, label).toBeCloseTo(staged.minFactor, 12);
      expect(near(record.updateNorm, staged.updateNorm), label).toBe(true);
      const sums = { stored: 0, product: 0, unclipped: 0 };
      own!.forEach((moved, t) => {
        moved.forEach((a, i) => {
          const b = plain![t]![i]!;
          sums.stored += a * a;
          sums.product += a * b;
          sums.unclipped += b * b;
        });
      });
      for (const name of ['stored', 'product', 'unclipped'] as const)
        expect(near(record.beside[name], sums[name]), `${label} ${name}`).toBe(true);
      expect(record.bottleneck.tensor, label).toBe(staged.bottleneck.tensor);
      expect(largest.every((one) => one > 0)).toBe(true);
      expect(bytesOf(tensors).equals(bytesOf(before)), label).toBe(true);
    }
    if (how === 'alone') expect(changed).toBe(0);
    else expect(changed).toBeGreaterThan(1);
  });
});

it('a rule that leaves a tensor as it is takes over what the step without one does, to the bit', () => {
  const choice = chooseOptimizer('adagrad', {});
  const [rule] = parseRule('clippy:absoluteThreshold=1');
  const stepper = createStepper({ rule: rule!, optimizers: [choice], precision: 'float32' });
  const tensors = freshTensors(choice);
  const gradients = gradientsOf(1, 0.5);
  const open = stepper.begin(tensors, gradients, [0.05], true);
  const without = createStepper({ rule: NO_CLIPPING, optimizers: [choice], precision: 'float32' });
  const plain = without.step(tensors, gradients, [0.05], true, { unclipped: open.tensor });
  const record = open.end();
  expect(record.engaged).toBe(false);
  expect([...record.movements]).toEqual([...plain.movements]);
  expect(record.beside.stored).toBe(record.beside.unclipped);
  expect(record.beside.product).toBe(record.beside.unclipped);
});
