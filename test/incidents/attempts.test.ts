/** Several attempts in one series, and which of several series decides. */
import { describe, expect, it } from 'vitest';
import { comesFirst, judgeSeries } from '../../src/incidents/attempts.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/incidents/settings.ts';
import { judgeRun } from '../../src/incidents/verdict.ts';
import { fallingLoss, makeRun, type SeriesSpec } from '../detectors/runs.ts';

/** A loss of 400 points that is lost from a point on. */
const lost = (from: number, seed = 1): number[] => fallingLoss(400, seed).fill(40, from);
const back = (from: number): number[] =>
  fallingLoss(400).map((loss, i) => (i >= from && i < from + 10 ? 9 * loss : loss));

describe('a series of several attempts', () => {
  it('that is dead in a later one is so from its own first zero on', () => {
    const { verdict } = judgeRun(
      makeRun([
        { name: 'loss', values: [fallingLoss(300), fallingLoss(200, 2).fill(0, 150)] },
        { name: 'grad_norm', values: [fallingLoss(300), fallingLoss(200, 2).fill(Number.NaN, 150)] },
      ]),
    );
    expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 150, lastGoodStep: 149 });
    expect(verdict.incidents).toMatchObject([{ attempt: 1, onsetStep: 150 }]);
  });
});

describe('which of two series decides', () => {
  const judged = (values: SeriesSpec['values']) => {
    const run = makeRun([{ name: 'loss', values }]);
    return judgeSeries(run, run.series[0]!, DEFAULT_VERDICT_SETTINGS);
  };
  it.each([
    ['the worse class, however late', judged(lost(300)), judged(back(100))],
    ['of one class the earlier onset', judged(lost(200)), judged(lost(300))],
    // Both inconclusive: one has an open incident, the other too few points for any.
    ['an onset before none', judged(fallingLoss(100).fill(9, 97)), judged([1, 2, 3])],
  ])('%s', (_, first, second) => {
    expect([comesFirst(first, second), comesFirst(second, first)]).toEqual([true, false]);
  });

  it('neither, where class and onset are the same: the first in the log does', () => {
    expect(comesFirst(judged(lost(200)), judged(lost(200, 2)))).toBe(false);
    const task = (name: string, seed: number) =>
      ({ name, role: 'task_loss', task: name, values: lost(200, seed) }) as const;
    for (const [a, b] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      expect(judgeRun(makeRun([task(a, 1), task(b, 2)])).verdict).toMatchObject({
        series: a,
        onsetStep: 200,
      });
  });
});
