/** Symmetric linear maps that are known by their products only, and the little algebra that solvers need. */
import { diagError } from '../model/errors.ts';

/** A size and a product. Knows no network: a dense matrix, a Hessian and a shifted one look the same. */
export interface LinearOperator {
  readonly size: number;
  /** out ← A·v. Must neither keep nor change `v`; fills all of `out`. */
  apply(v: Float64Array, out: Float64Array): void | Promise<void>;
}

/** xᵀy. Four sums at once: a processor need not wait for one addition to begin the next. */
export function dot(x: Float64Array, y: Float64Array): number {
  const fours = x.length - (x.length % 4);
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < fours; i += 4) {
    a += x[i]! * y[i]!;
    b += x[i + 1]! * y[i + 1]!;
    c += x[i + 2]! * y[i + 2]!;
    d += x[i + 3]! * y[i + 3]!;
  }
  for (let i = fours; i < x.length; i++) a += x[i]! * y[i]!;
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

/** Vectors in fours, which are gone through together: the one that all of them meet is read a fourth as often. */
function inFours(
  xs: readonly Float64Array[],
  four: (at: number, a: Float64Array, b: Float64Array, c: Float64Array, d: Float64Array) => void,
  single: (at: number, x: Float64Array) => void,
): void {
  const fours = xs.length - (xs.length % 4);
  for (let i = 0; i < fours; i += 4) four(i, xs[i]!, xs[i + 1]!, xs[i + 2]!, xs[i + 3]!);
  for (let i = fours; i < xs.length; i++) single(i, xs[i]!);
}

/** y ← y + Σᵢ factors[i]·xs[i]. */
export function addCombination(
  factors: ArrayLike<number>,
  xs: readonly Float64Array[],
  y: Float64Array,
): void {
  inFours(
    xs,
    (at, a, b, c, d) => {
      const [p, q, r, s] = [factors[at]!, factors[at + 1]!, factors[at + 2]!, factors[at + 3]!];
      for (let i = 0; i < y.length; i++) y[i] = y[i]! + (p * a[i]! + q * b[i]! + (r * c[i]! + s * d[i]!));
    },
    (at, x) => axpy(factors[at]!, x, y),
  );
}

/** Removes from `x` its parts along orthonormal vectors, and returns them: a pass of classical Gram–Schmidt. */
export function removeParts(x: Float64Array, along: readonly Float64Array[]): Float64Array {
  const parts = new Float64Array(along.length);
  inFours(
    along,
    (at, a, b, c, d) => {
      let [p, q, r, s] = [0, 0, 0, 0];
      for (let i = 0; i < x.length; i++) {
        const value = x[i]!;
        p += a[i]! * value;
        q += b[i]! * value;
        r += c[i]! * value;
        s += d[i]! * value;
      }
      parts.set([p, q, r, s], at);
    },
    (at, q) => {
      parts[at] = dot(q, x);
    },
  );
  addCombination(
    parts.map((part) => -part),
    along,
    x,
  );
  return parts;
}

/** Removes from `x` its parts along orthonormal vectors; twice, since once leaves rounding along them. */
export function orthogonalise(x: Float64Array, against: readonly Float64Array[]): void {
  for (let pass = 0; pass < 2; pass++) removeParts(x, against);
}

/**
 * A·v as a new vector.
 *
 * @throws curvature-non-finite when the product has an entry that is not finite: no eigenvalue follows from it
 */
export async function product(operator: LinearOperator, v: Float64Array): Promise<Float64Array> {
  const out = new Float64Array(operator.size);
  await operator.apply(v, out);
  for (let i = 0; i < out.length; i++)
    if (!Number.isFinite(out[i]!))
      throw diagError('curvature-non-finite', { index: i, size: operator.size, value: out[i]! });
  return out;
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
