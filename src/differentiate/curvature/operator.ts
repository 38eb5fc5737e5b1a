/** Symmetric linear maps that are known by their products only, and the little algebra that solvers need. */
import { diagError } from '../../model/errors.ts';

/** A size and a product. Knows no network: a dense matrix, a Hessian and a shifted one look the same. */
export interface LinearOperator {
  readonly size: number;
  /** out ← A·v. Must neither keep nor change `v`; fills all of `out`. */
  apply(v: Float64Array, out: Float64Array): void | Promise<void>;
}

/** xᵀy, or that of the entries from `start` to `end`. Four sums at once: no addition waits for the one before. */
export function dot(x: Float64Array, y: Float64Array, start = 0, end = x.length): number {
  const fours = end - ((end - start) % 4);
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = start; i < fours; i += 4) {
    a += x[i]! * y[i]!;
    b += x[i + 1]! * y[i + 1]!;
    c += x[i + 2]! * y[i + 2]!;
    d += x[i + 3]! * y[i + 3]!;
  }
  for (let i = fours; i < end; i++) a += x[i]! * y[i]!;
  return a + b + (c + d);
}

/** ‖x‖₂. */
export const norm2 = (x: Float64Array): number => Math.sqrt(dot(x, x));

/** y ← y + a·x. */
export function axpy(a: number, x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) y[i] = y[i]! + a * x[i]!;
}

/** x ← a·x. */
export function scale(a: number, x: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i] = x[i]! * a;
}

/** Entries of a vector that others meet together: 16 KiB, which stay in the first cache until all have. */
const STRETCH = 2048;

/**
 * Vectors in fours and entries in stretches, in the order of the entries; what is missing in the last four is the last vector
 * again, which is in the cache.
 */
function inFours(
  xs: readonly Float64Array[],
  size: number,
  four: (
    at: number,
    a: Float64Array,
    b: Float64Array,
    c: Float64Array,
    d: Float64Array,
    start: number,
    end: number,
  ) => void,
  stretchDone: (start: number, end: number) => void = () => {},
): void {
  const last = xs.at(-1)!;
  for (let start = 0; start < size; start += STRETCH) {
    const end = Math.min(size, start + STRETCH);
    for (let i = 0; i < xs.length; i += 4)
      four(i, xs[i]!, xs[i + 1] ?? last, xs[i + 2] ?? last, xs[i + 3] ?? last, start, end);
    stretchDone(start, end);
  }
}

/** y ← y + Σᵢ factors[i]·xs[i]; returns ‖y‖₂, which costs no further look at y. */
export function addCombination(
  factors: ArrayLike<number>,
  xs: readonly Float64Array[],
  y: Float64Array,
): number {
  let square = 0;
  inFours(
    xs,
    y.length,
    (at, a, b, c, d, start, end) => {
      const [p, q, r, s] = [factors[at]!, factors[at + 1] ?? 0, factors[at + 2] ?? 0, factors[at + 3] ?? 0];
      for (let i = start; i < end; i++) y[i] = y[i]! + (p * a[i]! + q * b[i]! + (r * c[i]! + s * d[i]!));
    },
    (start, end) => {
      square += dot(y, y, start, end);
    },
  );
  return Math.sqrt(square);
}

/** Removes from `x` its parts along orthonormal vectors: a pass of classical Gram–Schmidt; returns them and what ‖x‖₂ is then. */
export function removeParts(
  x: Float64Array,
  along: readonly Float64Array[],
): { readonly parts: Float64Array; readonly norm: number } {
  const sums = new Float64Array(along.length + 3);
  inFours(along, x.length, (at, a, b, c, d, start, end) => {
    let [p, q, r, s] = [sums[at]!, sums[at + 1]!, sums[at + 2]!, sums[at + 3]!];
    for (let i = start; i < end; i++) {
      const value = x[i]!;
      p += a[i]! * value;
      q += b[i]! * value;
      r += c[i]! * value;
      s += d[i]! * value;
    }
    sums[at] = p;
    sums[at + 1] = q;
    sums[at + 2] = r;
    sums[at + 3] = s;
  });
  const parts = sums.slice(0, along.length);
  const norm = addCombination(
    parts.map((part) => -part),
    along,
    x,
  );
  return { parts, norm };
}

/** Removes from `x` its parts along orthonormal vectors; twice, since once leaves rounding along them. Returns what ‖x‖₂ is then. */
export function orthogonalise(x: Float64Array, against: readonly Float64Array[]): number {
  if (against.length === 0) return norm2(x);
  removeParts(x, against);
  return removeParts(x, against).norm;
}

/**
 * A·v as a new vector, and ‖A·v‖₂.
 *
 * @throws curvature-non-finite when the product has an entry that is not finite: no eigenvalue follows from it
 */
export async function product(
  operator: LinearOperator,
  v: Float64Array,
): Promise<{ readonly image: Float64Array; readonly norm: number }> {
  const image = new Float64Array(operator.size);
  await operator.apply(v, image);
  const norm = norm2(image);
  // Squares may overflow where no entry does.
  if (!Number.isFinite(norm))
    for (let i = 0; i < image.length; i++)
      if (!Number.isFinite(image[i]!))
        throw diagError('curvature-non-finite', { index: i, size: operator.size, value: image[i]! });
  return { image, norm };
}

/**
 * S·A·S with a diagonal S: with S = P^(-1/2) the symmetric form of P⁻¹A, whose eigenvalues it shares.
 *
 * @param diagonal of S, as many entries as the operator has
 */
export function scaledOperator(operator: LinearOperator, diagonal: Float64Array): LinearOperator {
  const scaled = new Float64Array(operator.size);
  return {
    size: operator.size,
    apply: async (v, out) => {
      for (let i = 0; i < v.length; i++) scaled[i] = diagonal[i]! * v[i]!;
      await operator.apply(scaled, out);
      for (let i = 0; i < out.length; i++) out[i] = diagonal[i]! * out[i]!;
    },
  };
}

/** A stretch [start, end) of the entries of a vector. */
export type Range = readonly [start: number, end: number];

/** The diagonal block of A that belongs to some stretches of entries. */
export function blockOperator(operator: LinearOperator, ranges: readonly Range[]): LinearOperator {
  const whole = new Float64Array(operator.size);
  const result = new Float64Array(operator.size);
  return {
    size: ranges.reduce((sum, [start, end]) => sum + end - start, 0),
    apply: async (v, out) => {
      let at = 0;
      for (const [start, end] of ranges) {
        whole.set(v.subarray(at, at + end - start), start);
        at += end - start;
      }
      await operator.apply(whole, result);
      at = 0;
      for (const [start, end] of ranges) {
        out.set(result.subarray(start, end), at);
        at += end - start;
      }
    },
  };
}
