/** A parameter without a gradient takes no part in a step: neither it nor its state moves, whatever the optimizer. */
import { describe, expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';

const META = { shape: [2], layout: 'none', embedding: false } as const;

describe.each(Object.keys(OPTIMIZERS))('%s', (name) => {
  it('leaves it and its state alone, and norms are those of the others', () => {
    const choice = chooseOptimizer(name, { weightDecay: 0.1 });
    const [rule] = parseRule('global-norm:1');
    const stepper = createStepper({ rule: rule!, optimizers: [choice], precision: 'float64' });
    const tensors = ['used', 'unused'].map((tensor) =>
      freshTensor({ name: tensor, ...META }, Float64Array.of(1, 2), choice, 'float64'),
    );
    for (const tensor of tensors) for (const slot of Object.values(tensor.slots)) slot.fill(0.5);
    const gradients = [
      { values: Float64Array.of(3, 4) },
      { values: new Float64Array(0), absent: true as const },
    ];
    const { minFactor, factors, finite } = stepper.step(tensors, gradients, [0.1]);
    expect(minFactor).toBeCloseTo(1 / 5, 6);
    expect([factors[1], finite]).toEqual([1, true]);
    const [used, unused] = tensors as [(typeof tensors)[0], (typeof tensors)[0]];
    expect(used.w).not.toEqual(Float64Array.of(1, 2));
    expect([used.stepsTaken, unused.stepsTaken]).toEqual([1, 0]);
    expect(unused.w).toEqual(Float64Array.of(1, 2));
    for (const slot of Object.values(unused.slots)) expect(slot).toEqual(Float64Array.of(0.5, 0.5));
  });
});

it('AdaGC keeps the averages of each tensor apart, whichever take part in a step', () => {
  const choice = chooseOptimizer('sgd');
  const run = (absentAt: (step: number, tensor: number) => boolean) => {
    const stepper = createStepper({
      rule: parseRule('adagc:warmupSteps=2,beta=0.5')[0]!,
      optimizers: [choice],
      precision: 'float64',
    });
    const tensors = ['small', 'large'].map((name) =>
      freshTensor({ name, ...META }, new Float64Array(2), choice, 'float64'),
    );
    return [0, 1, 2, 3, 4].map((step) => {
      const gradients = [0.01, 0.5].map((size, t) =>
        absentAt(step, t)
          ? { values: new Float64Array(0), absent: true as const }
          : { values: Float64Array.of(size * (step === 4 ? 100 : 1), 0) },
      );
      return [...stepper.step(tensors, gradients, [1]).factors];
    });
  };
  // The small one is away for a step: nobody takes over its average, and it finds it again.
  const [always, away] = [run(() => false), run((step, t) => step === 3 && t === 0)];
  expect(always[4]![0]).toBeCloseTo(1.05 / 100, 9);
  expect(away.map(([, large]) => large)).toEqual(always.map(([, large]) => large));
  expect(away[4]![0]).toBeCloseTo(always[4]![0]!, 12);
});
