/** The golden numbers of the published tests of tensorflow/recommenders' ClippyAdagrad. */
import { describe, expect, it } from 'vitest';
import { chooseOptimizer } from '../../src/optimizers/registry.ts';
import { createStepper } from '../../src/replay/step.ts';
import { freshTensor } from '../../src/replay/tensors.ts';
import { clippyFactor } from '../../src/rules/clippy.ts';
import { parseRule } from '../../src/rules/parse.ts';

const factorOf = (update: number[], w: number[], relative: number, absolute: number) =>
  clippyFactor(new Float64Array(w), new Float64Array(update), {
    variableRelativeThreshold: relative,
    absoluteThreshold: absolute,
    accumulatorRelativeThreshold: 0,
  });

describe('shrink', () => {
  it.each([
    [[2], [4], 0.1, 0.02, 0.21, [0.42]],
    [[-2], [0], 0.1, 0, 0, [-0]],
    [[0], [0], 0.1, 0, 1, [0]],
    [[1, 1], [1, 0.1], 0.1, 0.01, 0.02, [0.02, 0.02]],
  ])('Δ = %j, w = %j, λ_rel %d, λ_abs %d: σ = %d', (update, w, relative, absolute, sigma, shrunk) => {
    const { factor } = factorOf(update, w, relative, absolute);
    expect(factor).toBeCloseTo(sigma, 12);
    update.forEach((x, i) => {
      expect(factor * x).toBeCloseTo(shrunk[i]!, 12);
    });
  });

  it('names the entry that sets σ', () => {
    expect(factorOf([1, 1], [1, 0.1], 0.1, 0.01).index).toBe(1);
  });
  it('non-finite updates: ±Infinity gives 0, NaN gives NaN', () => {
    expect(factorOf([1, Number.POSITIVE_INFINITY], [1, 1], 0.1, 0.01).factor).toBe(0);
    expect(factorOf([Number.NaN, 100], [1, 1], 0.1, 0.01).factor).toBeNaN();
  });
});

describe('one step', () => {
  const step = (text: string, w: number[], g: number[], G0: number, learningRate: number) => {
    const adagrad = chooseOptimizer('adagrad', { initialAccumulatorValue: G0, epsilon: 0 });
    const meta = { name: 'w', shape: [w.length], layout: 'none', embedding: false } as const;
    const tensor = freshTensor(meta, new Float64Array(w), adagrad, 'float64');
    const stepper = createStepper({ rule: parseRule(text)[0]!, optimizers: [adagrad], precision: 'float64' });
    const record = stepper.step([tensor], [{ values: new Float64Array(g) }], [learningRate]);
    return { w: [...tensor.w], G: [...tensor.slots.accumulator!], sigma: record.minFactor };
  };
  const golden =
    'clippy:tfrs,variableRelativeThreshold=0.4,absoluteThreshold=0.1,accumulatorRelativeThreshold=0.01,epsilon=0';

  it('η 0.2, √G₀ 0.1, λ_rel 0.4, τ 0.01, λ_abs 0.1, ε 0: w [1,2], g [10,10] → w [0.4,1.4], σ 0.03', () => {
    const { w, G, sigma } = step(golden, [1, 2], [10, 10], 0.01, 0.2);
    expect(sigma).toBeCloseTo(0.03, 12);
    expect(w[0]).toBeCloseTo(0.4, 12);
    expect(w[1]).toBeCloseTo(1.4, 12);
    expect(G).toEqual([100.01, 100.01]);
  });
  it('with the clipped accumulator G = G₀ + (σ·10)²', () => {
    const { G } = step(`${golden},accumulator=clipped`, [1, 2], [10, 10], 0.01, 0.2);
    expect(G[0]).toBeCloseTo(0.01 + 0.09, 12);
  });
  it('g = (100, 1), w = 0, G₀ = 0.1, η = 1e-2: σ = 1 standard, 3.2e-3 delayed', () => {
    expect(step('clippy', [0, 0], [100, 1], 0.1, 1e-2).sigma).toBe(1);
    expect(step('clippy:accumulator=delayed', [0, 0], [100, 1], 0.1, 1e-2).sigma).toBeCloseTo(3.162e-3, 6);
  });
  it('a zero bias under the preset tfrs is all but frozen: σ ≈ 2e-6 at η = 0.05', () => {
    const { sigma } = step('clippy:tfrs', [0], [100], 1e4, 0.05);
    expect(sigma).toBeCloseTo(2e-6, 9);
  });
});
