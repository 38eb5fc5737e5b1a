import { describe, expect, it } from 'vitest';
import { findRestarts } from '../../src/read/logs/attempts.ts';

const range = (from: number, to: number, by = 1): number[] =>
  Array.from({ length: Math.ceil((to - from) / by) }, (_, k) => from + k * by);
const restarts = (steps: number[], files: number[] = [], marks: number[] = []) =>
  findRestarts(Float64Array.from(steps), files, marks).map(({ index, reason }) => [index, reason]);

describe('restarts', () => {
  it('four runs in one file are four attempts', () => {
    const run = range(0, 4151, 25);
    expect(restarts([...run, ...run, ...run, ...run])).toEqual(
      [1, 2, 3].map((k) => [k * run.length, 'step-went-back']),
    );
  });
  it('a resume from a checkpoint is one', () => {
    expect(restarts([...range(0, 5230, 10), ...range(5000, 6000, 10)])).toEqual([[523, 'step-went-back']]);
  });
  it('late records are none: nothing that is a point or two behind, however many of them', () => {
    expect(restarts([1, 2, 3, 5, 4, 6, 7, 9, 8, 10, 12, 11, 13])).toEqual([]);
    expect(restarts([1, 2, 5, 3, 4, 6, 7, 8])).toEqual([]);
    // Two writers, one of them behind.
    expect(restarts([1, 2, 1, 3, 2, 4, 3, 5, 4, 6])).toEqual([]);
    expect(restarts([1, 1, 1, 2, 2, 2, 3])).toEqual([]);
  });
  it('at the end of a log, a fall to the beginning counts, a late record does not', () => {
    expect(restarts([...range(0, 100), 0])).toEqual([[100, 'step-went-back']]);
    expect(restarts([...range(0, 100), 97])).toEqual([]);
    expect(restarts([...range(0, 100), 50, 51])).toEqual([[100, 'step-went-back']]);
  });
  it('a run that was stopped at once and begun again is an attempt of its own', () => {
    expect(restarts([...range(0, 36), 0, 1, ...range(0, 20)])).toEqual([
      [36, 'step-went-back'],
      [38, 'step-went-back'],
    ]);
    // It falls to where the log began, not to some step before.
    expect(restarts([...range(0, 36), 30, 31, 36, 37, 38])).toEqual([]);
  });
  it('a further file is one where its steps overlap, and goes on where they do not', () => {
    expect(restarts([...range(0, 100), ...range(90, 200)], [100])).toEqual([[100, 'new-file']]);
    expect(restarts([...range(0, 100), ...range(100, 200)], [100])).toEqual([]);
  });
  it('what the log says itself is believed', () => {
    expect(restarts(range(0, 10), [], [4])).toEqual([[4, 'restart-line']]);
  });
  it('is defined on nothing, one point and NaN', () => {
    expect(restarts([])).toEqual([]);
    expect(restarts([5])).toEqual([]);
    expect(restarts([Number.NaN, Number.NaN, 1, 0])).toEqual([]);
  });
});
