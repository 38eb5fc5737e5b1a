/**
 * What curvature asks of an optimizer against the step itself: the preconditioner is what the step divides by, and the
 * limit is where the spectral radius of the step on a quadratic passes 1.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor, type TensorState } from '../../src/experiment/replay/tensors.ts';
import { preconditioner } from '../../src/step/optimizers/preconditioner.ts';
import { chooseOptimizer, type OptimizerChoice } from '../../src/step/optimizers/registry.ts';
import { NO_CLIPPING } from '../../src/step/rules/choice.ts';
import { anyOptions, optimizers } from './step-options.ts';

const numRuns = Number(process.env.CLIPPY_DIAG_FUZZ ?? 100);
const positive = (max: number) => fc.double({ min: 1e-6, max, noNaN: true });
const RATE = 0.1;

/** One entry at a state, before its step number `step`. */
function tensorAt(choice: OptimizerChoice, state: Readonly<Record<string, number>>, step: number) {
  const meta = { name: 'w', shape: [1], layout: 'none', embedding: false } as const;
  const tensor = freshTensor(meta, Float64Array.of(state.w ?? 0), choice, 'float64');
  for (const [slot, values] of Object.entries(tensor.slots)) values[0] = state[slot] ?? values[0]!;
  tensor.stepsTaken = step - 1;
  return tensor;
}

function stepOf(choice: OptimizerChoice, tensor: TensorState, g: number, learningRate = RATE): number {
  const rule = NO_CLIPPING;
  createStepper({ rule, optimizers: [choice], precision: 'float64' }).step(
    [tensor],
    [{ values: Float64Array.of(g) }],
    [learningRate],
  );
  return tensor.w[0]!;
}

/** PyTorch's lr_decay makes the learning rate smaller; P does not change. */
const rateAt = ({ options }: OptimizerChoice, step: number): number =>
  RATE / (1 + (step - 1) * Number(options.learningRateDecay ?? 0));

const divided = optimizers.filter((optimizer) => optimizer.preconditioner !== undefined);

describe.each(divided)('P of $id', (optimizer) => {
  it('is −η·g/Δθ of the step without momentum', () => {
    fc.assert(
      fc.property(
        anyOptions(optimizer, { momentum: 0, beta1: 0 }),
        fc.record({ accumulator: positive(1e3), v: positive(1e3), v_max: positive(1e3), m: positive(1e-4) }),
        fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
        fc.boolean(),
        fc.integer({ min: 1, max: 1000 }),
        (options, state, size, negative, step) => {
          const choice = chooseOptimizer(optimizer.id, options);
          const g = negative ? -size : size;
          const tensor = tensorAt(choice, state, step);
          const before = structuredClone(tensor.slots);
          const [p] = preconditioner(choice, Float64Array.of(g), tensor.slots, step);
          assert.deepEqual(tensor.slots, before);
          // ρ = 0 and ε = 0 leave a variance of 0: no step is defined.
          fc.pre(p! > 0);
          // From w = 0: the movement has no rounding of w in it, and LAMB's ratio is 1.
          const moved = stepOf(choice, tensor, g);
          const ratio = p! / ((-rateAt(choice, step) * g) / moved);
          assert(Math.abs(ratio - 1) < 0.5e-9, `P is ${ratio} times what the step divides by`);
        },
      ),
      { numRuns },
    );
  });
});

