/**
 * Values of tensors and the sums over them. Storage is float32 (or float64 for checks); every sum and norm is taken in
 * float64, since a float32 sum of ten million squares loses three digits.
 */
import type { Layout } from '../../model/checkpoint.ts';
import type { Units } from '../../model/units.ts';
import { inParts, memoryOf, PART, type Task } from '../threads/in-parts.ts';

export type Values = Float32Array | Float64Array;
export type Precision = 'float32' | 'float64';

/** Zeros, in memory that threads share while there are any. */
export const allocate = (precision: Precision, length: number): Values =>
  precision === 'float32' ? new Float32Array(memoryOf(4 * length)) : new Float64Array(memoryOf(8 * length));

/** A copy, in such memory. */
export function copyOf(values: Values): Values {
  const copy = allocate(values instanceof Float32Array ? 'float32' : 'float64', values.length);
  copy.set(values);
  return copy;
}

/** Number of entries of a shape; 1 for a scalar. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((n, size) => n * size, 1);

/** Σ xᵢ² in float64; NaN if any entry is NaN, +Infinity if one is infinite. */
export function sumOfSquares(x: Values): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
  return sum;
}

/** ‖x‖₂ in float64. */
export const norm = (x: Values): number => Math.sqrt(sumOfSquares(x));

/** The larger of `floor` and the largest |value|; NaN if one is. */
export function largestMagnitude(values: Values, floor = 0): number {
  let largest = floor;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size > largest || Number.isNaN(size)) largest = size;
    if (Number.isNaN(largest)) return largest;
  }
  return largest;
}

/** {@link sumOfSquares} and {@link largestMagnitude} in one pass. */
export function squaresAndLargest(x: Values): { readonly squares: number; readonly largest: number } {
  let squares = 0;
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    const size = Math.abs(x[i]!);
    squares += size * size;
    if (size > largest) largest = size;
  }
  // No entry is above NaN, and none below: the sum shows it.
  return { squares, largest: Number.isNaN(squares) ? Number.NaN : largest };
}

/** ‖w‖/‖u‖, LAMB's trust ratio; 1 where a norm is 0, NaN where one is NaN. */
export const normRatio = (w: Values, u: Values): number => ratioOfRoots(sumOfSquares(w), sumOfSquares(u));

/** The same of the squares of both norms. */
export function ratioOfRoots(squaresAbove: number, squaresBelow: number): number {
  const [above, below] = [Math.sqrt(squaresAbove), Math.sqrt(squaresBelow)];
  return above === 0 || below === 0 ? 1 : above / below;
}

/** Where the first entry is that is not finite; -1 where all are. */
export function firstNotFinite(x: Values): number {
  const found = inParts(FINITE_ENTRIES, { x }, [x], x.length, 1);
  const part = found.findIndex((entries, k) => entries < Math.min(PART, x.length - k * PART));
  return part < 0 ? -1 : part * PART + found[part]!;
}

/** How many entries of a part are finite before one is not. */
export const FINITE_ENTRIES: Task<{ readonly x: Values }> = {
  name: 'finite entries',
  run({ x }, start, end, found) {
    let i = start;
    while (i < end && Number.isFinite(x[i])) i++;
    found[0] = i - start;
  },
};

/** What is known of a trainable tensor besides its values. */
export interface TensorMeta {
  readonly name: string;
  readonly shape: readonly number[];
  readonly layout: Layout;
  readonly embedding: boolean;
}

/**
 * The output units of a tensor, as AGC's official code takes them: a vector or scalar is one unit, a kernel has one per
 * output (axis 1 of IO, axis 0 of OI, the last of HWIO, the first of OIHW), an embedding table one per row. A tensor of
 * higher rank whose layout is unknown is one unit: guessing the axis would clip along the wrong one.
 */
export function unitsOf(meta: TensorMeta): Units {
  const { shape, layout } = meta;
  const elements = elementsOf(shape);
  const first = shape[0] ?? 1;
  const last = shape[shape.length - 1] ?? 1;
  if (shape.length >= 2 && elements > 0) {
    if (meta.embedding || layout === 'OI' || layout === 'OIHW')
      return { count: first, stride: elements / first };
    if (layout === 'IO' || layout === 'HWIO') return { count: last, stride: 1 };
  }
  return { count: 1, stride: Math.max(elements, 1) };
}

