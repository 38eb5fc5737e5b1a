/** Which missing cells a rhythm explains, on gaps written out by hand. */
import { describe, expect, it } from 'vitest';
import { missingCells } from '../../src/model/missing-cells.ts';

/** Gaps from a row of cells: `x` is a value, `.` a missing cell. */
function look(cells: string) {
  const gaps: number[] = [0];
  for (const cell of cells)
    if (cell === 'x') gaps.push(0);
    else gaps[gaps.length - 1]!++;
  const points = gaps.length - 1;
  return missingCells({
    value: new Float64Array(points),
    missing: cells.length - points,
    gaps: Uint32Array.from(gaps),
  });
}
const x = (count: number): string => 'x'.repeat(count);
const gap = (count: number): string => '.'.repeat(count);

describe('missing cells', () => {
  it.each<[string, string]>([
    ['nothing missing', x(50)],
    ['every second row', 'x.'.repeat(50)],
    ['every second row, from the second', '.x'.repeat(50)],
    ['an evaluation every 100 rows', `${gap(99)}x`.repeat(8)],
    ['an evaluation about every 100 rows', [97, 104, 99, 88, 120, 101].map((n) => `${gap(n)}x`).join('')],
    ['evaluations at intervals that double', [1, 3, 7, 15, 31, 63].map((n) => `x${gap(n)}`).join('')],
    ['one evaluation, at the end', `${gap(99)}x`],
    ['one evaluation, in the middle', `${gap(50)}x${gap(49)}`],
    ['an evaluation that starts late', `${gap(900)}${(`${gap(9)}x`).repeat(20)}`],
    ['the last row of every tenth', `${x(9)}.`.repeat(20)],
    ['two of five rows', 'xxx..'.repeat(30)],
  ])('%s is explained', (_, cells) => {
    expect(look(cells)).toMatchObject({ unexplained: 0, total: [...cells].filter((c) => c === '.').length });
  });

  it.each<[string, string, number]>([
    ['60 in a row', x(300) + gap(60) + x(240), 60],
    ['the last one', x(300) + gap(1), 1],
    ['60 in a row and the last', x(300) + gap(60) + x(239) + gap(1), 61],
    ['all after the first', x(1) + gap(99), 99],
    ['all after the first two', `x${gap(9)}x${gap(90)}`, 81],
    ['the end of a column of every second row', 'x.'.repeat(50) + gap(60), 60],
    ['a hole in every second row', 'x.'.repeat(50) + gap(60) + 'x.'.repeat(50), 60],
    [
      'a hole between evaluations',
      `${(`${gap(9)}x`).repeat(10)}${gap(60)}${'x'}${(`${gap(9)}x`).repeat(10)}`,
      51,
    ],
    ['two stretches', x(100) + gap(5) + x(100) + gap(5) + x(100), 10],
    ['a hole in a pattern', `${'xxx..'.repeat(10)}${gap(40)}${'xxx..'.repeat(10)}`, 40],
    ['every one', gap(40), 40],
  ])('%s is not explained', (_, cells, unexplained) => {
    expect(look(cells).unexplained).toBe(unexplained);
  });

  it('values that are missing here and there have no rhythm', () => {
    // A linear congruential generator: one row in ten, at random.
    let seed = 1;
    const cells = Array.from({ length: 2000 }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed < 2 ** 32 / 10 ? '.' : 'x';
    }).join('');
    expect(look(cells)).toMatchObject({
      rhythm: 'none',
      unexplained: [...cells].filter((c) => c === '.').length,
    });
  });
  it('says how many are missing in a row and at the end', () => {
    expect(look(`${x(20)}${gap(7)}${x(20)}${gap(3)}`)).toMatchObject({ longest: 7, atEnd: 3, total: 10 });
  });
  it('a series without gaps may have cells in rows of another kind', () => {
    expect(missingCells({ value: new Float64Array(3), missing: 5 })).toEqual({
      total: 5,
      unexplained: 0,
      longest: 0,
      atEnd: 0,
      rhythm: 'none',
    });
  });
});
