/**
 * Decimal numbers in bytes, as every reader of text takes them. Exact: what comes out is what `Number` gives for the same
 * text.
 */

/** Where {@link scanDecimal} leaves the value. An array: a variable of a module would make a new object of each number. */
export const scanned = new Float64Array(1);

/** Powers of ten that a double holds exactly; dividing or multiplying by one of them rounds once (Clinger 1990). */
const POWERS = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const COMMA = 0x2c;
const SMALL_E = 0x65;

/**
 * Scans a number that starts at `pos`: optional sign, digits with at most one decimal mark, optional exponent. Writes
 * the value to {@link scanned}[0] and returns the position after it, or -1 where no number starts. `1e400` is Infinity,
 * `-0` is -0, of `5e` the number is 5.
 */
export function scanDecimal(bytes: Buffer, pos: number, end: number, decimalMark: number = DOT): number {
  let at = pos;
  let byte = at < end ? bytes[at]! : 0;
  const negative = byte === MINUS;
  if (negative || byte === PLUS) at++;
  const from = at;
  // Most numbers have up to nine digits: an integer of 32 bits, which takes half of the time.
  let short = 0;
  /** The position after the decimal mark; -1 where there is none. */
  let point = -1;
  let limit = Math.min(end, from + 9);
  for (; at < limit; at++) {
    byte = bytes[at]! - 48;
    if (byte < 0 || byte > 9) break;
    short = (short * 10 + byte) | 0;
  }
  if (at < end && bytes[at] === decimalMark) {
    point = ++at;
    limit = Math.min(end, from + 10);
    for (; at < limit; at++) {
      byte = bytes[at]! - 48;
      if (byte < 0 || byte > 9) break;
      short = (short * 10 + byte) | 0;
    }
  }
  byte = at < end ? bytes[at]! : 0;
  if ((byte >= 48 && byte <= 57) || (byte | 0x20) === SMALL_E) return scanLong(bytes, pos, end, decimalMark);
  if (at === from + (point < 0 ? 0 : 1)) return -1;
  const value = point < 0 || point === at ? short : short / POWERS[at - point]!;
  scanned[0] = negative ? -value : value;
  return at;
}

/** The same of a number that has more than nine digits or an exponent. */
function scanLong(bytes: Buffer, pos: number, end: number, decimalMark: number): number {
  const negative = bytes[pos] === MINUS;
  let at = negative || bytes[pos] === PLUS ? pos + 1 : pos;
  const from = at;
  // The first nine digits that count, and the nine after them; further ones are counted alone.
  let high = 0;
  let low = 0;
  let digits = 0;
  let point = -1;
  for (; at < end; at++) {
    const digit = bytes[at]! - 48;
    if (digit >= 0 && digit <= 9) {
      if (digits < 9) high = (high * 10 + digit) | 0;
      else if (digits < 18) low = (low * 10 + digit) | 0;
      if (digits > 0 || digit !== 0) digits++;
    } else if (point < 0 && digit === decimalMark - 48) point = at + 1;
    else break;
  }
  if (at === from + (point < 0 ? 0 : 1)) return -1;
  const fraction = point < 0 ? 0 : at - point;
  const after = afterExponent(bytes, at, end);
  const exponent = powerIn(bytes, at + 1, after) - fraction;
  const value = fromDigits(high, low, digits, exponent);
  if (Number.isNaN(value)) {
    const text = bytes.toString('latin1', pos, after);
    scanned[0] = Number(decimalMark === COMMA ? text.replace(',', '.') : text);
  } else scanned[0] = negative ? -value : value;
  return after;
}

/** Where an exponent that begins at a place ends: the place itself where there is none. */
function afterExponent(bytes: Buffer, from: number, end: number): number {
  if (from >= end || (bytes[from]! | 0x20) !== SMALL_E) return from;
  let at = from + 1;
  if (bytes[at] === MINUS || bytes[at] === PLUS) at++;
  const digits = at;
  while (at < end && bytes[at]! >= 48 && bytes[at]! <= 57) at++;
  return at > digits ? at : from;
}

/** The whole number with a sign that [from, to) is, or one as much beyond any exponent; 0 of nothing. */
function powerIn(bytes: Buffer, from: number, to: number): number {
  let power = 0;
  const hasSign = bytes[from] === MINUS || bytes[from] === PLUS;
  for (let at = hasSign ? from + 1 : from; at < to; at++)
    if (power < 1e6) power = power * 10 + bytes[at]! - 48;
  return bytes[from] === MINUS ? -power : power;
}

/** Up to eighteen digits times a power of ten; NaN where that takes more than one rounding. */
function fromDigits(high: number, low: number, digits: number, exponent: number): number {
  if (exponent < -22 || exponent > 22 || digits > 18) return Number.NaN;
  if (digits > 15) return exponent < 0 ? longQuotient(high, low, digits - 9, POWERS[-exponent]!) : Number.NaN;
  const mantissa = digits <= 9 ? high : high * POWERS[digits - 9]! + low;
  return exponent < 0 ? mantissa / POWERS[-exponent]! : mantissa * POWERS[exponent]!;
}

/** Dekker's splitter for doubles, 2^27 + 1. */
const SPLITTER = 134217729;

/**
 * (high · 10^k + low) / power, rounded once, for sixteen to eighteen digits and a power of at most 10^22.
 *
 * The sum is kept as two doubles without error (Dekker 1971). The remainder of the first quotient is exact except for
 * two roundings, so the error of the correction is at most 5 · 2^-106 of the quotient. The result is rounded
 * correctly unless the decimal is that near to the middle of two doubles. In the middle itself (at most four
 * decimals) all terms are small integers and exact. The only other decimals so near are M · 5^22 ± 1 with M of 54
 * bits; a test tries them all.
 */
function longQuotient(high: number, low: number, k: number, power: number): number {
  const shift = POWERS[k]!;
  const product = high * shift;
  let split = SPLITTER * high;
  const highTop = split - (split - high);
  const highRest = high - highTop;
  split = SPLITTER * shift;
  const shiftTop = split - (split - shift);
  const shiftRest = shift - shiftTop;
  const productRest =
    highRest * shiftRest - (product - highTop * shiftTop - highRest * shiftTop - highTop * shiftRest);
  const rest = productRest + low;
  const sum = product + rest;
  const sumRest = rest - (sum - product);

  const quotient = sum / power;
  const back = quotient * power;
  split = SPLITTER * quotient;
  const quotientTop = split - (split - quotient);
  const quotientRest = quotient - quotientTop;
  split = SPLITTER * power;
  const powerTop = split - (split - power);
  const powerRest = power - powerTop;
  const backRest =
    quotientRest * powerRest -
    (back - quotientTop * powerTop - quotientRest * powerTop - quotientTop * powerRest);
  const correction = (sum - back - backRest + sumRest) / power;
  return quotient + correction;
}
