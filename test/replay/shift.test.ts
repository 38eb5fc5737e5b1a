/** Data that stay as they changed: judged on the new data and on batches from before, against the training that ends lowest on the new. */
import { describe, expect, it } from 'vitest';
import { decideCause } from '../../src/experiment/cause/decide.ts';
import { endText, noneNeeded } from '../../src/experiment/cause/tried.ts';
import { endsBeside, judgeArm } from '../../src/experiment/replay/arm-end.ts';
import { healthyBeside } from '../../src/experiment/replay/outcome.ts';
import type { References } from '../../src/experiment/replay/reference.ts';
import { judgeByReference } from '../../src/experiment/replay/verdict.ts';

const STEPS = 60;
const ONSET = 30;
const along = (at: (i: number) => number): number[] => Array.from({ length: STEPS }, (_, i) => at(i));
const wave = (i: number): number => 1 + 0.01 * Math.sin(i);
const steps = along((i) => i);

/** A training that ends on the new data and on batches from before at these multiples of the level before, which is 1. */
const ending = (onNew: number, onOld: number) => ({
  loss: along((i) => wave(i) * (i < ONSET ? 1 : onNew + 20 / (i - ONSET + 1) ** 2)),
  referenceLoss: along((i) => wave(i) * (i <= ONSET ? 1 : onOld)),
  updateNorm: along(() => 0.1),
});

/** @param until position of the last unlike batch */
const references = (until = STEPS): References => ({
  ...{ at: 25, usual: [0.5, 1.5], onsetBatch: [], before: [0, 8, 16, 24], after: [], batches: [] },
  unlike: new Set(steps.filter((i) => i >= ONSET && i < until)),
  later: steps.slice(25).map((index) => ({ index, loss: index < ONSET ? 1 : 12 })),
  ...{ loss: ending(9, 9).referenceLoss, harmful: ONSET, highest: 1.01, level: 1 },
});

const verdict = (
  trace: ReturnType<typeof ending>,
  baseline: ReturnType<typeof ending>,
  others: readonly Partial<ReturnType<typeof ending>>[] = [],
  known = references(),
) =>
  judgeByReference({
    ...{ trace, baseline, references: known, onset: ONSET, steps, history: [] },
    others: [trace, ...(others as ReturnType<typeof ending>[])],
  });

