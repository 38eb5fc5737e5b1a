import { describe, expect, it } from 'vitest';
import { norm2 } from '../../src/differentiate/curvature/operator.ts';
import { EIGEN_METHODS, topEigenpairs } from '../../src/differentiate/curvature/top-eigenpairs.ts';
import { knownSpectrum, SPECTRUM_KINDS } from './spectra.ts';

const SPECTRA = 500;
const TOLERANCE = 1e-3;
const STARTS = 5;

describe.each(EIGEN_METHODS)('%s on known spectra', (method) => {
  it(`is within its bound wherever it says converged (${SPECTRA} spectra × ${STARTS} starts)`, async () => {
    let converged = 0;
    const kinds = new Set<string>();
    for (let index = 0; index < SPECTRA; index++) {
      const a = knownSpectrum(index);
      let largestClaim = Number.NEGATIVE_INFINITY;
      let claims = 0;
      for (let seed = 0; seed < STARTS; seed++) {
        const { pairs } = await topEigenpairs(a, { method, seed, starts: 1, tolerance: TOLERANCE });
        const [pair] = pairs;
        const product = new Float64Array(a.size);
        a.apply(pair!.vector, product);
        const trueResidual = norm2(product.map((x, i) => x - pair!.value * pair!.vector[i]!));
        expect(Math.abs(norm2(pair!.vector) - 1)).toBeLessThan(1e-10);
        expect(Math.abs(trueResidual - pair!.residualNorm)).toBeLessThan(
          1e-9 * (1 + Math.abs(a.eigenvalues[0]!)),
        );
        if (!pair!.converged) continue;
        claims++;
        converged++;
        kinds.add(a.kind);
        const bound = TOLERANCE * (pair!.value === 0 ? 1 : Math.abs(pair!.value));
        const distance = Math.min(...a.eigenvalues.map((x) => Math.abs(x - pair!.value)));
        expect(distance, `${a.kind} ${index} seed ${seed}`).toBeLessThanOrEqual(bound + 1e-12);
        largestClaim = Math.max(largestClaim, pair!.value);
      }
      if (claims > 1) {
        const top = a.eigenvalues[0]!;
        expect(Math.abs(largestClaim - top), `${a.kind} ${index}`).toBeLessThanOrEqual(
          TOLERANCE * (top === 0 ? 1 : Math.abs(top)) + 1e-12,
        );
      }
    }
    // A solver that never claims anything would pass the above.
    expect(converged).toBeGreaterThan(0.7 * SPECTRA * STARTS);
    if (SPECTRA >= SPECTRUM_KINDS.length)
      for (const kind of ['plus-minus', 'negative-top', 'zero', 'rank-one', 'condition-1e12'])
        expect(kinds).toContain(kind);
  });

  it('finds the top k with multiplicities, and the negative end', async () => {
    let judged = 0;
    for (let index = 0; index < 60; index++) {
      const a = knownSpectrum(index);
      const count = Math.min(3, a.size);
      const result = await topEigenpairs(a, { method, count, tolerance: 1e-6, maxProducts: 3000 });
      if (!result.pairs.every((pair) => pair.converged)) continue;
      judged++;
      for (const [i, pair] of result.pairs.entries())
        expect(Math.abs(pair.value - a.eigenvalues[i]!), `${a.kind} ${index} #${i}`).toBeLessThanOrEqual(
          2e-6 * Math.max(Math.abs(a.eigenvalues[0]!), 1e-6),
        );
    }
    expect(judged).toBeGreaterThan(30);
  });

  it('tells the largest magnitude from the largest algebraic', async () => {
    const a = knownSpectrum(SPECTRUM_KINDS.indexOf('negative-top') + 2 * SPECTRUM_KINDS.length);
    const result = await topEigenpairs(a, { method, tolerance: 1e-6 });
    expect(result.pairs[0]!.value).toBeCloseTo(2, 5);
    expect(result.largestMagnitude).toBeCloseTo(-8, 4);
  });

  it('repeats itself for a seed, starts warm, and refuses what is not finite', async () => {
    const a = knownSpectrum(14);
    const once = await topEigenpairs(a, { method, seed: 3 });
    const again = await topEigenpairs(a, { method, seed: 3 });
    expect(again).toEqual(once);
    const warm = await topEigenpairs(a, { method, starts: 1, warmStart: [once.pairs[0]!.vector] });
    const cold = await topEigenpairs(a, { method, starts: 1 });
    expect(warm.products).toBeLessThanOrEqual(cold.products);
    await expect(
      topEigenpairs({ size: 3, apply: (_v, out) => void out.fill(Number.NaN) }, { method }),
    ).rejects.toMatchObject({ code: 'curvature-non-finite' });
  });
});

