/** A study judges its cells by what they have learnt beside the best one, and pairs rows by seeds. */
import { describe, expect, it } from 'vitest';
import { compareCells, leadersOf } from '../../src/experiment/study/compare-cells.ts';
import { pairedWith } from '../../src/experiment/study/paired.ts';
import { concludeStudy, summarise } from '../../src/experiment/study/summary.ts';
import { judge } from '../../src/experiment/study/train-cell.ts';
import type { CellVerdict, StudyCell, StudyPlan } from '../../src/model/study.ts';

function cell(label: string, auc: number, rmse: number, seed = 0, verdict: CellVerdict = 'holds'): StudyCell {
  return {
    ...{ model: 'm', rule: label, label, options: {}, learningRate: 0.1, seed, verdict },
    ...{ class: 'healthy', onsetStep: null, finalLoss: 1, curve: [] },
    metrics: { click: { auc, logloss: 0.5, rmse: null }, watch: { auc: null, logloss: null, rmse } },
  };
}
const verdicts = (cells: readonly StudyCell[]): CellVerdict[] =>
  compareCells(cells).map(({ verdict }) => verdict);

describe('beside the best of its model', () => {
  it('a cell holds from 0.9 of what that one has learnt on, is hurt from half of it on, and lost below', () => {
    expect(verdicts([cell('a', 0.75, 1), cell('b', 0.73, 1), cell('c', 0.7, 1), cell('d', 0.6, 1)])).toEqual([
      'holds',
      'holds',
      'hurt',
      'lost',
    ]);
  });
  it('every task counts: one that is good at the first alone does not hold', () => {
    expect(verdicts([cell('a', 0.74, 1.1), cell('noisy', 0.745, 1.5)])).toEqual(['holds', 'hurt']);
    expect(verdicts([cell('a', 0.74, 1.1), cell('calm', 0.745, 1.15)])).toEqual(['holds', 'holds']);
  });
  it('where no rate learns every task best, the one that has the most of each is the measure, and holds', () => {
    const cells = [
      cell('fast', 0.8, 1),
      cell('slow', 0.75, 0.6),
      cell('near', 0.74, 0.62),
      cell('poor', 0.62, 1.1),
    ];
    expect(verdicts(cells)).toEqual(['hurt', 'holds', 'holds', 'lost']);
    // One that is best at each task is the measure of old.
    expect(verdicts([cell('both', 0.8, 0.6), ...cells])).toEqual(['holds', 'hurt', 'hurt', 'hurt', 'lost']);
  });
  it('a quality that is not a number is lost, and what was lost, frozen or crashed stays so and is no measure', () => {
    expect(verdicts([cell('a', 0.7, 1), cell('b', Number.NaN, 1)])).toEqual(['holds', 'lost']);
    const others = (['lost', 'frozen', 'crashed', 'hurt'] as const).map((verdict) =>
      cell(verdict, 0.99, 0.1, 0, verdict),
    );
    expect(verdicts([cell('a', 0.7, 1), ...others])).toEqual(['holds', 'lost', 'frozen', 'crashed', 'hurt']);
  });
  it('the best is that of all seeds: one lucky seed beside a lost one is no measure', () => {
    const lucky = [cell('b', 0.95, 1, 0), cell('b', 0.5, 1, 1, 'lost')];
    expect(verdicts([cell('a', 0.7, 1), ...lucky])[0]).toBe('holds');
  });
  it('another model is no measure', () => {
    expect(verdicts([cell('a', 0.7, 1), { ...cell('a', 0.95, 1), model: 'other' }])).toEqual([
      'holds',
      'holds',
    ]);
  });
});

