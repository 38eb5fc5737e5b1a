import { expect, it } from 'vitest';
import { contextFor } from '../../src/judge/detectors/detector.ts';
import { nonFiniteLoss } from '../../src/judge/detectors/non-finite-loss.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, makeRun } from './runs.ts';

function adviceOn(change: (value: number, i: number) => number): string | null {
  const run = makeRun([{ name: 'loss', values: fallingLoss(300).map(change) }]);
  const outcome = nonFiniteLoss.detect(run, contextFor(nonFiniteLoss, judgeRun(run)));
  return outcome.kind === 'fail' ? outcome.findings[0]!.advice : null;
}

it('says whether the loss had jumped before, and sends to the loss function or to the rates', () => {
  expect(adviceOn((v, i) => (i >= 200 ? Number.NaN : v))).toMatch(
    /^It came without a jump: look at the loss function and the batch \(log of 0.*go back to a checkpoint before it\.$/,
  );
  expect(adviceOn((v, i) => (i >= 210 ? Number.NaN : i >= 200 ? v * 20 : v))).toBe(
    'What follows step 200 is lost: go back to a checkpoint before it. The loss had jumped before: look at the learning rate and at clipping.',
  );
});
