/** Numbers of a record, and how finely the record has them: a loss printed with four digits says nothing of the fifth. */
import type { Column } from '../../model/column.ts';
import { digitsOf, isSingle } from '../../model/printed-digits.ts';

export interface Reading {
  readonly value: number;
  /** From the number to the next one that the record could hold; 0 where it has every bit. */
  readonly unit: number;
}

/** The unit of a record at a value. */
export type Unit = (value: number) => number;

/** Of a record that has every bit. */
export const EXACT: Unit = () => 0;

/** Values that are looked at, and different ones among them that show how many digits a record has. */
const LOOKED_AT = 1000;
const LEAST_VALUES = 3;
/** Digits from which numbers that are all of single precision were stored so, and not printed short. */
const PRINTED_SHORT = 7;

/**
 * The unit of numbers that were logged, from the digits of those that are there.
 *
 * Most numbers have as many decimals as the longest (`%.4f`), or as many digits (`%.4g`). Event files have single
 * precision.
 *
 * @param leastDigits of fewer digits than these the numbers may be whole as they are
 */
export function loggedUnit(values: Column, leastDigits = 1): Unit {
  const every = Math.max(1, Math.floor(values.length / LOOKED_AT));
  const seen = new Set<number>();
  for (let k = 0; k < values.length; k += every) {
    const value = values.at(k)!;
    if (Number.isFinite(value) && value !== 0) seen.add(Math.abs(value));
  }
  const lengths = [...seen].map(digitsOf);
  const digits = Math.max(...lengths.map((one) => one.digits));
  const decimals = Math.max(...lengths.map((one) => one.decimals));
  if (seen.size < LEAST_VALUES || digits < leastDigits) return EXACT;
  if (digits > PRINTED_SHORT && [...seen].every(isSingle))
    return (value) => 2 ** (exponentOf(value, Math.log2) - 23);
  const withDecimals = lengths.filter((one) => one.decimals === decimals).length;
  const withDigits = lengths.filter((one) => one.digits === digits).length;
  if (withDecimals >= withDigits) return () => 10 ** -decimals;
  return (value) => 10 ** (exponentOf(value, Math.log10) - digits + 1);
}

const exponentOf = (value: number, log: (x: number) => number): number => {
  const exponent = Math.floor(log(Math.abs(value)));
  return Number.isFinite(exponent) ? exponent : Number.NEGATIVE_INFINITY;
};

export interface Gap {
  /** Relative to the first; 0 where the coarser of the two records shows no difference; Infinity where one is not finite. */
  readonly size: number;
  /** What of it is left where both were rounded as far as they may have been. */
  readonly certain: number;
}

const NO_GAP: Gap = { size: 0, certain: 0 };

/** Halves are rounded either way, and differences of decimals are not exact. */
const HALF = 0.500001;

/** How far two readings of one quantity are apart. */
export function gapBetween(a: Reading, b: Reading): Gap {
  if (a.value === b.value || (Number.isNaN(a.value) && Number.isNaN(b.value))) return NO_GAP;
  const gap = Math.abs(a.value - b.value);
  const size = gap / Math.abs(a.value);
  if (!Number.isFinite(gap) || Number.isNaN(size))
    return { size: Number.POSITIVE_INFINITY, certain: Number.POSITIVE_INFINITY };
  const slack = HALF * (a.unit + b.unit);
  // Two numbers of one grid are equal or not.
  if (a.unit !== b.unit && gap <= slack) return NO_GAP;
  return { size, certain: Math.max(0, gap - slack) / Math.abs(a.value) };
}
