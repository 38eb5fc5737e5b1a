import { describe, expect, it } from 'vitest';
import { replayFromLog } from '../../src/experiment/replay/from-log.ts';
import type { Role, Run, TimeSeries } from '../../src/model/run.ts';
import { replaySummary } from '../../src/report/replay-text.ts';
import { parseRule } from '../../src/step/rules/parse.ts';

const series = (role: Role, value: number[]): TimeSeries => ({
  name: role,
  role,
  step: Float64Array.from(value, (_, i) => 10 * i),
  value: Float64Array.from(value),
  missing: 0,
  refused: 0,
  attemptOffsets: [0],
  pathOffsets: [0],
});
const run = (...all: TimeSeries[]): Run => ({
  id: 'log',
  paths: ['log'],
  format: 'test',
  stepUnit: 'step',
  series: all,
  attempts: [{ index: 0, firstStep: 0, lastStep: 30, reason: 'start' }],
  hyperparameters: new Map([['optimizer', 'Adagrad']]),
  notes: [],
});
/** The same run with other hyperparameters. */
const configured = (given: Run, hyperparameters: Record<string, string | number>): Run => ({
  ...given,
  hyperparameters: new Map(Object.entries(hyperparameters)),
});
const norms = series('grad_norm', [0.5, 2, Number.POSITIVE_INFINITY, Number.NaN]);

