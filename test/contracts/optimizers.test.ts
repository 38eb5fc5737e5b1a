/** What holds for every optimizer, whichever is added. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Optimizer, Slots } from '../../src/step/optimizers/optimizer.ts';
import { chooseOptimizer, OPTIMIZERS, type OptimizerChoice } from '../../src/step/optimizers/registry.ts';
import { anyOptions } from '../optimizers/step-options.ts';

const members: [string, Optimizer][] = Object.entries(OPTIMIZERS);
const SIZE = 3;
const amount = fc.double({ min: 1e-3, max: 1e3, noNaN: true });

/** Slots at any state that training can reach: moments of squares are not negative. */
const stateOf = ({ optimizer, options }: OptimizerChoice): fc.Arbitrary<Slots> =>
  fc.record(
    Object.fromEntries(
      optimizer
        .slots(options)
        .map(({ name }) => [
          name,
          fc.array(amount, { minLength: SIZE, maxLength: SIZE }).map((values) => Float64Array.from(values)),
        ]),
    ),
  );

/** The direction of a step and the state after it; what is given stays as it is. */
function direct({ optimizer, options }: OptimizerChoice, g: readonly number[], slots: Slots, step: number) {
  const after = structuredClone(slots);
  const gradient = Float64Array.from(g);
  const out = new Float64Array(g.length);
  optimizer.direction(gradient, out, after, options, { learningRate: 0.1, step });
  expect([...gradient]).toEqual(g);
  return { out: [...out], after };
}

describe.each(members)('%s', (id, optimizer) => {
  const anyStep = fc
    .record({ options: anyOptions(optimizer), step: fc.integer({ min: 1, max: 100 }) })
    .chain(({ options, step }) => {
      const choice = chooseOptimizer(id, options);
      return fc.record({ choice: fc.constant(choice), step: fc.constant(step), slots: stateOf(choice) });
    });

  it('is named as its key, with a page that says what it is', () => {
    expect(optimizer.id).toBe(id);
    for (const text of [optimizer.title, optimizer.docs.summary, optimizer.docs.equation])
      expect(text.length).toBeGreaterThan(2);
    expect(optimizer.docs.references.length).toBeGreaterThan(0);
  });

  it('that is rowwise leaves a row without gradient as it is, state included', () => {
    fc.assert(
      fc.property(anyStep, ({ choice, step, slots }) => {
        if (!optimizer.rowwise(choice.options)) return;
        const { out, after } = direct(choice, [0, 0, 0], slots, step);
        expect(out).toEqual([0, 0, 0]);
        expect(after).toEqual(slots);
      }),
    );
  });

  it('that counts no steps takes the same step at any count', () => {
    fc.assert(
      fc.property(anyStep, fc.integer({ min: 2, max: 100 }), ({ choice, step, slots }, other) => {
        if (optimizer.countsSteps?.(choice.options)) return;
        const g = [-1, 0.5, 3];
        expect(direct(choice, g, slots, other)).toEqual(direct(choice, g, slots, step));
      }),
    );
  });

  it('takes coefficients from 0 to 1, other amounts from 0 on, and nothing else', () => {
    for (const { name, type } of [...optimizer.options, { name: 'weightDecay', type: 'number' }]) {
      if (type !== 'number') continue;
      const isCoefficient = ['beta1', 'beta2', 'rho', 'momentum', 'dampening'].includes(name);
      for (const value of isCoefficient ? [0, 1] : [0, 1e300])
        expect(chooseOptimizer(id, { [name]: value }).options[name]).toBe(value);
      for (const value of [isCoefficient ? 1.001 : Number.NaN, -0.001])
        expect(() => chooseOptimizer(id, { [name]: value }), `${name}=${value}`).toThrow(/must be/);
    }
  });
});

it.each([
  ['sgd', {}, true],
  ['sgd', { momentum: 0.9 }, false],
  ['adagrad', {}, true],
  ['adagrad', { accumulator: 'clipped', learningRateDecay: 0.1 }, true],
  ['adam', {}, false],
  ['adamw', {}, false],
  ['lamb', {}, false],
  ['rmsprop', {}, false],
] as const)('%s %j is rowwise: %s, and only then rows without a gradient stand still', (id, options, is) => {
  const choice = chooseOptimizer(id, options);
  expect(choice.optimizer.rowwise(choice.options)).toBe(is);
  const slots = Object.fromEntries(
    choice.optimizer.slots(choice.options).map(({ name }) => [name, Float64Array.of(2)]),
  );
  const { out, after } = direct(choice, [0], slots, 3);
  expect(out[0] === 0 && JSON.stringify(after) === JSON.stringify(slots)).toBe(is);
});

it.each([
  ['sgd', { momentum: 0.9 }, false],
  ['sgd', { dampening: 0.5 }, false],
  ['sgd', { momentum: 0.9, dampening: 0.5 }, true],
  ['adagrad', {}, false],
  ['adagrad', { learningRateDecay: 0.1 }, true],
  ['rmsprop', { momentum: 0.9, centered: true }, false],
  ['adam', {}, true],
  ['adamw', {}, true],
  ['lamb', {}, true],
] as const)('%s %j counts its steps: %s, and only then its first step differs', (id, options, does) => {
  const choice = chooseOptimizer(id, options);
  expect(choice.optimizer.countsSteps?.(choice.options) ?? false).toBe(does);
  const slots = Object.fromEntries(
    choice.optimizer.slots(choice.options).map(({ name }) => [name, Float64Array.of(0.5)]),
  );
  const [first, later] = [1, 9].map((step) => direct(choice, [2], slots, step).out[0]);
  expect(first !== later).toBe(does);
});
