/**
 * Numbers in text, read from bytes. Exact: what comes out is what `Number` gives for the same text.
 */
import { scanDecimal, scanned } from '../bytes/decimal.ts';

/** Where {@link scanNumber} leaves the value. */
export { scanned };

const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const HASH = 0x23;
/** Between the digits and the exponent of a Float32 that Julia prints: `2.3f0`. It prints digits on both sides of the point. */
const FLOAT32_MARK = 0x66;

/**
 * Scans a number that starts at `pos`: optional sign, digits with at most one decimal mark, optional exponent, or one
 * of the words `nan`, `inf`, `infinity` in any case. Writes the value to {@link scanned}[0] and returns the position
 * after it, or -1 where no number starts. `1e400` is Infinity, `-0` is -0, `2.3f0` is Julia's 2.3.
 */
export function scanNumber(bytes: Buffer, pos: number, end: number, decimalMark: number = DOT): number {
  const at = scanDecimal(bytes, pos, end, decimalMark);
  if (at < 0) return scanWord(bytes, pos, end);
  if (at >= end || (bytes[at] !== HASH && bytes[at] !== FLOAT32_MARK)) return at;
  const value = scanned[0]!;
  const odd =
    bytes[at] === HASH ? scanCutWord(bytes, pos, at, end) : scanFloat32(bytes, pos, end, decimalMark);
  if (odd < 0) scanned[0] = value;
  return odd < 0 ? at : odd;
}

/** Scans a Float32 of Julia as {@link scanNumber} scans a number; -1 for anything else. */
function scanFloat32(bytes: Buffer, pos: number, end: number, decimalMark: number): number {
  if (decimalMark !== DOT) return -1;
  const text = bytes.toString('latin1', pos, Math.min(end, pos + LONGEST_NUMBER));
  const found = FLOAT32_START.exec(text)?.[0];
  if (found === undefined) return -1;
  scanned[0] = Number(found.replace('f', 'e'));
  return pos + found.length;
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

function scanWord(bytes: Buffer, start: number, end: number): number {
  const sign = start < end ? bytes[start]! : 0;
  const negative = sign === MINUS;
  const pos = negative || sign === PLUS ? start + 1 : start;
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
const FLOAT32_START = /^[-+]?\d+\.\d+f[-+]?\d+/;
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