describe('where the data stay as they changed', () => {
  it('a rule prevented the harm where it is as good as the best training, on the new data and on those from before', () => {
    const found = verdict(ending(2, 1.1), ending(9, 8));
    expect(found).toMatchObject({ verdict: 'prevented', confidence: 'exact' });
    expect(found.why).toMatch(
      /^on the new data it ends at 2\.\d+, where the best training ends at 2\.\d+, and/,
    );
    expect(verdict(ending(4, 5), ending(9, 8), [ending(2, 1.1)]).verdict).toBe('not-prevented');
  });

  it('a net that follows the new data is worse on those from before, and not harmed: no rule is needed', () => {
    const found = verdict(ending(1.3, 1.1), ending(1.2, 6));
    expect(found.verdict).toBe('not-needed');
    expect(found.why).toMatch(/the run without the rule learns the new data/);
    expect(verdict(ending(7, 9), ending(1.2, 6)).verdict).toBe('harmful');
    // As good as the best, and far above the level on both: all may be dead alike.
    expect(verdict(ending(2.1, 5), ending(2, 6)).verdict).toBe('cannot-tell');
  });

  it('nothing is said where one of the two is worse alone, of the run or of the rule', () => {
    expect(verdict(ending(2, 1.1), ending(9, 1)).verdict).toBe('cannot-tell');
    expect(verdict(ending(9, 1), ending(9, 8), [ending(2, 1.1)]).verdict).toBe('cannot-tell');
    expect(verdict(ending(2.45, 1.1), ending(9, 8), [ending(2, 1.1)])).toMatchObject({
      verdict: 'cannot-tell',
      why: expect.stringMatching(/so close to 1\.25 times/),
    });
  });

  it('nothing is said either where no training learnt the new data, or the level before is not known', () => {
    expect(verdict(ending(11, 1.1), ending(30, 8)).verdict).toBe('cannot-tell');
    expect(verdict(ending(2, 1.1), ending(9, 8), [], { ...references(), level: null }).verdict).not.toBe(
      'prevented',
    );
  });

  it('a training that took other batches is no measure of the new data', () => {
    const { loss: _, ...other } = ending(0.1, 1);
    expect(verdict(ending(2, 1.1), ending(9, 8), [other]).verdict).toBe('prevented');
    expect(verdict(ending(2, 1.1), ending(9, 8), [ending(0.1, 1)]).verdict).not.toBe('prevented');
  });

  it('and where the data come back, clean batches decide as ever', () => {
    expect(verdict(ending(9, 1.1), ending(2, 8), [], references(36)).verdict).toBe('prevented');
  });

  it('an arm says what it was compared with', () => {
    const [plain, lower] = [ending(9, 8), ending(2, 1.1)];
    const healthy = healthyBeside(plain, [lower, ending(9, 1)], references(), plain.updateNorm, ONSET);
    const endOf = endsBeside(plain, references(), ONSET, [], healthy);
    expect(endOf(lower)).toMatchObject({ outcome: 'holds', shows: true, afterShift: true });
    expect(endOf(plain)).toMatchObject({ outcome: 'lost', afterShift: true });
    const open = endOf(ending(9, 1));
    expect(open).toMatchObject({ outcome: null, afterShift: true });
    expect(judgeArm(open, references()).why).toMatch(/do not say whether this one is harmed or follows them/);
    const none = { tried: 0, held: 0 };
    expect(endText('holds', 1.1, references(), none, endOf(lower))).toMatch(
      /compared with the best training$/,
    );
    expect(noneNeeded({ mechanism: 'none' } as never, endOf(lower)).statement).toMatch(
      /the data stay as they changed, the run learns them/,
    );
  });

  it('the cause is shown, and says whether the weights are harmed or follow the new data', () => {
    const decided = (afterShift: 'holds' | 'lost' | null) =>
      decideCause({
        ...{
          onset: ONSET,
          hasModel: true,
          cameBack: false,
          ruleHolds: false,
          shorter: null,
          unrecorded: null,
        },
        afterShift,
        observed: {
          ...{ steps, batchIds: [], loss: ending(9, 8).loss, learningRate: along(() => 0.1) },
          ...{ gradientNorm: along(() => 1), updateNorm: along(() => 1), surprise: [] },
          ...{
            effectiveRate: along(() => 1),
            mismatches: [],
            agreedAt: null,
            decays: [],
            empty: null,
            tensors: [],
          },
        } as never,
        references: references(),
        changes: [
          {
            trigger: 'data',
            from: ONSET,
            size: 12,
            evidence: { statement: '30 batches are unlike' },
          } as never,
        ],
        arms: [
          {
            ...{ arm: { kind: 'earlier-batches', steps: [ONSET] }, undoes: 'data', interference: 0 },
            ...{ skipSteps: null, learningRateFactor: null, finalLoss: 1, outcome: 'holds', shows: true },
          },
        ],
      });
    expect(decided('lost')).toMatchObject({ trigger: 'data', confidence: 'shown' });
    expect(decided('lost').statement).toMatch(
      /; the weights are harmed: another training is far better both on/,
    );
    expect(decided('holds').mechanism).toBe('bad-batch-only');
    expect(decided('lost').mechanism).not.toBe('bad-batch-only');
    expect(decided('holds').statement).toMatch(
      /; the weights follow the new data: no training that was tried/,
    );
    expect(decided(null)).toMatchObject({ confidence: 'likely' });
    expect(decided(null).statement).toMatch(/is unknown/);
  });
});
