/** The forms that optimizers have elsewhere: defaults, the order of Keras's variables; and entries that are 0/0. */
import { describe, expect, it } from 'vitest';
import { slotsByOrder } from '../../src/read/checkpoints/keras/keras-roles.ts';
import { chooseOptimizer, OPTIMIZERS, optimizerOf } from '../../src/step/optimizers/registry.ts';

describe('an entry that would be divided by 0', () => {
  /** Directions of entries with these gradients, second moments (or sums) and first moments, at step 1 and ε = 0. */
  const directionOf = (
    id: keyof typeof OPTIMIZERS,
    entries: readonly { g: number; square: number; m?: number }[],
  ): number[] => {
    // No moving mean takes anything of the gradient in, so that what divides it is what is given here.
    const still = { adagrad: { accumulator: 'delayed' }, rmsprop: { rho: 1 } }[id as string] ?? {
      beta1: 0.5,
      beta2: 0,
    };
    const { optimizer, options } = chooseOptimizer(id, { epsilon: 0, ...still });
    const squares = Float64Array.from(entries, ({ square }) => square);
    const slots = {
      accumulator: squares,
      v: squares,
      m: Float64Array.from(entries, ({ m = 0 }) => m),
    };
    const out = new Float64Array(entries.length);
    optimizer.direction(
      Float64Array.from(entries, ({ g }) => g),
      out,
      slots,
      options,
      {
        learningRate: 1,
        step: 1,
      },
    );
    return [...out];
  };

  it.each(['adagrad', 'rmsprop'] as const)('%s: 0/0 stands still, 1/0 does not, NaN stays', (id) => {
    expect(
      directionOf(id, [
        { g: 0, square: 0 },
        { g: 1, square: 0 },
        { g: -1, square: 0 },
        { g: 0, square: 4 },
        { g: 6, square: 4 },
        { g: 0, square: Number.NaN },
        { g: Number.NaN, square: 0 },
      ]),
    ).toEqual([0, Infinity, -Infinity, 0, 3, Number.NaN, Number.NaN]);
  });

  it.each(['adam', 'adamw', 'lamb'] as const)('%s: the same of the mean over the root', (id) => {
    // β₁ = 0.5 at step 1 divides the new mean 0.5·m + 0.5·g by 0.5; β₂ = 0 makes v the new g².
    expect(
      directionOf(id, [
        { g: 0, square: 0 },
        { g: 0, square: 0, m: 3 },
        { g: 2, square: 0, m: -2 },
        { g: 2, square: 0, m: 4 },
        { g: Number.NaN, square: 0 },
      ]),
    ).toEqual([0, Infinity, 0, 3, Number.NaN]);
  });
});

describe('momentum when the learning rate is halved after the first of two gradients of 1', () => {
  const run = (id: string, given: object) => {
    const { optimizer, options } = chooseOptimizer(id, { momentum: 0.5, ...given });
    const slots = { momentum: new Float64Array(1), v: new Float64Array(1) };
    const out = new Float64Array(1);
    const directions = [0.2, 0.1].map((learningRate, i) => {
      optimizer.direction(Float64Array.of(1), out, slots, options, { learningRate, step: i + 1 });
      return out[0];
    });
    return { directions, held: slots.momentum[0] };
  };
  // ρ = 0 makes the direction of RMSProp g/|g|.
  const normed = { rho: 0, epsilon: 0 };

  it('PyTorch sums directions: 1, then 0.5 + 1', () => {
    expect(run('sgd', {})).toEqual({ directions: [1, 1.5], held: 1.5 });
    expect(run('rmsprop', normed)).toEqual({ directions: [1, 1.5], held: 1.5 });
  });
  it('Keras sums steps: 0.2, then 0.1 + 0.1, which is twice the new learning rate', () => {
    const inside = { learningRateInside: true };
    expect(run('sgd', inside)).toEqual({ directions: [1, 2], held: -0.2 });
    expect(run('rmsprop', { ...normed, ...inside })).toEqual({ directions: [1, 2], held: 0.2 });
  });
  it('Keras takes no step at a learning rate of 0', () => {
    for (const id of ['sgd', 'rmsprop']) {
      const { optimizer, options } = chooseOptimizer(id, { momentum: 0.5, learningRateInside: true });
      const out = Float64Array.of(7);
      const slots = { momentum: Float64Array.of(1), v: Float64Array.of(1) };
      optimizer.direction(Float64Array.of(1), out, slots, options, { learningRate: 0, step: 1 });
      expect(out[0]).toBe(0);
    }
  });
});

