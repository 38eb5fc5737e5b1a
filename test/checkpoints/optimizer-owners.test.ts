import { describe, expect, it } from 'vitest';
import type { SavedOptimizer, TensorInfo } from '../../src/model/checkpoint.ts';
import { ownersOf } from '../../src/read/checkpoints/optimizer-owners.ts';

const info = (name: string, ...shape: number[]): TensorInfo => ({
  name,
  shape,
  dtype: 'F32',
  elements: shape.reduce((a, b) => a * b, 1),
  layout: 'none',
  role: 'parameter',
});
const saved = (groups: string[][], shapes: Record<string, number[]>): SavedOptimizer => ({
  groups,
  slots: Object.entries(shapes).map(([id, shape]) => ({ tensor: `s${id}`, id, shape })),
});
const told = (...args: Parameters<typeof ownersOf>) => Object.fromEntries(ownersOf(...args));
const layers = [info('a.w', 5, 5), info('a.b', 5), info('b.w', 5, 5), info('b.b', 5)];
const inOrder = { parameters: layers, ordered: true };
const sorted = { parameters: layers, ordered: false };

describe('parameters of a numbered optimizer', () => {
  it('one group is in the order of the model, also where a parameter has no state', () => {
    const one = saved([['0', '1', '2', '3']], { 0: [5, 5], 1: [5], 3: [5] });
    expect(told(one, [inOrder])).toEqual({ s0: 'a.w', s1: 'a.b', s3: 'b.b' });
  });

  it('groups by shape (decay, no decay) keep the order of the model in each', () => {
    const decay = saved(
      [
        ['0', '1'],
        ['2', '3'],
      ],
      { 0: [5, 5], 1: [5, 5], 2: [5], 3: [5] },
    );
    expect(told(decay, [inOrder])).toEqual({ s0: 'a.w', s1: 'b.w', s2: 'a.b', s3: 'b.b' });
  });

  it('a shape that several groups share is told for none: the groups may have come in any order', () => {
    const swapped = saved([['0'], ['1']], { 0: [5, 5], 1: [5, 5] });
    expect(told(swapped, [{ parameters: [layers[0]!, layers[2]!], ordered: true }])).toEqual({});
    const mixed = saved(
      [
        ['0', '2'],
        ['1', '3'],
      ],
      { 0: [5, 5], 1: [5, 5], 2: [5], 3: [7] },
    );
    const candidate = [layers[0]!, layers[1]!, layers[2]!, info('c', 7)];
    expect(told(mixed, [{ parameters: candidate, ordered: true }])).toEqual({ s2: 'a.b', s3: 'c' });
  });

  it('without the order of the model only a shape of its own tells', () => {
    const one = saved([['0', '1', '2', '3']], { 0: [5, 5], 1: [5], 2: [5, 5], 3: [5] });
    expect(told(one, [sorted])).toEqual({});
    const distinct = { parameters: [info('b', 5), info('w', 5, 5)], ordered: false };
    expect(told(saved([['0', '1']], { 0: [5, 5], 1: [5] }), [distinct])).toEqual({ s0: 'w', s1: 'b' });
  });

  it('another count, another shape and candidates that disagree tell nothing; averages stand back', () => {
    const one = saved([['0', '1', '2', '3']], { 0: [5, 5], 1: [5], 2: [5, 5], 3: [5] });
    const renamed = (prefix: string) => ({
      parameters: layers.map((layer) => ({ ...layer, name: `${prefix}.${layer.name}` })),
      ordered: true,
    });
    expect(told(one, [{ parameters: layers.slice(1), ordered: true }])).toEqual({});
    expect(told(saved([['0', '1', '2', '3']], { 0: [6, 5] }), [inOrder])).toEqual({});
    expect(told(saved([['0', '1', '2', '3']], { 0: [6, 5] }), [sorted])).toEqual({});
    expect(told(one, [renamed('generator'), renamed('discriminator')])).toEqual({});
    expect(told(one, [renamed('ema'), renamed('model')])).toMatchObject({ s0: 'model.a.w' });
    expect(told(one, [inOrder, sorted])).toMatchObject({ s3: 'b.b' });
  });

  it('state of several shapes for one parameter (a factored second moment) is not matched', () => {
    const factored: SavedOptimizer = {
      groups: [['0']],
      slots: [
        { tensor: 'row', id: '0', shape: [5] },
        { tensor: 'column', id: '0', shape: [4] },
      ],
    };
    expect(told(factored, [{ parameters: [info('w', 5)], ordered: true }])).toEqual({});
  });
});
