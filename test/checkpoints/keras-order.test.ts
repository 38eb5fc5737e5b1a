/** The order of a nameless optimizer's parameters: known where the shapes leave one, said to be unknown where they do not. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { orderOfMaking } from '../../src/read/checkpoints/keras/keras-order.ts';
import { kerasRoles, slotsByOrder } from '../../src/read/checkpoints/keras/keras-roles.ts';
import { checkpointFile } from '../../src/read/checkpoints/registry.ts';
import { projectRoot } from '../support/shared-data.ts';

const variable = (key: string, ...shape: number[]) => ({ key, shape });

it('lists keep their order, names do not tell one', () => {
  const stored = [
    variable('alpha/vars/0', 3),
    variable('layers/dense/vars/0', 2),
    variable('zeta/vars/0', 4),
  ];
  const [alpha, dense, zeta] = stored;
  expect(orderOfMaking(stored, [[4], [2], [3]])).toEqual([zeta, dense, alpha]);
  expect(orderOfMaking(stored, [[4], [2], [5]])).toBeUndefined();
});

it('equal shapes leave several orders', () => {
  const stored = [variable('alpha/vars/0', 3), variable('zeta/vars/0', 3)];
  expect(orderOfMaking(stored, [[3], [3]])).toBeNull();
});

it('a list of as many layers as nobody makes ends as unknown', () => {
  const stored = Array.from({ length: 20_000 }, (_, i) => variable(`layers/dense_${i}/vars/0`, 2));
  expect(
    orderOfMaking(
      stored,
      stored.map(({ shape }) => shape),
    ),
  ).toBeNull();
});

describe('optimizers of subclassed models', () => {
  const variables = [
    'model/tower_watch/_kernel',
    'model/tower_watch/bias',
    'model/tower_like/_kernel',
    'model/tower_like/bias',
  ];
  const shapes = [[4, 3], [3], [3, 1], [1]];
  const stored = variables.map((path, i) => ({
    key: `${path}/.ATTRIBUTES/VARIABLE_VALUE`,
    // Labels of TensorFlow leave the layer out.
    name: `sub/${path.replace(/^.*\/_?/, '')}`,
    dtype: 'F32' as const,
    shape: shapes[i]!,
  }));
  const slotsOf = (optimizer: string, words: readonly string[]) =>
    words.flatMap((word, w) =>
      ['tower_watch_kernel', 'tower_watch_bias', 'tower_like_kernel', 'tower_like_bias'].map((name, i) => ({
        key: `optimizer/_variables/${w * 4 + i}/.ATTRIBUTES/VARIABLE_VALUE`,
        name: `${optimizer}/sub_${name}_${word}`,
        dtype: 'F32' as const,
        shape: shapes[i]!,
      })),
    );

  it.each([
    ['rm_sprop', ['velocity', 'momentum', 'average_gradient'], ['v', 'momentum', 'm']],
    ['ftrl', ['accumulator', 'linear'], ['accumulator', 'linear']],
    ['lion', ['momentum'], ['m']],
    ['nadam', ['momentum', 'velocity'], ['m', 'v']],
    ['adam_1', ['momentum', 'velocity', 'velocity_hat'], ['m', 'v', 'v_max']],
  ])('%s: the state of an attribute by its path', (optimizer, words, slots) => {
    const state = slotsOf(optimizer, words);
    const roles = kerasRoles([...stored, ...state]);
    expect(state.map(({ key }) => roles.get(key)?.parameter)).toEqual(
      slots.flatMap(() => stored.map(({ key }) => key)),
    );
    expect(state.map(({ key }) => roles.get(key)?.slot)).toEqual(
      slots.flatMap((slot) => stored.map(() => slot)),
    );
  });

  it('two parameters that the name may mean are none', () => {
    const same = stored.map((one) => ({ ...one, key: one.key.replace(/tower_\w+/, 'x'), shape: [2] }));
    const [state] = slotsOf('lion', ['momentum']);
    const roles = kerasRoles([
      same[0]!,
      { ...same[2]!, key: same[2]!.key.replace('/x/', '/y/') },
      { ...state!, shape: [2] },
    ]);
    expect(roles.get(state!.key)).toMatchObject({ slot: 'm' });
    expect(roles.get(state!.key)?.parameter).toBeUndefined();
  });

  const parameters = stored.map(({ key, shape }) => ({ key, shape }));
  const unnamed = (order: readonly number[]) =>
    order.map((i, k) => ({ key: `optimizer/vars/${k}`, shape: shapes[i]! }));
  const blocks = (count: number) => unnamed(Array.from({ length: count }, () => [0, 1, 2, 3]).flat());
  const told = (optimizer: string, order: ReturnType<typeof unnamed>, centered?: boolean) => [
    ...new Set([...slotsByOrder(optimizer, order, [parameters], centered).values()].map(({ slot }) => slot)),
  ];

  it('without names the order tells: RMSprop with momentum and centered, Ftrl, Lion', () => {
    expect(told('rmsprop', blocks(1))).toEqual(['v']);
    expect(told('rmsprop', blocks(2))).toEqual(['v', 'momentum']);
    expect(told('rmsprop', blocks(2), true)).toEqual(['v', 'm']);
    expect(told('rmsprop', blocks(3))).toEqual(['v', 'momentum', 'm']);
    expect(told('rmsprop', blocks(4))).toEqual([]);
    expect(told('lion', blocks(1))).toEqual(['m']);
    expect(told('ftrl', unnamed([0, 0, 1, 1, 2, 2, 3, 3]))).toEqual(['accumulator', 'linear']);
    expect(
      [...slotsByOrder('ftrl', unnamed([0, 0, 1, 1, 2, 2, 3, 3]), [parameters]).values()][3],
    ).toMatchObject({
      slot: 'linear',
      parameter: stored[1]!.key,
    });
  });

  it('layers have the names that the user gave them', async () => {
    const file = checkpointFile(join(projectRoot, 'fixtures/checkpoints/keras3/adam.keras'));
    try {
      const { tensors } = await file.open();
      const labels = new Map(tensors.map(({ name, label }) => [name, label]));
      const parameters = tensors.filter(({ role }) => role === 'parameter');
      expect(parameters.length).toBeGreaterThan(0);
      for (const { name } of parameters)
        expect(labels.get(name)).toMatch(/^[^/]+(?:\/[^/]+)*\/(?:kernel|bias|gamma|beta|embeddings|\d+)$/);
      expect(labels.get('optimizer/vars/0')).toBeUndefined();
    } finally {
      await file.close();
    }
  });
});
