/** The limit of weight decay against the steps themselves: without a gradient the weights shrink below it and grow above it. */
import { expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import type { Options } from '../../src/model/options.ts';
import { decayLimit } from '../../src/step/optimizers/decay-limit.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { NO_CLIPPING } from '../../src/step/rules/choice.ts';

const RATE = 0.3;

/** Norm of weights of norm 1 after steps without a gradient. */
function normAfter(name: string, options: Options, steps = 600): number {
  const choice = chooseOptimizer(name, options);
  const stepper = createStepper({ rule: NO_CLIPPING, optimizers: [choice], precision: 'float64' });
  const meta = { name: 'w', shape: [4], layout: 'none', embedding: false } as const;
  const tensor = freshTensor(meta, Float64Array.of(0.5, -0.5, 0.5, -0.5), choice, 'float64', 0);
  for (let i = 0; i < steps; i++) stepper.step([tensor], [{ values: new Float64Array(4) }], [RATE]);
  return Math.hypot(...tensor.w);
}

it.each<[string, Options]>([
  ['sgd', {}],
  ['sgd', { momentum: 0.9 }],
  ['sgd', { momentum: 0.9, nesterov: true }],
  ['sgd', { momentum: 0.5, dampening: 0.5 }],
  ['sgd', { momentum: 0.9, learningRateInside: true }],
  ['sgd', { momentum: 0.9, decoupledWeightDecay: true }],
  ['adam', { decoupledWeightDecay: true }],
  ['adamw', {}],
  ['adamw', { beta1: 0, amsgrad: true }],
])('%s %o shrinks its weights below the limit, and they grow above it', (name, options) => {
  const limit = decayLimit(chooseOptimizer(name, options), RATE)!;
  expect(normAfter(name, { ...options, weightDecay: 0.98 * limit })).toBeLessThan(0.1);
  expect(normAfter(name, { ...options, weightDecay: 1.02 * limit })).toBeGreaterThan(10);
});

it.each(['adam', 'rmsprop', 'adagrad', 'lamb'])(
  '%s has none: its step does not grow with the weights',
  (name) => {
    expect(decayLimit(chooseOptimizer(name), RATE)).toBeNull();
  },
);

it.each(['adam', 'rmsprop', 'adagrad'])('%s keeps its weights where SGD would lose them', (name) => {
  expect(normAfter(name, { weightDecay: 4 / RATE })).toBeLessThan(3);
});

it('a rate of 0 takes no step, and there is no limit', () => {
  expect(decayLimit(chooseOptimizer('sgd'), 0)).toBeNull();
  expect(decayLimit(chooseOptimizer('adamw'), Number.NaN)).toBeNull();
});
