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
const HASH = 0x23;
/** Between the digits and the exponent of a Float32 that Julia prints: `2.3f0`. It prints digits on both sides of the point. */
const FLOAT32_MARK = 0x66;

/**
 * Scans a number that starts at `pos`: optional sign, digits with at most one decimal mark, optional exponent, or one
 * of the words `nan`, `inf`, `infinity` in any case. Writes the value to {@link scanned}[0] and returns the position
 * after it, or -1 where no number starts. `1e400` is Infinity, `-0` is -0, `2.3f0` is Julia's 2.3.
 */
export function scanNumber(bytes: Buffer, pos: number, end: number, decimalMark: number = DOT): number {
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
  const goesOn =
    (byte >= 48 && byte <= 57) || (byte | 0x20) === 0x65 || byte === FLOAT32_MARK || byte === HASH;
  if (!goesOn && at > from + (point < 0 ? 0 : 1)) {
    const value = point < 0 || point === at ? short : short / POWERS[at - point]!;
    scanned[0] = negative ? -value : value;
    return at;
  }
  // The first fifteen significant digits, which a double holds exactly, and the digits after them in `low`.
  let mantissa = short;
  let digits = 0;
  while (short >= POWERS[digits]!) digits++;
  let low = 0;
  if (point < 0) {
    for (; at < end; at++) {
      byte = bytes[at]! - 48;
      if (byte < 0 || byte > 9) break;
      if (digits < 15) mantissa = mantissa * 10 + byte;
      else low = low * 10 + byte;
      if (digits > 0 || byte !== 0) digits++;
    }
    if (at < end && bytes[at] === decimalMark) point = ++at;
  }
  let fraction = 0;
  if (point >= 0) {
    for (; at < end; at++) {
      byte = bytes[at]! - 48;
      if (byte < 0 || byte > 9) break;
      if (digits < 15) mantissa = mantissa * 10 + byte;
      else low = low * 10 + byte;
      if (digits > 0 || byte !== 0) digits++;
    }
    fraction = at - point;
  }
  const seen = at - from - (point < 0 ? 0 : 1);
  if (seen === 0) return scanWord(bytes, from, end, negative);
  if (bytes[at] === HASH && at < end) {
    const word = scanCutWord(bytes, pos, at, end);
    if (word >= 0) return word;
  }
  let exponent = -fraction;
  const mark = at < end ? bytes[at]! : 0;
  const isFloat32 = mark === FLOAT32_MARK && decimalMark === DOT && fraction > 0 && fraction < seen;
  if (isFloat32 || (mark | 0x20) === 0x65) {
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
  let value = Number.NaN;
  if (digits <= 15) {
    if (exponent >= -22 && exponent <= 22)
      value = exponent < 0 ? mantissa / POWERS[-exponent]! : mantissa * POWERS[exponent]!;
  } else if (digits <= 19 && exponent >= -22 && exponent < 0)
    value = longQuotient(mantissa, low, digits - 15, POWERS[-exponent]!);
  if (Number.isNaN(value)) {
    const text = bytes.toString('latin1', pos, at).replace('f', 'e');
    scanned[0] = Number(decimalMark === COMMA ? text.replace(',', '.') : text);
  } else scanned[0] = negative ? -value : value;
  return at;
}

/** Dekker's splitter for doubles, 2^27 + 1. */
const SPLITTER = 134217729;

/**
 * (high · 10^k + low) / power, rounded once, for sixteen to nineteen digits and a power of at most 10^22.
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

/** Words for values that are not finite, longest first: Python, NumPy, C, Java, MSVC, Julia. */
const WORDS: readonly [string, number][] = [
  ['infinity', Number.POSITIVE_INFINITY],
  ['inf32', Number.POSITIVE_INFINITY],
  ['inf16', Number.POSITIVE_INFINITY],
  ['inf', Number.POSITIVE_INFINITY],
  ['nan(ind)', Number.NaN],
  ['nan32', Number.NaN],
  ['nan16', Number.NaN],
  ['nan', Number.NaN],
];

/** Lightning’s bar pads a word as it pads a number: `nan.0`, `-inf.`. */
function afterPadding(bytes: Buffer, pos: number, end: number): number {
  if (pos >= end || bytes[pos] !== DOT) return pos;
  let at = pos + 1;
  while (at < end && bytes[at] === 0x30) at++;
  const next = at < end ? bytes[at]! : 0;
  const isWord =
    (next >= 48 && next <= 57) ||
    ((next | 0x20) >= 97 && (next | 0x20) <= 122) ||
    next === 95 ||
    next === DOT;
  return isWord ? pos : at;
}

function scanWord(bytes: Buffer, pos: number, end: number, negative: boolean): number {
  const letter = pos < end ? bytes[pos]! | 0x20 : 0;
  if (letter !== 0x69 && letter !== 0x6e) return -1;
  const text = bytes.toString('latin1', pos, Math.min(end, pos + 9)).toLowerCase();
  for (const [word, value] of WORDS)
    if (text.startsWith(word) && !/[a-z0-9_]/.test(text.charAt(word.length))) {
      scanned[0] = negative ? -value : value;
      return afterPadding(bytes, pos + word.length, end);
    }
  return -1;
}

/** What pandas, R, JavaScript, Python and spreadsheets write for no value. NaN is a value: see {@link numberOfText}. */
const MISSING = new Set(['', 'na', 'n/a', '#n/a', '<na>', 'null', 'none', 'nil', '-', '--']);

/** Whether a text says that there is no value. */
export const isMissingText = (text: string): boolean =>
  text.length <= 6 && MISSING.has(text.trim().toLowerCase());

/** Characters after the `#` of a word for infinity or NaN that Microsoft's formats cut. */
const CUT_WORD_REST = /^#[a-z]{1,4}0*(?:e\+0+)?(?![\w#])/i;

/** Scans `1.#INF` or `-1.#QNAN` as {@link scanNumber} scans a number; -1 for anything else. */
function scanCutWord(bytes: Buffer, pos: number, hash: number, end: number): number {
  const rest = CUT_WORD_REST.exec(bytes.toString('latin1', hash, Math.min(end, hash + 24)))?.[0];
  if (rest === undefined) return -1;
  const value = numberOfText(bytes.toString('latin1', pos, hash) + rest);
  if (value === undefined) return -1;
  scanned[0] = value;
  return hash + rest.length;
}

/** Whether a text is digits with at most one point: faster than the expression below, and most numbers are so. */
function isPlain(text: string): boolean {
  let points = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) points++;
    else if (code < 48 || code > 57) return false;
  }
  return points <= 1 && text.length > points;
}
const DECIMAL = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/;
const FLOAT32 = /^[-+]?\d+\.\d+f[-+]?\d+$/;
/**
 * Infinity and NaN as runtimes print them, in any case: C and C++ (`inf`, `-nan`, `nan(ind)`, `nan(0x8000)`), Microsoft's
 * before 2015, whose formats cut its words (`1.#INF`, `1.#INF00e+000`, `1.#J`; `1.#QNAN`, `-1.#IND`, `1.#R`, `1.#QO`),
 * Python, NumPy, Java, JavaScript, Go (`+Inf`), Julia (`Inf32`), .NET (`∞`), Lightning's progress bar (`nan.0`, `-inf.`).
 */
