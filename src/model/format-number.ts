/**
 * Numbers as people read them: the one place that says how many digits are shown. It is no part of `reports/`, for whoever
 * finds something writes its sentence: detectors, replays, errors.
 */

/** Significant digits, by what the reader does with the number. */
export const DIGITS = {
  /** Sees its size, which is all that is known: estimates. */
  rough: 2,
  /** Reads it once, in passing: the one-screen page. */
  brief: 3,
  /** Compares it by eye: sentences, charts, the tables of a report. */
  glance: 4,
  /** Finds it again in a log, or sets a limit by it: `inspect`, `gate`. Whole numbers have all their digits. */
  lookup: 6,
  /** Distinguishes it from the number that was expected: error messages. Whole numbers have all their digits. */
  exact: 9,
} as const;
type Precision = keyof typeof DIGITS;

/**
 * A measured number as text, zeros at the end left out. From a million up and below a thousandth it has an exponent,
 * which takes the place of one digit: at a glance, nine columns hold it. NaN and ±Infinity are words, as in JSON.
 */
export function formatNumber(value: number, precision: Precision = 'glance'): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = DIGITS[precision];
  if (digits >= DIGITS.lookup && Number.isSafeInteger(value)) return String(value);
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size === 0) return '0';
  if (size < 1e6 && size >= 1e-3) return String(rounded);
  return value
    .toExponential(Math.max(1, digits - 2))
    .replace(/\.?0*e/, 'e')
    .replace('e+', 'e');
}

/** A whole number of less than 2^53 in groups of three digits, as `toLocaleString` has it, which takes 7 ms to load. */
const grouped = (value: number): string => String(value).replace(/\B(?=(?:\d{3})+$)/g, ',');

/** A count or a step: every digit, with thousands separators; no sign before a zero, which JSON would lose. */
export const formatCount = (value: number): string =>
  Number.isSafeInteger(value) ? grouped(value) : (value + 0).toLocaleString('en-US');

/** So many things: "1 record", "12,299 records". */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`;

/** The same in a sentence whose other numbers have no separators: "12299 records". */
export const countedPlain = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/** A step on an axis: as a count, with two digits of a fraction (epochs); with an exponent from a billion up. */
export const formatStep = (step: number): string =>
  Math.abs(step) >= 1e9
    ? formatNumber(step)
    : Number.isInteger(step)
      ? grouped(step)
      : step.toLocaleString('en-US', { maximumFractionDigits: 2, signDisplay: 'negative' });

/** An AUC, or an error: below one to the third digit, in which AUCs are compared. NaN, of what was not measured, is empty. */
export const formatQuality = (quality: number): string =>
  Number.isNaN(quality) ? '' : Math.abs(quality) < 1 ? quality.toFixed(3) : formatNumber(quality);
