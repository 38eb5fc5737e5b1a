/**
 * A printed line as tokens: words, numbers, counters (`10/1252`), clocks (times, dates, versions), marks and drawn rules.
 * One scan of the bytes, no expressions: the work grows with the length of the line alone, whatever it holds. Tokens
 * have no meaning; the numbers of a line and a key of everything else come out.
 */
import { scanNumber, scanned } from '../number-text.ts';
import { wordsFor } from './words.ts';

/** What a line has in the place of a value. */
export const SLOT = {
  number: 0,
  /** The second number of a counter: the 1252 of `10/1252`. */
  total: 1,
  /** A time, date, version or address: it varies and is no value. */
  clock: 2,
  /** A word that says that there is no value: `None`, `null`, `N/A`. */
  missing: 3,
} as const;

/** Slots of a line that are kept; a line with more is data that somebody printed. */
export const MOST_SLOTS = 128;

const BLANK = 0;
const LETTER = 1;
const DIGIT = 2;
/** `+`, `-` and `.`, which may begin a number. */
const SIGN = 3;
/** Marks that rules and progress bars are drawn with. */
const DRAWN = 4;
const ESCAPE = 5;
const MARK = 6;

const code = (char: string): number => char.charCodeAt(0);
const CLASS = new Uint8Array(256).fill(MARK);
for (let byte = 0; byte < 256; byte++) {
  const char = String.fromCharCode(byte);
  if (byte <= 32 && byte !== 27) CLASS[byte] = BLANK;
  else if (byte === 27) CLASS[byte] = ESCAPE;
  else if (/[A-Za-z_]/.test(char) || byte >= 0x80) CLASS[byte] = LETTER;
  else if (/\d/.test(char)) CLASS[byte] = DIGIT;
  else if (/[-+.]/.test(char)) CLASS[byte] = SIGN;
  else if (/[=#*~>]/.test(char)) CLASS[byte] = DRAWN;
}
const DOT = code('.');
const COMMA = code(',');
const COLON = code(':');
const SLASH = code('/');
const MINUS = code('-');
const AT = code('@');
const PLUS = code('+');
const QUOTE = code("'");
const AMPERSAND = code('&');
const HASH = code('#');
const EQUALS = code('=');

/** The first two bytes of box drawing and block elements in UTF-8 (U+2500 to U+25BF). */
const isBox = (bytes: Buffer, at: number): boolean =>
  bytes[at] === 0xe2 && bytes[at + 1]! >= 0x94 && bytes[at + 1]! <= 0x96;

/** `±` in UTF-8. */
const isSpread = (bytes: Buffer, at: number): boolean => bytes[at] === 0xc2 && bytes[at + 1] === 0xb1;

const isDigitAt = (bytes: Buffer, at: number, to: number): boolean => at < to && CLASS[bytes[at]!] === DIGIT;

/** FNV-1a over 32 bits. */
const BASIS = 0x811c9dc5 | 0;
const PRIME = 0x01000193;
const hashOf = (word: string): number => {
  let hash = BASIS;
  for (const char of Buffer.from(word, 'latin1')) hash = Math.imul(hash ^ (char | 0x20), PRIME);
  return hash;
};

/** A set of words, asked by their hash in lower case. */
const hashes = (words: Iterable<string>): ReadonlySet<number> => new Set([...words].map(hashOf));
/** Digits glued to one of these count: `epoch12`, `rank0`, `iter_100`. Digits in other words are part of them. */
const COUNTERS = hashes([
  ...(['step', 'epoch', 'batch', 'rank'] as const).flatMap((meaning) => wordsFor(meaning)),
  ...'eitsn',
]);
const NO_VALUE = hashes(['none', 'null', 'n/a', 'na', 'nil']);
/** So many digits in a word are the number of a file: the fewer ones of `acc@1` and `layer.12` are of a name. Our number. */
const NUMBERED = 4;
/** `1.2k`, `3M`: how trainers shorten steps, samples and tokens. */
const SCALES: Readonly<Record<string, number>> = { k: 1e3, K: 1e3, M: 1e6, G: 1e9, B: 1e9 };

const NO_BYTES = Buffer.alloc(0);

/** The tokens of one line at a time. The arrays are written anew by each {@link LineTokens.scan}. */
export class LineTokens {
  /** Slots of the line. */
  count = 0;
  /** What each slot is, see {@link SLOT}. */
  readonly kind = new Uint8Array(MOST_SLOTS);
  readonly value = new Float64Array(MOST_SLOTS);
  /** The bytes of each slot, from the start of the line. */
  readonly from = new Int32Array(MOST_SLOTS);
  readonly to = new Int32Array(MOST_SLOTS);
  /** Everything but the slots as one number: lines of one shape have the same. */
  key = 0;
  /** Whether the line has more slots than are kept. */
  over = false;

  private bytes: Buffer = NO_BYTES;
  private start = 0;
  private end = 0;
  private first = BASIS;
  private second = BASIS;
  /** Where the last word or number ends: what follows it without a blank is glued to it. */
  private gluedAt = -1;
  /** The last byte that is a mark, since the last word or number; 0 where no mark came. */
  private lastMark = 0;
  private wordHash = BASIS;

  /** Whether the line has no slot but the times at which something happened. */
  isOfClocks(): boolean {
    for (let k = 0; k < this.count; k++) if (this.kind[k] !== SLOT.clock) return false;
    return true;
  }

  /**
   * Reads the line in [from, to).
   *
   * @param bytes valid until the next call
   */
  scan(bytes: Buffer, from: number, to: number): void {
    this.bytes = bytes;
    this.start = from;
    this.end = to;
    this.count = 0;
    this.over = false;
    this.first = BASIS;
    this.second = BASIS;
    this.gluedAt = -1;
    this.lastMark = 0;
    let at = from;
    while (at < to) {
      const kind = CLASS[bytes[at]!]!;
      if (kind === BLANK) at++;
      else if (kind === LETTER) at = this.word(at);
      else if (kind === DIGIT) at = this.number(at);
      else if (kind === SIGN) at = this.signed(at);
      else if (kind === ESCAPE) at = this.escape(at);
      else at = this.mark(at, kind);
    }
    // A log that goes on would hold all that was read with this line.
    this.bytes = NO_BYTES;
    this.key = (this.first >>> 0) * 0x200000 + ((this.second >>> 0) & 0x1fffff);
  }

  private mix(what: number): void {
    this.first = Math.imul(this.first ^ what, PRIME);
    this.second = Math.imul(this.second ^ what ^ (this.first >>> 15), 0x5bd1e995);
  }

  private slot(kind: number, from: number, to: number, value: number): void {
    this.mix(kind === SLOT.clock ? 0x101 : 0x100);
    this.lastMark = 0;
    this.gluedAt = to;
    if (this.count === MOST_SLOTS) {
      this.over = true;
      return;
    }
    const k = this.count++;
    this.kind[k] = kind;
    this.from[k] = from - this.start;
    this.to[k] = to - this.start;
    this.value[k] = value;
  }

  /** Colours and movements of a terminal are no part of a line. */
  private escape(at: number): number {
    const { bytes, end } = this;
    if (bytes[at + 1] !== 0x5b) return at + 1;
    let to = at + 2;
    while (to < end && bytes[to]! >= 0x20 && bytes[to]! < 0x40) to++;
    return to + 1;
  }

  /** A mark; three and more that bars are drawn with are one, however long. */
  private mark(at: number, kind: number): number {
    const { bytes, end } = this;
    const byte = bytes[at]!;
    // rsyslog writes an escape as its octal number: `#033[32m`.
    if (byte === HASH && bytes[at + 1] === 0x30 && at + 4 < end) {
      if (bytes[at + 2] === 0x33 && bytes[at + 3] === 0x33) return this.escape(at + 3);
      if (bytes[at + 2] === 0x31 && bytes[at + 3] === 0x31) return at + 4;
    }
    if (kind === DRAWN || kind === SIGN) {
      let to = at + 1;
      while (to < end && (CLASS[bytes[to]!] === DRAWN || (CLASS[bytes[to]!] === SIGN && bytes[to] !== PLUS)))
        to++;
      if (to - at >= 3) {
        // `====-0.5` ends before the sign of a number.
        if (isDigitAt(bytes, to, end) && CLASS[bytes[to - 1]!] === SIGN) to--;
        this.mix(0x5f);
        this.lastMark = byte;
        return to;
      }
    }
    this.mix(byte);
    this.lastMark = byte;
    return at + 1;
  }

  private signed(at: number): number {
    const { bytes, end } = this;
    const next = bytes[at + 1]!;
    const isSign = at !== this.gluedAt || this.isInfinite(at + 1);
    if (isSign && at + 1 < end) {
      const dotted = next === DOT && isDigitAt(bytes, at + 2, end);
      if (CLASS[next] === DIGIT || dotted) return this.number(at);
      if (bytes[at] !== DOT && this.isInfinite(at + 1)) return this.number(at);
    }
    return this.mark(at, SIGN);
  }

  /** Whether `nan`, `inf` or `infinity` begins here. */
  private isInfinite(at: number): boolean {
    const letter = this.bytes[at]! | 0x20;
    return (letter === 0x6e || letter === 0x69) && scanNumber(this.bytes, at, this.end) > 0;
  }

  private word(at: number): number {
    const { bytes } = this;
    if (isBox(bytes, at)) return this.bar(at);
    if (isSpread(bytes, at)) return Math.max(at + 2, this.spread(at));
    if (at !== this.gluedAt && this.isInfinite(at)) return this.number(at);
    const to = this.wordEnd(at);
    if (NO_VALUE.has(this.wordHash) && (this.lastMark !== 0 || this.gluedAt >= 0)) {
      this.slot(SLOT.missing, at, to, Number.NaN);
      return to;
    }
    this.mixWord(at, to);
    this.gluedAt = to;
    this.lastMark = 0;
    return to;
  }

  /** A word is a part of the key, but for the numbers of files and of runs in it: `train_00008252.jpg`. */
  private mixWord(from: number, to: number): void {
    const { bytes } = this;
    let digits = 0;
    for (let k = from; k < to; k++) {
      digits = CLASS[bytes[k]!] === DIGIT ? digits + 1 : 0;
      if (digits < NUMBERED) this.mix(bytes[k]!);
    }
    this.mix(0x20);
  }

  /** Where the word ends that begins here; its hash in lower case is left in `wordHash`. */
  private wordEnd(at: number): number {
    const { bytes, end } = this;
    let to = at;
    let part = BASIS;
    let whole = BASIS;
    for (; to < end; to++) {
      const byte = bytes[to]!;
      const kind = CLASS[byte]!;
      if (kind === LETTER) {
        if (byte >= 0x80 && isBox(bytes, to)) break;
        // `_` parts the words of a name: the digits of `iter_100` count.
        if (byte !== 0x5f) part = Math.imul(part ^ (byte | 0x20), PRIME);
        else if (CLASS[bytes[to + 1]!] !== DIGIT) part = BASIS;
        whole = Math.imul(whole ^ (byte | 0x20), PRIME);
        continue;
      }
      if (kind !== DIGIT && !this.joins(to)) break;
      const digits = kind === DIGIT ? to : to + 1;
      if (CLASS[bytes[digits]!] === DIGIT && COUNTERS.has(part) && this.endsInDigits(digits)) break;
      part = kind === DIGIT ? Math.imul(part ^ byte, PRIME) : BASIS;
      whole = Math.imul(whole ^ byte, PRIME);
    }
    this.wordHash = whole;
    return to;
  }

  /** Whether a mark joins the parts of a word: `train/loss`, `acc@1`, `layer.0`, `loss#2: `; `step/100` and `a+1` are two. */
  private joins(at: number): boolean {
    const { bytes, end } = this;
    const byte = bytes[at]!;
    if (byte === HASH) return this.isNumbered(at + 1);
    if (!isJoint(byte) || at + 1 >= end) return false;
    const next = CLASS[bytes[at + 1]!];
    return next === LETTER || (next === DIGIT && byte !== SLASH && byte !== PLUS);
  }

  /** Whether digits begin here that end a name: a colon or an equals sign follows. */
  private isNumbered(from: number): boolean {
    const { bytes, end } = this;
    let at = from;
    while (at < end && CLASS[bytes[at]!] === DIGIT) at++;
    return at > from && at < end && (bytes[at] === COLON || bytes[at] === EQUALS);
  }

  /** Whether a word ends with the digits that begin here. */
  private endsInDigits(from: number): boolean {
    const { bytes, end } = this;
    let at = from;
    while (at < end && CLASS[bytes[at]!] === DIGIT) at++;
    return at >= end || CLASS[bytes[at]!] !== LETTER;
  }

  /** A bar of block elements, with the blanks in it. */
  private bar(at: number): number {
    const { bytes, end } = this;
    let to = at + 3;
    for (;;) {
      let next = to;
      while (next < end && CLASS[bytes[next]!] === BLANK) next++;
      if (!isBox(bytes, next) || next >= end) break;
      to = next + 3;
    }
    this.lastMark = 0x7c;
    return Math.min(to, end);
  }

  private number(at: number): number {
    const { bytes, end } = this;
    const stop = scanNumber(bytes, at, end);
    if (stop < 0) return this.mark(at, CLASS[bytes[at]!] === DIGIT ? MARK : SIGN);
    const value = scanned[0]!;
    const next = stop < end ? bytes[stop]! : 0;
    const clock = this.clock(at, stop, next);
    if (clock > 0) {
      this.slot(SLOT.clock, at, clock, Number.NaN);
      return clock;
    }
    if (next === COMMA) return this.withComma(at, stop, value);
    if (CLASS[next] === LETTER) return this.scaled(at, stop, value);
    const range = next === MINUS && this.lastMark === 0x5b ? this.range(stop + 1) : -1;
    return range > 0 ? this.take(at, range, scanned[0]!) : this.take(at, stop, value);
  }

  /** The end of a number with the spread or the total behind it. */
  private take(at: number, stop: number, value: number): number {
    const { bytes } = this;
    const to = this.spread(stop, at);
    this.slot(SLOT.number, at, to, value);
    return Number.isInteger(value) && (bytes[to] === SLASH || bytes[to] === 32) ? this.total(at, to) : to;
  }

  private withComma(at: number, stop: number, value: number): number {
    const { bytes } = this;
    const grouped = this.grouped(at, stop);
    if (grouped > 0)
      return this.take(at, grouped, Number(bytes.toString('latin1', at, grouped).replaceAll(',', '')));
    const comma = this.decimalComma(at, stop);
    if (comma < 0) return this.take(at, stop, value);
    return this.take(at, comma, Number(bytes.toString('latin1', at, comma).replace(',', '.')));
  }

  /** `1.2k`, `350kit`. */
  private scaled(at: number, stop: number, value: number): number {
    const { bytes, end } = this;
    const scale = SCALES[String.fromCharCode(bytes[stop]!)];
    const behind = stop + 1 < end ? CLASS[bytes[stop + 1]!] : BLANK;
    const isIt = bytes[stop + 1] === 0x69 && bytes[stop + 2] === 0x74;
    // From a thousand on the next scale shortens more: `2841M` is not a count.
    if (scale === undefined || Math.abs(value) >= 1000 || !(isIt || (behind !== LETTER && behind !== DIGIT)))
      return this.take(at, stop, value);
    return this.take(at, stop + 1, Number((value * scale).toPrecision(15)));
  }

  /** The end of the second number of `[   1- 100]`, which is what was reached; -1 where none follows. */
  private range(at: number): number {
    const { bytes, end } = this;
    let from = at;
    while (bytes[from] === 32) from++;
    const to = isDigitAt(bytes, from, end) ? scanNumber(bytes, from, end) : -1;
    return bytes[to] === 0x5d ? to : -1;
  }

  /** The end of `+0.0004` or `±0.0004`, the spread of the mean before it, which does not count as a number. */
  private spread(at: number, mean = at): number {
    const { bytes, end } = this;
    const from = bytes[at] === PLUS ? at + 1 : isSpread(bytes, at) ? at + 2 : -1;
    if (from < 0 || !(isDigitAt(bytes, from, end) || this.isInfinite(from))) return at;
    const to = scanNumber(bytes, from, end);
    const isDotted = (a: number, b: number): boolean =>
      a === b || CLASS[bytes[a]!] !== DIGIT || bytes.subarray(a, b).includes(DOT);
    // Sums of whole numbers are not.
    return to > 0 && isDotted(mean, at) && isDotted(from, to) ? to : at;
  }

  /** `/ 1252`, `of 1252` after a number: the second number of a counter. */
  private total(from: number, at: number): number {
    const { bytes, end } = this;
    let next = at;
    while (next < end && bytes[next] === 32) next++;
    if (bytes[next] === SLASH) next++;
    else if (next > at && bytes[next] === 0x6f) {
      const of = /^(?:out )?of /.exec(bytes.toString('latin1', next, Math.min(end, next + 7)));
      if (of === null) return at;
      next += of[0].length;
    } else return at;
    while (next < end && bytes[next] === 32) next++;
    // Of `1.0/2` and `1.5/2` neither is a counter.
    if (!isDigitAt(bytes, next, end) || bytes.subarray(from, at).includes(DOT)) return at;
    const to = scanNumber(bytes, next, end);
    const value = scanned[0]!;
    if (to < 0 || !Number.isInteger(value)) return at;
    this.mix(SLASH);
    this.slot(SLOT.total, next, to, value);
    return to;
  }

  /** The end of `2m13s` and `1h02m`, whose first number is over; -1 where it is no duration. */
  private duration(at: number): number {
    const { bytes, end } = this;
    const found = /^(?:[dh]\d{1,2}[hm](?:\d{1,2}[ms])?|m\d{1,2}s)(?!\w)/.exec(
      bytes.toString('latin1', at, Math.min(end, at + 10)),
    );
    return found === null ? -1 : at + found[0].length;
  }

  /** The end of a time, date, version or address that begins with a number; -1 where it is neither. */
  private clock(at: number, to: number, next: number): number {
    const { bytes, end } = this;
    if (CLASS[next] === LETTER) return isDigitAt(bytes, to + 1, end) ? this.duration(to) : -1;
    if (next !== COLON && next !== MINUS && next !== SLASH && next !== DOT) return -1;
    const digits = (from: number): number => {
      let k = from;
      while (k < end && CLASS[bytes[k]!] === DIGIT) k++;
      return k - from;
    };
    const second = digits(to + 1);
    if (second === 0 || CLASS[bytes[at]!] !== DIGIT) return -1;
    if (next === COLON) {
      if (second !== 2) return -1;
      return this.clockEnd(to + 1);
    }
    if (next === DOT) return this.clockEnd(to);
    // A date has three parts: `2026-01-31`, `31/01/2026`, or a month and a day before a time: `01-31 09:12:00`.
    const third = to + 1 + second;
    if (bytes[third] === next && digits(third + 1) > 0 && to - at <= 4 && second <= 4)
      return this.clockEnd(third + 1);
    if (next !== COLON && to - at === 2 && second === 2 && bytes[third] === 32 && digits(third + 1) === 2)
      if (bytes[third + 3] === COLON) return this.clockEnd(third + 1);
    return -1;
  }

  /** Where digits, `:`, `.`, `,`, `-`, `T`, `Z` and `+` of a clock end. */
  private clockEnd(from: number): number {
    const { bytes, end } = this;
    let at = from;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (CLASS[byte] === DIGIT) continue;
      const followed = isDigitAt(bytes, at + 1, end);
      if (byte === 0x5a && !followed) return at + 1;
      const joins =
        byte === COLON || byte === DOT || byte === COMMA || byte === MINUS || byte === PLUS || byte === 0x54;
      if (!joins || !followed) break;
    }
    // A date and its time are one.
    if (bytes[at] === 32 && isDigitAt(bytes, at + 1, end) && isDigitAt(bytes, at + 2, end))
      if (bytes[at + 3] === COLON && isDigitAt(bytes, at + 4, end)) return this.clockEnd(at + 1);
    return this.halfOfDay(at);
  }

  /** Where `AM` or `PM` behind a time ends; where the time ends if there is none. */
  private halfOfDay(at: number): number {
    const { bytes, end } = this;
    const letter = bytes[at] === 32 ? at + 1 : at;
    const half = bytes[letter]! | 0x20;
    const isHalf =
      letter + 1 < end && (half === 0x61 || half === 0x70) && (bytes[letter + 1]! | 0x20) === 0x6d;
    const after = letter + 2 < end ? CLASS[bytes[letter + 2]!] : BLANK;
    return isHalf && after !== LETTER && after !== DIGIT ? letter + 2 : at;
  }

  /** The end of `1,234` and `1,234,567.8`, whose commas part thousands; -1 where they part numbers. */
  private grouped(at: number, comma: number): number {
    const { bytes, end } = this;
    if (comma - at > 4 || bytes[at] === 0x30) return -1;
    let to = comma;
    while (bytes[to] === COMMA && isDigitAt(bytes, to + 1, end)) {
      let k = to + 1;
      while (isDigitAt(bytes, k, end)) k++;
      if (k !== to + 4) return -1;
      to = k;
    }
    if (bytes[to] === DOT && isDigitAt(bytes, to + 1, end)) {
      to++;
      while (isDigitAt(bytes, to, end)) to++;
    }
    return bytes[to] === COMMA && isDigitAt(bytes, to + 1, end) ? -1 : to;
  }

  /** The end of `0,5347`, whose comma is a decimal one; -1 where it parts numbers. */
  private decimalComma(at: number, comma: number): number {
    const { bytes, end, lastMark } = this;
    if (lastMark === 0x5b || lastMark === 0x28 || lastMark === COMMA) return -1;
    for (let k = at + 1; k < comma; k++) if (CLASS[bytes[k]!] !== DIGIT) return -1;
    let to = comma + 1;
    while (isDigitAt(bytes, to, end)) to++;
    if (to === comma + 1 || bytes[to] === DOT || (bytes[to] === COMMA && isDigitAt(bytes, to + 1, end)))
      return -1;
    return to;
  }
}

/** What joins the parts of a word: `train/loss`, `val-loss`, `acc@1`, `avg.loss`, `it's`. */
const isJoint = (byte: number): boolean =>
  byte === DOT ||
  byte === SLASH ||
  byte === MINUS ||
  byte === AT ||
  byte === PLUS ||
  byte === QUOTE ||
  byte === AMPERSAND;
