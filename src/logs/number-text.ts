/**
 * Numbers in text, read from bytes. Exact: what comes out is what `Number` gives for the same text.
 */

/** Where {@link scanNumber} leaves the value. */
export const scanned = new Float64Array(1);

/** Powers of ten that a double holds exactly; dividing or multiplying by one of them rounds once (Clinger 1990). */
const POWERS = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const COMMA = 0x2c;

/**
 * Scans a number that starts at `pos`: optional sign, digits with at most one decimal mark, optional exponent, or one
 * of the words `nan`, `inf`, `infinity` in any case. Writes the value to {@link scanned}[0] and returns the position
 * after it, or -1 where there is no number. `1e400` is Infinity, `-0` is -0.
 */
export function scanNumber(bytes: Buffer, pos: number, end: number, decimalMark: number = DOT): number {
  let at = pos;
  let byte = at < end ? bytes[at]! : 0;
  const negative = byte === MINUS;
  if (negative || byte === PLUS) at++;
  let mantissa = 0;
  let digits = 0;
  let fraction = 0;
  const from = at;
  for (; at < end; at++) {
    byte = bytes[at]! - 48;
    if (byte < 0 || byte > 9) break;
    mantissa = mantissa * 10 + byte;
    if (mantissa !== 0) digits++;
  }
  let seen = at - from;
  if (at < end && bytes[at] === decimalMark) {
    const mark = ++at;
    for (; at < end; at++) {
      byte = bytes[at]! - 48;
      if (byte < 0 || byte > 9) break;
      mantissa = mantissa * 10 + byte;
      if (mantissa !== 0) digits++;
    }
    fraction = at - mark;
    seen += fraction;
  }
  if (seen === 0) return scanWord(bytes, from, end, negative);
  let exponent = -fraction;
  if (at < end && (bytes[at]! | 0x20) === 0x65) {
    let after = at + 1;
    const minus = bytes[after] === MINUS;
    if (minus || bytes[after] === PLUS) after++;
    const start = after;
    let power = 0;
    for (; after < end; after++) {
      byte = bytes[after]! - 48;
      if (byte < 0 || byte > 9) break;
      if (power < 1e6) power = power * 10 + byte;
    }
    // "5e" is the number 5 followed by text.
    if (after > start) {
      exponent += minus ? -power : power;
      at = after;
    }
  }
  if (digits <= 15 && exponent >= -22 && exponent <= 22) {
    const value = exponent < 0 ? mantissa / POWERS[-exponent]! : mantissa * POWERS[exponent]!;
    scanned[0] = negative ? -value : value;
  } else {
    const text = bytes.toString('latin1', pos, at);
    scanned[0] = Number(decimalMark === COMMA ? text.replace(',', '.') : text);
  }
  return at;
}

/** The words that stand for values that are not finite, longest first. Python, NumPy, C, Java, MSVC. */
const WORDS: readonly [string, number][] = [
  ['infinity', Number.POSITIVE_INFINITY],
  ['inf', Number.POSITIVE_INFINITY],
  ['nan(ind)', Number.NaN],
  ['nan', Number.NaN],
];

function scanWord(bytes: Buffer, pos: number, end: number, negative: boolean): number {
  const letter = pos < end ? bytes[pos]! | 0x20 : 0;
  if (letter !== 0x69 && letter !== 0x6e) return -1;
  const text = bytes.toString('latin1', pos, Math.min(end, pos + 9)).toLowerCase();
  for (const [word, value] of WORDS)
    if (text.startsWith(word) && !/[a-z0-9_]/.test(text.charAt(word.length))) {
      scanned[0] = negative ? -value : value;
      return pos + word.length;
    }
  return -1;
}

/** The number that a whole text is, blanks around it allowed; undefined if it is anything else. */
export function numberOfText(text: string): number | undefined {
  const bytes = Buffer.from(text.trim(), 'latin1');
  return bytes.length > 0 && scanNumber(bytes, 0, bytes.length) === bytes.length ? scanned[0] : undefined;
}
