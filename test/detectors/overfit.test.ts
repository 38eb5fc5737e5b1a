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

describe('a loss of evaluations', () => {
  const found = (values: readonly number[]) => {
    const run = makeRun([
      { name: 'loss', values: fallingLoss(400, 10, 0.02) },
      {
        name: 'eval_loss',
        role: 'eval_loss',
        values: [...values],
        steps: values.map((_, i) => 20 * (i + 1)),
      },
    ]);
    return overfit.detect(run, contextFor(overfit, judgeRun(run)));
  };
  const rises = [0.419, 0.468, 0.523, 0.565, 0.597, 0.631, 0.66, 0.686, 0.713, 0.728];
  it('that rises from its first evaluation on has its best step there, with the value that is logged', () => {
    const outcome = found(rises);
    if (outcome.kind !== 'fail') throw new Error(outcome.kind);
    expect(outcome.findings[0]!.message).toMatch(/risen from 0\.419 at step 20 to 0\.728 /);
  });
  it('that ends with its best evaluation is not risen, whatever is before it', () =>
    expect(found([...rises, 0.3])).toEqual({ kind: 'pass' }));
});
