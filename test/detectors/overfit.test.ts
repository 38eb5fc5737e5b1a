import { describe, expect, it } from 'vitest';
import { contextFor } from '../../src/judge/detectors/detector.ts';
import { overfit } from '../../src/judge/detectors/overfit.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, makeRun } from './runs.ts';

/** An AUC of four evaluations beside a training loss. */
function outcomeOf(aucs: readonly number[], loss = fallingLoss(400, 10, 0.02)) {
  const run = makeRun([
    { name: 'loss', values: loss },
    { name: 'val_auc', role: 'metric', values: [...aucs], steps: aucs.map((_, i) => 100 * i + 99) },
  ]);
  return overfit.detect(run, contextFor(overfit, judgeRun(run)));
}

describe('an AUC of few evaluations', () => {
  it('that falls from evaluation to evaluation while the training loss falls is over-fitting', () => {
    const outcome = outcomeOf([0.786, 0.791, 0.78, 0.772]);
    if (outcome.kind !== 'fail') throw new Error(outcome.kind);
    expect(outcome.findings).toMatchObject([{ severity: 'note', series: 'val_auc', steps: [199, 399] }]);
    expect(outcome.findings[0]!.message).toMatch(/best at step 199 \(0\.791\) and falls in each of the 2/);
  });
  it.each([
    ['that rises', [0.72, 0.76, 0.78, 0.79]],
    ['that falls once', [0.76, 0.78, 0.792, 0.779]],
    ['that wavers', [0.786, 0.79, 0.778, 0.781]],
    ['that falls by less than one hundredth', [0.786, 0.79, 0.787, 0.784]],
    ['that is no number at its end', [0.786, 0.79, 0.78, Number.NaN]],
  ])('%s is not', (_, aucs) => expect(outcomeOf(aucs)).toEqual({ kind: 'pass' }));
  it('of a training that does not fall is not', () =>
    expect(outcomeOf([0.786, 0.791, 0.78, 0.772], new Array<number>(400).fill(0.5))).toEqual({
      kind: 'pass',
    }));
});
