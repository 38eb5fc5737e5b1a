/** What holds for every composition of clipping rules, with any optimizer that each of them is defined for. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { traitsOf } from '../../src/experiment/replay/bench.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { copyTensors, type Gradient, type TensorState } from '../../src/experiment/replay/tensors.ts';
import { DiagError } from '../../src/model/errors.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { compose, NO_CLIPPING, type RuleChoice, ruleForOptimizer } from '../../src/step/rules/choice.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import type { ClipRule } from '../../src/step/rules/rule.ts';
import { elementsOf, type Values } from '../../src/step/tensor/values.ts';
import { type NaiveRule, type NaiveTensor, naiveStep } from '../rules/naive.ts';
import { bytesOf, METAS, model } from './rule-model.ts';

const numRuns = Number(process.env.CLIPPY_DIAG_FUZZ ?? 150);
const magnitudes = fc.constantFrom(1e-3, 1, 1e3);

/** Each rule in the form in which it acts soonest. */
const SOON: Readonly<Record<string, string>> = {
  value: 'value:0.1',
  agc: 'agc:0.1,embeddings=false',
  clippy: 'clippy:absoluteThreshold=0.001',
  rms: 'rms:0.3',
  zclip: 'zclip:warmupSteps=1,maxNorm=2',
  adagc: 'adagc:warmupSteps=1',
  spam: 'spam:threshold=2,warmupSteps=0',
};
const texts = (Object.keys(RULES) as string[]).map((id) => SOON[id] ?? id);
const one = fc.constantFrom(...texts);
const composition = fc.array(one, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('+'));
const optimizerId = fc.constantFrom(...Object.keys(OPTIMIZERS));

const ruleOf = (text: string): RuleChoice => parseRule(text)[0]!;
const isDefined = (rule: RuleChoice, optimizer: string): boolean => {
  try {
    ruleForOptimizer(rule, traitsOf(chooseOptimizer(optimizer)));
    return true;
  } catch (error) {
    if (error instanceof DiagError) return false;
    throw error;
  }
};

/** Three steps with gradients of their own: every record, and the bytes of parameters and state at the end. */
function run(rule: RuleChoice, optimizer: string, seed: number, scale: number) {
  const { choice, tensors } = model(optimizer, seed, scale, { weightDecay: 0.01 });
  const stepper = createStepper({ rule, optimizers: [choice], precision: 'float32' });
  const records = [0, 1, 2].map((k) => {
    const { factors, ...record } = stepper.step(tensors, model(optimizer, seed + k, scale).gradients, [0.1]);
    return { ...record, factors: [...factors] };
  });
  const bytes = tensors.map(({ w, slots }) => [w, ...Object.values(slots)].map((x) => [...bytesOf(x)]));
  return { records, bytes };
}

