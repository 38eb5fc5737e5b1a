/** Tables as batches: what would become another number is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readBatch } from '../../src/differentiate/autodiff/batches.ts';
import { checkRows } from '../../src/differentiate/autodiff/losses.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-batches-'));
afterAll(() => rmSync(folder, { recursive: true }));

const inputs = [
  { name: 'user', width: 1, ids: true },
  { name: 'x', width: 1 },
];
const read = (text: string, map: ReadonlyMap<string, string[]> = new Map()) => {
  const path = join(folder, 'batch.csv');
  writeFileSync(path, text);
  return readBatch(path, inputs, map);
};

it('ids beyond what float32 holds stay what they are', async () => {
  const batch = await read('user,x\n16777217,0.5\n0,16777217\n');
  expect(batch.get('user')!.data).toEqual(Int32Array.of(16_777_217, 0));
  expect(batch.get('x')!.data).toEqual(Float32Array.of(0.5, 16_777_216));
});

it.each([
  ['a fraction as an id', 'user,x\n1.5,0\n', 'batch-values'],
  ['an id that is no number', 'user,x\nnan,0\n', 'batch-values'],
  ['an id beyond 32 bits', 'user,x\n2147483648,0\n', 'batch-values'],
  ['a column twice', 'user,x, x\n1,2,3\n', 'batch-table'],
  ['a row with a cell more', 'user,x\n1,2\n1,2,3\n', 'batch-table'],
  ['a row with a cell less', 'user,x\n1,2\n1\n', 'batch-table'],
])('refuses %s', async (_what, text, code) => {
  await expect(read(text)).rejects.toMatchObject({ code });
});

it('refuses what is no Parquet file', async () => {
  const path = join(folder, 'batch.parquet');
  writeFileSync(path, 'no such thing');
  await expect(readBatch(path, inputs, new Map())).rejects.toMatchObject({ code: 'batch-table' });
});

it('refuses a map for what is no input', async () => {
  await expect(read('user,x\n1,2\n', new Map([['usr', ['x']]]))).rejects.toMatchObject({ code: 'batch-map' });
});

describe('rows', () => {
  const tensor = (shape: readonly number[]) => ({
    shape,
    data: new Float32Array(shape.reduce((product, n) => product * n, 1)),
  });
  it('are those that all tensors share', () => {
    expect(
      checkRows(
        new Map([
          ['a', tensor([3, 2])],
          ['b', tensor([3])],
        ]),
      ),
    ).toBe(3);
  });
  it.each([
    [
      'a scalar, wherever it stands',
      [
        ['a', tensor([3])],
        ['s', tensor([])],
      ],
      /"s".*a scalar.*3 rows/,
    ],
    [
      'a scalar that comes first',
      [
        ['s', tensor([])],
        ['a', tensor([3])],
      ],
      /"s".*a scalar.*rows/,
    ],
    [
      'one that has others',
      [
        ['a', tensor([3])],
        ['b', tensor([2, 4])],
      ],
      /"b".*2×4.*3 rows/,
    ],
    ['none', [['a', tensor([0, 2])]], /row/],
    ['nothing', [], /row/],
  ] as const)('of %s are refused', (_, tensors, says) => {
    expect(() => checkRows(new Map(tensors as never))).toThrow(says);
  });
});
