/** The top of the spectrum of a symmetric operator, with what is certified about it. */
import { lanczos, randomUnit } from './lanczos.ts';
import { axpy, dot, type LinearOperator, norm2, orthogonalise, scale } from './operator.ts';
import { powerIteration } from './power-iteration.ts';
import { randomVectors } from './random.ts';
import { smallSymmetricEigen } from './small-eigen.ts';
import { isConverged, type Solve } from './solver.ts';

export const EIGEN_METHODS = ['power', 'lanczos'] as const;
export type EigenMethod = (typeof EIGEN_METHODS)[number];

const SOLVERS: Readonly<Record<EigenMethod, Solve>> = { power: powerIteration, lanczos };

export interface EigenOptions {
  readonly method: EigenMethod;
  /** How many of the largest algebraic eigenvalues; at most the size. Default 1. */
  readonly count?: number;
  /** Relative residual at which a pair is converged. Default 1e-3. */
  readonly tolerance?: number;
  /** Default 0. */
  readonly seed?: number;
  /**
   * A residual certifies *an* eigenvalue, not the top one: each further start searches the complement of what was found, and
   * what is larger there takes its place. Left out, a search of Lanczos for one pair goes on until it excludes a larger one
   * (exclusion.ts), for as many products again at most, and two starts are for whatever cannot do that.
   */
  readonly starts?: number;
  /**
   * A further start has as many products as the first search took, and goes on only from something larger. With this it
   * has `maxProducts`, and ends where it converges: many times the products, for a spectrum with a dense top.
   */
  readonly thorough?: boolean;
  /** Products for one search. Default 300. */
  readonly maxProducts?: number;
  /** Called where a search begins or goes on for a larger one: products that it may take at most, and what is known by then. */
  readonly onSearch?: (most: number, known: Known | undefined) => void;
  /** Vectors that Lanczos keeps in memory, 8 bytes an entry each. Default 60. */
  readonly basisSize?: number;
  /** Vectors of an earlier checkpoint to begin with. */
  readonly warmStart?: readonly Float64Array[];
}

export interface Eigenpair {
  /** Signed Rayleigh quotient. */
  readonly value: number;
  /** ‖Av − λv‖₂: an eigenvalue lies within this distance of `value`. */
  readonly residualNorm: number;
  readonly converged: boolean;
  /** Products of the search that found it. */
  readonly iterations: number;
  readonly vector: Float64Array;
}

export type Known = Pick<Eigenpair, 'value' | 'residualNorm' | 'converged'>;

export interface EigenResult {
  /** Largest algebraic first. */
  readonly pairs: readonly Eigenpair[];
  /** Signed; of the lowest eigenvalue where that is larger in magnitude, as far as it was seen. */
  readonly largestMagnitude: number;
  readonly products: number;
  /** Further starts that found nothing larger, and the products that each had at most. */
  readonly confirmations: number;
  readonly confirmationProducts: number;
  /** No eigenvalue is above it, but for a share `MISSED` (exclusion.ts) of random starts; null where further starts were to tell. */
  readonly excludedAbove: number | null;
}

/** Of a random vector, what is added to one that is known. */
const WARM_NOISE = 0.05;

interface Found {
  readonly vector: Float64Array;
  readonly image: Float64Array;
  readonly iterations: number;
}

/**
 * The largest algebraic eigenvalues of a symmetric operator, signed, with residuals ‖Av − λv‖.
 *
 * @throws curvature-non-finite when a product is not finite
 */
