/**
 * Lines that differ from an earlier line in their numbers alone. Their words are not read again: a shape is the earlier line
 * with its numbers left open, and one pass over the bytes compares the text between the numbers and reads the numbers.
 */
import { scanNumber, scanned } from './number-text.ts';

/** Numbers of a line that are read; a line with more is data that somebody printed. */
const MOST_NUMBERS = 256;
/** Shapes that are kept of lines with the same first and last byte; the most frequent ones come first. */
const MOST_ALIKE = 12;
/** Bytes of the longest line that is remembered. */
const LONGEST = 4096;
/** Lines after which it is seen whether to look is of use: for a quarter of them. */
const LOOKS = 4096;
/** Lines that are remembered before it is seen whether that is of use. */
const LEARNS = 256;

const DOT = 0x2e;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;
const PLUS = 0x2b;
/** Powers of ten that divide up to nine digits with one rounding. */
const POWERS = Float64Array.from({ length: 11 }, (_, k) => Number(`1e${k}`));

const OTHER = 0;
const DIGIT = 1;
const LETTER = 2;
/** Inside a word: `top-5`, `acc@1`, `1e-05`. */
const JOINT = 3;
const KIND = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const char = String.fromCharCode(byte);
  if (/\d/.test(char)) KIND[byte] = DIGIT;
  else if (/[A-Za-z_#]/.test(char) || byte >= 0x80) KIND[byte] = LETTER;
  else if (/[./@'&+-]/.test(char)) KIND[byte] = JOINT;
}
const isDigit = (byte: number | undefined): boolean => byte !== undefined && KIND[byte] === DIGIT;

/** How a number is written; a line that writes it another way is of another shape. */
const WHOLE = 0;
const DECIMAL = 1;
const POWER = 2;
interface NumberAt {
  readonly from: number;
  readonly to: number;
  readonly form: number;
  /** Of how many bytes it has to be; 0 where any number of digits reads the same. */
  readonly width: number;
}

/** A line with its numbers left open. */
interface Shape<T> {
  readonly what: T;
  /** The first line; 0 for each digit that may be another one without being a number that is read. */
  readonly text: Uint8Array;
  /** The text before each number, and behind the last one. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  readonly form: Uint8Array;
  readonly width: Uint8Array;
  /** Where the point of a number with a width is in it. */
  readonly point: Uint8Array;
  /** Where in the values each number goes, -1 for none; and whether it has a minus. */
  readonly takes: Int16Array;
  readonly negative: Uint8Array;
  /** Words in the place of numbers, `nan`: every line of the shape has them. */
  readonly words: readonly { readonly takes: number; readonly value: number }[];
}

/** The end of a number that starts at a digit, and how it is written. */
function numberAt(bytes: Uint8Array, from: number, to: number): { end: number; form: number } {
  let at = from;
  let form = WHOLE;
  while (at < to && isDigit(bytes[at])) at++;
  if (bytes[at] === DOT && at + 1 < to && isDigit(bytes[at + 1])) {
    form = DECIMAL;
    at++;
    while (at < to && isDigit(bytes[at])) at++;
  }
  if (at < to && (bytes[at]! | 0x20) === 0x65) {
    let end = at + 1;
    if (bytes[end] === MINUS || bytes[end] === PLUS) end++;
    if (end < to && isDigit(bytes[end])) {
      while (end < to && isDigit(bytes[end])) end++;
      if (end === to || KIND[bytes[end]!] === OTHER) return { end, form: form | POWER };
    }
  }
  return { end: at, form };
}

/** `12:30:01`, `1,234`, `10/12`, `1.2.3`: digits that a mark joins to others are what they are by how many they are. */
const isJoined = (line: Uint8Array, from: number, to: number): boolean =>
  (isPart(line[from - 1]) && isDigit(line[from - 2])) || (isPart(line[to]) && isDigit(line[to + 1]));
const isPart = (byte: number | undefined): boolean =>
  byte === COLON || byte === COMMA || (byte !== undefined && KIND[byte] === JOINT);

/** All numbers of a line, and whether each is in a word. */
function numbersIn(line: Uint8Array): { from: number; to: number; form: number; inWord: boolean }[] {
  const found: { from: number; to: number; form: number; inWord: boolean }[] = [];
  let inWord = false;
  for (let at = 0; at < line.length; ) {
    const kind = KIND[line[at]!]!;
    if (kind === DIGIT) {
      const { end, form } = numberAt(line, at, line.length);
      found.push({ from: at, to: end, form, inWord });
      at = end;
      // `2e5f`: the rest of a word.
      inWord &&= at < line.length && KIND[line[at]!] !== OTHER;
      continue;
    }
    if (kind === LETTER) inWord = true;
    else if (kind === OTHER) inWord = false;
    at++;
  }
  return found;
}

/** The numbers of a line that are left open, those in words only where they are needed; `text` loses the digits of a clock that nobody needs. */
function openNumbers(line: Uint8Array, text: Uint8Array, needed: ReadonlySet<number>): NumberAt[] {
  return numbersIn(line).flatMap(({ from, to, form, inWord }): NumberAt[] => {
    if (needed.has(from) || (needed.has(from - 1) && isSign(line[from - 1])))
      return [{ from, to, form, width: isJoined(line, from, to) ? to - from : 0 }];
    if (!inWord) for (let k = from; k < to; k++) if (isDigit(line[k])) text[k] = 0;
    return [];
  });
}
const isSign = (byte: number | undefined): boolean => byte === MINUS || byte === PLUS;

/** Where {@link readNumber} leaves the value. */
const number = new Float64Array(1);

/** Reads a number of a form. @returns its end; -1 where there is none */
function readNumber(bytes: Buffer, from: number, to: number, form: number): number {
  let digits = 0;
  let at = from;
  let digit = 0;
  for (; at < to; at++) {
    digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) break;
    digits = (digits * 10 + digit) | 0;
  }
  if (at === from) return -1;
  let count = at - from;
  let decimals = 0;
  if ((form & DECIMAL) !== 0) {
    if (at === to || bytes[at] !== DOT) return -1;
    const point = at++;
    for (; at < to; at++) {
      digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) break;
      digits = (digits * 10 + digit) | 0;
    }
    decimals = at - point - 1;
    if (decimals === 0) return -1;
    count += decimals;
  }
  if (count <= 9 && (form & POWER) === 0) {
    number[0] = digits / POWERS[decimals]!;
    return at;
  }
  const end = scanNumber(bytes, from, to);
  number[0] = scanned[0]!;
  return (form & POWER) === 0 ? (end === at ? end : -1) : end > at + 1 ? end : -1;
}

/** Whether the point of a decimal number is not where it should be. */
const isElsewhere = (bytes: Buffer, from: number, form: number, point: number): boolean =>
  (form & DECIMAL) !== 0 && bytes[from + point] !== DOT;

/** Reads the open numbers of a line into values; whether the line is of the shape. */
function isOf<T>(shape: Shape<T>, bytes: Buffer, start: number, to: number, values: Float64Array): boolean {
  const { text, from, to: ends, form, width, point, takes, negative } = shape;
  const numbers = form.length;
  let at = start;
  let k = 0;
  for (; ; k++) {
    const end = ends[k]!;
    let of = from[k]!;
    if (at + end - of > to) return false;
    for (; of < end; of++, at++) {
      const wanted = text[of]!;
      const byte = bytes[at]!;
      if (wanted !== byte && (wanted !== 0 || byte < 48 || byte > 57)) return false;
    }
    if (k === numbers) return at === to;
    const next = at;
    at = readNumber(bytes, next, to, form[k]!);
    if (at < 0) return false;
    if (width[k] !== 0 && (at - next !== width[k] || isElsewhere(bytes, next, form[k]!, point[k]!)))
      return false;
    const into = takes[k]!;
    if (into >= 0) values[into] = negative[k] === 1 ? -number[0]! : number[0]!;
  }
}

/** The shapes of lines so far, each with what such a line is. */
export class LineShapes<T> {
  /** The numbers of the line that was found, in the order in which they were asked for. */
  readonly values = new Float64Array(MOST_NUMBERS);
  private readonly alike = new Map<number, Shape<T>[]>();
  private looks = 0;
  private found = 0;
  private learned = 0;

  /** What the line in [from, to) is: as one before that differs in its numbers alone; undefined where none is known. */
  find(bytes: Buffer, from: number, to: number): T | undefined {
    if (this.looks >= LOOKS && this.found * 4 < this.looks) return undefined;
    this.looks++;
    const shapes = this.alike.get(ends(bytes, from, to));
    if (shapes === undefined) return undefined;
    for (let k = 0; k < shapes.length; k++) {
      const shape = shapes[k]!;
      if (!isOf(shape, bytes, from, to, this.values)) continue;
      for (const { takes, value } of shape.words) this.values[takes] = value;
      if (k > 0) {
        shapes[k] = shapes[k - 1]!;
        shapes[k - 1] = shape;
      }
      this.found++;
      return shape.what;
    }
    return undefined;
  }

  /** Whether lines are remembered still: those before have been of use. */
  private isWorth(): boolean {
    return this.learned < LEARNS || this.learned < this.found;
  }

  /**
   * Remembers a line.
   *
   * @param places where its numbers start that are of use, from the start of the line, a sign included
   * @param numbers what they are, as whoever looked at the words has read them
   * @returns whether it is remembered: each number is read as the same one
   */
  learn(
    bytes: Buffer,
    from: number,
    to: number,
    places: readonly number[],
    numbers: readonly number[],
    what: T,
  ): boolean {
    if (!this.isWorth() || to - from > LONGEST || places.length > MOST_NUMBERS) return false;
    this.learned++;
    const line = bytes.subarray(from, to);
    const text = Uint8Array.from(line);
    const open = openNumbers(line, text, new Set(places));
    const words = places.flatMap((place, takes) =>
      open.some((one) => one.from === place || (one.from === place + 1 && isSign(line[place])))
        ? []
        : [{ takes, value: numbers[takes]! }],
    );
    // A word has no digits: `nan`, `inf`.
    if (words.some(({ value }) => Number.isFinite(value))) return false;
    const shape: Shape<T> = {
      what,
      text,
      from: Int32Array.from([0, ...open.map(({ to: end }) => end)]),
      to: Int32Array.from([...open.map((one) => one.from), line.length]),
      form: Uint8Array.from(open, ({ form }) => form),
      width: Uint8Array.from(open, ({ width }) => width),
      point: Uint8Array.from(open, ({ from: at }) => Math.max(0, line.subarray(at).indexOf(DOT))),
      takes: Int16Array.from(open, ({ from: at }) =>
        places.findIndex((place) => place === at || (place === at - 1 && isSign(line[place]))),
      ),
      negative: Uint8Array.from(open, ({ from: at }) =>
        line[at - 1] === MINUS && places.includes(at - 1) ? 1 : 0,
      ),
      words,
    };
    if (open.some(({ width }) => width > 255) || !isOf(shape, bytes, from, to, this.values)) return false;
    for (const { takes, value } of words) this.values[takes] = value;
    if (!numbers.every((number, k) => Object.is(number, this.values[k]))) return false;
    const key = ends(bytes, from, to);
    const shapes = this.alike.get(key);
    if (shapes === undefined) this.alike.set(key, [shape]);
    else if (shapes.length < MOST_ALIKE) shapes.push(shape);
    else shapes[MOST_ALIKE - 1] = shape;
    return true;
  }

  /** Forgets all lines. */
  clear(): void {
    this.alike.clear();
  }
}

/** The first and the last byte of a line as one number, all digits as one. */
function ends(bytes: Buffer, from: number, to: number): number {
  const first = bytes[from]!;
  const last = bytes[to - 1]!;
  return ((KIND[first] === DIGIT ? 48 : first) << 8) | (KIND[last] === DIGIT ? 48 : last);
}
