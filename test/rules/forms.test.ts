/** What the forms of each rule promise beyond parity: units, semantics of bad norms, zero norms, who takes part. */
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor, type Gradient } from '../../src/experiment/replay/tensors.ts';
import type { Layout } from '../../src/model/checkpoint.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import type { EntryRule, SeenTensor, TensorRule } from '../../src/step/rules/rule.ts';
import { unitsOf } from '../../src/step/tensor/values.ts';

interface Tensor {
  readonly w: readonly number[];
  readonly g: readonly number[];
  readonly shape?: readonly number[];
  readonly layout?: Layout;
  readonly embedding?: boolean;
  readonly rows?: readonly number[];
}

/** One step of SGD at η = 1: what moved is what the rule left of the gradient. */
function step(rule: string, all: readonly Tensor[], optimizer = 'sgd', options = {}) {
  const choice = chooseOptimizer(optimizer, options);
  const tensors = all.map(({ w, shape = [w.length], layout = 'none', embedding = false }, t) =>
    freshTensor({ name: `t${t}`, shape, layout, embedding }, Float64Array.from(w), choice, 'float64'),
  );
  const gradients = all.map(
    ({ g, rows }): Gradient => ({
      values: Float64Array.from(g),
      ...(rows === undefined ? {} : { rows: Int32Array.from(rows) }),
    }),
  );
  const stepper = createStepper({ rule: parseRule(rule)[0]!, optimizers: [choice], precision: 'float64' });
  const { factors, ...record } = stepper.step(tensors, gradients, [1]);
  const moved = tensors.map(({ w }, t) => Array.from(w, (x, i) => all[t]!.w[i]! - x));
  return { ...record, factors: [...factors], moved, tensors };
}

describe('units', () => {
  it.each([
    [[], 'none', false, { count: 1, stride: 1 }],
    [[5], 'none', false, { count: 1, stride: 5 }],
    [[2, 3], 'IO', false, { count: 3, stride: 1 }],
    [[2, 3], 'OI', false, { count: 2, stride: 3 }],
    [[3, 3, 2, 4], 'HWIO', false, { count: 4, stride: 1 }],
    [[4, 2, 3, 3], 'OIHW', false, { count: 4, stride: 18 }],
    [[7, 2], 'none', true, { count: 7, stride: 2 }],
    [[2, 3], 'none', false, { count: 1, stride: 6 }],
    [[0, 3], 'OI', false, { count: 1, stride: 1 }],
  ] as const)('%j %s, embedding %s', (shape, layout, embedding, units) => {
    expect(unitsOf({ name: 'x', shape, layout, embedding })).toEqual(units);
  });
  it('a kernel and its transpose are clipped alike', () => {
    // Output 0 has gradient (3, 4), output 1 (0.3, 0.4); both have parameters of norm 5.
    const io = step('agc:0.1', [{ w: [3, 3, 4, 4], g: [3, 0.3, 4, 0.4], shape: [2, 2], layout: 'IO' }]);
    const oi = step('agc:0.1', [{ w: [3, 4, 3, 4], g: [3, 4, 0.3, 0.4], shape: [2, 2], layout: 'OI' }]);
    expect(io.moved[0]!.map((x) => Number(x.toFixed(12)))).toEqual([0.3, 0.3, 0.4, 0.4]);
    expect(oi.moved[0]!.map((x) => Number(x.toFixed(12)))).toEqual([0.3, 0.4, 0.3, 0.4]);
    expect([io.bottleneck.index, oi.bottleneck.index]).toEqual([0, 0]);
  });
  it('a kernel may have more units than any tensor before, the last clipped as the first', () => {
    const units = 5000;
    const { moved, bottleneck } = step('agc:0.1', [
      { w: new Array(units).fill(2), g: new Array(units).fill(4), shape: [units, 1], layout: 'OI' },
    ]);
    expect(moved[0]!.every((x) => Math.abs(x - 0.2) < 1e-12)).toBe(true);
    // Of units that are clipped alike the first is named.
    expect(bottleneck.index).toBe(0);
  });
  it('a sparse embedding names the row of the table', () => {
    const table = { w: new Array(12).fill(1), shape: [6, 2], embedding: true };
    const { bottleneck, moved } = step('agc:0.01', [{ ...table, g: [0, 0, 9, 9], rows: [1, 4] }]);
    expect(bottleneck.index).toBe(4);
    expect(moved[0]!.filter((x) => x !== 0)).toHaveLength(2);
  });
});

