import { describe, expect, it } from 'vitest';
import { climbLadder, errorsAbove, type How, type Trial } from '../../src/experiment/measure/ladder.ts';
import type { Preflight } from '../../src/model/preflight.ts';
import { NO_CLIPPING } from '../../src/step/rules/choice.ts';
import { parseRule } from '../../src/step/rules/parse.ts';

const ENTRIES = 50;
type Weights = readonly Float64Array[];

/** Draws that depend on a batch alone. */
function normals(batch: number, count: number): number[] {
  let state = (batch + 1) * 2654435761;
  const uniform = (): number => {
    state = (Math.imul(state ^ (state >>> 15), 2246822507) + 3266489909) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

interface Setting {
  readonly asked: number;
  readonly steepness?: readonly [number, number];
  /** Spread of a factor on each entry of the gradient: in the mean of squares stable below 2/λ/(1 + noise²). */
  readonly noise?: number;
  readonly learns?: boolean;
  readonly floor?: number;
}

/** Gradient descent on λ/2·|w|² in two tensors: stable below 2/λ of the steeper one. As python/tests/test_preflighting.py. */
function quadratic({
  asked,
  steepness = [10, 1],
  noise = 0,
  learns = true,
  floor = 0,
}: Setting): Trial<Weights> {
  let weights = [0, 1].map(() => new Float64Array(ENTRIES).fill(1));
  let gradients = 0;
  const copy = (values: Weights) => values.map((one) => one.slice());
  return {
    asked,
    adapts: false,
    get gradients() {
      return gradients;
    },
    keep: () => copy(weights),
    put(state) {
      weights = copy(state);
    },
    async train(rate: number, steps: number, first: number, how: How) {
      const { batches = 1 } = how;
      for (let k = 0; k < steps; k++) {
        gradients += batches;
        const draws = Array.from({ length: batches }, (_, j) =>
          normals((first + k) * batches + j, 4 * ENTRIES),
        );
        const drawn = (at: number) => draws.reduce((sum, one) => sum + one[at]!, 0) / batches;
        const gradient = weights.map((w, t) =>
          w.map(
            (value, i) =>
              steepness[t]! * value * (1 + noise * drawn(t * ENTRIES + i)) +
              0.03 * drawn((2 + t) * ENTRIES + i),
          ),
        );
        const norm = Math.hypot(...gradient.flatMap((one) => [...one]));
        const clip = how.rule === undefined ? 1 : Math.min(1, 1 / norm);
        for (const [t, w] of weights.entries()) {
          const part = how.slowed?.tensor === String(t) ? how.slowed.part : 1;
          for (let i = 0; i < ENTRIES; i++)
            w[i] = w[i]! - (learns ? rate * clip * part * gradient[t]![i]! : 0);
        }
        if (!weights.every((w) => w.every((value) => Math.abs(value) < 1e150))) return false;
      }
      return true;
    },
    async losses() {
      const loss =
        weights.reduce((sum, w, t) => sum + w.reduce((s, v) => s + steepness[t]! * v * v, 0), 0) /
        (4 * ENTRIES);
      return normals(77, 16).map((draw) => floor + loss * (1 + 0.1 * draw));
    },
    moved: (since) =>
      new Map(weights.map((w, t) => [String(t), Math.hypot(...w.map((v, i) => v - since[t]![i]!))])),
  };
}

const ask = (setting: Setting, rules = [NO_CLIPPING].slice(1), seconds = 60): Promise<Preflight> => {
  let now = 0;
  return climbLadder(quadratic(setting), { seconds, rules, clock: () => now++ });
};

describe('a ladder of rates', () => {
  it.each([0.02, 0.05, 0.2, 0.5, 2])('finds 2/λ whatever is asked: %d', async (asked) => {
    const { stableRate } = await ask({ asked });
    expect(stableRate!.low / Math.SQRT2).toBeLessThanOrEqual(0.2);
    expect(stableRate!.high * Math.SQRT2).toBeGreaterThanOrEqual(0.2);
  });

  it('says well within, near and above of the same training', async () => {
    const far = await ask({ asked: 0.02 });
    const { low, high } = far.stableRate!;
    const verdicts = [far, await ask({ asked: Math.sqrt(low * high) }), await ask({ asked: 2 })].map(
      (one) => one.verdict,
    );
    expect(verdicts).toEqual(['well-within', 'near', 'above']);
  });

  it('does not depend on a constant in the loss', async () => {
    const [plain, shifted] = [await ask({ asked: 0.3 }), await ask({ asked: 0.3, floor: -7 })];
    expect(shifted.stableRate).toEqual(plain.stableRate);
  });

  it('finds by trial what limits', async () => {
    expect((await ask({ asked: 0.05 })).limitedBy).toEqual({ kind: 'tensor', tensor: '0' });
    const curved = await ask({ asked: 0.05, steepness: [10, 10] });
    expect([curved.limitedBy.kind, curved.batchScaling]).toEqual(['curvature', 0]);
    const noisy = await ask({ asked: 0.01, steepness: [10, 10], noise: 3 });
    expect(noisy.limitedBy.kind).toBe('noise');
    expect(noisy.batchScaling).toBeGreaterThan(0);
  });

  it('tries rules only where the rate is not well within', async () => {
    const rules = parseRule('global-norm:1');
    expect((await ask({ asked: 0.02 }, rules)).underRules).toEqual([]);
    const [clipped] = (await ask({ asked: 0.6 }, rules)).underRules;
    expect([clipped!.rule, clipped!.stableRate!.low > 0.2]).toEqual(['global-norm:1', true]);
  });

  it('says nothing where nothing is learnt, or there is no time', async () => {
    const flat = await ask({ asked: 0.05, learns: false });
    expect([flat.verdict, flat.stableRate]).toEqual(['cannot-tell', null]);
    expect(flat.statement).toContain('did not fall');
    expect((await ask({ asked: 0.05 }, [], 1e-9)).verdict).toBe('cannot-tell');
  });

  it('says at least where every rate is held', async () => {
    const gentle = await ask({ asked: 1e-3, steepness: [1, 1] });
    expect(gentle.stableRate!.high).toBe(Number.POSITIVE_INFINITY);
    expect(gentle.statement).toContain('at least');
  });

  it('compares paired losses', () => {
    expect(errorsAbove([1.1, 5.2, 9.1], [1, 5, 9])).toBeCloseTo(4, 5);
    expect(errorsAbove([Number.NaN, 1], [1, 1])).toBe(Number.POSITIVE_INFINITY);
    expect(errorsAbove([1, 1], [1, 1])).toBe(0);
  });
});