describe('by seeds', () => {
  /** AUCs of one rule at one rate by seed. */
  const seeds = (label: string, aucs: readonly number[], learningRate = 0.1): StudyCell[] =>
    aucs.map((auc, seed) => ({ ...cell(label, auc, 1, seed), learningRate }));
  const best = seeds('a', [0.75, 0.75, 0.75, 0.75]);
  it('what they do not tell from the best holds, and what they tell does not', () => {
    expect(verdicts([...best, ...seeds('noisy', [0.78, 0.64, 0.77, 0.69])]).slice(4)).not.toContain('hurt');
    expect(verdicts([...best, ...seeds('behind', [0.71, 0.712, 0.709, 0.711])]).slice(4)).toEqual([
      'hurt',
      'hurt',
      'hurt',
      'hurt',
    ]);
  });
  it('one that they do not tell and that has learnt less than half is lost all the same', () => {
    expect(verdicts([...best, ...seeds('wild', [0.78, 0.55, 0.8, 0.7])])[5]).toBe('lost');
  });
  it('leads what they do not tell from the best; of one seed the best alone', () => {
    const cells = compareCells([
      ...best,
      ...seeds('a', [0.749, 0.751, 0.75, 0.748], 0.2),
      ...seeds('b', [0.74, 0.741, 0.739, 0.74]),
    ]);
    expect(leadersOf(cells).map(([one]) => [one!.label, one!.learningRate])).toEqual([
      ['a', 0.1],
      ['a', 0.2],
    ]);
    expect(leadersOf([cell('a', 0.75, 1), cell('b', 0.7499, 1)])).toHaveLength(1);
    expect(leadersOf([])).toEqual([]);
  });
  it('the rule that is as good at the most rates is named, whichever mean is highest by chance', () => {
    const study = (lucky: number): string => {
      const cells = compareCells([
        ...seeds('wide', [0.75, 0.752, 0.748, 0.75], 0.1),
        ...seeds('wide', [0.751, 0.749, 0.75, 0.752], 0.4),
        ...seeds('narrow', [0.74, 0.76, 0.745, lucky], 0.1),
        ...seeds('narrow', [0.6, 0.61, 0.6, 0.59], 0.4),
      ]);
      const metric = { task: 'click', name: 'auc' } as const;
      const plan = { models: ['m'], rules: [{ rule: 'wide' }, { rule: 'narrow' }] };
      const summary = summarise(
        { ...plan, learningRates: [0.1, 0.4], seeds: 4 } as unknown as StudyPlan,
        cells,
        metric,
      );
      return concludeStudy(summary, metric, cells);
    };
    for (const lucky of [0.75, 0.77]) {
      expect(study(lucky)).toMatch(/^wide at 0\.[14] gives the best quality that holds in all seeds/);
      expect(study(lucky)).toContain('in the worst task: wide at 2 rates, narrow at 1 rate.');
    }
  });
});

describe('the training losses of one cell', () => {
  const tasks = [{ name: 'click', loss: 'sigmoid-cross-entropy', weight: 1 }] as const;
  const tests = (auc: number, atChance: boolean) => [
    [{ loss: atChance ? 0.7 : 0.5, constantLoss: 0.6, atChance, quality: { auc, logloss: 0.5, rmse: null } }],
  ];
  const verdictOf = (losses: readonly number[], auc = 0.74, atChance = false) =>
    judge({ tasks }, { losses, taskLosses: [losses], tests: tests(auc, atChance) });
  const falling = Array.from({ length: 80 }, (_, i) => 1 - 0.005 * i + 0.01 * Math.sin(7 * i));
  it('that rise with the data do not count against one that has learnt', () => {
    const shifted = falling.map((loss, i) => loss * (i >= 40 ? 3 : 1));
    const found = verdictOf(shifted);
    expect(found.class).not.toBe('healthy');
    expect(found.verdict).toBe('holds');
    expect(verdictOf(falling).verdict).toBe('holds');
  });
  it('of one that orders rows no better than chance, or that are not finite, is lost', () => {
    expect(verdictOf(falling, 0.5, true).verdict).toBe('lost');
    expect(verdictOf([...falling.slice(0, 60), ...new Array(20).fill(Number.NaN)]).verdict).toBe('lost');
  });
});

describe('two rules, paired by seeds', () => {
  const metric = { task: 'click', name: 'auc' } as const;
  const sides = [
    { label: 'a', learningRate: 0.1 },
    { label: 'b', learningRate: 0.1 },
  ] as const;
  // Seeds differ by much more than the rules do.
  const base = [0.7, 0.75, 0.72, 0.78, 0.74];
  const cells = base.flatMap((auc, seed) => [
    cell('a', auc + 0.01 + 0.001 * (seed % 2), 1, seed),
    cell('b', auc, 1, seed),
  ]);
  it('are told apart by the spread of the differences, and not by that of the seeds', () => {
    const found = pairedWith(cells, sides[0], sides[1], metric)!;
    expect(found).toMatchObject({ against: 'b', seeds: 5 });
    expect(found.difference).toBeCloseTo(0.0104, 10);
    const sd = Math.sqrt((3 * 0.0004 ** 2 + 2 * 0.0006 ** 2) / 4);
    expect(found.standardError).toBeCloseTo(sd / Math.sqrt(5), 10);
    expect(found.smallestTold).toBeCloseTo((2.776 * sd) / Math.sqrt(5), 10);
    expect(found.seedsToTell.seeds).toBe(2);
  });
  it('that are the same need more seeds than anybody trains, and one seed pairs nothing', () => {
    const alike = base.flatMap((auc, seed) => [
      cell('a', auc + (seed % 2 === 0 ? 0.01 : -0.015), 1, seed),
      cell('b', auc, 1, seed),
    ]);
    const { difference, smallestTold, seedsToTell } = pairedWith(alike, sides[0], sides[1], metric)!;
    expect(Math.abs(difference)).toBeLessThan(smallestTold);
    expect(seedsToTell.seeds).toBeNull();
    expect(pairedWith(cells.slice(0, 2), sides[0], sides[1], metric)).toBeNull();
  });
});
