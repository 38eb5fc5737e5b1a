import { describe, expect, it } from 'vitest';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, findingsOf, makeRun, type SeriesSpec } from '../detectors/runs.ts';

/** From one level to another within some points, with noise of 2 %. */
const steps = (points: number, from: number, to: number, at = 60, within = 40): number[] =>
  fallingLoss(points).map((value, i, all) => {
    const share = Math.min(1, Math.max(0, (i - at) / within));
    return (from * (to / from) ** share * value) / (all[i]! / (1 + 0.02 * Math.sin(7 * i)));
  });
const judge = (...series: SeriesSpec[]) => judgeRun(makeRun(series)).verdict;
const task = (name: string, values: readonly number[]): SeriesSpec => ({
  name: `${name}_loss`,
  role: 'task_loss',
  task: name,
  values,
});

describe('the losses of players of a GAN', () => {
  const discriminator = task('dis', steps(300, 1.4, 0.9));

  it('may rise to a new level', () => {
    const run = [task('gen', steps(300, 0.9, 2.4)), discriminator];
    const found = judge(...run);
    expect(found).toMatchObject({ class: 'healthy', onsetStep: null });
    expect(found.why).toContain(
      'is the loss of a player of a GAN, and does not end above ten times its level',
    );
    for (const id of ['full-divergence', 'drift', 'micro-divergence'] as const)
      expect(findingsOf(DETECTORS[id], makeRun(run))).toEqual([]);
  });

  it('may be named anything next to a generator whose sum with it is the total, which may rise too', () => {
    const generator = steps(300, 0.9, 2.4);
    const other = steps(300, 1.4, 0.9);
    const total = (extra: number): SeriesSpec => ({
      name: 'loss',
      values: generator.map((value, i) => value + other[i]! + (i < 60 ? 0 : extra)),
    });
    const judged = (sum: SeriesSpec) => judge(sum, task('gen', generator), task('judge', other)).class;
    expect(judged(total(0))).toBe('healthy');
    expect(judged(total(3))).toBe('full-divergence');
  });

  it('are lost above ten times their level, and where they are no numbers', () => {
    expect(judge(task('gen', steps(300, 0.9, 14)), discriminator).class).toBe('full-divergence');
    const ends = steps(300, 0.9, 0.9).map((value, i) => (i < 200 ? value : Number.NaN));
    expect(judge(task('gen', ends), discriminator)).toMatchObject({ class: 'non-finite', onsetStep: 200 });
  });

  it('are scores without a level where the discriminator is below zero', () => {
    const critic = task(
      'dis',
      steps(300, 1.4, 0.9).map((value) => -3 * value),
    );
    const generator = steps(300, 0.9, 14);
    const found = judge(task('gen', generator), critic);
    expect(found).toMatchObject({ class: 'healthy', onsetStep: null });
    expect(found.why).toContain('is the score of a player of a GAN, which has no level');
    // A few points below zero are of a loss that zero nearly bounds.
    const grazing = steps(300, 1.4, 0.9).map((value, i) => (i % 20 === 0 ? -0.01 : value));
    expect(judge(task('gen', generator), task('dis', grazing)).class).toBe('full-divergence');
    const ends = steps(300, 0.9, 0.9).map((value, i) => (i < 200 ? value : Number.NaN));
    expect(judge(task('gen', ends), critic)).toMatchObject({ class: 'non-finite', onsetStep: 200 });
  });

  it('are those of a discriminator whose gradients are penalized, in a file without its generator', () => {
    const alone = task('dis', steps(300, 0.9, 2.4));
    expect(judge(alone, task('aux', steps(300, 1, 1))).class).not.toBe('healthy');
    expect(judge(alone, task('gp', steps(300, 1, 1))).class).toBe('healthy');
  });

  it('are judged as any other where one plays alone, and other losses beside them are', () => {
    expect(judge(task('gen', steps(300, 0.9, 2.4)), task('aux', steps(300, 1, 1))).class).not.toBe('healthy');
    expect(
      judge(task('gen', steps(300, 0.9, 0.9)), discriminator, task('cycle', steps(300, 1, 5))).class,
    ).toBe('drift');
  });
});

describe('a term that holds back what is learnt', () => {
  const reconstruction = task('recon', steps(300, 1, 0.3));

  it('grows in runs that go well', () => {
    expect(judge(task('kl', steps(300, 0.01, 9)), reconstruction).class).toBe('healthy');
    expect(judge(task('r1_penalty', steps(300, 0.01, 0.5)), reconstruction).class).toBe('healthy');
  });

  it('is told where it is no number, and the others where they rise', () => {
    const ends = steps(300, 0.01, 9).map((value, i) => (i < 200 ? value : Number.POSITIVE_INFINITY));
    expect(judge(task('kl', ends), reconstruction).class).toBe('non-finite');
    expect(judge(task('kl', steps(300, 0.01, 9)), task('recon', steps(300, 1, 30))).class).toBe(
      'full-divergence',
    );
  });

  it('is none by `reg`, the regression of boxes', () => {
    expect(judge(task('loss_box_reg', steps(300, 0.4, 12)), reconstruction).class).toBe('full-divergence');
  });

  it('is what regularizes a player of StyleGAN, and no regression of boxes', () => {
    const generator = { name: 'Loss/G/loss.mean', role: 'loss', values: steps(300, 1.3, 1.2) } as const;
    const of = (name: string): SeriesSpec => ({
      name,
      role: 'task_loss',
      task: name,
      values: steps(300, 1e-4, 0.14),
    });
    expect(judge(generator, of('Loss/D/reg.mean'), of('Loss/r1_penalty.mean')).class).toBe('healthy');
    expect(judge(task('reg', steps(300, 0.1, 3)), task('cls', steps(300, 1, 0.3))).class).toBe(
      'full-divergence',
    );
  });

  it('is judged where it is the only loss', () => {
    expect(judge({ name: 'kl_loss', role: 'loss', values: steps(300, 1, 30) }).class).toBe('full-divergence');
  });
});