describe('norms that are no numbers', () => {
  const bad = [{ w: [1, 1], g: [Number.POSITIVE_INFINITY, 1] }];
  it.each([
    ['global-norm:1', 0, [Number.NaN, 0]],
    ['global-norm:maxNorm=1,semantics=optax', 0, [Number.NaN, 0]],
    ['global-norm:maxNorm=1,semantics=tensorflow', Number.NaN, [Number.NaN, Number.NaN]],
    ['global-norm:maxNorm=Infinity', Number.NaN, [Number.NaN, Number.NaN]],
    ['value:2', 0, [2, 1]],
  ] as [string, number, number[]][])('%s: factor %d', (rule, factor, moved) => {
    const result = step(rule, bad);
    expect(result.minFactor).toBe(factor);
    expect(result.moved[0]).toEqual(moved);
  });
});

describe('where a limit begins', () => {
  // ‖(3, 4)‖ = 5.
  it.each([
    ['global-norm:5', 5 / (5 + 1e-6)],
    ['global-norm:maxNorm=5,semantics=optax', 1],
    ['global-norm:maxNorm=2.5,semantics=optax', 0.5],
    ['global-norm:maxNorm=10,semantics=optax', 1],
    ['global-norm:maxNorm=5,semantics=tensorflow', 1],
    ['global-norm:maxNorm=2.5,semantics=tensorflow', 0.5],
    ['global-norm:maxNorm=10,semantics=tensorflow', 1],
    ['layer-norm:5', 1],
    ['layer-norm:2.5', 0.5],
    ['layer-norm:10', 1],
  ])('%s of a gradient of norm 5: %d', (rule, factor) => {
    expect(step(rule, [{ w: [1, 1], g: [3, 4] }]).minFactor).toBe(factor);
  });
  it('zclip: a norm at the threshold is no outlier yet, one above it is', () => {
    // Warm-up norms 1 and 3 have mean 2 and deviation 1; 4 is (4 − 2)/(1 + 1e-6) deviations away.
    const threshold = (4 - 2) / (1 + 1e-6);
    const factorAt = (zThreshold: number): number => {
      const choice = chooseOptimizer('sgd');
      const meta = { name: 'w', shape: [1], layout: 'none', embedding: false } as const;
      const tensor = freshTensor(meta, new Float64Array(1), choice, 'float64');
      const rule = parseRule(`zclip:${zThreshold},warmupSteps=2,maxNorm=Infinity,clipTo=mean`)[0]!;
      const stepper = createStepper({ rule, optimizers: [choice], precision: 'float64' });
      return [1, 3, 4]
        .map((size) => stepper.step([tensor], [{ values: Float64Array.of(size) }], [1]).minFactor)
        .at(-1)!;
    };
    expect(factorAt(threshold)).toBe(1);
    expect(factorAt(threshold * (1 - 1e-12))).toBeCloseTo(2 / (4 + 1e-6), 12);
  });
  it('agc: a gradient between 1e-6 and 1e-3 is measured as it is, one below 1e-6 as 1e-6', () => {
    // The limit is 0.01·max(‖w‖, 1e-3) = 1e-5.
    expect(step('agc:0.01', [{ w: [0], g: [1e-4] }]).minFactor).toBeCloseTo(0.1, 12);
    // The limit is 0.01·1e-6 = 1e-8: divided by 1e-6, not by 1e-7.
    expect(step('agc:clipping=0.01,epsilon=1e-6', [{ w: [0], g: [1e-7] }]).minFactor).toBeCloseTo(0.01, 12);
    // At the limit of 1e-8 itself the official code clips already: by 1e-8/1e-6. Below it, it does not.
    expect(step('agc:clipping=1,epsilon=1e-8', [{ w: [0], g: [1e-8] }]).minFactor).toBeCloseTo(0.01, 12);
    expect(step('agc:clipping=1,epsilon=1e-8', [{ w: [0], g: [9e-9] }]).minFactor).toBe(1);
  });
  it('clippy: NaN in any entry is the factor, and the entry is named', () => {
    for (const bad of [0, 1, 2]) {
      const g = [1, 100, 3].map((x, i) => (i === bad ? Number.NaN : x));
      const { minFactor, bottleneck } = step('clippy:absoluteThreshold=0.001', [{ w: [0, 0, 0], g }]);
      expect(minFactor).toBeNaN();
      expect(bottleneck).toMatchObject({ tensor: 0, index: bad, place: 'entry' });
    }
  });
});

