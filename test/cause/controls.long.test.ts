/**
 * Causes of runs of which the truth is known because they are made here: the incident's own net and clean batches, trained with
 * one thing changed. Controls: nothing changed, and a bad batch that does no harm.
 */
import { describe, expect, it } from 'vitest';
import { analyzed, CLEAN, calm, SURGE } from './made-run.ts';

it('nothing changed: no incident, no cause, nothing to do', async () => {
  const run = await analyzed({ batches: calm });
  expect(run.verdict.onsetStep).toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none', confidence: null });
  expect(run.remedies!.map(({ action }) => action)).toEqual(['none-needed']);
});

it('the surge: the data, shown; leaving the batches out holds, half of the rate does not', async () => {
  const run = await analyzed({ batches: Array.from({ length: 56 }, (_, i) => i) });
  expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown', onsetStep: 1020 });
  expect(run.remedies![0]).toMatchObject({ action: 'skip-batches', holds: true, skipSteps: [1020, 1027] });
  const ended = run.remedies!.filter(({ outcome }) => outcome === 'holds');
  expect(ended.length).toBeGreaterThan(3);
  for (const { perturbations, holds } of ended) {
    expect(perturbations.tried).toBe(3);
    expect(holds).toBe(perturbations.held === 3);
  }
  const half = run.remedies!.find(({ learningRateFactor }) => learningRateFactor === 0.5);
  expect(half).toMatchObject({ holds: false });
});

it('a learning rate ×60 on clean batches: the learning rate, shown; no batch is to be left out', async () => {
  const run = await analyzed({ batches: calm, rate: (step) => (step >= 24 && step < 34 ? 60 : 1) });
  expect(run.verdict.onsetStep).not.toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown' });
  expect(run.remedies!.filter(({ holds }) => holds).map(({ action }) => action)).not.toContain(
    'skip-batches',
  );
  expect(run.remedies![0]).toMatchObject({ action: 'lower-learning-rate', holds: true, interference: 0 });
});

