import { describe, expect, it } from 'vitest';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { adviceOf, rewindAdvice } from '../../src/judge/detectors/rewind.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { fallingLoss, findingsOf, makeRun } from './runs.ts';

const broken = (from: number, to: number, points = 2000) =>
  makeRun([{ name: 'loss', values: fallingLoss(points).map((v, i) => (i >= from && i < to ? 30 * v : v)) }]);
const advise = (run = broken(1200, 1300), checkpoints: readonly { step: number; path: string }[] = []) =>
  rewindAdvice(run, judgeRun(run), checkpoints);

describe('rewindAdvice', () => {
  it('goes back 100 steps and skips 200 to 500 batches that cover the incident', () => {
    const advice = advise()!;
    expect(advice).toMatchObject({ lastGoodStep: 1199, rewindToStep: 1100, rewindToCheckpoint: null });
    expect(advice.skipSteps[0]).toBe(1101);
    expect(advice.skipSteps[1]).toBeGreaterThanOrEqual(1200);
    const batches = advice.skipSteps[1] - advice.skipSteps[0] + 1;
    expect(batches).toBeGreaterThanOrEqual(200);
    expect(batches).toBeLessThanOrEqual(500);
  });

  it('goes back a tenth of a short run, and leaves out what lies around the onset', () => {
    expect(advise(broken(160, 260, 260))).toMatchObject({
      lastGoodStep: 159,
      rewindToStep: 144,
      skipSteps: [145, expect.toSatisfy((step: number) => step >= 160 && step <= 224)],
    });
    expect(advise(broken(800, 1000, 1000))).toMatchObject({
      rewindToStep: 720,
      skipSteps: [721, expect.toSatisfy((step: number) => step >= 880)],
    });
  });

  it('takes the latest checkpoint that is old enough, else the latest that is good', () => {
    const at = (...steps: number[]) =>
      advise(
        undefined,
        steps.map((step) => ({ step, path: `step-${step}.pt` })),
      )!;
    expect(at(500, 1000, 1150, 1500)).toMatchObject({
      rewindToStep: 1000,
      rewindToCheckpoint: 'step-1000.pt',
    });
    expect(at(1150, 1500)).toMatchObject({ rewindToStep: 1150, rewindToCheckpoint: 'step-1150.pt' });
    expect(at(1500)).toMatchObject({ rewindToStep: 1100, rewindToCheckpoint: null });
  });

  it('skips the batches of the onset, however far back the checkpoint lies', () => {
    const [from, to] = advise(undefined, [{ step: 10, path: 'a' }])!.skipSteps;
    expect(from).toBeLessThan(1200);
    expect(to).toBeGreaterThanOrEqual(1200);
    expect(to - from).toBeLessThan(500);
  });

  it('halves the learning rate of what did not come back, and keeps that of what did', () => {
    expect(advise(broken(1200, 2000))!.learningRateFactor).toBe(0.5);
    expect(advise(broken(1200, 1230))!.learningRateFactor).toBeNull();
  });

  it('is null for a healthy run and for one that never was good', () => {
    expect(advise(broken(0, 0))).toBeNull();
    expect(advise(makeRun([{ name: 'loss', values: [Number.NaN, Number.NaN] }]))).toBeNull();
  });

  it('tells a run that is lost near its beginning to begin again, and skips no step that it has not', () => {
    const early = broken(60, 160, 160);
    const advice = advise(early)!;
    expect(advice.why).toMatch(/begin again with half the learning rate/);
    expect(advice.why).not.toMatch(/skip/);
    expect(advice.skipSteps[1]).toBeLessThan(160);
    expect(advise(early, [{ step: 40, path: 'step-40.pt' }])!.why).toContain('go back to step-40.pt');
  });

  it('counts epochs as they are', () => {
    const run = makeRun(
      [{ name: 'loss', values: fallingLoss(40).map((v, i) => (i >= 30 ? 50 * v : v)) }],
      'epoch',
    );
    expect(rewindAdvice(run, judgeRun(run))).toMatchObject({
      lastGoodStep: 29,
      rewindToStep: 29,
      skipSteps: [30, 30],
      // Every epoch sees the same data: there is none to leave out.
      why: expect.stringMatching(/go back to the last checkpoint at or before epoch 29 and go on with half/),
    });
  });

  it('goes back to the end of the last epoch before the onset, where epochs are short', () => {
    const files = Array.from({ length: 20 }, (_, k) => ({ step: 16 * (k + 1), path: `m-${k + 1}.keras` }));
    const after = (batches: number, first: number, onset: number) => {
      const run = { ...broken(onset, 320, 320), epochs: { batches, first } };
      return rewindAdvice(run, judgeRun(run), files)!.rewindToCheckpoint;
    };
    // The learning rate rises with the first batch of epoch 13; the loss shows it at the next.
    expect(after(16, 0, 193)).toBe('m-12.keras');
    expect(after(16, 1, 193)).toBe('m-12.keras');
    expect(after(16, 0, 207)).toBe('m-12.keras');
    // The epoch may have trained on what broke the run: an epoch that is long is left by the rule of 100 steps.
    expect(after(200, 0, 193)).toBe('m-10.keras');
  });

  it('skips no data for a slow climb, which no batch did', () => {
    const run = makeRun([
      { name: 'loss', values: fallingLoss(2000).map((v, i) => v * (i < 1000 ? 1 : 1 + (i - 1000) / 250)) },
    ]);
    const judged = judgeRun(run);
    expect(judged.verdict.class).toBe('drift');
    expect(rewindAdvice(run, judged)!.why).toMatch(
      /^By a rule of thumb, go back to .* and go on with half .* The last good .*; nothing was tried/,
    );
    expect(advise(broken(1200, 2000))!.why).toMatch(/, skip the data of steps 1101 to /);
  });
});

describe('adviceOf', () => {
  it('begins with the way back and says each thing once, notes left out', () => {
    const run = broken(1200, 2000);
    const rewind = rewindAdvice(run, judgeRun(run));
    const [lost] = findingsOf(DETECTORS['full-divergence'], run);
    const note = { ...lost!, severity: 'note' as const, advice: 'never mind' };
    expect(adviceOf([note, lost!, lost!], rewind)).toEqual([rewind!.why, lost!.advice]);
  });
});
