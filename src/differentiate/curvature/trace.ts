/** Stochastic estimates of a spectrum as a whole. */
import type { SpectralDensity } from '../../model/curvature.ts';
import { randomUnit } from './lanczos.ts';
import { dot, type LinearOperator, orthogonalise, product, scale } from './operator.ts';
import { randomVectors } from './random.ts';
import { smallSymmetricEigen } from './small-eigen.ts';

export interface TraceEstimate {
  readonly value: number;
  /** Of the mean over the probes; NaN with one probe. */
  readonly standardError: number;
  readonly probes: number;
}

/**
 * Hutchinson's estimate of the trace: the mean of zᵀAz over random sign vectors z (Hutchinson 1990).
 *
 * @param probes products to spend, ≥ 1
 * @throws curvature-non-finite
 */
export async function hutchinsonTrace(
  operator: LinearOperator,
  probes: number,
  seed = 0,
): Promise<TraceEstimate> {
  const random = randomVectors(seed);
  const values: number[] = [];
  for (let i = 0; i < probes; i++) {
    const z = random.signs(operator.size);
    values.push(dot(z, (await product(operator, z)).image));
  }
  const mean = values.reduce((a, b) => a + b, 0) / probes;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (probes - 1);
  return { value: mean, standardError: Math.sqrt(variance / probes), probes };
}

/**
 * Stochastic Lanczos quadrature: from each random start, `steps` of Lanczos; the Ritz values are nodes and the squared
 * first components of the small eigenvectors their weights (Ubaru, Chen & Saad 2017; Ghorbani et al. 2019).
 *
 * @throws curvature-non-finite
 */
export async function spectralDensity(
  operator: LinearOperator,
  { probes = 4, steps = 30, seed = 0 }: { probes?: number; steps?: number; seed?: number } = {},
): Promise<SpectralDensity> {
  const random = randomVectors(seed);
  const nodes: { value: number; weight: number }[] = [];
  let products = 0;
  for (let probe = 0; probe < probes; probe++) {
    const basis: Float64Array[] = [];
    const diagonal: number[] = [];
    const off: number[] = [];
    let q = randomUnit(random, operator.size, []);
    for (let step = 0; step < Math.min(steps, operator.size); step++) {
      basis.push(q);
      const { image: w, norm: size } = await product(operator, q);
      products++;
      diagonal.push(dot(q, w));
      const beta = orthogonalise(w, basis);
      if (!(beta > 1e-13 * size)) break;
      off.push(beta);
      scale(1 / beta, w);
      q = w;
    }
    const m = diagonal.length;
    const t = diagonal.map((_, i) =>
      diagonal.map((d, j) => (i === j ? d : Math.abs(i - j) === 1 ? off[Math.min(i, j)]! : 0)),
    );
    const ritz = smallSymmetricEigen(t);
    for (let i = 0; i < m; i++)
      nodes.push({ value: ritz.values[i]!, weight: ritz.vectors[i]![0]! ** 2 / probes });
  }
  nodes.sort((a, b) => a.value - b.value);
  return { value: nodes.map((n) => n.value), weight: nodes.map((n) => n.weight), products };
}