const INFINITE = /^[-+]?(?:inf(?:inity|16|32|\.0*)?|1[.,]#(?:inf?|j)0*(?:e\+0+)?|∞)$/i;
const NOT_A_NUMBER =
  /^[-+]?(?:nan(?:16|32|\.0*|\([\w:-]*\))?|1[.,]#(?:[qs]?nan|ind|[qs]na?|[qs]o|r|io)0*(?:e\+0+)?)$/i;
/**
 * A tensor or scalar of one element as it prints itself: `tensor(nan, device='cuda:0')`, `tensor([[0.5]])`,
 * `np.float32(0.5)`, `Array(0.5, dtype=float32)`, `tf.Tensor(0.5, shape=(), dtype=float32)`.
 */
const WRAPPED =
  /^(?:\w+\.)?(?:tensor|array|devicearray|b?float(?:16|32|64)?|double)\(\s*(\[*)\s*([^[\](),\s]+(?:\(\w*\))?)\s*\]*\s*(?:,\s*[a-z]\w*=.*)?\)$/is;
const TF_TENSOR = /^<tf\.Tensor: shape=\([1, ]*\), dtype=\w+, numpy=(.+)>$/s;

/** Length of the longest word for NaN or infinity that has neither a bracket nor a `#`. */
export const LONGEST_WORD = '-infinity'.length;

/** Nothing prints a longer number. */
export const LONGEST_NUMBER = 200;

/**
 * The number that a whole text is, with blanks around it allowed; undefined for anything else. Every reader of text
 * uses this function, or {@link scanNumber}, which agrees on what it accepts.
 *
 * A number with a separator of thousands (`1,234.5`, `1_000`) or with a unit glued to it (`812/s`, `0.5%`, `1d5`) is
 * refused: its first digits are another number.
 *
 * @param decimalComma `0,5` is 0.5: in files separated by `;` or tabs
 */
export function numberOfText(text: string, decimalComma = false): number | undefined {
  if (text.length > LONGEST_NUMBER) return undefined;
  if (isPlain(text)) return Number(text);
  const trimmed = text.trim();
  // `Number` accepts more ("", "0x1f"), so the characters are checked first.
  if (DECIMAL.test(trimmed)) return Number(trimmed);
  if (FLOAT32.test(trimmed)) return Number(trimmed.replace('f', 'e'));
  // Most text (times, names, messages) is neither such a word nor a printed tensor.
  if (trimmed.length <= LONGEST_WORD || trimmed.includes('(') || trimmed.includes('#')) {
    if (INFINITE.test(trimmed))
      return trimmed.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    if (NOT_A_NUMBER.test(trimmed)) return Number.NaN;
    const inner = (WRAPPED.exec(trimmed)?.[2] ?? TF_TENSOR.exec(trimmed)?.[1])?.trim();
    if (inner !== undefined && !/[(<]/.test(inner.slice(0, 1)))
      return WRAPPED.test(inner) ? undefined : numberOfText(inner, decimalComma);
  }
  if (decimalComma && !trimmed.includes('.')) {
    const pointed = trimmed.replace(',', '.');
    if (DECIMAL.test(pointed)) return Number(pointed);
  }
  return undefined;
}
