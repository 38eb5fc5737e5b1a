import { expect, it } from 'vitest';
import { criticalSharpness } from '../../src/differentiate/curvature/critical-sharpness.ts';
import { blockOperator, scaledOperator } from '../../src/differentiate/curvature/operator.ts';
import { hutchinsonTrace, spectralDensity } from '../../src/differentiate/curvature/trace.ts';
import { knownSpectrum } from './spectra.ts';

const diagonal = (...d: number[]) => ({
  size: d.length,
  apply: (v: Float64Array, out: Float64Array): void => out.set(v.map((x, i) => x * d[i]!)),
});

it('Hutchinson: exact on a diagonal, within its error bar elsewhere', async () => {
  expect(await hutchinsonTrace(diagonal(1, -2, 5), 1)).toMatchObject({ value: 4, probes: 1 });
  const a = knownSpectrum(33);
  const trace = a.eigenvalues.reduce((x, y) => x + y, 0);
  const estimate = await hutchinsonTrace(a, 200);
  expect(Math.abs(estimate.value - trace)).toBeLessThan(4 * estimate.standardError);
});

it('SLQ: weights sum to 1, moments are those of the spectrum', async () => {
  const a = diagonal(3, 3, 3, 3, -1, -1, 0, 0);
  const density = await spectralDensity(a, { probes: 400, steps: 8, seed: 1 });
  const mass = (from: number, to: number): number =>
    density.weight.reduce(
      (sum, w, i) => (density.value[i]! >= from && density.value[i]! <= to ? sum + w : sum),
      0,
    );
  expect(mass(-9, 9)).toBeCloseTo(1, 10);
  expect(mass(2.99, 3.01)).toBeCloseTo(0.5, 1);
  expect(mass(-1.01, -0.99)).toBeCloseTo(0.25, 1);
  expect(mass(-0.01, 0.01)).toBeCloseTo(0.25, 1);
});

it('scaled and block operators are S·A·S and a diagonal block', async () => {
  const matrix = [
    [2, 1, 0],
    [1, 3, 4],
    [0, 4, 5],
  ];
  const a = {
    size: 3,
    apply: (v: Float64Array, out: Float64Array): void => {
      for (let i = 0; i < 3; i++) out[i] = matrix[i]!.reduce((sum, x, j) => sum + x * v[j]!, 0);
    },
  };
  const out = new Float64Array(3);
  await scaledOperator(a, Float64Array.of(1, 2, 0.5)).apply(Float64Array.of(1, 1, 1), out);
  expect([...out]).toEqual([4, 18, 5.25]);
  const part = blockOperator(a, [
    [0, 1],
    [2, 3],
  ]);
  const two = new Float64Array(2);
  await part.apply(Float64Array.of(1, 1), two);
  expect(part.size).toBe(2);
  expect([...two]).toEqual([2, 5]);
});

it('critical sharpness of a quadratic along its gradient is the curvature there', async () => {
  // f = λw²/2 from w = 1 along Δ = ηλ: the loss rises beyond multiple·ηλ = 2.
  for (const lambda of [0.5, 10, 300]) {
    const eta = 0.1;
    const probe = await criticalSharpness(async (k) => (lambda * (1 - k * eta * lambda) ** 2) / 2, eta);
    expect(probe!.value / lambda).toBeCloseTo(1, 1);
  }
  const falling = await criticalSharpness(async (k) => -k, 0.1);
  expect(falling).toMatchObject({ value: 0, criticalMultiple: Number.POSITIVE_INFINITY });
  // Rounding is no rise, and a crossing is none without a descent before it.
  expect(await criticalSharpness(async (k) => (k > 0 ? 1 + 1e-7 : 1), 0.1)).toMatchObject({ value: 0 });
  expect(await criticalSharpness(async (k) => 1 + k, 0.1)).toBeNull();
  // NaN is a raised loss.
  expect((await criticalSharpness(async (k) => (k > 1 ? Number.NaN : -k), 1))!.criticalMultiple).toBeCloseTo(
    1,
    1,
  );
});
