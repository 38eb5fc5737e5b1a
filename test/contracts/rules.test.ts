/**
 * What holds for every clipping rule, whichever is added. Inside a property `assert` looks, which is run a hundred thousand
 * times: there `expect` would take more time than the rules.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { copyTensors } from '../../src/experiment/replay/tensors.ts';
import { optionsOf, type RulePart } from '../../src/step/rules/choice.ts';
import { ruleOrder } from '../../src/step/rules/order.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import type { ClipRule } from '../../src/step/rules/rule.ts';
import { norm } from '../../src/step/tensor/values.ts';
import { bytesOf, METAS, model, optimizerFor } from './rule-model.ts';

const seeds = { numRuns: Number(process.env.CLIPPY_DIAG_FUZZ ?? 40) };
const magnitudes = fc.constantFrom(1e-3, 1, 1e3, 1e6);

describe.each(Object.values(RULES) as ClipRule[])('rule $id', (rule) => {
  const choice = parseRule(rule.id)[0]!;
  const optimizer = optimizerFor(choice)!;

  it('is registered under its own id and documents itself', () => {
    expect(RULES[rule.id as keyof typeof RULES]).toBe(rule);
    expect(rule.docs.summary).toMatch(/\.$/);
    expect(rule.docs.equation).not.toBe('');
    // It ends a sentence, and names no option.
    expect(ruleOrder(rule.id)).toMatch(/^(clip|scale|leave out|train) [^:=]+$/);
    expect(ruleOrder(rule.id)).not.toContain('undefined');
    if (rule.mainOption !== null)
      expect(optionsOf(rule).map((option) => option.name)).toContain(rule.mainOption);
    for (const preset of Object.keys(rule.presets ?? {}))
      expect(parseRule(`${rule.id}:${preset}`)[0]!.parts[0]!.preset).toBe(preset);
  });

  it('leaves its inputs, names and shapes as they are in a dry step, and the gradients in any', () => {
    fc.assert(
      fc.property(fc.nat(), magnitudes, (seed, scale) => {
        const { choice: chosen, tensors, gradients } = model(optimizer, seed, scale);
        const before = copyTensors(tensors);
        const kept = gradients.map(({ values }) => values.slice());
        const stepper = createStepper({ rule: choice, optimizers: [chosen], precision: 'float32' });
        stepper.step(tensors, gradients, [0.1], true);
        assert.deepEqual(tensors, before);
        stepper.step(tensors, gradients, [0.1]);
        gradients.forEach(({ values }, t) => {
          assert.deepEqual(bytesOf(values), bytesOf(kept[t]!));
        });
        tensors.forEach((tensor, t) => {
          assert.equal(tensor.name, METAS[t]!.name);
          assert.deepEqual(tensor.shape, METAS[t]!.shape);
          assert.equal(tensor.w.length, before[t]!.w.length);
        });
      }),
      seeds,
    );
  });

  it('a dry step measures what the real one does', () => {
    fc.assert(
      fc.property(fc.nat(), magnitudes, (seed, scale) => {
        const { choice: chosen, tensors, gradients } = model(optimizer, seed, scale);
        const measure = (dry: boolean) => {
          const stepper = createStepper({ rule: choice, optimizers: [chosen], precision: 'float32' });
          const { factors, ...rest } = stepper.step(tensors, gradients, [0.1], dry);
          return { ...rest, factors: [...factors] };
        };
        assert.deepEqual(measure(true), measure(false));
      }),
      seeds,
    );
  });

  it('gives NaN for NaN', () => {
    const { choice: chosen, tensors, gradients } = model(optimizer, 1, 1);
    gradients[1]!.values[5] = Number.NaN;
    const stepper = createStepper({ rule: choice, optimizers: [chosen], precision: 'float32' });
    const record = stepper.step(tensors, gradients, [0.1]);
    expect(tensors[1]!.w[5]).toBeNaN();
    expect(record.updateNorm).toBeNaN();
    expect(record.finite).toBe(false);
    if (!['none', 'spam', 'skip-step'].includes(rule.id)) expect(record.minFactor).toBeNaN();
  });

  it('leaves a tensor without gradient where it is, be its parameters zero or not, alone or beside others', () => {
    for (const empty of [[0, 1], METAS.map((_, t) => t)]) {
      const { choice: chosen, tensors, gradients } = model(optimizer, 4, 1);
      tensors[0]!.w.fill(0);
      for (const t of empty) gradients[t]!.values.fill(0);
      const stepper = createStepper({ rule: choice, optimizers: [chosen], precision: 'float32' });
      const before = copyTensors(tensors);
      const record = stepper.step(tensors, gradients, [0.1]);
      expect([...record.factors, record.minFactor].every(Number.isFinite)).toBe(true);
      for (const t of empty) expect([...tensors[t]!.w]).toEqual([...before[t]!.w]);
    }
  });

  it('a loose threshold is the identity, bit for bit', () => {
    if (rule.loose === null) return;
    const text = Object.entries(rule.loose).map(([name, value]) => `${name}=${value}`);
    const loose = parseRule(text.length === 0 ? rule.id : `${rule.id}:${text.join(',')}`)[0]!;
    fc.assert(
      fc.property(fc.nat(), magnitudes, (seed, scale) => {
        const ends = [loose, parseRule('none')[0]!].map((one) => {
          const { choice: chosen, tensors, gradients } = model(optimizer, seed, scale);
          const stepper = createStepper({ rule: one, optimizers: [chosen], precision: 'float32' });
          for (let step = 0; step < 3; step++) {
            const record = stepper.step(tensors, gradients, [0.1]);
            assert.equal(record.minFactor, 1);
            assert.equal(record.engaged, false);
          }
          return tensors.map((tensor) => bytesOf(tensor.w));
        });
        assert.deepEqual(ends[0], ends[1]);
      }),
      seeds,
    );
  });

  it('keeps the direction of what it scales, with a factor in [0, 1] unless it may amplify', () => {
    fc.assert(
      fc.property(fc.nat(), magnitudes, (seed, scale) => {
        // SGD, whose direction is the gradient, shows gradient-stage factors as they are.
        const id = ['adagrad', 'sgd'].includes(optimizer) ? 'sgd' : optimizer;
        const { choice: chosen, tensors, gradients } = model(id, seed, scale);
        const usable = rule.id === 'spam' ? parseRule('spam:warmupSteps=0')[0]! : choice;
        const stepper = createStepper({ rule: usable, optimizers: [chosen], precision: 'float32' });
        const moved: Float64Array[] = [];
        const record = stepper.step(tensors, gradients, [1], true, {
          viewerOf: () => (movement) => moved.push(Float64Array.from(movement)),
        });
        assert(record.minFactor >= 0, `minFactor ${record.minFactor}`);
        if (!rule.mayAmplify) for (const factor of record.factors) assert(factor <= 1, `factor ${factor}`);
        if (!rule.keepsDirection || id !== 'sgd') return;
        moved.forEach((movement, t) => {
          const g = Float64Array.from(gradients[t]!.values);
          const size = norm(g) * norm(movement);
          if (size === 0) return;
          const dot = g.reduce((sum, x, i) => sum + x * movement[i]!, 0);
          assert(dot / size > 1 - 1e-6, `cosine ${dot / size}`);
        });
      }),
      seeds,
    );
  });
});

describe('clippy', () => {
  it.each(['clippy:paper', 'clippy:tfrs', 'clippy:accumulator=clipped,accumulatorRelativeThreshold=0.01'])(
    '%s: its bound holds everywhere and is tight somewhere',
    (text) => {
      fc.assert(
        fc.property(fc.nat(), magnitudes, fc.constantFrom(0.01, 1, 10), (seed, scale, learningRate) => {
          const { choice: chosen, tensors, gradients } = model('adagrad', seed, scale);
          const [rule] = parseRule(text);
          const stepper = createStepper({ rule: rule!, optimizers: [chosen], precision: 'float32' });
          const before = copyTensors(tensors);
          const record = stepper.step(tensors, gradients, [learningRate], true, {
            viewerOf: (t) => (movement) => {
              const [{ options }] = stepper.rule.parts as [RulePart];
              let closest = 0;
              movement.forEach((move: number, i: number) => {
                const tau = options.accumulatorRelativeThreshold as number;
                const bound =
                  (options.variableRelativeThreshold as number) * Math.abs(before[t]!.w[i]!) +
                  (options.absoluteThreshold as number) +
                  (tau > 0 ? tau / Math.sqrt(before[t]!.slots.accumulator![i]! + 1e-7) : 0);
                assert(Math.abs(move) <= bound * (1 + 1e-6), `${move} beyond ${bound}`);
                closest = Math.max(closest, Math.abs(move) / bound);
              });
              clipped.push([t, closest]);
            },
          });
          for (const [t, closest] of clipped.splice(0))
            if (record.factors[t]! < 1) assert(closest > 1 - 1e-6, `${closest} of the bound`);
        }),
        seeds,
      );
    },
  );
  const clipped: [number, number][] = [];
});
