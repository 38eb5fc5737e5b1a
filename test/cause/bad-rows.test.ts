/** Which rows stand out, and how they are left out and said. */
import { describe, expect, it } from 'vitest';
import type { Batch, Objective } from '../../src/differentiate/autodiff/objective.ts';
import { findBadRows } from '../../src/experiment/cause/bad-rows.ts';
import { pasteRows } from '../../src/experiment/cause/paste.ts';
import { rowsWords } from '../../src/model/rows-words.ts';
import { rowsOf, withoutRows } from '../../src/step/tensor/batch-rows.ts';

const batchOf = (values: readonly number[]): Batch =>
  new Map([['x', { shape: [values.length, 1], data: Float32Array.from(values) }]]);

/** Mean of (w·x)²/2: the gradient of a row is w·x². */
const quadratic: Pick<Objective, 'gradient' | 'loss'> = {
  gradient: async ([w = 0], [batch]) => {
    const x = [...batch!.get('x')!.data];
    const loss = x.reduce((sum, value) => sum + (w * value) ** 2 / 2, 0) / x.length;
    return {
      loss,
      taskLosses: [],
      gradient: Float32Array.of(x.reduce((sum, value) => sum + w * value ** 2, 0) / x.length),
    };
  },
  loss: async (w, batches) => quadratic.gradient(w, batches),
};

const look = (earlier: readonly number[][], unlike: readonly number[][], objective = quadratic) => {
  const batches = [...earlier, ...unlike].map(batchOf);
  return findBadRows({
    objective,
    weights: Float32Array.of(1),
    earlier: earlier.map((_, k) => k),
    unlike: unlike.map((_, k) => earlier.length + k),
    batch: async (index) => batches[index]!,
    isUsual: (loss) => loss <= 2,
    progress: () => {},
  });
};
/** 32 rows, of which the first are given. */
const rows = (...first: readonly number[]): number[] => [...first, ...Array(32 - first.length).fill(1)];
const usual = rows(2);

describe('rows stand out', () => {
  it('where their gradient is above twice the largest of rows before', async () => {
    expect(await look([usual, usual], [rows(1, 1, 9)])).toEqual(new Map([[2, [2]]]));
    // 2.8² is just below 2 · 2².
    expect(await look([usual], [rows(1, 1, 2.8)])).toEqual(null);
  });
  it('where their gradient is no number', async () => {
    expect(await look([usual], [rows(1, 1, 1, Number.NaN)])).toEqual(new Map([[1, [3]]]));
  });
  it('not where more than 8 % of them do: the batches are bad', async () => {
    expect(await look([usual], [rows(9, 9, 9)])).toBeNull();
  });
  it('not where the rest of the batch is unusual too', async () => {
    expect(await look([usual], [[9, ...Array(31).fill(2.5)]])).toBeNull();
  });
  it('next to an unlike batch that has none: the training without them decides', async () => {
    expect(await look([usual], [rows(1, 9), Array(32).fill(2.5)])).toEqual(new Map([[1, [1]]]));
  });
  it('not where no batch came before, or rows before are no numbers', async () => {
    expect(await look([], [usual])).toBeNull();
    expect(await look([[Number.NaN, 1]], [rows(9)])).toBeNull();
  });
  it('not where a row has another loss in its batch, as under batch normalisation', async () => {
    const normalised: typeof quadratic = {
      gradient: async (w, [batch]) => {
        const mean = [...batch!.get('x')!.data].reduce((a, b) => a + b, 0) / rowsOf(batch!);
        return quadratic.gradient(w, [batchOf([...batch!.get('x')!.data].map((x) => x - mean))]);
      },
      loss: (w, batches) => normalised.gradient(w, batches),
    };
    expect(await look([usual], [rows(1, 1, 9)], normalised)).toBeNull();
  });
});

it('a batch without rows keeps the others in order, of each tensor', () => {
  const batch: Batch = new Map([
    ['x', { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
    ['id', { shape: [3], data: Int32Array.of(7, 8, 9) }],
  ]);
  expect(withoutRows(batch, [1])).toEqual(
    new Map([
      ['x', { shape: [2, 2], data: Float32Array.of(1, 2, 5, 6) }],
      ['id', { shape: [2], data: Int32Array.of(7, 9) }],
    ]),
  );
});

it('says which', () => {
  expect(rowsWords([{ step: 212, rows: [17], ids: null }])).toBe('row 17 of the batch of step 212');
  expect(rowsWords([{ step: 212, rows: [3, 17, 18], ids: null }])).toBe(
    'rows 3 and 17 to 18 of the batch of step 212',
  );
  expect(
    rowsWords([
      { step: 20, rows: [1, 2], ids: null },
      { step: 21, rows: [5], ids: null },
    ]),
  ).toBe('3 rows of the batches of steps 20 to 21');
});

it('is pasted as a filter on ids, where each row has one', () => {
  expect(pasteRows('torch', [{ step: 1, rows: [0, 2], ids: ['a', 7] }])).toBe(
    'keep = [row for row, id in enumerate(ids) if id not in {"a", 7}]  # of each batch, before it is used',
  );
  expect(pasteRows('torch', [{ step: 1, rows: [0], ids: null }])).toBeNull();
  // Trainers that draw their batches themselves take the list.
  expect(pasteRows('transformers', [{ step: 1, rows: [0], ids: [1] }])).toBeNull();
});