it('P by hand: roots of sums, of moving means, with ε on either side', () => {
  const none = { epsilon: 0 };
  const of = (id: string, options: object, state: Record<string, number>, g: number, step = 1): number => {
    const choice = chooseOptimizer(id, options as Record<string, number>);
    return preconditioner(choice, Float64Array.of(g), tensorAt(choice, state, step).slots, step)[0]!;
  };
  expect(of('adagrad', none, { accumulator: 7 }, 3)).toBe(4);
  expect(of('adagrad', { ...none, accumulator: 'delayed' }, { accumulator: 16 }, 3)).toBe(4);
  expect(of('adagrad', { epsilon: 9 }, { accumulator: 7 }, 3)).toBe(5);
  expect(of('adagrad', { epsilon: 9, epsilonInside: false }, { accumulator: 7 }, 3)).toBe(13);
  // An entry that has not seen a gradient.
  expect(of('adagrad', none, { accumulator: 0 }, 0)).toBe(0);
  // Adam's first step: v̂ = g² whatever β₂ is.
  expect(of('adam', { ...none, beta2: 0.99 }, { v: 0 }, 4)).toBeCloseTo(4, 12);
  expect(of('adam', { ...none, amsgrad: true }, { v: 0, v_max: 25e-3 }, 4)).toBeCloseTo(5, 12);
  // Keras: ε beside √v, so that the correction 1/√(1 − 0.99) is on it as well: 0.1/0.1 + √16/0.1.
  expect(of('adam', { beta2: 0.99, epsilon: 0.1, epsilonHat: true }, { v: 16 }, 4)).toBeCloseTo(41, 12);
  expect(of('rmsprop', none, { v: 16 }, 4)).toBeCloseTo(4, 12);
  // Variance 0.5·4 + 0.5·16 − (0.5·1 + 0.5·4)².
  expect(of('rmsprop', { ...none, rho: 0.5, centered: true }, { v: 4, m: 1 }, 4)).toBeCloseTo(
    3.75 ** 0.5,
    12,
  );
  expect(() => of('sgd', {}, {}, 1)).toThrow(/no preconditioner/);
});

/**
 * Spectral radius of a step on f(w) = hw²/2, as a map of w and of the slots that remember gradients. It is linear where the
 * second moments are held: at entries so small that their squares vanish beside a second moment of 1.
 */
function spectralRadius(choice: OptimizerChoice, h: number, step: number): number {
  const small = 1e-100;
  const held = { accumulator: 1, v: 1, v_max: 1 };
  const slots = choice.optimizer.slots(choice.options).map(({ name }) => name);
  const names = ['w', ...slots.filter((name) => !Object.hasOwn(held, name))];
  const columns = names.map((name) => {
    const state = Object.fromEntries(names.map((other) => [other, other === name ? small : 0]));
    const tensor = tensorAt(choice, { ...held, ...state }, step);
    stepOf(choice, tensor, h * tensor.w[0]!);
    return names.map((other) => (other === 'w' ? tensor.w[0]! : tensor.slots[other]![0]!) / small);
  });
  const { realEigenvalues, imaginaryEigenvalues } = new EigenvalueDecomposition(
    new Matrix(columns).transpose(),
  );
  return Math.max(...realEigenvalues.map((x, i) => Math.hypot(x, imaginaryEigenvalues[i]!)));
}

/** The curvature at which the spectral radius passes 1: the first on a grid, then halved down. */
function threshold(choice: OptimizerChoice, step: number): number {
  const unstable = (h: number): boolean => spectralRadius(choice, h, step) > 1 + 1e-12;
  let low = 1e-6;
  let high = low;
  while (!unstable(high)) {
    low = high;
    high *= 1.2;
    if (high > 1e9) return Number.POSITIVE_INFINITY;
  }
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (unstable(middle)) high = middle;
    else low = middle;
  }
  return low;
}

describe.each(optimizers.filter((optimizer) => optimizer.stabilityLimit !== undefined))(
  'the limit of $id',
  (optimizer) => {
    it('is where the spectral radius of its step on a quadratic passes 1', () => {
      fc.assert(
        // A moving mean of squares that forgets at once cannot be held.
        fc.property(
          anyOptions(optimizer, { rho: 0.9, beta2: 0.99 }),
          fc.integer({ min: 1, max: 60 }),
          (options, step) => {
            const choice = chooseOptimizer(optimizer.id, options);
            const tensor = tensorAt(choice, { accumulator: 1, v: 1, v_max: 1 }, step);
            const p = optimizer.preconditioner
              ? preconditioner(choice, Float64Array.of(0), tensor.slots, step)[0]!
              : 1;
            const { limit } = optimizer.stabilityLimit!(choice.options, { learningRate: RATE, step });
            expect(threshold(choice, step) / p / limit).toBeCloseTo(1, 5);
          },
        ),
        { numRuns: Math.min(numRuns, 60) },
      );
    });
  },
);