it('a rate ×2.5 for one step, from which the run comes back: only what takes the spike away shows anything', async () => {
  const run = await analyzed({ batches: calm, rate: (step) => (step === 24 ? 2.5 : 1) });
  expect(run.verdict.recoveredStep).not.toBeNull();
  expect(run.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown', alsoTriggers: [] });
  expect(run.remedies![0]!.action).toBe('none-needed');
  const before = run.replay.find(({ arm }) => arm?.learningRate !== undefined);
  expect(before!.verdict).toBe('prevented');
  // It ends as well as the run does without it, and is put back after the spike.
  const restored = run.replay.find(({ arm }) => arm?.kind === 'restore-optimizer-state');
  expect(restored!.verdict).toBe('not-prevented');
});

it('bad batches under a clipping that holds them: the data, the weights unharmed, nothing needed', async () => {
  // The worst of them: of the others so short a rise is not above what 24 steps show of the noise.
  const surge = [22, 25, 22, 25, 22, 25];
  const batches = [...CLEAN.slice(0, 24), ...surge, ...CLEAN.slice(24), ...CLEAN.slice(0, 14)];
  const run = await analyzed({ batches, rule: 'global-norm:0.1' });
  expect(run.verdict.class).toBe('micro-divergence');
  expect(run.cause).toMatchObject({ trigger: 'data', mechanism: 'bad-batch-only', step: null });
  expect(run.remedies![0]!.action).toBe('none-needed');
  expect(run.remedies!.some(({ action }) => action === 'clip')).toBe(false);
});

describe('batches that are unlike those before', () => {
  it('up to the last one: the data; leaving them out is no remedy, and with earlier batches the run holds', async () => {
    const lasting = [...CLEAN.slice(0, 24), ...SURGE, ...SURGE, ...SURGE, ...SURGE];
    const run = await analyzed({ batches: lasting });
    // Clippy's training is far better on the surge, and on batches from before it.
    expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown', step: 1024 });
    expect(run.cause!.statement).toMatch(/; the weights are harmed: another training is far better both on/);
    expect(run.remedies![0]).toMatchObject({
      action: 'fix-data',
      tried: 'closed-loop',
      holds: true,
      skipSteps: null,
      perturbations: { tried: 3, held: 3 },
    });
    expect(run.remedies!.map(({ action }) => action)).not.toContain('skip-batches');
    const [arm] = run.replay.flatMap(({ arm: one }) => (one?.kind === 'earlier-batches' ? [one] : []));
    expect(arm!.steps).toEqual(Array.from({ length: 32 }, (_, i) => 1024 + i));
  });
  it('one alone is left out, and no data is mended', async () => {
    const run = await analyzed({ batches: [...calm.slice(0, 24), 21, ...calm.slice(24)] });
    expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown' });
    expect(run.remedies![0]).toMatchObject({ action: 'skip-batches', holds: true, skipSteps: [1024, 1024] });
    expect(run.remedies!.map(({ action }) => action)).not.toContain('fix-data');
  });
});

it('a gradient that overflowed: the precision, likely; float32 holds on the same batches, and no batch or rule is blamed', async () => {
  const run = await analyzed({ batches: calm, overflowAt: 26 });
  expect(run.cause).toMatchObject({ trigger: 'precision', mechanism: 'overflow', confidence: 'likely' });
  expect(run.remedies!.map(({ action, tried, holds }) => ({ action, tried, holds }))).toEqual([
    { action: 'raise-precision', tried: 'closed-loop', holds: true },
  ]);
});

it('accumulators that begin anew within the steps: the optimizer state; carried on, the run holds', async () => {
  const run = await analyzed({ batches: calm, resetAt: 26, rate: () => 2 });
  expect(run.cause).toMatchObject({ trigger: 'optimizer-state', confidence: 'shown' });
  expect(run.cause!.statement).toMatch(/: from an optimizer that begins anew before step 1026 the recorded/);
  expect(run.remedies![0]).toMatchObject({
    action: 'restore-optimizer-state',
    holds: true,
    from: { step: 1026, path: null },
  });
});

it('weights that are others from a step on: what the capture does not hold, and no rate or rule is named', async () => {
  const sgd = { name: 'sgd', learningRate: 0.02, options: {} };
  const run = await analyzed({ batches: calm, optimizer: sgd, weights: { at: 26, times: 3 } });
  expect(run.verdict.onsetStep).toBe(26);
  expect(run.cause).toMatchObject({ trigger: 'none-found', confidence: null });
  expect(run.cause!.statement).toMatch(
    /^what changed at step 26 is not in the capture: .*; up to step 25 both agree$/,
  );
  expect(run.remedies).toEqual([]);
});

it('the same under an optimizer that keeps a state: that it was lost is likely at most', async () => {
  const run = await analyzed({ batches: calm, weights: { at: 26, times: 1.5 } });
  expect(run.verdict.onsetStep).toBe(1026);
  expect(run.cause).toMatchObject({ trigger: 'optimizer-state', confidence: 'likely' });
  expect(run.cause!.statement).toMatch(/which leaves the optimizer state, or weights that were loaded$/);
});

it('a capture that lacks the state: no state is said to be lost', async () => {
  const run = await analyzed({ batches: Array.from({ length: 56 }, (_, i) => i), withoutState: true });
  expect(run.verdict.onsetStep).toBe(1020);
  expect(run.cause!.trigger).not.toBe('optimizer-state');
});

describe('clipping that was on before the capture, and is not any more', () => {
  const before = { batches: calm.slice(0, 30), rule: 'global-norm:0.05' };
  it('where the steps are too long without it: sharpness, likely, and what would have kept them short', async () => {
    const run = await analyzed({ batches: calm, before, rate: () => 15 });
    expect(run.cause).toMatchObject({ trigger: 'sharpness', confidence: 'likely' });
    expect(run.cause!.statement).toMatch(/Where clipping was on before step 1030, put it back/);
    expect(run.remedies![0]).toMatchObject({ holds: null, tried: 'closed-loop' });
  });
  it('where the settings beside the log name it, it is what was put back', async () => {
    const run = await analyzed({ batches: calm, before: { ...before, told: true }, rate: () => 15 });
    expect(run.cause!.statement).toMatch(/; with the earlier clipping, global-norm:0\.05, put back the same/);
    expect(run.remedies![0]).toMatchObject({
      action: 'clip',
      rule: 'global-norm:0.05',
      tried: 'closed-loop',
    });
  });
  it('a twin that does without it: nothing', async () => {
    const run = await analyzed({ batches: calm, before });
    expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none' });
    expect(run.remedies!.map(({ action }) => action)).toEqual(['none-needed']);
  });
  it('where the batches are others from then on: not sharpness', async () => {
    const run = await analyzed({ batches: [...SURGE, ...SURGE, ...calm], before });
    expect(run.verdict.onsetStep).not.toBeNull();
    expect(run.cause!.trigger).not.toBe('sharpness');
  });
});
