/** Symmetric matrices with known spectra: Q·diag(λ)·Qᵀ with a random orthogonal Q of Householder reflections. */
import type { LinearOperator } from '../../src/differentiate/curvature/operator.ts';
import { randomVectors } from '../../src/differentiate/curvature/random.ts';

export interface KnownSpectrum extends LinearOperator {
  readonly kind: string;
  readonly eigenvalues: readonly number[];
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Eigenvalues of each kind; u is uniform noise in [0, 1). */
const KINDS: Readonly<Record<string, (n: number, u: () => number) => number[]>> = {
  uniform: (n, u) => range(n).map(() => 2 * u() - 1),
  decay: (n, u) => range(n).map((i) => 10 * 0.7 ** i * (0.5 + u())),
  'cluster-at-top': (n, u) => range(n).map((i) => (i < 4 ? 5 * (1 + 1e-5 * u()) : u())),
  'double-top': (n, u) => range(n).map((i) => (i < 2 ? 3 : 2.9 * u())),
  'plus-minus': (n, u) => range(n).map((i) => (i === 0 ? 1 : i === 1 ? -1 : u() - 0.5)),
  'negative-top': (n, u) => range(n).map((i) => (i === 0 ? -8 : i === 1 ? 2 : u())),
  'all-negative': (n, u) => range(n).map(() => -1 - 4 * u()),
  'rank-one': (n) => range(n).map((i) => (i === 0 ? 7 : 0)),
  'rank-one-negative': (n) => range(n).map((i) => (i === 0 ? -7 : 0)),
  zero: (n) => range(n).map(() => 0),
  'condition-1e12': (n) => range(n).map((i) => 10 ** ((-12 * i) / (n - 1))),
  'close-second': (n, u) => range(n).map((i) => (i === 0 ? 1 : i === 1 ? 0.99 : 0.5 * u())),
  'one-large': (n, u) => range(n).map((i) => (i === 0 ? 1e6 : u())),
};
export const SPECTRUM_KINDS = Object.keys(KINDS);

/** Spectrum number `index`: the kinds in turn, sizes 2 to 40. */
export function knownSpectrum(index: number): KnownSpectrum {
  const random = randomVectors(10_000 + index);
  const noise = random.gaussian(400);
  let at = 0;
  const u = (): number => Math.abs(noise[at++ % noise.length]!) % 1;
  const kind = SPECTRUM_KINDS[index % SPECTRUM_KINDS.length]!;
  const n = 2 + ((index * 7) % 39);
  const eigenvalues = KINDS[kind]!(n, u).slice(0, n);
  const reflections = [random.gaussian(n), random.gaussian(n), random.gaussian(n)];
  const reflect = (x: Float64Array, r: Float64Array): void => {
    let rr = 0;
    let rx = 0;
    for (let i = 0; i < n; i++) {
      rr += r[i]! * r[i]!;
      rx += r[i]! * x[i]!;
    }
    for (let i = 0; i < n; i++) x[i] = x[i]! - (2 * rx * r[i]!) / rr;
  };
  return {
    kind,
    eigenvalues: [...eigenvalues].sort((a, b) => b - a),
    size: n,
    apply: (v, out) => {
      out.set(v);
      for (const r of reflections) reflect(out, r);
      for (let i = 0; i < n; i++) out[i] = out[i]! * eigenvalues[i]!;
      for (const r of [...reflections].reverse()) reflect(out, r);
    },
  };
}