describe('clamps name the entry that they cut most, and NaN before it', () => {
  it.each([
    ['value:2', [1, -8, 4, 8], { factor: 0.25, index: 1, moved: [1, -2, 2, 2] }],
    ['value:2', [2, -2, 1, 0], { factor: 1, index: 0, moved: [2, -2, 1, 0] }],
    ['value:2', [9, Number.NaN, 8, 1], { factor: Number.NaN, index: 1, moved: [2, Number.NaN, 2, 1] }],
    ['value:2', [Number.NaN, 1, 1, 9], { factor: Number.NaN, index: 0, moved: [Number.NaN, 1, 1, 2] }],
  ] as [string, number[], { factor: number; index: number; moved: number[] }][])(
    '%s %j',
    (rule, g, wanted) => {
      const { minFactor, bottleneck, moved } = step(rule, [{ w: [0, 0, 0, 0], g }]);
      expect({ factor: minFactor, index: bottleneck.index, moved: moved[0] }).toEqual(wanted);
    },
  );
  it('spam: entries whose square is above θ times the second moment from before the step', () => {
    // θv = 4, 4, 0, 4: bounds 2, 2, 0, 2.
    const spam = (g: readonly number[], stepsTaken = 19, v = [1, 1, 0, 1]) => {
      const { rule, options } = parseRule('spam:4')[0]!.parts[0]!;
      const out = new Float64Array(4);
      const seen = { x: Float64Array.from(g), secondMoment: Float64Array.from(v), stepsTaken };
      const { index, factor } = (rule as EntryRule).clamp(
        seen as unknown as SeenTensor,
        options as never,
        out,
      );
      return { index, factor, out: [...out] };
    };
    expect(spam([1, -8, 0, 8])).toEqual({ index: 1, factor: 0.25, out: [1, -2, 0, 2] });
    expect(spam([2, 4, 1, -2])).toEqual({ index: 2, factor: 0, out: [2, 2, 0, -2] });
    expect(spam([2, -2, 0, 1])).toEqual({ index: 0, factor: 1, out: [2, -2, 0, 1] });
    // The first 19 steps of the optimizer are left alone: v has just begun.
    expect(spam([9, 9, 9, 9], 18)).toEqual({ index: 0, factor: 1, out: [9, 9, 9, 9] });
    // NaN in the gradient or in v is the factor; where it is, is named.
    expect(spam([Number.NaN, 9, 0, 0])).toEqual({ index: 0, factor: Number.NaN, out: [Number.NaN, 2, 0, 0] });
    expect(spam([9, 9, 0, 1], 19, [1, 1, 0, Number.NaN])).toMatchObject({ index: 3, factor: Number.NaN });
  });
  it('spam with a reset: the moments begin anew, nothing is clamped until v has filled, and updates grow back', () => {
    const [rule] = parseRule('spam:warmupSteps=2,resetEvery=6,rampSteps=3');
    const stepsWith = (spikes: readonly number[]) => {
      const choice = chooseOptimizer('adam', {});
      const meta = { name: 'w', shape: [1], layout: 'none', embedding: false } as const;
      const tensor = freshTensor(meta, new Float64Array(1), choice, 'float64');
      const stepper = createStepper({ rule: rule!, optimizers: [choice], precision: 'float64' });
      return Array.from({ length: 10 }, (_, i) => {
        const gradients = [{ values: Float64Array.of(spikes.includes(i + 1) ? 100 : 1) }];
        const before = tensor.slots.m![0];
        const dry = stepper.step([tensor], gradients, [0.1], true).minFactor;
        expect(tensor.slots.m![0]).toBe(before);
        const { minFactor } = stepper.step([tensor], gradients, [0.1]);
        expect(dry).toBe(minFactor);
        return { minFactor, m: tensor.slots.m![0]! };
      });
    };
    const ramp = [0, 1, 2].map((k) => 1 - (0.99 * (1 + Math.cos((Math.PI * k) / 4))) / 2);
    const near = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 12));
    // Of (1 − β₂)·n after n steps with g = 1.
    const clamped = (n: number): number => Math.sqrt(5000 * (1 - 0.999 ** n)) / 100;
    const early = stepsWith([5, 8]);
    expect(early.map(({ minFactor }) => minFactor)).toEqual(near([1, 1, 1, 1, clamped(4), ...ramp, 1, 1]));
    // (1 − β₁)·g of the sixth step alone.
    expect(early[5]!.m).toBeCloseTo(0.1, 12);
    expect(stepsWith([9])[8]!.minFactor).toBeCloseTo(clamped(3), 12);
  });
  it('spam resets the moments of Adam, and of no optimizer without a first one', () => {
    const [rule] = parseRule('spam:resetEvery=6');
    const optimizers = [chooseOptimizer('rmsprop', {})];
    expect(() => createStepper({ rule: rule!, optimizers, precision: 'float64' })).toThrow('keeps no m');
  });
});