describe('limits by hand', () => {
  const limit = (id: string, options: object, step = 1000, learningRate = 0.01): number => {
    const { optimizer, options: all } = chooseOptimizer(id, options as Record<string, number>);
    return optimizer.stabilityLimit!(all, { learningRate, step }).limit;
  };
  it.each([
    ['gradient descent 2/η', 'sgd', {}, 200],
    ['heavy ball (2+2β)/η', 'sgd', { momentum: 0.9 }, 380],
    ['heavy ball, half of the gradient left out', 'sgd', { momentum: 0.9, dampening: 0.5 }, 760],
    ['Nesterov (2+2β)/((1+2β)η)', 'sgd', { momentum: 0.9, nesterov: true }, 380 / 2.8],
    ['Adagrad 2/η', 'adagrad', {}, 200],
    ['RMSProp 2/η', 'rmsprop', {}, 200],
    ['RMSProp with momentum (2+2β)/η', 'rmsprop', { momentum: 0.9 }, 380],
    ['Adam 38/η at β₁ = 0.9 (arXiv 2207.14484)', 'adam', {}, 3800],
    ['AdamW the same', 'adamw', {}, 3800],
  ])('%s', (_, id, options, expected) => {
    expect(limit(id, options)).toBeCloseTo(expected, 9);
  });
  it('Adam in its first steps: ten times lower at t = 1, one and a half times at t = 10', () => {
    expect(limit('adam', {}, 1)).toBeCloseTo(380, 9);
    expect(limit('adam', {}, 10)).toBeCloseTo(3800 * (1 - 0.9 ** 10), 9);
  });
  it('Adagrad with lr_decay: the rate of the step, not the first one', () => {
    expect(limit('adagrad', { learningRateDecay: 0.01 }, 101)).toBeCloseTo(400, 9);
  });
  it('PyTorch takes the first gradient whole, whatever the dampening', () => {
    expect(limit('sgd', { momentum: 0.9, dampening: 0.5 }, 1)).toBeCloseTo(380, 9);
  });
  it('is a forecast of the largest stable rate for plain SGD alone', () => {
    const forecast = (id: string, options: object = {}) => {
      const { optimizer, options: all } = chooseOptimizer(id, options as Record<string, number>);
      return optimizer.stabilityLimit!(all, { learningRate: 1, step: 2 }).forecast;
    };
    expect(forecast('sgd')).toBe(true);
    expect(forecast('sgd', { momentum: 0.9 })).toBe(false);
    for (const id of ['adam', 'adamw', 'adagrad', 'rmsprop']) expect(forecast(id)).toBe(false);
  });
  it('the rule names the formula that was used', () => {
    const rule = (id: string, options: object) => {
      const { optimizer, options: all } = chooseOptimizer(id, options as Record<string, number>);
      return optimizer.stabilityLimit!(all, { learningRate: 1, step: 2 }).rule;
    };
    expect(rule('sgd', {})).toBe('2/η (gradient descent)');
    expect(rule('sgd', { momentum: 0.5 })).toBe('(2+2β)/η (heavy ball)');
    expect(rule('sgd', { momentum: 0.5, dampening: 0.1 })).toContain('(2+2β)/((1−d)η)');
    expect(rule('sgd', { momentum: 0.5, nesterov: true })).toBe('(2+2β)/((1+2β)η) (Nesterov)');
    expect(rule('sgd', { momentum: 0.5, nesterov: true, dampening: 0.1 })).toContain('(1+2β−βd)');
    expect(rule('rmsprop', { momentum: 0.5 })).toBe('(2+2β)/η on P⁻¹H');
    expect(rule('rmsprop', {})).toBe('2/η on P⁻¹H');
    expect(rule('adagrad', { learningRateDecay: 0.1 })).toContain('decay');
    expect(rule('adagrad', {})).toBe('2/η on P⁻¹H');
  });
  it('LAMB has none: its ratio sets the length of the step, whatever the curvature', () => {
    expect(chooseOptimizer('lamb').optimizer.stabilityLimit).toBeUndefined();
  });
});
