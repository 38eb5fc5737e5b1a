/**
 * Two routes to one table: rows of JSON that repeat the line before are read by what stands between their numbers, others
 * member by member. Which of the two a line takes must not be seen in what it gives.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { objectScanner } from '../../src/read/logs/json-line.ts';
import { rowTable } from '../../src/read/logs/row-table.ts';

/** A table of the lines; `apart` reads each with a scanner of its own, which knows no line before. */
function tableOf(lines: readonly string[], apart: boolean) {
  const table = rowTable();
  let scan = objectScanner(table);
  const taken = lines.map((text, k) => {
    if (apart) scan = objectScanner(table);
    // As in a file: another line stands behind each.
    const bytes = Buffer.from(`${text}\n${lines[k + 1] ?? ''}`);
    return scan.row(bytes, 0, Buffer.byteLength(text), k + 1);
  });
  const { series, ...rest } = table.finish();
  return {
    taken,
    ...rest,
    series: series.map((one) => ({
      ...one,
      step: [...one.step],
      value: [...one.value],
      line: [...(one.line ?? [])],
      refusedAt: [...(one.refusedAt ?? [])],
      gaps: [...(one.gaps ?? [])],
    })),
  };
}

const value = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom('1', '-0', '0.25', '1e400', 'NaN', '-Infinity', '12345678901234567'),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'null',
      'true',
      '"0.5"',
      '"nan"',
      '"x"',
      '[1]',
      '{"z": 1}',
      '1.',
      '',
      ' 3',
      '3 ',
      '1x',
    ),
  },
);
const shape = fc.constantFrom<(a: string, b: string) => string>(
  (a, b) => `{"step": ${a}, "loss": ${b}}`,
  (a, b) => `{"step": ${a}, "loss": ${b}, "lr": ${a}}`,
  (a, b) => `{"step": ${a}, "loss": ${b}`,
  (a, b) => `{"step": ${a}, "loss": ${b}}}`,
  (a, b) => `{"loss": ${a}, "loss": ${b}}`,
  (a, b) => `{ "step":${a},"loss":"${b}" } `,
);

it('gives the same rows whether or not a line repeats the one before', () => {
  const lines = fc.array(
    fc.tuple(shape, fc.integer({ min: 1, max: 4 }), fc.array(value, { minLength: 8, maxLength: 8 })),
    {
      minLength: 1,
      maxLength: 12,
    },
  );
  let repeated = 0;
  fc.assert(
    fc.property(lines, (blocks) => {
      const texts = blocks.flatMap(([make, times, cells]) =>
        Array.from({ length: times }, (_, k) => make(cells[2 * k]!, cells[2 * k + 1]!)),
      );
      const together = tableOf(texts, false);
      repeated += together.taken.filter(Boolean).length;
      expect(together).toEqual(tableOf(texts, true));
    }),
    { numRuns: 400 },
  );
  expect(repeated).toBeGreaterThan(1000);
});