describe('rms', () => {
  it('divides by the root mean square where that is above the threshold, and not at it', () => {
    expect(step('rms:1', [{ w: [0, 0], g: [3, 4] }]).minFactor).toBeCloseTo(1 / Math.sqrt(12.5), 12);
    expect(step('rms:2', [{ w: [0, 0], g: [2, -2] }]).minFactor).toBe(1);
    expect(step('rms:4', [{ w: [0, 0], g: [12, 4] }]).minFactor).toBeCloseTo(4 / Math.sqrt(80), 12);
  });
  it('stable-adamw takes g/√v̂ with v as it is after the step, and v̂ as no less than ε²', () => {
    const { rule, options } = parseRule('rms:form=stable-adamw')[0]!.parts[0]!;
    const factors = new Float64Array(1);
    const factor = (g: readonly number[], v: readonly number[]): number => {
      const seen = {
        x: new Float64Array(2),
        gradient: Float64Array.from(g),
        secondMoment: Float64Array.from(v),
        secondMomentCorrection: 4,
        epsilon: 0.5,
      };
      (rule as TensorRule).measure(seen as unknown as SeenTensor, options as never, factors, {
        count: 1,
        stride: 2,
      });
      return factors[0]!;
    };
    // v̂ = 1, 4: (4/1 + 16/4)/2 = 4, root 2.
    expect(factor([2, 4], [0.25, 1])).toBeCloseTo(0.5, 12);
    // v̂ = 0.04 is taken as 0.25; an entry without gradient adds nothing, whatever its v.
    expect(factor([2, 0], [0.01, Number.NaN])).toBeCloseTo(1 / Math.sqrt(8), 12);
  });
});

describe('zero norms', () => {
  it.each(['lars', 'lamb'])('%s leaves a tensor of norm 0, or with no gradient, alone', (rule) => {
    expect(step(rule, [{ w: [0, 0], g: [1, 2] }]).moved[0]).toEqual([-1, -2].map((x) => -x));
    expect(step(rule, [{ w: [1, 2], g: [0, 0] }]).factors).toEqual([1]);
  });
  it.each(['global-norm', 'layer-norm', 'agc', 'clippy', 'rms', 'autoclip', 'zclip', 'adagc', 'value'])(
    '%s: no gradient, no factor',
    (rule) => {
      expect(step(rule, [{ w: [1, 2], g: [0, 0] }]).minFactor).toBe(1);
    },
  );
});

