import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csv } from '../../src/read/logs/csv.ts';

const claims = (lines: readonly string[]): boolean => csv.sniff(Buffer.from(`${lines.join('\n')}\n`), 'f');

describe('what is a CSV', () => {
  // Rows that have the header's cells and a number, and rows that do not.
  it.each([
    [0, 1, false],
    [1, 0, true],
    [1, 1, false],
    [2, 1, true],
    [2, 2, false],
    [3, 2, true],
    [5, 5, false],
    [6, 5, true],
    [9, 9, false],
    [10, 9, true],
  ])('%i rows that fit and %i that do not: %s', (good, bad, expected) => {
    const rows = (one: string, count: number): string[] => new Array<string>(count).fill(one);
    for (const odd of ['a line of text', '1,2,3', 'one,two'])
      expect(claims(['step,loss', ...rows('1,0.5', good), ...rows(odd, bad)])).toBe(expected);
  });

  it('the first nineteen rows decide', () => {
    const fits = new Array<string>(10).fill('1,0.5');
    const others = new Array<string>(9).fill('text');
    expect(claims(['step,loss', ...fits, ...others, ...new Array<string>(50).fill('text')])).toBe(true);
  });
});

describe('what a column is', () => {
  const read = async (cells: readonly string[]) => {
    const text = `step,x\n${cells.map((cell, k) => `${k},${cell}\n`).join('')}`;
    const { errors, runs } = await csv.read(chunksOf(text), 'f', { roles: new Map() });
    const x = runs[0]!.series.find(({ name }) => name === 'x');
    return {
      errors: errors.map(({ id }) => id),
      values: x?.value.length ?? 0,
      refused: x?.refused ?? 0,
      notes: runs[0]!.notes ?? [],
    };
  };
  async function* chunksOf(text: string): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  }

  it.each([
    [3, 2],
    [2, 2],
    [2, 3],
    [1, 0],
  ])('%i numbers and %i texts', async (numbers, texts) => {
    const cells = [...new Array<string>(numbers).fill('0.5'), ...new Array<string>(texts).fill('text')];
    const found = await read(cells);
    expect(found).toMatchObject({ errors: [], values: numbers, refused: texts });
  });

  it.each([
    [1, 1, true],
    [2, 1, true],
    [1, 2, false],
    [2, 0, false],
  ])('%i numbers and %i empty cells', async (numbers, empty, told) => {
    const cells = [...new Array<string>(numbers).fill('0.5'), ...new Array<string>(empty).fill('')];
    const found = await read(cells);
    expect(found.notes.some((note) => note.includes(`"x" in ${empty} of ${cells.length} rows`))).toBe(told);
    expect(found.values).toBe(numbers);
  });
});

/** Two routes to one table: a row of numbers and empty cells is added at once, any other cell by cell, as all are beside an ambiguous column. */
it('gives the same series whether rows are added at once or cell by cell', async () => {
  const read = async (rows: readonly (readonly string[])[], ambiguous: boolean, end: string) => {
    const lines = [['step', 'a', 'b'], ...rows].map((cells, k) =>
      [...(ambiguous ? (k === 0 ? ['x', 'x'] : ['1', '1']) : []), ...cells].join(','),
    );
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(lines.join('\n') + end);
    }
    const { errors, runs, account, kept } = await csv.read(chunks(), 'f', { roles: new Map() });
    return {
      kept,
      lost: account.lost.map(({ reason }) => reason),
      errors: errors.filter(({ id }) => id !== 'log-duplicate-column').map(({ id }) => id),
      stepUnit: runs[0]?.stepUnit,
      series: runs[0]?.series
        .filter(({ name }) => name !== 'x')
        .map(({ name, step, value, line, missing, refused, gaps, refusedAt }) => ({
          ...{ name, missing, refused },
          ...{ step: [...step], value: [...value], line: [...(line ?? [])] },
          ...{ gaps: [...(gaps ?? [])], refusedAt: [...(refusedAt ?? [])] },
        })),
    };
  };
  const cell = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('1', '0.25', '-0', '2e-5', '12345678901.5', '') },
    { weight: 2, arbitrary: fc.constantFrom(' 3 ', ' ', 'nan', 'NA', '1e400', '0.5.') },
    { weight: 1, arbitrary: fc.constantFrom('text', '"4"', '"5,6"', '7,8', '"') },
  );
  const row = fc.tuple(fc.nat({ max: 20 }).map(String), cell, cell);
  const rows = fc.array(row, { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(rows, fc.constantFrom('\n', ''), async (all, end) => {
      expect(await read(all, false, end)).toEqual(await read(all, true, end));
    }),
    { numRuns: 500 },
  );
});
