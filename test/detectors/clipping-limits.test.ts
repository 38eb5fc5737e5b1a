import { describe, expect, it } from 'vitest';
import { clippingSaturation } from '../../src/judge/detectors/clipping-saturation.ts';
import { contextFor } from '../../src/judge/detectors/detector.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, makeRun } from './runs.ts';

/** Norms 1 … 600; the first sixth is left out, which leaves 101 … 600. */
const run = makeRun([
  { name: 'loss', values: fallingLoss(600) },
  { name: 'grad_norm', values: Array.from({ length: 600 }, (_, i) => i + 1) },
]);
const outcomeFor = (limits: readonly number[], of = run) =>
  clippingSaturation.detect(of, contextFor(clippingSaturation, judgeRun(of), undefined, limits));

describe('clipping limits that a user names', () => {
  it('are each reported, with how often they act and what that makes of them', () => {
    const outcome = outcomeFor([200, 450, 585]);
    if (outcome.kind !== 'fail') throw new Error(outcome.kind);
    const { findings } = outcome;
    // 400, 150 and 15 of the 500 norms are above.
    expect(findings.map(({ measured }) => measured?.value)).toEqual([0.8, 0.3, 0.03]);
    expect(findings.map(({ message }) => message.split(': ')[1])).toEqual([
      'a step limiter, not a safety net.',
      'more than a safety net, less than a step limiter.',
      'a safety net.',
    ]);
    expect(findings.every(({ severity }) => severity === 'note')).toBe(true);
  });

  it('stand before the limit of the hyperparameters, which alone is reported only where it is a step limiter', () => {
    const logged = { ...run, hyperparameters: new Map([['max_grad_norm', 585]]) };
    expect(outcomeFor([], logged)).toEqual({ kind: 'pass' });
    expect(outcomeFor([200], logged)).toMatchObject({ findings: [{ measured: { value: 0.8 } }] });
  });
});