describe('LAMB and LARS', () => {
  it('lamb: the weight decay joins the direction, once', () => {
    const { moved } = step('lamb', [{ w: [3, 4], g: [1, 0] }], 'sgd', { weightDecay: 0.5 });
    const u = [1 + 1.5, 2];
    const ratio = 5 / Math.hypot(...u);
    moved[0]!.forEach((x, i) => {
      expect(x).toBeCloseTo(ratio * u[i]!, 12);
    });
  });
  it('lars: the ratio multiplies gradient and decay', () => {
    const { moved } = step('lars:0.1', [{ w: [3, 4], g: [1, 0] }], 'sgd', { weightDecay: 0.5 });
    const ratio = (0.1 * 5) / (1 + 0.5 * 5);
    expect(moved[0]![0]).toBeCloseTo(ratio * (1 + 1.5), 12);
    expect(moved[0]![1]).toBeCloseTo(ratio * 2, 12);
  });
  it('lamb: its own learning rate replaces the optimizer’s', () => {
    const { moved } = step('lamb:0.01', [{ w: [3, 4], g: [1, 0] }]);
    expect(moved[0]![0]).toBeCloseTo(0.01 * 5, 12);
  });
});

describe('who takes part', () => {
  const table = { w: [1, 1], g: [100, 100], shape: [1, 2], embedding: true };
  const kernel = { w: [1, 1], g: [3, 4] };
  it('embeddings=false leaves tables alone and out of the norm', () => {
    const { factors } = step('global-norm:maxNorm=1,embeddings=false', [table, kernel]);
    expect(factors[0]).toBe(1);
    expect(factors[1]).toBeCloseTo(1 / 5, 6);
    expect(step('clippy:embeddings=false', [table, kernel], 'adagrad').factors[0]).toBe(1);
  });
});

describe('sparse gradients', () => {
  const table = { w: Array.from({ length: 12 }, (_, i) => i / 10), shape: [6, 2], embedding: true };
  const dense = { ...table, g: [0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0] };
  const sparse = { ...table, g: [1, 2, 3, 4], rows: [1, 4] };
  it.each([
    ['adagrad', {}],
    ['adagrad', { accumulator: 'delayed', epsilon: 0 }],
    ['adagrad', { weightDecay: 0.1 }],
    ['sgd', {}],
    ['sgd', { momentum: 0.9 }],
    ['adam', {}],
    ['adamw', { weightDecay: 0.1 }],
    ['rmsprop', { momentum: 0.5 }],
    ['lamb', {}],
  ] as [string, object][])('%s %j: rows move as in the dense gradient', (optimizer, options) => {
    for (const rule of ['none', 'global-norm:1', 'layer-norm:1', 'clippy:absoluteThreshold=0.001']) {
      const a = step(rule, [sparse], optimizer, options);
      const b = step(rule, [dense], optimizer, options);
      expect(a.tensors[0]!.w).toEqual(b.tensors[0]!.w);
      expect(a.tensors[0]!.slots).toEqual(b.tensors[0]!.slots);
      expect([a.minFactor, a.bottleneck]).toEqual([b.minFactor, b.bottleneck]);
    }
  });
  it('no rows at all', () => {
    const { moved, minFactor } = step('clippy', [{ ...table, g: [], rows: [] }], 'adagrad');
    expect(moved[0]!.every((x) => x === 0)).toBe(true);
    expect(minFactor).toBe(1);
  });
});

describe('stateful rules', () => {
  it('their state may be saved and put back', () => {
    const choice = chooseOptimizer('sgd');
    const meta = { name: 'w', shape: [2], layout: 'none', embedding: false } as const;
    for (const rule of ['autoclip', 'zclip:warmupSteps=2', 'adagc:warmupSteps=2']) {
      const make = () =>
        createStepper({ rule: parseRule(rule)[0]!, optimizers: [choice], precision: 'float64' });
      const run = (save: boolean): number[] => {
        let stepper = make();
        const tensor = freshTensor(meta, new Float64Array(2), choice, 'float64');
        return [1, 2, 1.5, 30, 2].map((size) => {
          if (save) {
            const state = JSON.parse(
              JSON.stringify(stepper.ruleStates, (_, x) => (x === Number.POSITIVE_INFINITY ? 1e308 : x)),
            );
            stepper = make();
            stepper.ruleStates = state;
          }
          return stepper.step([tensor], [{ values: Float64Array.of(size, 0) }], [1]).minFactor;
        });
      };
      expect(run(true)).toEqual(run(false));
    }
  });
});
