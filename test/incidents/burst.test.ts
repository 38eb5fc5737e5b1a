import { expect, it } from 'vitest';
import { judgePoints } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';

/** 100 losses that fall from 2.3, but for those that are given from the second on. */
const losses = (start: readonly number[]): Float64Array =>
  Float64Array.from(
    { length: 100 },
    (_, i) => start[i - 1] ?? 2.3 * Math.exp(-i / 100) + 0.01 * Math.sin(7 * i),
  );
const judged = (start: readonly number[], levelSays = true): string[] =>
  judgePoints(losses(start), DEFAULT_VERDICT_SETTINGS, levelSays).incidents.map(
    (one) =>
      `${one.class} ${one.form} ${one.onset}-${one.recovered}, ${Math.round(one.size)} times ${one.before}`,
  );

it('a loss that is a hundred times its first point at once, and comes back, was no warm-up', () => {
  expect(judged([400, 5e4, 9e6, 8e5, 3e3, 60])).toEqual(['micro-divergence rise 1-7, 3913043 times 2.3']);
  expect(judged([3, 8, 60, 240, 235, 90, 40, 9])).toEqual(['micro-divergence rise 2-9, 104 times 2.3']);
});

it('what is smaller, or two points, or no level, is how trainings start', () => {
  expect(judged([])).toEqual([]);
  expect(judged([3, 8, 60, 150, 120, 40, 9])).toEqual([]);
  expect(judged([900, 700])).toEqual([]);
  expect(judged([400, 5e4, 9e6, 8e5, 3e3, 60], false)).toEqual([]);
});

it('a first point that is lower than all that follows is no level to come back to', () => {
  const low = Float64Array.from({ length: 100 }, (_, i) => (i === 0 ? 0.001 : 2.3 * Math.exp(-i / 100)));
  expect(judgePoints(low, DEFAULT_VERDICT_SETTINGS).incidents.map(({ form }) => form)).not.toContain('rise');
});