it('says not converged where ±λ never settles and no product is left for the shift', async () => {
  const a = knownSpectrum(SPECTRUM_KINDS.indexOf('plus-minus') + SPECTRUM_KINDS.length);
  const { pairs } = await topEigenpairs(a, { method: 'power', starts: 1, maxProducts: 15 });
  expect(pairs[0]!.converged).toBe(false);
});

it('restarts within a small basis', async () => {
  const a = knownSpectrum(37);
  const small = await topEigenpairs(a, { method: 'lanczos', basisSize: 8, tolerance: 1e-8, count: 2 });
  expect(small.pairs.map((p) => p.converged)).toEqual([true, true]);
  for (const i of [0, 1]) expect(small.pairs[i]!.value).toBeCloseTo(a.eigenvalues[i]!, 6);
});

it('a restart keeps two pairs more than are wanted: six of an even spectrum take fewer than 160 products', async () => {
  const even = Float64Array.from({ length: 300 }, (_, i) => 1 - i / 300);
  const operator = {
    size: even.length,
    apply: (v: Float64Array, out: Float64Array): void => out.set(v.map((x, i) => x * even[i]!)),
  };
  for (let seed = 0; seed < 5; seed++) {
    const { pairs, products } = await topEigenpairs(operator, {
      method: 'lanczos',
      count: 6,
      seed,
      starts: 1,
      basisSize: 10,
      tolerance: 1e-6,
      maxProducts: 1000,
    });
    expect(pairs.every(({ converged }) => converged)).toBe(true);
    for (const [i, { value }] of pairs.entries()) expect(value).toBeCloseTo(even[i]!, 6);
    // 138 to 151; with the wanted pairs alone, whose neighbours have to be found again, 177 to 210.
    expect(products).toBeLessThan(160);
  }
});

/** A diagonal operator that counts its products. */
function diagonal(values: Float64Array) {
  const counted = {
    size: values.length,
    products: 0,
    apply(v: Float64Array, out: Float64Array): void {
      counted.products++;
      for (let i = 0; i < v.length; i++) out[i] = values[i]! * v[i]!;
    },
  };
  return counted;
}

describe.each(EIGEN_METHODS)('%s: what the search of a second start costs', (method) => {
  // One value far above many that lie close together: the first search is short, one among the others is not.
  const spectrum = Float64Array.from({ length: 400 }, (_, i) => (i === 0 ? 10 : 1 - i / 4000));

  it('is no more than the first, and thorough goes on until it converges', async () => {
    const first = diagonal(spectrum);
    await topEigenpairs(first, { method, starts: 1 });
    const both = diagonal(spectrum);
    const result = await topEigenpairs(both, { method, starts: 2 });
    expect(both.products).toBe(result.products);
    expect(both.products).toBeLessThanOrEqual(2 * first.products);
    expect(result.confirmations).toBe(1);
    expect(result.confirmationProducts).toBe(first.products);
    expect(result.pairs[0]).toMatchObject({ converged: true, value: expect.closeTo(10, 4) });
    const thorough = diagonal(spectrum);
    await topEigenpairs(thorough, { method, thorough: true });
    expect(thorough.products).toBeGreaterThan(2 * first.products);
  });
});

it('what a short second search finds above the first is searched to its end', async () => {
  // A loose tolerance stops among five values that lie close together, though one lies above them.
  const values = Float64Array.from({ length: 200 }, (_, i) =>
    i === 0 ? 1.3 : i < 6 ? 1 - i * 1e-3 : (0.3 * i) / 200 - 0.1,
  );
  const options = { method: 'lanczos', tolerance: 0.1 } as const;
  let missed = 0;
  let found = 0;
  for (let seed = 0; seed < 20; seed++) {
    const alone = await topEigenpairs(diagonal(values), { ...options, seed, starts: 1 });
    if (alone.pairs[0]!.value > 1.1) continue;
    missed++;
    const both = await topEigenpairs(diagonal(values), { ...options, seed, starts: 2 });
    expect(both.confirmationProducts).toBe(alone.products);
    if (both.confirmations > 0) continue;
    found++;
    expect(both.pairs[0]!.converged).toBe(true);
    expect(both.pairs[0]!.value).toBeGreaterThan(1.3 * 0.9);
  }
  expect(missed).toBeGreaterThan(3);
  expect(found).toBeGreaterThan(missed / 2);
});
