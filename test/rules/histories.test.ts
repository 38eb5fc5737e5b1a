/** Rules that remember norms: AutoClip, ZClip, AdaGC, skipped steps, step after step with the numbers worked out by hand. */
import { describe, expect, it } from 'vitest';
import { chooseRules } from '../../src/step/rules/choice.ts';
import type { ModelRule, RuleState } from '../../src/step/rules/rule.ts';

/** Factors of each step; a step is the norms of the tensors, and its loss where one is given. */
function factorsOf(
  id: string,
  given: object,
  steps: readonly (readonly number[])[],
  losses: readonly number[] = [],
): number[][] {
  const { rule, options } = chooseRules([{ rule: id, options: given as Record<string, number> }]).parts[0]!;
  const { initialState, measure } = rule as ModelRule;
  let state: RuleState = initialState(steps[0]!.length);
  return steps.map((norms, k) => {
    const seen = norms.map((norm, position) => ({
      name: `t${position}`,
      shape: [1],
      layout: 'none' as const,
      embedding: false,
      position,
      sumOfSquares: norm ** 2,
    }));
    const factors = new Float64Array(norms.length);
    state = measure(state, seen, options as never, factors, losses[k] ?? null);
    return [...factors];
  });
}
const single = (id: string, given: object, norms: readonly number[]): number[] =>
  factorsOf(
    id,
    given,
    norms.map((norm) => [norm]),
  ).map(([factor]) => factor!);

describe('autoclip', () => {
  const near = (found: readonly number[], wanted: readonly number[]) => {
    found.forEach((factor, i) => {
      expect(factor).toBeCloseTo(wanted[i]!, 5);
    });
  };
  it('clips at the percentile of the norms so far, between two of them in proportion', () => {
    // The median of 1; of 1, 3: 2; of 1, 3, 5: 3. A quarter of the way from 1 to 3: 1.5.
    near(single('autoclip', { percentile: 50 }, [1, 3, 5]), [1, 2 / 3, 3 / 5]);
    near(single('autoclip', { percentile: 25 }, [1, 3]), [1, 1.5 / 3]);
    near(single('autoclip', { percentile: 100 }, [1, 3, 2]), [1, 1, 1]);
  });
  it('forgets norms that are older than its history', () => {
    near(single('autoclip', { percentile: 0, historyLength: 2 }, [1, 4, 8]), [1, 1 / 4, 4 / 8]);
  });
  it('is NaN while a NaN is in its history, and is itself again once that has left', () => {
    expect(single('autoclip', { percentile: 0, historyLength: 2 }, [2, Number.NaN, 4, 4])).toEqual([
      expect.closeTo(1, 5),
      Number.NaN,
      Number.NaN,
      expect.closeTo(1, 5),
    ]);
  });
  it('takes a percentile that is one of the norms as it is, however large those above it', () => {
    expect(single('autoclip', { percentile: 0 }, [2, Number.POSITIVE_INFINITY, 4])).toEqual([
      expect.closeTo(1, 5),
      0,
      expect.closeTo(0.5, 5),
    ]);
  });
});

describe('adagc', () => {
  const given = { relativeThreshold: 2, absoluteThreshold: 1, beta: 0.5, warmupSteps: 2 };
  it('clips by the global norm in the warm-up and each tensor by its own average after it', () => {
    expect(
      factorsOf('adagc', given, [
        [3, 4], // global norm 5: both by 1/5, to 0.6 and 0.8
        [0.5, 0], // global norm 0.5: not clipped; the smallest so far are 0.5 and 0
        [4, 3], // limits 2·0.5 and 2·0
        [1.5, 1], // averages 0.5·0.5 + 0.5·1 = 0.75 and 0: limits 1.5 and 0
        [4.5, 0], // the norm at the limit was kept: 0.5·0.75 + 0.5·1.5 = 1.125, limit 2.25
      ]),
    ).toEqual([
      [1 / 5, 1 / 5],
      [1, 1],
      [1 / 4, 0],
      [1, 0],
      [0.5, 1],
    ]);
  });
  it('with thresholds of ∞ leaves everything, no gradient and an infinite one included', () => {
    const loose = { relativeThreshold: Infinity, absoluteThreshold: Infinity, warmupSteps: 1 };
    expect(factorsOf('adagc', loose, [[0], [0], [3]])).toEqual([[1], [1], [1]]);
    expect(factorsOf('adagc', loose, [[2], [Infinity]])).toEqual([[1], [1]]);
    expect(factorsOf('adagc', loose, [[Number.NaN], [0]])).toEqual([[Number.NaN], [1]]);
  });
});