describe('any composition', () => {
  it('leaves its inputs as they are in a dry step, the gradients in any, and measures what the real step does', () => {
    fc.assert(
      fc.property(composition, optimizerId, fc.nat(), magnitudes, (text, optimizer, seed, scale) => {
        const rule = ruleOf(text);
        fc.pre(isDefined(rule, optimizer));
        const { choice, tensors, gradients } = model(optimizer, seed, scale);
        const before = copyTensors(tensors);
        const kept = gradients.map(({ values }) => [...bytesOf(values)]);
        const take = (dry: boolean) => {
          const stepper = createStepper({ rule, optimizers: [choice], precision: 'float32' });
          const { factors, ...rest } = stepper.step(tensors, gradients, [0.1], dry);
          return { ...rest, factors: [...factors] };
        };
        const measured = take(true);
        expect(tensors).toEqual(before);
        expect(take(false)).toEqual(measured);
        expect(gradients.map(({ values }) => [...bytesOf(values)])).toEqual(kept);
      }),
      { numRuns },
    );
  });

  it('with none before or after it is the same, bit for bit', () => {
    fc.assert(
      fc.property(
        fc.oneof(one, composition),
        optimizerId,
        fc.nat(),
        magnitudes,
        (text, optimizer, seed, scale) => {
          fc.pre(isDefined(ruleOf(text), optimizer));
          const alone = run(ruleOf(text), optimizer, seed, scale);
          expect(run(ruleOf(`none+${text}`), optimizer, seed, scale)).toEqual(alone);
          expect(run(ruleOf(`${text}+none`), optimizer, seed, scale)).toEqual(alone);
        },
      ),
      { numRuns },
    );
  });

  it('gives NaN for NaN', () => {
    fc.assert(
      fc.property(composition, optimizerId, (text, optimizer) => {
        const rule = ruleOf(text);
        fc.pre(isDefined(rule, optimizer));
        const { choice, tensors, gradients } = model(optimizer, 1, 1);
        gradients[1]!.values[5] = Number.NaN;
        const stepper = createStepper({ rule, optimizers: [choice], precision: 'float32' });
        const record = stepper.step(tensors, gradients, [0.1]);
        expect(tensors[1]!.w[5]).toBeNaN();
        expect(record.finite).toBe(false);
        expect(record.updateNorm).toBeNaN();
      }),
      { numRuns },
    );
  });

  it('has a label that reads back to it, however it was put together', () => {
    fc.assert(
      fc.property(one, one, one, (a, b, c) => {
        const [x, y, z] = [ruleOf(a), ruleOf(b), ruleOf(c)];
        const left = compose([...compose([...x.parts, ...y.parts]).parts, ...z.parts]);
        const right = compose([...x.parts, ...compose([...y.parts, ...z.parts]).parts]);
        expect(left).toEqual(right);
        expect(left.label).toBe([x, y, z].map(({ label }) => label).join('+'));
        expect(left.id).toBe([x, y, z].map(({ id }) => id).join('+'));
        expect(parseRule(left.label)).toEqual([left]);
      }),
      { numRuns },
    );
  });

  it('has factors that are the products of those of its parts', () => {
    fc.assert(
      fc.property(composition, optimizerId, fc.nat(), magnitudes, (text, optimizer, seed, scale) => {
        const rule = ruleOf(text);
        fc.pre(isDefined(rule, optimizer));
        const { choice, tensors, gradients } = model(optimizer, seed, scale, {}, 'float64');
        const products = tensors.map(() => 1);
        const stepper = createStepper({ rule, optimizers: [choice], precision: 'float64' });
        let other = false;
        const { factors, minFactor, engaged, bottleneck } = stepper.step(tensors, gradients, [0.1], true, {
          measured: (_part, t, _seen, factor) => {
            products[t]! *= factor;
            if (factor !== 1) other = true;
          },
        });
        expect([...factors]).toEqual(products);
        expect(minFactor).toBe(Math.min(...products));
        expect(bottleneck.factor).toBe(minFactor);
        expect(factors[bottleneck.tensor]).toBe(minFactor);
        expect(engaged).toBe(other);
      }),
      { numRuns },
    );
  });
});

const gradientRules = (Object.values(RULES) as ClipRule[]).filter(
  ({ stage, afterWeightDecay, identity }) => stage === 'gradient' && !afterWeightDecay && !identity,
);

