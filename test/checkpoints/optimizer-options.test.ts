/** Options of a PyTorch optimizer as its checkpoint holds them. */
import { expect, it } from 'vitest';
import type { Checkpoint } from '../../src/model/checkpoint.ts';
import { savedOptimizerGroups, savedOptimizerOptions } from '../../src/read/checkpoints/optimizer-options.ts';

const checkpoint = (metadata: [string, number][]): Checkpoint =>
  ({ metadata: new Map(metadata) }) as unknown as Checkpoint;

it('groups one by one, of several optimizers one after the other; together what they agree on', () => {
  const two = checkpoint([
    ['optimizer.param_groups.0.lr', 0.1],
    ['optimizer.param_groups.0.eps', 1e-8],
    ['optimizer.param_groups.1.lr', 0.2],
    ['optimizer.param_groups.1.eps', 1e-8],
    ['tables.param_groups.0.lr', 0.3],
    ['step', 7],
  ]);
  expect(savedOptimizerGroups(two).map((group) => Object.fromEntries(group))).toEqual([
    { learningRate: 0.1, epsilon: 1e-8 },
    { learningRate: 0.2, epsilon: 1e-8 },
    { learningRate: 0.3 },
  ]);
  expect(Object.fromEntries(savedOptimizerOptions(two))).toEqual({ epsilon: 1e-8 });
});

it('the dict of an optimizer alone; no optimizer', () => {
  expect(savedOptimizerGroups(checkpoint([['param_groups.0.lr', 0.1]]))).toEqual([
    new Map([['learningRate', 0.1]]),
  ]);
  expect(savedOptimizerGroups(checkpoint([['lr', 0.1]]))).toEqual([]);
});