describe('zclip', () => {
  // Warm-up norms 1 and 3: mean 2, variance 1.
  const given = { zThreshold: 2, alpha: 0.5, warmupSteps: 2, maxNorm: 100 };
  it('clips an outlier to less, the further out it is, and learns what it left', () => {
    const [, , outlier, next] = single('zclip', given, [1, 3, 6, 6]);
    // z = 4/(1 + 1e-6); c = 2 + 2·1/(z/2) = 3 + 1e-6.
    const clipped = 2 + 2 / (4 / (1 + 1e-6) / 2);
    expect(outlier).toBeCloseTo(clipped / (6 + 1e-6), 12);
    // μ = 0.5·2 + 0.5·c = 2.5; s² = 0.5·1 + 0.5·(c − μ)² = 0.625.
    const mean = 1 + 0.5 * clipped;
    const deviation = Math.sqrt(0.5 + 0.5 * (clipped - mean) ** 2);
    const z = (6 - mean) / (deviation + 1e-6);
    expect(next).toBeCloseTo((mean + (2 * deviation) / (z / 2)) / (6 + 1e-6), 12);
  });
  it('clips an outlier to the mean where that is asked for', () => {
    expect(single('zclip', { ...given, clipTo: 'mean' }, [1, 3, 6])[2]).toBeCloseTo(2 / 6, 6);
  });
  it('maxNorm holds before, within and after the warm-up; a norm at it is left', () => {
    const factors = single('zclip', { ...given, maxNorm: 2 }, [1, 3, 2, 2.5]);
    [1, 2 / 3, 1, 2 / 2.5].forEach((factor, i) => {
      expect(factors[i]).toBeCloseTo(factor, 5);
    });
    expect(factors[2]).toBe(1);
  });
});

describe('skip-step', () => {
  // 1 and 3 in turn: mean 2, deviation √(20/19) = 1.026 over 20 of them.
  const calm = Array.from({ length: 20 }, (_, k) => (k % 2 === 0 ? 1 : 3));
  const given = { sigmas: 2, window: 20 };
  const at = (norms: readonly number[], losses?: readonly number[]): (number | undefined)[] =>
    factorsOf(
      'skip-step',
      given,
      norms.map((norm) => [norm]),
      losses,
    ).map(([factor]) => factor);
  it('leaves out a step whose norm is more than σ deviations above the mean, and none far below it', () => {
    expect(at([...calm, 4.04]).at(-1)).toBe(1);
    expect(at([...calm, 4.06]).at(-1)).toBe(0);
    expect(at([...calm, 1e-9]).at(-1)).toBe(1);
  });
  it('leaves out nothing before 20 steps, this one included, or half of its window', () => {
    expect(at([...calm.slice(0, 18), 1e9]).at(-1)).toBe(1);
    expect(at([...calm.slice(0, 19), 1e9]).at(-1)).toBe(0);
    const long = calm.concat(calm).slice(0, 30);
    const wide = factorsOf(
      'skip-step',
      { window: 64 },
      [...long, 1e9, 1e99].map((norm) => [norm]),
    );
    expect(wide.slice(-2)).toEqual([[1], [0]]);
  });
  it('leaves out nothing where nothing changes, and what is above where nothing did', () => {
    const flat = Array.from({ length: 25 }, () => 2);
    expect(at(flat, flat)).toEqual(flat.map(() => 1));
    expect(at([...flat, 2.001]).at(-1)).toBe(0);
  });
  it('looks at the loss where it is known, and at the norm alone where it is not', () => {
    const norms = [...calm, 2];
    expect(at(norms, [...calm, 4.06]).at(-1)).toBe(0);
    expect(at(norms, [...calm, 4.04]).at(-1)).toBe(1);
    expect(at(norms).at(-1)).toBe(1);
    expect(at([...calm, 4.06], [...calm, 2]).at(-1)).toBe(0);
  });
  it('takes what is no number for standing out, as long as it is in the window; skipped values join it', () => {
    const after = at([...calm, Number.NaN, ...calm, 2, 2]);
    expect(after.slice(20)).toEqual([...Array(21).fill(0), 1, 1]);
    // The second of two equal peaks is no news any more.
    expect(at([...calm, 50, 20]).slice(-2)).toEqual([0, 1]);
  });
});
