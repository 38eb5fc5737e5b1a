/** When the last record of a run was written, as the looks around it and its file tell. */
import { expect, it } from 'vitest';
import { NO_PACE, updatePace } from '../../src/app/engine/watch-pace.ts';
import { healthyRun, makeRunReport } from '../support/make-report.ts';

const runOf = (points: number) => {
  const run = makeRunReport(healthyRun());
  return { ...run, series: run.series.map((one) => ({ ...one, points })) };
};

it.each([
  ['by its file, where a look took long', 100_000, 100_000],
  ['no earlier than the look that did not see it, where a file server is behind', -3_600_000, 90_000],
  ['no later than the look that saw it, where a file server is ahead', 9_000_000, 130_000],
])('a record is dated %s', (_, written, at) => {
  const first = updatePace(NO_PACE, [runOf(10)], { writtenAt: () => 80_000, before: 0, now: 95_000 });
  const second = updatePace(first, [runOf(12)], { writtenAt: () => written, before: 90_000, now: 130_000 });
  expect([...second.news.values()]).toEqual([{ at, grew: true }]);
  expect(second.pace?.at).toBe(at);
});

it('a run that was there before is dated by its file alone', () => {
  const { news } = updatePace(NO_PACE, [runOf(10)], { writtenAt: () => 5, before: 90_000, now: 95_000 });
  expect([...news.values()]).toEqual([{ at: 5, grew: false }]);
});