export async function topEigenpairs(operator: LinearOperator, options: EigenOptions): Promise<EigenResult> {
  const { tolerance = 1e-3, maxProducts = 300, basisSize = 60 } = options;
  const excluding = options.starts === undefined && options.thorough !== true;
  const count = Math.min(options.count ?? 1, operator.size);
  const random = randomVectors(options.seed ?? 0);
  const solve = SOLVERS[options.method];
  let found: Found[] = [];
  let products = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let above: number | null = null;
  let warm = [...(options.warmStart ?? [])].filter((v) => v.length === operator.size);

  /** A unit vector, and the norm of what is random in it. */
  const startVector = (locked: readonly Float64Array[]): { start: Float64Array; randomShare: number } => {
    const v = warm.shift();
    if (v !== undefined) {
      const start = v.slice();
      const length = orthogonalise(start, locked);
      // A little of everything: a vector that has nothing of the top direction would never find it.
      if (length > 1e-6) {
        scale(1 / length, start);
        axpy(WARM_NOISE, randomUnit(random, operator.size, locked), start);
        scale(1 / norm2(start), start);
        return { start, randomShare: WARM_NOISE / (1 + WARM_NOISE) };
      }
    }
    return { start: randomUnit(random, operator.size, locked), randomShare: 1 };
  };
  const search = async (want: number, magnitude: boolean, most = maxProducts): Promise<void> => {
    const locked = found.map((pair) => pair.vector);
    options.onSearch?.(most, found.length < count ? undefined : eigenpair(found[count - 1]!, tolerance));
    const { start, randomShare } = startVector(locked);
    const solution = await solve(operator, start, want, {
      tolerance,
      maxProducts: most,
      basisSize: Math.max(basisSize, 2 * want + 8),
      locked,
      random,
      magnitude,
      randomShare: excluding ? randomShare : 0,
      onCertified: (value, residualNorm, left) =>
        options.onSearch?.(left, { value, residualNorm, converged: true }),
    });
    above = solution.excludedAbove ?? null;
    products += solution.products;
    lowest = Math.min(lowest, solution.lowest);
    found = rayleighRitz([...found, ...solution.pairs.map((p) => ({ ...p, iterations: solution.products }))]);
  };

  while (found.length < count) await search(count - found.length, found.length === 0);
  warm = [];
  const starts = options.starts ?? (above === null ? 2 : 1);
  const most = options.thorough === true ? maxProducts : Math.min(products, maxProducts);
  let confirmations = 0;
  for (let start = 1; start < starts && found.length < operator.size; start++) {
    const before = rayleigh(found[count - 1]!);
    const certified = found.slice(0, count).every((pair) => eigenpair(pair, tolerance).converged);
    await search(1, false, most);
    const isLarger = (): boolean => {
      const after = rayleigh(found[count - 1]!);
      return after - before > tolerance * Math.abs(after);
    };
    // Larger by more than the tolerance: the earlier start had missed it.
    const missed = isLarger();
    // What was cut short is searched to its end, from where it stood; of what had run out of products before, nothing is.
    const open =
      missed && certified
        ? found.slice(0, count).filter((pair) => !eigenpair(pair, tolerance).converged)
        : [];
    if (open.length > 0) {
      found = found.filter((pair) => !open.includes(pair));
      warm = open.map(({ vector }) => vector);
      while (found.length < count || warm.length > 0) await search(1, false);
    }
    found = found.slice(0, count);
    confirmations = missed && isLarger() ? 0 : confirmations + 1;
  }
  const pairs = found.map((pair) => eigenpair(pair, tolerance));
  const top = pairs[0]?.value ?? Number.NaN;
  return {
    pairs,
    largestMagnitude: Math.abs(lowest) > Math.abs(top) ? lowest : top,
    products,
    confirmations,
    confirmationProducts: most,
    excludedAbove: above,
  };
}

function eigenpair(pair: Found, tolerance: number): Eigenpair {
  const value = rayleigh(pair);
  const residual = pair.image.slice();
  axpy(-value, pair.vector, residual);
  const residualNorm = norm2(residual);
  return {
    value,
    residualNorm,
    converged: isConverged(value, residualNorm, tolerance),
    iterations: pair.iterations,
    vector: pair.vector,
  };
}

const rayleigh = (pair: Found): number => dot(pair.vector, pair.image);

/** Rotates pairs within the space they span to its Ritz pairs, largest first: removes what they owe each other. */
function rayleighRitz(pairs: readonly Found[]): Found[] {
  const ritz = smallSymmetricEigen(pairs.map((p) => pairs.map((q) => dot(p.vector, q.image))));
  return ritz.vectors.map((s) => {
    const vector = new Float64Array(pairs[0]!.vector.length);
    const image = new Float64Array(vector.length);
    let largest = 0;
    for (const [j, pair] of pairs.entries()) {
      axpy(s[j]!, pair.vector, vector);
      axpy(s[j]!, pair.image, image);
      if (Math.abs(s[j]!) > Math.abs(s[largest]!)) largest = j;
    }
    return { vector, image, iterations: pairs[largest]!.iterations };
  });
}
