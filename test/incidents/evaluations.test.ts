/** What evaluations say of a rise of the training loss, each with a twin for which it would be false. */
import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { makeRun, normals, type SeriesSpec } from '../detectors/runs.ts';

const N = 240;
const EVERY = 20;
/** Training loss of a level with noise, and evaluations of another every twenty steps. */
const run = (sigma: number, level: (i: number) => number, evaluated: (i: number) => number) => {
  const normal = normals(3);
  const loss = Array.from({ length: N }, (_, i) => level(i) * Math.exp(sigma * normal()));
  const steps = Array.from({ length: N / EVERY }, (_, k) => (k + 1) * EVERY - 1);
  const evaluation: SeriesSpec = {
    name: 'eval_loss',
    role: 'eval_loss',
    steps,
    values: steps.map((at) => evaluated(at) * (1 + 0.01 * normal())),
  };
  return judgeRun(makeRun([{ name: 'loss', values: loss }, evaluation])).verdict;
};
const learns = (i: number): number => 0.8 + 2 * Math.exp(-i / 40);
/** From a step on so many times as high. */
const raised =
  (from: number, times: number, until = N) =>
  (i: number): number =>
    learns(i) * (i >= from && i < until ? times : 1);

describe('a rise of the training loss that evaluations do not show', () => {
  it('is of the rows: they became harder', () => {
    const found = run(0.05, raised(150, 2), learns);
    expect(found).toMatchObject({ class: 'healthy', incidents: [] });
    expect(found.why).toMatch(/rises at step 15\d, while "eval_loss" goes from .* the rows became harder/);
    expect(run(0.05, raised(110, 2, 150), learns)).toMatchObject({ class: 'healthy' });
  });

  it('is of the network where evaluations rise too, are too few, or could not show it', () => {
    expect(run(0.05, raised(150, 3), raised(150, 3)).class).toBe('full-divergence');
    expect(run(0.05, raised(236, 3), learns).class).not.toBe('healthy');
    // Evaluated by another measure, on which so small a rise is nothing.
    expect(run(0.05, raised(150, 3), (i) => 40 * learns(i)).class).toBe('full-divergence');
  });

  it('is of the network where evaluations had not fallen before', () => {
    expect(run(0.05, raised(150, 2.2), () => 3).class).not.toBe('healthy');
  });

  it('is of the loss where it is far above that of a net that has learnt nothing', () => {
    expect(run(0.05, raised(150, 30), learns)).toMatchObject({ class: 'full-divergence', onsetStep: 150 });
  });

  it('is of the network where the loss is no number', () => {
    expect(run(0.05, raised(150, Number.NaN), learns).class).toBe('non-finite');
  });
});

describe('a rise that the training loss alone is too noisy for, or too small', () => {
  it('is a drift where evaluations rise with it', () => {
    expect(run(0.06, raised(150, 1.22), learns).class).toBe('healthy');
    expect(run(0.06, raised(150, 1.22), raised(150, 1.35))).toMatchObject({ class: 'drift' });
  });

  it('is none where the training loss falls: that is overfitting', () => {
    expect(run(0.06, learns, raised(150, 1.35)).class).toBe('healthy');
  });
});