/** Squared norm of every unit, into `out` (its first `count` entries). */
export function unitSumsOfSquares(x: Values, units: Units, out: Float64Array): void {
  const { count, stride } = units;
  const sums = out.subarray(0, count);
  sums.fill(0);
  if (stride === 1 && count > 1) {
    // The columns of a kernel, by rows.
    const rows = x.length / count;
    const part = Math.max(LEAST_ROWS, 4 * Math.ceil(PART / (4 * count)));
    if (rows <= part) COLUMN_SUMS.run({ x, units }, 0, rows, sums);
    else {
      const found = inParts(COLUMN_SUMS, { x, units }, [x], rows, count, part);
      for (let start = 0; start < found.length; start += count)
        for (let u = 0; u < count; u++) sums[u] = sums[u]! + found[start + u]!;
    }
  } else if (x.length <= PART || count === 1) UNIT_SUMS.run({ x, units }, 0, count, sums);
  else {
    const part = Math.ceil((PART * count) / x.length);
    sums.set(inParts(UNIT_SUMS, { x, units }, [x], count, part, part).subarray(0, count));
  }
}

/** Of a part: what it finds, a number for each column, is to be little compared with what it reads. */
const LEAST_ROWS = 64;

/** Of each column, over some rows. */
export const COLUMN_SUMS: Task<{ readonly x: Values; readonly units: Units }> = {
  name: 'column sums',
  run({ x, units: { count } }, first, last, out) {
    const end = last * count;
    let start = first * count;
    // Four rows at once: a sum that is read and written for each entry costs more than the entry.
    for (; start + 4 * count <= end; start += 4 * count)
      for (let u = 0, i = start; u < count; u++, i++) {
        // Not four of an array taken apart: that takes three times as long.
        const p = x[i]!;
        const q = x[i + count]!;
        const r = x[i + 2 * count]!;
        const s = x[i + 3 * count]!;
        out[u] = out[u]! + p * p + q * q + r * r + s * s;
      }
    for (; start < end; start += count)
      for (let u = 0; u < count; u++) out[u] = out[u]! + x[start + u]! * x[start + u]!;
  },
};

/** Of some units that lie in rows. */
export const UNIT_SUMS: Task<{ readonly x: Values; readonly units: Units }> = {
  name: 'unit sums',
  run({ x, units: { count, stride } }, first, last, out) {
    for (let u = first; u < last; u++)
      for (let start = u * stride; start < x.length; start += count * stride) {
        let sum = 0;
        const end = Math.min(start + stride, x.length);
        for (let i = start; i < end; i++) sum += x[i]! * x[i]!;
        out[u - first] = out[u - first]! + sum;
      }
  },
};

/** ‖a − b‖² in float64. */
export function squaredDistance(a: Values, b: Values): number {
  const found = inParts(DISTANCE, { a, b }, [a, b], a.length, 1);
  return found.reduce((sum, one) => sum + one, 0);
}

export const DISTANCE: Task<{ readonly a: Values; readonly b: Values }> = {
  name: 'distance',
  run({ a, b }, start, end, found) {
    let sum = 0;
    for (let i = start; i < end; i++) sum += (a[i]! - b[i]!) ** 2;
    found[0] = sum;
  },
};

/** out = factor of its unit × x. Factors of exactly 1 copy x bit for bit. */
export function scaleByUnit(x: Values, units: Units, factors: Float64Array, out: Values): void {
  const { count, stride } = units;
  if (stride === 1 && count > 1) {
    for (let start = 0; start < x.length; start += count)
      for (let u = 0; u < count; u++) out[start + u] = factors[u]! * x[start + u]!;
    return;
  }
  for (let start = 0, u = 0; start < x.length; start += stride, u = u + 1 === count ? 0 : u + 1) {
    const factor = factors[u]!;
    const end = Math.min(start + stride, x.length);
    for (let i = start; i < end; i++) out[i] = factor * x[i]!;
  }
}