it('a rule on the gradient sees what the one before it has left', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...gradientRules),
      fc.constantFrom(...gradientRules),
      fc.nat(),
      magnitudes,
      (a, b, seed, scale) => {
        // spam needs a second moment; SGD, whose movement at η = 1 is the clipped gradient, has none.
        fc.pre(a.id !== 'spam' && b.id !== 'spam');
        const [first, second] = [a, b].map(({ id }) => ruleOf(SOON[id] ?? id)) as [RuleChoice, RuleChoice];
        const { choice, tensors: start } = model('sgd', seed, scale, {}, 'float64');
        const stepperOf = (rule: RuleChoice) =>
          createStepper({ rule, optimizers: [choice], precision: 'float64' });
        const [alone, after, together] = [first, second, compose([...first.parts, ...second.parts])].map(
          stepperOf,
        ) as [ReturnType<typeof stepperOf>, ReturnType<typeof stepperOf>, ReturnType<typeof stepperOf>];
        const [one, both] = [copyTensors(start), copyTensors(start)];
        for (let k = 0; k < 4; k++) {
          const { gradients } = model('sgd', seed + k, scale * (k === 2 ? 30 : 1), {}, 'float64');
          const left: Gradient[] = [];
          const before = alone.step(one, gradients, [1], true, {
            viewerOf: () => (movement) => left.push({ values: movement.slice() as Values }),
          });
          const products = [...before.factors];
          after.step(one, left, [1]).factors.forEach((factor, t) => {
            products[t]! *= factor;
          });
          const { factors } = together.step(both, gradients, [1]);
          for (const [t, { w }] of both.entries())
            for (const [i, x] of w.entries()) expect(x).toBeCloseTo(one[t]!.w[i]!, 9);
          for (const [t, factor] of factors.entries()) expect(factor / products[t]!).toBeCloseTo(1, 9);
        }
      },
    ),
    { numRuns },
  );
});

const naiveRules: readonly (readonly [string, NaiveRule])[] = [
  ['value:0.1', ['value', { clipValue: 0.1 }]],
  ['global-norm:0.5', ['global-norm', { maxNorm: 0.5 }]],
  ['layer-norm:0.2', ['layer-norm', { maxNorm: 0.2 }]],
  ['agc:0.05', ['agc', { clipping: 0.05 }]],
  ['lars:0.01', ['lars', { trustCoefficient: 0.01 }]],
  ['lamb', ['lamb', {}]],
  ['rms:0.3', ['rms', { threshold: 0.3 }]],
  [
    'clippy:variableRelativeThreshold=0.02,absoluteThreshold=0.001',
    ['clippy', { variableRelativeThreshold: 0.02, absoluteThreshold: 0.001 }],
  ],
];

const UNITS = ['row', 'column', 'whole', 'whole'] as const;
const naiveTensor = ({ w, shape }: TensorState, t: number): NaiveTensor => ({
  w: [...w],
  rows: shape[0] ?? 1,
  columns: shape[1] ?? 1,
  unit: UNITS[t]!,
  state: {},
});

describe.each([
  ['sgd', { momentum: 0.9 }],
  ['adagrad', {}],
  ['adam', {}],
  ['adamw', {}],
] as const)('%s %j under several rules', (id, own) => {
  it('steps as a naive second implementation does, rule after rule, in float64', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...naiveRules), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        magnitudes,
        fc.constantFrom(0, 0.03),
        (rules, seed, scale, weightDecay) => {
          const rule = ruleOf(rules.map(([text]) => text).join('+'));
          const { choice, tensors } = model(id, seed, scale, { ...own, weightDecay }, 'float64');
          expect(tensors.map(({ shape }) => elementsOf(shape))).toEqual([10, 12, 4, 1]);
          expect(METAS.map(({ layout, embedding }) => [layout, embedding])[1]).toEqual(['IO', false]);
          // LAMB's ratio jumps where the direction of a scalar cancels to 0: rounding decides on which side.
          if (rule.parts.some(({ rule: { decayInDirection } }) => decayInDirection)) tensors.pop();
          const naive = tensors.map(naiveTensor);
          const stepper = createStepper({ rule, optimizers: [choice], precision: 'float64' });
          for (let step = 1; step <= 4; step++) {
            const gradients = model(id, seed + step, scale, {}, 'float64').gradients.slice(0, tensors.length);
            const { factors } = stepper.step(tensors, gradients, [0.1]);
            const expected = naiveStep(
              rules.map(([, one]) => one),
              { id, beta: weightDecay, ...own },
              naive,
              gradients.map(({ values }) => [...values]),
              0.1,
              step,
            );
            for (const [t, factor] of factors.entries()) expect(factor / expected[t]!).toBeCloseTo(1, 9);
            for (const [t, { w }] of tensors.entries()) {
              const size = Math.max(...naive[t]!.w.map(Math.abs));
              for (const [i, x] of w.entries())
                expect(Math.abs(x - naive[t]!.w[i]!) / size).toBeLessThan(1e-10);
            }
          }
        },
      ),
      { numRuns },
    );
  });
});