it.each([
  ['sgd', {}, {}],
  ['sgd', { momentum: 0.9 }, { momentum: 0 }],
  ['adagrad', { initialAccumulatorValue: 0.5 }, { accumulator: 0.5 }],
  ['rmsprop', {}, { v: 0 }],
  ['rmsprop', { centered: true, momentum: 0.9 }, { v: 0, m: 0, momentum: 0 }],
  ['adam', {}, { m: 0, v: 0 }],
  ['lamb', { amsgrad: true }, { m: 0, v: 0, v_max: 0 }],
] as const)('%s %j remembers %j and nothing else', (id, given, slots) => {
  const { optimizer, options } = chooseOptimizer(id, given);
  expect(Object.fromEntries(optimizer.slots(options).map(({ name, initial }) => [name, initial]))).toEqual(
    slots,
  );
});

describe('defaults', () => {
  it.each([
    // tf.keras.optimizers.Adagrad: initial_accumulator_value=0.1, epsilon=1e-7.
    [
      'adagrad',
      {
        initialAccumulatorValue: 0.1,
        epsilon: 1e-7,
        epsilonInside: true,
        accumulator: 'standard',
        learningRateDecay: 0,
      },
    ],
    // torch.optim.SGD, Adam, AdamW, RMSprop (PyTorch 2.8); weight decay is always stated.
    ['sgd', { momentum: 0, dampening: 0, nesterov: false, learningRateInside: false }],
    ['adam', { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, amsgrad: false, epsilonHat: false }],
    ['adamw', { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, amsgrad: false, epsilonHat: false }],
    ['lamb', { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, amsgrad: false, epsilonHat: false }],
    [
      'rmsprop',
      {
        rho: 0.99,
        epsilon: 1e-8,
        epsilonInside: false,
        momentum: 0,
        centered: false,
        learningRateInside: false,
      },
    ],
  ])('of %s are those of the framework that its page names', (id, options) => {
    expect(chooseOptimizer(id).options).toEqual({
      ...options,
      weightDecay: 0,
      decoupledWeightDecay: false,
    });
  });

  it.each([
    // keras.optimizers of Keras 3, as get_config() gives them.
    ['adagrad', { epsilon: 1e-7 }, { epsilonInside: true }],
    ['sgd', { momentum: 0 }, { learningRateInside: true }],
    ['adam', { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, { epsilonHat: true }],
    ['adamw', { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0.004 }, { epsilonHat: true }],
    ['rmsprop', { rho: 0.9, epsilon: 1e-7, momentum: 0 }, { epsilonInside: true, learningRateInside: true }],
  ])('of Keras for %s, and the form of its step', (id, defaults, form) => {
    expect(optimizerOf(id)!.keras.config).toMatchObject({ defaults, form });
  });

  it('of the keys in Keras’s config: AdamW has those of Adam', () => {
    expect(OPTIMIZERS.adamw.keras.config!.names).toEqual({
      beta_1: 'beta1',
      beta_2: 'beta2',
      epsilon: 'epsilon',
      amsgrad: 'amsgrad',
    });
  });
});

describe('variables of a Keras optimizer that only their order tells', () => {
  const slotsOf = (optimizer: string, shapes: readonly number[]): string[] => {
    const parameters = [
      { key: 'a', shape: [2] },
      { key: 'b', shape: [shapes.includes(3) ? 3 : 2] },
    ];
    const variables = shapes.map((size, i) => ({ key: `${i}`, shape: [size] }));
    const roles = slotsByOrder(optimizer, variables, [parameters]);
    return variables.map(({ key }) => `${roles.get(key)?.slot} ${roles.get(key)?.parameter}`);
  };
  const moments = ['m a', 'v a', 'm b', 'v b'];

  it.each(['adam', 'adamw', 'lamb'])(
    '%s: both moments of a parameter side by side, v_max after all',
    (id) => {
      expect(slotsOf(id, [2, 2, 3, 3])).toEqual(moments);
      expect(slotsOf(id, [2, 2, 2, 2])).toEqual(moments);
      // Keras 2: a slot after the other.
      expect(slotsOf(id, [2, 3, 2, 3])).toEqual(['m a', 'm b', 'v a', 'v b']);
    },
  );
  it('Adam with amsgrad: v_max after the moments', () => {
    for (const b of [2, 3])
      expect(slotsOf('adam', [2, 2, b, b, 2, b])).toEqual([...moments, 'v_max a', 'v_max b']);
  });
  it('all others: a slot after the other', () => {
    for (const b of [2, 3]) {
      expect(slotsOf('adagrad', [2, b])).toEqual(['accumulator a', 'accumulator b']);
      expect(slotsOf('sgd', [2, b])).toEqual(['momentum a', 'momentum b']);
      expect(slotsOf('rmsprop', [2, b, 2, b])).toEqual(['v a', 'v b', 'momentum a', 'momentum b']);
    }
  });
});

it.each(['adagard', '__proto__', 'toString', ''])('there is no optimizer %j', (id) => {
  expect(optimizerOf(id)).toBeUndefined();
  expect(() => chooseOptimizer(id)).toThrow(`there is no optimizer "${id}"`);
});
