import { describe, expect, it } from 'vitest';
import { excludedAbove, MISSED } from '../../src/differentiate/curvature/exclusion.ts';
import { randomUnit } from '../../src/differentiate/curvature/lanczos.ts';
import {
  dot,
  type LinearOperator,
  norm2,
  removeParts,
  scale,
} from '../../src/differentiate/curvature/operator.ts';
import { randomVectors } from '../../src/differentiate/curvature/random.ts';
import { smallSymmetricEigen } from '../../src/differentiate/curvature/small-eigen.ts';
import { topEigenpairs } from '../../src/differentiate/curvature/top-eigenpairs.ts';
import { knownSpectrum } from './spectra.ts';

interface Diagonal extends LinearOperator {
  readonly top: number;
}
/** Rounded to float32 as products of a net are. */
function diagonal(size: number, value: (i: number) => number): Diagonal {
  const values = Float32Array.from({ length: size }, (_, i) => value(i));
  return {
    size,
    top: Math.max(...values),
    apply: (v, out) => {
      for (let i = 0; i < size; i++) out[i] = Math.fround(values[i]! * Math.fround(v[i]!));
    },
  };
}

/** A larger eigenvalue that a start may have little of: far above, close above, above a cluster, among negative ones. */
const PLANTED: Readonly<Record<string, (n: number) => Diagonal>> = {
  'one alone': (n) => diagonal(n, (i) => (i === 0 ? 1 : (0.3 * i) / n)),
  'above a cluster': (n) => diagonal(n, (i) => (i === 0 ? 1.3 : i < 6 ? 1 - i * 1e-3 : (0.3 * i) / n - 0.1)),
  'just above another': (n) => diagonal(n, (i) => (i === 0 ? 1.01 : i === 1 ? 1 : (0.5 * i) / n)),
  'a larger negative one': (n) => diagonal(n, (i) => (i === 0 ? 1 : i === 1 ? -3 : 0.9 * Math.cos(i))),
  'above many equal ones': (n) => diagonal(n, (i) => (i === 0 ? 2 : i < n / 2 ? 1 : -1)),
  'a dense top': (n) => diagonal(n, (i) => 1 - i / n),
  'all negative': (n) => diagonal(n, (i) => -1 - i / n),
};
const KINDS = Object.keys(PLANTED);

/** The bounds after each of the first steps of Lanczos, by the textbook. */
function bounds(
  operator: Diagonal,
  start: Float64Array,
  steps: number,
  share: number,
  missed: number,
): number[] {
  const basis: Float64Array[] = [];
  const [t, norms]: [number[], number[]] = [[], []];
  let q = start;
  return Array.from({ length: steps }, () => {
    basis.push(q);
    const w = new Float64Array(operator.size);
    operator.apply(q, w);
    t.push(dot(q, w));
    for (let pass = 0; pass < 2; pass++) removeParts(w, basis);
    norms.push(norm2(w));
    scale(1 / norms.at(-1)!, w);
    q = w;
    const { values } = smallSymmetricEigen(
      t.map((a, i) => t.map((_, j) => (i === j ? a : Math.abs(i - j) === 1 ? norms[Math.min(i, j)]! : 0))),
    );
    return excludedAbove(values, norms, operator.size, share, missed);
  });
}

describe.each(KINDS)('an eigenvalue is above what is excluded no more often than is said: %s', (kind) => {
  it('in a share of random starts that would be seen, were the bound half as large', () => {
    const operator = PLANTED[kind]!(60);
    const missed = 0.2;
    let [wrong, sharp] = [0, 0];
    for (let seed = 0; seed < 400; seed++) {
      const start = randomUnit(randomVectors(seed), operator.size, []);
      if (bounds(operator, start, 6, 1, missed).some((above) => above < operator.top - 1e-6)) wrong++;
      if (bounds(operator, start, 2, 1, 2 * missed).some((above) => above < operator.top - 1e-6)) sharp++;
    }
    // Within three standard deviations of a fifth of 400.
    expect(wrong).toBeLessThanOrEqual(80 + 24);
    if (kind === 'above many equal ones') expect(sharp).toBeGreaterThan(80 + 24);
  });
});

