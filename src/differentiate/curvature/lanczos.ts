/**
 * Lanczos with full reorthogonalisation and thick restarts.
 *
 * The basis Q stays orthonormal by Gram–Schmidt against all of it, twice where once is not enough; T collects **all**
 * coefficients, so that A·Q = Q·T + q·bᵀ + L·C holds to rounding even where float32 products are not exactly symmetric
 * (q the next basis vector, L the vectors that were found before and are kept out). The residual of a Ritz pair (θ, Q·s)
 * is then known without a further product: ‖T·s − θs‖² + (bᵀs)² + ‖C·s‖².
 *
 * Lanczos 1950; thick restart: Wu & Simon, SIAM J. Matrix Anal. Appl. 22 (2000), section 2.
 */
import { excludedAbove } from './exclusion.ts';
import { addCombination, axpy, orthogonalise, product, removeParts, scale } from './operator.ts';
import type { RandomVectors } from './random.ts';
import { type SmallEigen, smallSymmetricEigen } from './small-eigen.ts';
import { isConverged, type Solution, type Solve } from './solver.ts';

/**
 * A pass of Gram–Schmidt that leaves this much of the norm leaves no part along the basis beyond rounding; of less, another
 * pass is due, and twice is enough. Daniel, Gragg, Kaufman & Stewart, Mathematics of Computation 30 (1976), section 3.
 */
const KEPT = Math.SQRT1_2;

/** Finds up to `want` pairs of the largest algebraic eigenvalues in the complement of `locked`. */
export const lanczos: Solve = async (operator, start, want, options) => {
  const { locked, random, tolerance } = options;
  const room = operator.size - locked.length;
  const basisSize = Math.min(options.basisSize, room);
  const basis: Float64Array[] = [];
  let t: number[][] = [];
  let c: number[][] = locked.map(() => []);
  let next = start;
  let b: number[] = [];
  let products = 0;
  /** What the vectors were divided by, until a restart, after which they are no polynomials of the start. */
  let norms: number[] | undefined = [];
  let certifiedAfter: number | undefined;
  let above: number | undefined;

  for (;;) {
    basis.push(next);
    const m = basis.length;
    const { image: w, norm: size } = await product(operator, next);
    products++;
    const column = new Array<number>(m).fill(0);
    const lockedColumn = new Array<number>(locked.length).fill(0);
    // In exact arithmetic the last two vectors, but after a restart, are all that A·q has a part along.
    const newest = Math.max(0, m - 2);
    const nearest = removeParts(w, basis.slice(newest));
    for (const [i, part] of nearest.parts.entries()) column[newest + i]! += part;
    let beta = nearest.norm;
    for (let pass = 0, before = Number.POSITIVE_INFINITY; pass < 2 && beta < KEPT * before; pass++) {
      before = beta;
      const { parts, norm } = removeParts(w, [...locked, ...basis]);
      for (const i of locked.keys()) lockedColumn[i]! += parts[i]!;
      for (const i of basis.keys()) column[i]! += parts[locked.length + i]!;
      beta = norm;
    }
    t.push([...b]);
    for (let i = 0; i < m; i++) t[i]!.push(column[i]!);
    for (const [i, row] of c.entries()) row.push(lockedColumn[i]!);
    b = new Array<number>(m).fill(0);
    norms?.push(beta);
    // Below this the rest is rounding: the basis spans an invariant subspace, and a random direction goes on.
    if (beta > 1e-13 * size) {
      b[m - 1] = beta;
      scale(1 / beta, w);
      next = w;
    } else if (m < room) next = randomUnit(random, operator.size, [...locked, ...basis]);

    const last = m === room || products >= options.maxProducts;
    const full = m === basisSize;
    // The small problem costs m³: once it is large, not after every product.
    if (!last && !full && m > 24 && m % 4 !== 0) continue;
    const ritz = smallSymmetricEigen(t);
    const residual = (i: number): number => {
      const s = ritz.vectors[i]!;
      let sum = along(b, s) ** 2;
      for (let row = 0; row < m; row++) sum += (along(t[row]!, s) - ritz.values[i]! * s[row]!) ** 2;
      for (const row of c) sum += along(row, s) ** 2;
      return Math.sqrt(sum);
    };
    const top = Math.min(want, m);
    let done = m >= want;
    for (let i = 0; i < top && done; i++) done = isConverged(ritz.values[i]!, residual(i), tolerance);
    const low = ritz.values[m - 1]!;
    const lowResidual = residual(m - 1);
    if (done && options.magnitude && low - lowResidual < -Math.abs(ritz.values[0]!))
      done = isConverged(low, lowResidual, tolerance);
    const value = ritz.values[0]!;
    // What lies above it is one of the few starts that miss something: it says nothing any more.
    if (above !== undefined && value > above) above = undefined;
    if (done && norms !== undefined && want === 1 && locked.length === 0 && options.randomShare > 0) {
      above = m === room ? value : excludedAbove(ritz.values, norms, operator.size, options.randomShare);
      if (certifiedAfter === undefined) {
        certifiedAfter = products;
        options.onCertified(value, residual(0), products);
      }
      done = isConverged(value, above - value, tolerance) || products >= 2 * certifiedAfter;
    }
    if (done || last) {
      const pairs = Array.from({ length: top }, (_, i) => {
        const s = ritz.vectors[i]!;
        const image = combine(
          basis,
          t.map((row) => along(row, s)),
        );
        for (const [l, row] of c.entries()) axpy(along(row, s), locked[l]!, image);
        axpy(along(b, s), next, image);
        return { vector: combine(basis, s), image };
      });
      return {
        pairs,
        lowest: low,
        products,
        ...(above === undefined ? {} : { excludedAbove: above }),
      } satisfies Solution;
    }
    if (full) {
      norms = undefined;
      const keep = keptPairs(ritz, want);
      const kept = keep.map((s) => combine(basis, s));
      t = keep.map((s) =>
        keep.map((other) =>
          along(
            s,
            t.map((row) => along(row, other)),
          ),
        ),
      );
      b = keep.map((s) => along(b, s));
      c = c.map((row) => keep.map((s) => along(row, s)));
      basis.splice(0, basis.length, ...kept);
    }
  }
};

/** What survives a restart: the top third (at least what is wanted and two more) and the lowest pair. */
function keptPairs(ritz: SmallEigen, want: number): readonly Float64Array[] {
  const m = ritz.values.length;
  const top = Math.max(1, Math.min(m - 2, Math.max(want + 2, Math.floor(m / 3))));
  return [...ritz.vectors.slice(0, top), ...(m - 1 > top ? [ritz.vectors[m - 1]!] : [])];
}

const along = (row: ArrayLike<number>, s: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < s.length; i++) sum += row[i]! * s[i]!;
  return sum;
};

function combine(basis: readonly Float64Array[], s: ArrayLike<number>): Float64Array {
  const out = new Float64Array(basis[0]!.length);
  addCombination(s, basis, out);
  return out;
}

/** A random unit vector orthogonal to orthonormal ones. */
export function randomUnit(
  random: RandomVectors,
  size: number,
  against: readonly Float64Array[],
): Float64Array {
  const v = random.gaussian(size);
  scale(1 / orthogonalise(v, against), v);
  return v;
}
