/**
 * Lanczos with full reorthogonalisation and thick restarts.
 *
 * The basis Q stays orthonormal by Gram–Schmidt against all of it, twice where once is not enough. T collects **all**
 * coefficients, so A·Q = Q·T + q·bᵀ + L·C holds to rounding even where float32 products are not exactly symmetric. Here q is
 * the next basis vector, and L are the vectors that were found before and are kept out. The residual of a Ritz pair (θ, Q·s)
 * is then known without a further product: ‖T·s − θs‖² + (bᵀs)² + ‖C·s‖².
 *
 * Lanczos 1950; thick restart: Wu & Simon, SIAM J. Matrix Anal. Appl. 22 (2000), section 2.
 */
import { excludedAbove } from './exclusion.ts';
import {
  addCombination,
  axpy,
  type LinearOperator,
  orthogonalise,
  product,
  removeParts,
  scale,
} from './operator.ts';
import type { RandomVectors } from './random.ts';
import { type SmallEigen, smallSymmetricEigen } from './small-eigen.ts';
import { isConverged, type Solution, type Solve, type SolveOptions } from './solver.ts';

/**
 * A pass of Gram–Schmidt that leaves this much of the norm leaves no part along the basis beyond rounding; of less, another
 * pass is due, and twice is enough. Daniel, Gragg, Kaufman & Stewart, Mathematics of Computation 30 (1976), section 3.
 */
const KEPT = Math.SQRT1_2;

/** Finds up to `want` pairs of the largest algebraic eigenvalues in the complement of `locked`. */
export const lanczos: Solve = async (operator, start, want, options) => {
  const room = operator.size - options.locked.length;
  const basisSize = Math.min(options.basisSize, room);
  const space = new KrylovSpace(operator, start, options.locked);
  const convergence = new Convergence(want, room, options);
  for (;;) {
    await space.grow(options.random, room);
    const { size: m, products } = space;
    const last = m === room || products >= options.maxProducts;
    const full = m === basisSize;
    // The small problem costs m³: once it is large, not after every product.
    if (!last && !full && m > 24 && m % 4 !== 0) continue;
    const ritz = smallSymmetricEigen(space.t);
    if (convergence.isReached(space, ritz, operator.size) || last) {
      const { above } = convergence;
      return {
        pairs: Array.from({ length: Math.min(want, m) }, (_, i) => space.pair(ritz.vectors[i]!)),
        lowest: ritz.values[m - 1]!,
        products,
        ...(above === undefined ? {} : { excludedAbove: above }),
      } satisfies Solution;
    }
    if (full) space.restart(keptPairs(ritz, want));
  }
};

/** The basis Q with T, b and C as at the top of this file. */
class KrylovSpace {
  readonly #basis: Float64Array[] = [];
  /** The next basis vector, q. */
  #next: Float64Array;
  #b: number[] = [];
  #c: number[][];
  t: number[][] = [];
  products = 0;
  /** What the vectors were divided by, until a restart, after which they are no polynomials of the start. */
  norms: number[] | undefined = [];

  constructor(
    private readonly operator: LinearOperator,
    start: Float64Array,
    private readonly locked: readonly Float64Array[],
  ) {
    this.#next = start;
    this.#c = locked.map(() => []);
  }

  get size(): number {
    return this.#basis.length;
  }

  /** Takes q into the basis, by one product. @param room largest size that the basis can have */
  async grow(random: RandomVectors, room: number): Promise<void> {
    const { locked } = this;
    const basis = this.#basis;
    basis.push(this.#next);
    const m = basis.length;
    const { image: w, norm: size } = await product(this.operator, this.#next);
    this.products++;
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
    this.t.push([...this.#b]);
    for (let i = 0; i < m; i++) this.t[i]!.push(column[i]!);
    for (const [i, row] of this.#c.entries()) row.push(lockedColumn[i]!);
    this.#b = new Array<number>(m).fill(0);
    this.norms?.push(beta);
    // Below this the rest is rounding: the basis spans an invariant subspace, and a random direction goes on.
    if (beta > 1e-13 * size) {
      this.#b[m - 1] = beta;
      scale(1 / beta, w);
      this.#next = w;
    } else if (m < room) this.#next = randomUnit(random, this.operator.size, [...locked, ...basis]);
  }

  /** The norm of A·Q·s − θ·Q·s of a Ritz pair. */
  residual(value: number, s: Float64Array): number {
    let sum = along(this.#b, s) ** 2;
    for (let row = 0; row < this.size; row++) sum += (along(this.t[row]!, s) - value * s[row]!) ** 2;
    for (const row of this.#c) sum += along(row, s) ** 2;
    return Math.sqrt(sum);
  }

  /** Q·s and its image. */
  pair(s: Float64Array): Solution['pairs'][number] {
    const image = combine(
      this.#basis,
      this.t.map((row) => along(row, s)),
    );
    for (const [l, row] of this.#c.entries()) axpy(along(row, s), this.locked[l]!, image);
    axpy(along(this.#b, s), this.#next, image);
    return { vector: combine(this.#basis, s), image };
  }

  /** Goes on with the combinations `keep` of the basis alone. */
  restart(keep: readonly Float64Array[]): void {
    this.norms = undefined;
    const kept = keep.map((s) => combine(this.#basis, s));
    const { t } = this;
    this.t = keep.map((s) =>
      keep.map((other) =>
        along(
          s,
          t.map((row) => along(row, other)),
        ),
      ),
    );
    this.#b = keep.map((s) => along(this.#b, s));
    this.#c = this.#c.map((row) => keep.map((s) => along(row, s)));
    this.#basis.splice(0, this.#basis.length, ...kept);
  }
}

/** Says when the pairs that are wanted are good enough. */
class Convergence {
  /** What an eigenvalue that the start missed is excluded above. */
  above: number | undefined;
  #certifiedAfter: number | undefined;

  constructor(
    private readonly want: number,
    private readonly room: number,
    private readonly options: SolveOptions,
  ) {}

  isReached(space: KrylovSpace, { values, vectors }: SmallEigen, size: number): boolean {
    const { want, options } = this;
    const { tolerance } = options;
    const m = space.size;
    const residual = (i: number): number => space.residual(values[i]!, vectors[i]!);
    let done = m >= want;
    for (let i = 0; i < Math.min(want, m) && done; i++)
      done = isConverged(values[i]!, residual(i), tolerance);
    const low = values[m - 1]!;
    const lowResidual = residual(m - 1);
    if (done && options.magnitude && low - lowResidual < -Math.abs(values[0]!))
      done = isConverged(low, lowResidual, tolerance);
    const value = values[0]!;
    // What lies above it is one of the few starts that miss something: it says nothing any more.
    if (this.above !== undefined && value > this.above) this.above = undefined;
    const { norms } = space;
    const excludes = want === 1 && options.locked.length === 0 && options.randomShare > 0;
    if (!done || norms === undefined || !excludes) return done;
    const above = m === this.room ? value : excludedAbove(values, norms, size, options.randomShare);
    this.above = above;
    if (this.#certifiedAfter === undefined) {
      this.#certifiedAfter = space.products;
      options.onCertified(value, residual(0), space.products);
    }
    return isConverged(value, above - value, tolerance) || space.products >= 2 * this.#certifiedAfter;
  }
}

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