describe('what does not go together', () => {
  const thrown = (text: string, optimizer = 'adagrad'): DiagError => {
    try {
      for (const rule of parseRule(text)) ruleForOptimizer(rule, traitsOf(chooseOptimizer(optimizer)));
    } catch (error) {
      if (error instanceof DiagError) return error;
      throw error;
    }
    throw new Error(`${text} was accepted`);
  };
  it('a part that is unknown: the nearest is named', () => {
    const error = thrown('global-norm:1+rsm:1');
    expect(error.code).toBe('rule-unknown');
    expect(error.message).toContain('"rsm"');
    expect(error.hint).toContain('did you mean rms?');
  });
  it.each(['global-norm:1+', '+rms', 'agc++rms', '+'])('%s: a rule is missing', (text) => {
    expect(thrown(text)).toMatchObject({ code: 'rule-syntax' });
    expect(thrown(text).message).toContain('a rule is missing next to a "+"');
  });
  it('two accumulators, two learning rates: who says what, and what to do', () => {
    const two = thrown('clippy:paper+clippy:tfrs');
    expect(two.code).toBe('rule-conflict');
    expect(two.message).toBe(
      'the rule "clippy:paper+clippy:tfrs" sets accumulator twice: clippy:paper to standard, clippy:tfrs to delayed',
    );
    expect(two.hint).toContain('give both parts the same accumulator');
    expect(thrown('lamb:0.1+clippy:learningRate=0.2').message).toContain('learningRate');
    expect(() => thrown('lamb:0.1+clippy:learningRate=0.1')).toThrow('was accepted');
    // Of an optimizer without an accumulator a preset means its thresholds only.
    expect(() => thrown('clippy:paper+clippy:tfrs', 'sgd')).toThrow('was accepted');
  });
  it('a part that the optimizer rules out is named', () => {
    expect(thrown('global-norm:1+spam', 'sgd')).toMatchObject({ code: 'rule-undefined' });
    expect(thrown('global-norm:1+spam', 'sgd').message).toContain('rule "spam"');
  });
});

describe('texts', () => {
  it('grids of several parts give all pairs, the last fastest', () => {
    expect(parseRule('global-norm:{1,2}+rms:{3,4}').map(({ label }) => label)).toEqual([
      'global-norm:1+rms:3',
      'global-norm:1+rms:4',
      'global-norm:2+rms:3',
      'global-norm:2+rms:4',
    ]);
  });
  it.each([
    ['global-norm:1e+3', ['global-norm:1000']],
    ['global-norm:+2.5', ['global-norm:2.5']],
    ['agc:clipping=+.5 + rms:1e+2', ['agc:0.5+rms:100']],
    ['agc:{1e+1,+2}', ['agc:10', 'agc:2']],
    ['global-norm:+Infinity', ['global-norm:Infinity']],
    ['global-norm:1e+21+rms', ['global-norm:1e+21+rms']],
  ])('%s: a sign is no join', (text, labels) => {
    const rules = parseRule(text);
    expect(rules.map(({ label }) => label)).toEqual(labels);
    expect(rules.flatMap(({ label }) => parseRule(label))).toEqual(rules);
  });
  it('none alone is the baseline', () => {
    expect(parseRule('none')).toEqual([NO_CLIPPING]);
  });
});
