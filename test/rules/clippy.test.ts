/** The golden numbers of the published tests of tensorflow/recommenders' ClippyAdagrad. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { ruleMembers } from '../../src/step/rules/choice.ts';
import { clippyFactor } from '../../src/step/rules/clippy-factor.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import type { SeenTensor, TensorRule } from '../../src/step/rules/rule.ts';

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
  it('is the smallest ratio of all entries, and the first that is NaN', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true }),
      fc.constantFrom(0, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-300, 0.5, 1),
    );
    const threshold = fc.constantFrom(0, 0.01, 0.5, Number.POSITIVE_INFINITY);
    fc.assert(
      fc.property(fc.array(fc.tuple(number, number)), threshold, threshold, (entries, relative, absolute) => {
        let expected = { factor: 1, index: 0 };
        for (const [i, [w, update]] of entries.entries()) {
          if (update === 0) continue;
          const ratio = (relative * Math.abs(w) + absolute) / Math.abs(update);
          if (Number.isNaN(ratio)) {
            expected = { factor: Number.NaN, index: i };
            break;
          }
          if (ratio < expected.factor) expected = { factor: ratio, index: i };
        }
        const [w, update] = [0, 1].map((k) => entries.map((one) => one[k]!)) as [number[], number[]];
        expect(factorOf(update, w, relative, absolute)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
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

describe('what the details say', () => {
  /** Measures updates of tensors whose parameters are `w`; G = 4, so that τ/√G is τ/2. */
  const detailsOf = (given: string, measured: readonly { t: number; w: number[]; update: number[] }[]) => {
    const { rule, options } = parseRule(`clippy:${given}`)[0]!.parts[0]!;
    const details = rule.details!(options as never);
    for (const { t, w, update } of measured) {
      const seen = {
        w: Float64Array.from(w),
        x: Float64Array.from(update),
        accumulator: new Float64Array(w.length).fill(4),
        epsilonInRoot: 0,
      } as unknown as SeenTensor;
      const factors = new Float64Array(1);
      (rule as TensorRule).measure(seen, options as never, factors, { count: 1, stride: w.length });
      details.measured(t, seen, factors[0]!);
    }
    return details.result(['a', 'b']).clippy!;
  };

  it('nothing was scaled: no threshold dominates', () => {
    expect(detailsOf('paper', [{ t: 0, w: [1, 2], update: [0.5, -0.5] }])).toEqual({
      dominatedBy: null,
      parameter: null,
      update: null,
      frozen: [],
    });
  });
  it('the threshold that gives the most room at the entry with the smallest factor of all', () => {
    const given = 'variableRelativeThreshold=0.5,absoluteThreshold=0.1,accumulatorRelativeThreshold=0.6';
    // 0.5·|w| is 2, 0.25 and 0.05; λ_abs 0.1; τ/√G 0.3.
    const large = { t: 0, w: [1, -4], update: [0.1, -24] };
    const middle = { t: 0, w: [0.5, 1], update: [-65, 0] };
    expect(detailsOf(given, [large])).toMatchObject({
      dominatedBy: 'variableRelativeThreshold',
      parameter: -4,
      update: -24,
    });
    // A smaller factor takes its place, a larger one does not.
    for (const all of [
      [large, middle],
      [middle, large],
    ])
      expect(detailsOf(given, all)).toMatchObject({
        dominatedBy: 'accumulatorRelativeThreshold',
        parameter: 0.5,
        update: -65,
      });
    expect(detailsOf('paper', [{ t: 0, w: [0.01], update: [1] }]).dominatedBy).toBe('absoluteThreshold');
  });
  it('tensors that are all but stopped, how often, and the λ_abs that would let them move', () => {
    const given = 'variableRelativeThreshold=0.5,absoluteThreshold=0.001,accumulatorRelativeThreshold=0.02';
    const { frozen } = detailsOf(given, [
      // |Δ| − 0.5·|w| − 0.01: 99.49 and 29.99; σ = (0.001 + 0.5 + 0.01)/100 is not below 1e-3.
      { t: 0, w: [1, 0], update: [-100, 0] },
      // σ = 0.011/30 and 0.011/-20.
      { t: 1, w: [0, 2], update: [-30, 3] },
      { t: 1, w: [0, 0], update: [0, -20] },
    ]);
    expect(frozen).toEqual([
      {
        tensor: 'b',
        steps: 2,
        factor: expect.closeTo(0.011 / 30, 12),
        absoluteThreshold: expect.closeTo(29.99, 9),
      },
    ]);
    // σ = 0.0099/10 is frozen, at 1e-3 itself it is not.
    const at = (update: number) =>
      detailsOf('variableRelativeThreshold=0,absoluteThreshold=0.01', [{ t: 0, w: [0], update: [update] }]);
    expect(at(10.1).frozen).toHaveLength(1);
    expect(at(10).frozen).toEqual([]);
    const small = detailsOf('variableRelativeThreshold=0,absoluteThreshold=0.0001', [
      { t: 0, w: [0], update: [0.5] },
    ]);
    expect(small.frozen).toMatchObject([{ steps: 1, absoluteThreshold: 0.5 }]);
  });
});

it('how a report names a rule: alone by its options, several each by its own, and that Clippy leads', () => {
  const members = (text: string) => ruleMembers(parseRule(text)[0]!);
  const norm = { rule: 'global-norm', label: 'global-norm:2' };
  const options = { maxNorm: 2, norm: '2', semantics: 'torch', embeddings: true };
  expect(members('global-norm:2')).toStrictEqual({ ...norm, options });
  expect(members('global-norm:2+agc:0.1')).toStrictEqual({
    rule: 'global-norm+agc',
    label: 'global-norm:2+agc:0.1',
    options: {},
    rules: [
      { ...norm, options },
      { rule: 'agc', label: 'agc:0.1', options: { clipping: 0.1, epsilon: 1e-3, embeddings: true } },
    ],
  });
  expect(members('clippy').lead).toBe(true);
  expect(members('global-norm:2+clippy').lead).toBe(true);
});

it('a log without any series says nothing of Clippy', () => {
  const { rule, options } = parseRule('clippy')[0]!.parts[0]!;
  expect(rule.fromLog!({}, options as never)).toMatchObject({
    steps: new Float64Array(),
    factors: new Float64Array(),
  });
});