it('a start near a known vector has less that is random, and the bound is wider by that', () => {
  const operator = PLANTED['above many equal ones']!(60);
  // Of this start only a twentieth is random, and the known vector has nothing of the top.
  const share = 0.05 / 1.05;
  let [wrong, forgotten] = [0, 0];
  for (let seed = 0; seed < 400; seed++) {
    const start = randomUnit(randomVectors(seed), operator.size, []);
    for (let i = 0; i < start.length; i++) start[i]! *= 0.05;
    start[1]! += 1;
    scale(1 / norm2(start), start);
    if (bounds(operator, start, 3, share, 0.2).some((above) => above < operator.top - 1e-6)) wrong++;
    if (bounds(operator, start, 3, 1, 0.2).some((above) => above < operator.top - 1e-6)) forgotten++;
  }
  expect(wrong).toBeLessThanOrEqual(80 + 24);
  expect(forgotten).toBeGreaterThan(200);
});

describe.each(KINDS)('a search that excludes a larger one: %s', (kind) => {
  it.each([0.1, 1e-3])(
    'to %s misses the top no more often than is said, with products of two starts',
    async (tolerance) => {
      const operator = PLANTED[kind]!(400);
      const starts = tolerance < 0.01 ? 20 : 60;
      let [wrong, late, ours, two] = [0, 0, 0, 0];
      for (let seed = 0; seed < starts; seed++) {
        const found = await topEigenpairs(operator, { method: 'lanczos', seed, tolerance });
        ours += found.products;
        two += (await topEigenpairs(operator, { method: 'lanczos', seed, tolerance, starts: 2 })).products;
        const [pair] = found.pairs;
        if (found.excludedAbove === null) continue;
        expect(pair!.converged).toBe(true);
        expect(found.excludedAbove).toBeGreaterThanOrEqual(pair!.value);
        const slack = 1e-6 * Math.abs(operator.top);
        if (operator.top > found.excludedAbove + slack) wrong++;
        // What was to be excluded is: then the pair found is the top, to the tolerance.
        const enough = found.excludedAbove - pair!.value <= tolerance * Math.abs(pair!.value);
        if (enough && operator.top - pair!.value > tolerance * Math.abs(pair!.value) + slack) late++;
      }
      expect(wrong).toBe(0);
      expect(late).toBe(0);
      expect(ours).toBeLessThan(1.15 * two);
    },
  );
});

it('500 known spectra: what is said to be excluded is not there', async () => {
  let said = 0;
  let wrong = 0;
  for (let index = 0; index < 500; index++) {
    const a = knownSpectrum(index);
    for (let seed = 0; seed < 3; seed++) {
      const { excludedAbove: above } = await topEigenpairs(a, { method: 'lanczos', seed });
      if (above === null) continue;
      said++;
      const [top] = a.eigenvalues;
      if (top! > above + 1e-10 * (1 + Math.abs(top!))) wrong++;
    }
  }
  expect(said).toBeGreaterThan(1300);
  expect(wrong).toBeLessThanOrEqual(Math.ceil(2 * MISSED * said));
});

it('two starts are left to what cannot exclude: power iteration, several pairs, a search that began anew', async () => {
  const operator = PLANTED['one alone']!(300);
  expect((await topEigenpairs(operator, { method: 'power' })).excludedAbove).toBeNull();
  const several = await topEigenpairs(operator, { method: 'lanczos', count: 2 });
  expect([several.excludedAbove, several.confirmations]).toEqual([null, 1]);
  const anew = await topEigenpairs(PLANTED['a dense top']!(400), {
    method: 'lanczos',
    basisSize: 12,
    tolerance: 1e-4,
  });
  expect([anew.excludedAbove, anew.confirmations]).toEqual([null, 1]);
  const alone = await topEigenpairs(operator, { method: 'lanczos' });
  expect(alone.excludedAbove).not.toBeNull();
  expect(alone.confirmations).toBe(0);
});

it('says when the pair is certified, and how many products may follow', async () => {
  const told: unknown[] = [];
  const { products, pairs } = await topEigenpairs(PLANTED['one alone']!(2000), {
    method: 'lanczos',
    onSearch: (most, known) => told.push([most, known?.converged]),
  });
  const certified = (told[1] as [number])[0];
  expect(told).toEqual([
    [300, undefined],
    [certified, true],
  ]);
  expect(products).toBeLessThanOrEqual(2 * certified);
  expect(pairs[0]!.iterations).toBe(products);
});
