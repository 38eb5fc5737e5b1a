import { expect, test } from 'vitest';
import { contextFor } from '../../src/judge/detectors/detector.ts';
import { lossSpike } from '../../src/judge/detectors/loss-spike.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, makeRun } from './runs.ts';

/** What is said of a spike that is so many standard errors above the level before it. */
function said(scales: number): string[] {
  const run = makeRun([{ name: 'loss', values: fallingLoss(300) }]);
  const judged = judgeRun(run);
  const loss = judged.loss!;
  const attempts = loss.attempts.map((one) => ({ ...one, spikes: [{ index: 8, scales, before: 2.2 }] }));
  const outcome = lossSpike.detect(run, contextFor(lossSpike, { ...judged, loss: { ...loss, attempts } }));
  return outcome.kind === 'fail' ? outcome.findings.map(({ message }) => message) : [];
}

test('one point that only breaks an even fall is no spike', () => {
  expect(said(0.1542)).toEqual([]);
  expect(said(9)[0]).toContain('9 standard errors above its best level of 2.2');
});
