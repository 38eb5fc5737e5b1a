/** Ranks that print into one file without saying which they are, and what looks like them and is none. */
import { describe, expect, it } from 'vitest';
import { ranksAmong } from '../../src/read/logs/ranks-among.ts';
import { random as randomFrom } from '../support/random.ts';

const steps = (count: number): number[] => Array.from({ length: count }, (_, k) => 10 * k);
const ofSteps = (rows: readonly number[]): Float64Array | undefined =>
  ranksAmong(Float64Array.from(rows), new Float64Array(rows.length).fill(Number.NaN));

/** Rows of ranks that print at their own pace, at most `apart` places from each other. */
function mixed(ranks: number, count: number, apart: number, seed: number): number[] {
  const random = randomFrom(seed);
  const next = new Array<number>(ranks).fill(0);
  const rows: number[] = [];
  while (rows.length < ranks * count) {
    const rank = Math.floor(random() * ranks);
    if (next[rank]! < count && next[rank]! < Math.min(...next) + apart) rows.push(10 * next[rank]!++);
  }
  return rows;
}

describe('ranks whose lines mix', () => {
  it.each([
    [2, 2],
    [4, 3],
    [8, 6],
  ])('%i of them, %i places apart, are told from each other', (ranks, apart) => {
    for (const seed of [1, 2, 3]) {
      const rows = mixed(ranks, 40, apart, seed);
      const rank = ofSteps(rows)!;
      for (let one = 0; one < ranks; one++)
        expect(rows.filter((_, row) => rank[row] === one)).toEqual(steps(40));
    }
  });

  it('in epochs, whose batches start again', () => {
    const rows = mixed(3, 40, 3, 4);
    const batch = Float64Array.from(rows, (row) => row % 100);
    const rank = ranksAmong(
      batch,
      Float64Array.from(rows, (row) => Math.floor(row / 100)),
    )!;
    for (const one of [0, 1, 2]) expect(rows.filter((_, row) => rank[row] === one)).toEqual(steps(40));
  });

  it.each([
    ['one rank', steps(40)],
    ['a run that is done again from its start', [...steps(40), ...steps(40)]],
    ['eight of them', Array.from({ length: 8 }, () => steps(40)).flat()],
    [
      'a run that goes back ten steps at each tenth',
      steps(40).flatMap((_, k) => (k % 10 === 9 ? steps(40).slice(k - 9, k + 1) : [10 * k])),
    ],
    [
      'training and an evaluation of each epoch in lines that look alike',
      Array.from({ length: 10 }, (_, epoch) => {
        const batches = steps(8).map((one) => 1000 * epoch + one);
        return [...batches, ...batches];
      }).flat(),
    ],
    ['ranks that print side by side', steps(40).flatMap((one) => [one, one])],
    ['numbers that go up and down', steps(40).map((one) => (one * 7) % 400)],
  ])('%s: none', (_, rows) => {
    expect(ofSteps(rows)).toBeUndefined();
  });
});
