/** The order of a nameless optimizer's parameters: known where the shapes leave one, said to be unknown where they do not. */
import { expect, it } from 'vitest';
import { orderOfMaking } from '../../src/checkpoints/keras/keras-order.ts';

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