describe('a log alone', () => {
  it('gives the factor of clipping by global norm at each logged norm', () => {
    const { entries } = replayFromLog(run(norms), { onsetStep: 20, rules: parseRule('global-norm:1') });
    const [entry] = entries;
    expect(entry!.minClipFactor[0]).toBe(1);
    expect(entry!.minClipFactor[1]).toBeCloseTo(1 / (2 + 1e-6), 12);
    expect(entry!.minClipFactor.slice(2)).toEqual([0, Number.NaN]);
    expect(entry!.verdict).toBe('cannot-tell');
    expect(entry!.why).toContain('record steps 0 to 54');
  });
  it('of clipping by the largest magnitude only what the Euclidean norm bounds', () => {
    const rules = parseRule('global-norm:maxNorm=1,norm=inf');
    const [entry] = replayFromLog(run(norms), { onsetStep: 20, rules }).entries;
    expect(entry!.minClipFactor.slice(0, 2)).toEqual([1, Number.NaN]);
    expect(entry!.factorInterval!.low[1]).toBeCloseTo(0.5, 5);
    expect(entry!.verdict).toBe('cannot-tell');
    // At norms of 1 and less it does nothing.
    const quiet = series('grad_norm', [0.5, 0.5, 1e-3, 0.5]);
    expect(replayFromLog(run(quiet), { onsetStep: 20, rules }).entries[0]!.verdict).toBe('not-prevented');
  });
  it('which steps would be skipped, where each is logged', () => {
    const each = (role: Role, value: number[]) => {
      const one = series(role, value);
      return { ...one, step: one.step.map((step) => step / 10) };
    };
    const calm = Array.from({ length: 30 }, (_, k) => 1 + (k % 2));
    const logged = (last: number): Run =>
      run(each('loss', [...calm, 1, 9]), each('grad_norm', [...calm, last, last]));
    const rules = parseRule('skip-step:window=20');
    const [bad, good] = [50, 1].map(
      (last) => replayFromLog(logged(last), { onsetStep: 31, rules }).entries[0]!,
    );
    expect(bad).toMatchObject({ firstEngagedStep: 30, verdict: 'cannot-tell' });
    // The loss itself is what stands out there, and that step is skipped: what comes of it is not known.
    expect(good).toMatchObject({ firstEngagedStep: 31, verdict: 'cannot-tell' });
    expect(replayFromLog(run(norms, series('loss', [1, 1, 1, 1])), { onsetStep: 20, rules }).notRun).toEqual([
      { rule: 'skip-step:window=20', reason: expect.stringContaining('every step') },
    ]);
  });
  it('an infinite norm under TensorFlow’s semantics is NaN', () => {
    const rules = parseRule('global-norm:maxNorm=1,semantics=tensorflow');
    expect(replayFromLog(run(norms), { onsetStep: 20, rules }).entries[0]!.minClipFactor[2]).toBeNaN();
  });
  it('counts in what the log counts', () => {
    const quiet = series('grad_norm', [0.5, 0.5, 0.5, 9]);
    for (const [stepUnit, said] of [
      ['step', 'the onset at step 20'],
      ['epoch', 'the onset at epoch 20'],
    ] as const) {
      const { entries } = replayFromLog(
        { ...run(quiet), stepUnit },
        { onsetStep: 20, rules: parseRule('global-norm:1') },
      );
      expect(entries[0]!.why).toContain(said);
      const [, ...lines] = replaySummary(entries, { width: 200, colour: false, ascii: true, stepUnit });
      expect(lines.join(' ')).toContain(`leaves its band at ${stepUnit} 20`);
    }
  });
  it('a rule that does nothing up to the onset did not prevent it, which is exact', () => {
    const quiet = series('grad_norm', [0.5, 0.5, 0.5, 9]);
    const { entries } = replayFromLog(run(quiet), { onsetStep: 20, rules: parseRule('global-norm:1') });
    expect(entries[0]).toMatchObject({ verdict: 'not-prevented', confidence: 'exact', firstEngagedStep: 30 });
  });
  it('of Clippy an interval: σ ≥ λ_abs/η under the standard accumulator, nothing under the delayed one', () => {
    const rates = series('learning_rate', [0.005, 0.02, 0.02, 0.02]);
    const [paper, tfrs] = replayFromLog(run(norms, rates), {
      onsetStep: 20,
      rules: ['clippy:paper', 'clippy:tfrs'].flatMap(parseRule),
    }).entries;
    expect(paper!.factorInterval!.low).toEqual([1, 0.5, 0.5, 0.5]);
    expect(tfrs!.factorInterval!.low).toEqual([0, 0, 0, 0]);
    expect([paper!.verdict, tfrs!.verdict]).toEqual(['cannot-tell', 'cannot-tell']);
  });
  it('of a long log keeps the factors around the onset, and counts all points', () => {
    const long = series(
      'grad_norm',
      Array.from({ length: 50_000 }, (_, i) => (i % 4 === 0 && i >= 1000 ? 2 : 0.5)),
    );
    for (const [onsetStep, first] of [
      [300_000, 250_000],
      [10, 0],
      [499_990, 400_000],
    ] as const) {
      const { entries, notes } = replayFromLog(run(long), {
        onsetStep,
        rules: ['global-norm:1', 'clippy:tfrs'].flatMap(parseRule),
      });
      for (const { steps, minClipFactor, updateNorm, factorInterval } of entries) {
        expect([steps.length, minClipFactor.length, updateNorm.length]).toEqual([10_000, 10_000, 10_000]);
        expect(steps[0]).toBe(first);
        if (factorInterval !== undefined)
          expect([factorInterval.low.length, factorInterval.high.length]).toEqual([10_000, 10_000]);
      }
      expect(entries[0]).toMatchObject({ firstEngagedStep: 10_000, engagedFraction: 12_250 / 50_000 });
      expect(notes.at(-1)).toContain('around the onset');
    }
  });
  it('names the rules that need gradients, and what is missing', () => {
    const { notRun } = replayFromLog(run(), {
      onsetStep: null,
      rules: ['agc', 'global-norm'].flatMap(parseRule),
    });
    expect(notRun.map(({ rule }) => rule)).toEqual(['agc', 'global-norm']);
  });
  it('under another optimizer, or one that nobody named, a small η says nothing of Clippy', () => {
    const rates = series('learning_rate', [0.005, 0.005, 0.01, 0.01]);
    for (const [named, words] of [
      [{ optim: 'adamw_torch' }, 'the optimizer is adamw_torch'],
      [{}, 'no optimizer is named'],
    ] as const) {
      const [entry] = replayFromLog(configured(run(rates), named), {
        onsetStep: 20,
        rules: parseRule('clippy:paper'),
      }).entries;
      expect(entry).toMatchObject({ verdict: 'cannot-tell', confidence: 'estimate' });
      expect(entry!.why).toContain(words);
    }
  });
  it('clipping that was on did not hold, whatever the norms; a tighter one is not known', () => {
    const clipped = configured(run(norms), { max_grad_norm: 1 });
    const verdictOf = (rule: string) =>
      replayFromLog(clipped, { onsetStep: 20, rules: parseRule(rule) }).entries[0]!;
    for (const rule of ['global-norm:1', 'global-norm:2'])
      expect(verdictOf(rule)).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
    expect(verdictOf('global-norm:1').why).toBe(
      'the run was clipped at a global norm of 1, and that did not hold it',
    );
    expect(verdictOf('global-norm:0.5').verdict).toBe('cannot-tell');
    const noNorms = configured(run(series('loss', [1, 1, 9, 9])), { max_grad_norm: 1 });
    expect(
      replayFromLog(noNorms, { onsetStep: 20, rules: parseRule('global-norm:1') }).entries[0],
    ).toMatchObject({
      verdict: 'not-prevented',
    });
  });
  it.each([
    ['clipnorm', 'layer-norm', 'at a norm of 0.5 for each variable'],
    ['clipvalue', 'value', 'by value at 0.5'],
  ])('clipping by %s was on too: %s at that limit or above it did not hold', (setting, rule, how) => {
    const said = (given: Run, limit: number) => {
      const { entries, notRun } = replayFromLog(given, {
        onsetStep: 20,
        rules: parseRule(`${rule}:${limit}`),
      });
      return entries[0]?.why ?? notRun[0]!.reason;
    };
    const clipped = configured(run(norms), { [setting]: 0.5 });
    for (const limit of [0.5, 2])
      expect(said(clipped, limit)).toBe(`the run was clipped ${how}, and that did not hold it`);
    const needs = 'it needs gradients, which a log does not hold';
    expect(said(clipped, 0.4)).toBe(needs);
    for (const other of [{}, { max_grad_norm: 0.5 }, { [setting]: Number.POSITIVE_INFINITY }])
      expect(said(configured(run(norms), other), 0.5)).toBe(needs);
  });
  it('where η is at most λ_abs, Clippy under Adagrad’s standard accumulator cannot act: exact', () => {
    const rates = series('learning_rate', [0.005, 0.005, 0.01, 0.01]);
    const [entry] = replayFromLog(run(rates), { onsetStep: 20, rules: parseRule('clippy:paper') }).entries;
    expect(entry).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
  });
});
