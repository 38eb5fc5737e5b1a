/**
 * Names and numbers in a printed line, found in one pass over its bytes: `loss: 2.3`, `loss=2.3`, `loss 2.3`,
 * `'loss': '2.3'`, `Epoch [3][ 20/100]`, `Loss 6.9 (7.0)`. No expressions: the work grows with the length of the line
 * alone, whatever it holds.
 */
import { scanNumber, scanned } from './number-text.ts';
import { NO_LOSS_UNIT, wordsFor } from './text/words.ts';

/** What a slot is. */
export const SLOT = {
  /** A number that words stand before. */
  named: 0,
  /** A number without a word before it: after `:` or `=`, or the first of its line. */
  bare: 1,
  /** `10/1252` or `10 of 1252`; named or not. */
  counter: 2,
  /** Words that no number follows. */
  lead: 3,
} as const;

/** What the cell of a slot is: a number, no value (`None`, `N/A`), text in the place of a loss. */
export const CELL = { number: 0, missing: 1, refused: 2 } as const;

/** What a word is about. */
export const ABOUT = { loss: 1, axis: 2, split: 4, metric: 8 } as const;

const LOSS =
  'loss losses trainloss validloss valloss testloss evalloss devloss nll logloss mlogloss nloglik deviance xent bce ce elbo cost ppl perplexity trl tel learn entropy crossentropy crossentropyloss l'.split(
    ' ',
  );
const AXIS =
  'step steps iter iters itr iteration iterations it epoch epochs ep batch batches minibatch update updates up round timesteps rank num permille'.split(
    ' ',
  );
const SPLIT =
  'train training trn val valid vali validation validate validating eval evaluation evaluate evaluating test tst testing dev heldout trainloss validloss valloss testloss evalloss devloss s'.split(
    ' ',
  );
const METRIC = [
  ...wordsFor('metric'),
  ...wordsFor('error'),
  ...wordsFor('norm'),
  ...wordsFor('rate'),
  ...'objf function'.split(' '),
];

/** FNV-1a. */
const BASIS = 0x811c9dc5 | 0;
const PRIME = 0x01000193;
const hashOf = (word: string): number => {
  let hash = BASIS;
  for (const char of Buffer.from(word, 'latin1')) hash = Math.imul(hash ^ char, PRIME);
  return hash;
};

/** What the parts of names are about, by the low bits of their hash: a table, because each word of each line asks. */
const MASK = 0xfff;
const aboutKey = new Int32Array(MASK + 1);
const aboutFlags = new Uint8Array(MASK + 1);
for (const [words, flag] of [
  [LOSS, ABOUT.loss],
  [AXIS, ABOUT.axis],
  [SPLIT, ABOUT.split],
  [METRIC, ABOUT.metric],
] as const)
  for (const word of words) {
    const hash = hashOf(word);
    let at = hash & MASK;
    while (aboutFlags[at] !== 0 && aboutKey[at] !== hash) at = (at + 1) & MASK;
    aboutKey[at] = hash;
    aboutFlags[at]! |= flag;
  }
const aboutOf = (hash: number): number => {
  let at = hash & MASK;
  for (let flags = aboutFlags[at]!; flags !== 0; flags = aboutFlags[at]!) {
    if (aboutKey[at] === hash) return flags;
    at = (at + 1) & MASK;
  }
  return 0;
};

const BLANK = 1;
const LETTER = 2;
const DIGIT = 3;
/** Inside a word, not at its start: `.` `/` `-` `@` `'` `#` `&` `+`. */
const JOINT = 4;
const kindOf = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const char = String.fromCharCode(byte);
  if (char === ' ' || char === '\t' || char === '\0') kindOf[byte] = BLANK;
  else if (/[A-Za-z_]/.test(char) || byte >= 0x80) kindOf[byte] = LETTER;
  else if (/\d/.test(char)) kindOf[byte] = DIGIT;
  else if (/[./@'#&+-]/.test(char)) kindOf[byte] = JOINT;
}

const code = (char: string): number => char.charCodeAt(0);
const TAB = 9;
const DOT = code('.');
const COMMA = code(',');
const MINUS = code('-');
const PLUS = code('+');
const SLASH = code('/');
const COLON = code(':');
const EQUALS = code('=');
const OPEN_ROUND = code('(');
const CLOSE_ROUND = code(')');
const OPEN_SQUARE = code('[');
const CLOSE_SQUARE = code(']');
const OPEN_CURLY = code('{');
const CLOSE_ANGLE = code('>');
const QUOTE = code("'");
const DOUBLE_QUOTE = code('"');
const HASH = code('#');
const PERCENT = code('%');
const BAR = code('|');
/** The first two bytes of box drawing and block elements in UTF-8 (U+2500 to U+25BF). */
const BOX_FIRST = 0xe2;
const isBox = (bytes: Buffer, at: number): boolean =>
  bytes[at] === BOX_FIRST && bytes[at + 1]! >= 0x94 && bytes[at + 1]! <= 0x96;

/** What begins no name, no number and no bracket: `***`, `???`, `$0.4`, `<none>`, `~0.5`, `#`, `--`. */
const MARKS = new Set([...'*?$<>~#!@-'].map(code));
const isCapital = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a;
const isMark = (byte: number): boolean => MARKS.has(byte);

const MOST_SLOTS = 256;
/** Bytes of a name that stands behind its number. */
const LONGEST_AFTER = 24;

/** Words that hold a number as a call does: `tensor(2.3, device='cuda:0')`, `np.float64(2.3)`. */
const WRAPPERS = /^(?:tensor|array|float|np\.float(?:16|32|64)|jnp\.float32|Array|DeviceArray)$/;
/** Words that say that there is no value. */
const NO_VALUE = /^(?:none|null|na|n\/a|--?)$/i;

export interface LineScanner {
  /** Slots of the last line. */
  count: number;
  readonly kind: Uint8Array;
  /** Bytes of the words before it; equal where there are none. */
  readonly nameFrom: Int32Array;
  readonly nameTo: Int32Array;
  /** What the words are about. */
  readonly about: Uint8Array;
  readonly value: Float64Array;
  /** Where the number starts. */
  readonly numberFrom: Int32Array;
  /** Where the second number of a counter starts; -1 where there is none. */
  readonly ofFrom: Int32Array;
  /** What stands where the number should be: {@link CELL}. */
  readonly cell: Uint8Array;
  /** Of a refused cell the text. */
  readonly textFrom: Int32Array;
  readonly textTo: Int32Array;
  /** The second number of a counter; NaN where there is none. */
  readonly of: Float64Array;
  /** Words and numbers that stand for nothing that was taken. */
  spare: number;
  /** Whether it is the drawing of a progress bar: `10%|█  |`. */
  bar: boolean;
  /** Whether a line that differs in its numbers alone has the same slots, with those numbers. */
  fixed: boolean;
  /** What all words of the line are about. */
  words: number;
  /** Names and kinds of the slots as one number, the same for lines of one skeleton. */
  key: number;
  scan(bytes: Buffer, from: number, to: number): void;
}

/** A quote that closes is not part of a word, and a dash at its end is not. */
function endsWord(bytes: Buffer, at: number, to: number): boolean {
  const next = at + 1 < to ? kindOf[bytes[at + 1]!]! : BLANK;
  return (bytes[at] === QUOTE && next !== LETTER) || (bytes[at] === MINUS && next === BLANK);
}

/** What {@link scanWord} leaves of a word: the hash of the words so far, and what its parts are about. */
let wordHash = 0;
let wordAbout = 0;

/** The end of the word that begins at a place; its parts are asked for what they are about. */
function scanWord(bytes: Buffer, at: number, to: number, before: number): number {
  let hash = before;
  let part = BASIS;
  /** The part since a capital in it: `Loss` of `trainLoss`. */
  let hump = BASIS;
  let flags = 0;
  let end = at;
  for (; end < to; end++) {
    const here = bytes[end]!;
    const there = kindOf[here]!;
    if (there === LETTER) {
      if (here === BOX_FIRST && isBox(bytes, end)) break;
      if (here === 0x5f) {
        flags |= aboutOf(part) | aboutOf(hump);
        part = BASIS;
        hump = BASIS;
      } else {
        part = Math.imul(part ^ (here | 0x20), PRIME);
        if (isCapital(here) && end > at && !isCapital(bytes[end - 1]!)) {
          flags |= aboutOf(hump);
          hump = BASIS;
        }
        hump = Math.imul(hump ^ (here | 0x20), PRIME);
      }
    } else if (there === DIGIT) {
      if ((aboutOf(part) & ABOUT.axis) !== 0 && isGluedAxis(bytes, at, end, to)) break;
      if (part !== BASIS) flags |= aboutOf(part) | aboutOf(hump);
      part = BASIS;
      hump = BASIS;
    } else if (there === JOINT) {
      if (endsWord(bytes, end, to)) break;
      flags |= aboutOf(part) | aboutOf(hump);
      part = BASIS;
      hump = BASIS;
    } else break;
    hash = Math.imul(hash ^ here, PRIME);
  }
  wordHash = hash;
  wordAbout = flags | aboutOf(part) | aboutOf(hump);
  return end;
}

export function lineScanner(): LineScanner {
  const kind = new Uint8Array(MOST_SLOTS);
  const nameFrom = new Int32Array(MOST_SLOTS);
  const nameTo = new Int32Array(MOST_SLOTS);
  const about = new Uint8Array(MOST_SLOTS);
  const value = new Float64Array(MOST_SLOTS);
  const numberFrom = new Int32Array(MOST_SLOTS);
  const ofFrom = new Int32Array(MOST_SLOTS);
  const cell = new Uint8Array(MOST_SLOTS);
  const textFrom = new Int32Array(MOST_SLOTS);
  const textTo = new Int32Array(MOST_SLOTS);
  const of = new Float64Array(MOST_SLOTS);
  const scanner: LineScanner = {
    count: 0,
    kind,
    nameFrom,
    nameTo,
    about,
    value,
    numberFrom,
    ofFrom,
    cell,
    textFrom,
    textTo,
    of,
    spare: 0,
    bar: false,
    fixed: true,
    words: 0,
    key: 0,
    scan,
  };

  // The state of the line that is scanned, outside of the function: closures for each line would cost more than it.
  let count = 0;
  let spare = 0;
  let words = 0;
  let first = BASIS;
  let second = BASIS;
  /** The words before a number that may come. */
  let wordsFrom = -1;
  let wordsTo = -1;
  let wordsHash = BASIS;
  let wordsAbout = 0;
  /** Those outside of a bracket that is open. */
  let outerFrom = -1;
  let outerTo = -1;
  let outerCount = 0;
  let outerHash = BASIS;
  let outerAbout = 0;
  /** `:` or `=` stood after the words (or after the number before). */
  let marked: boolean = false;
  /** A number has been found already. */
  let begun: boolean = false;
  /** A number that has gone into no slot, and where it starts and ends; the last one. */
  let loose = Number.NaN;
  let looseAt = -1;
  let looseEnd = -1;
  /** It stands right before the words. */
  let afterLoose: boolean = false;
  /** Where the last number of any kind ends, and whether the words stand right behind it. */
  let numberEnd = -1;
  let isUnit: boolean = false;
  /** Where the number of the next slot starts, and the second one of a counter. */
  let numberAt = -1;
  let totalAt = -1;

  const slot = (slotKind: number, number: number, total: number): void => {
    if (count === MOST_SLOTS) return;
    kind[count] = slotKind;
    nameFrom[count] = wordsFrom < 0 ? 0 : wordsFrom;
    nameTo[count] = wordsFrom < 0 ? 0 : wordsTo;
    about[count] = wordsAbout;
    value[count] = number;
    numberFrom[count] = numberAt;
    ofFrom[count] = totalAt;
    cell[count] = CELL.number;
    of[count] = total;
    count++;
    first = Math.imul(first ^ wordsHash, PRIME);
    second = Math.imul(second ^ (wordsHash >>> 7) ^ slotKind, 0x5bd1e995);
  };
  const forget = (): void => {
    wordsFrom = -1;
    wordsHash = BASIS;
    wordsAbout = 0;
    marked = false;
    afterLoose = false;
  };
  /** The words are followed by no number. */
  const lead = (): void => {
    if (afterLoose && (wordsAbout & ABOUT.loss) !== 0 && wordsTo - wordsFrom <= LONGEST_AFTER) {
      // `6.93 loss, 0.41 s`
      numberAt = looseAt;
      totalAt = -1;
      slot(SLOT.named, loose, Number.NaN);
    } else if (wordsFrom >= 0) {
      if (wordsAbout !== 0) slot(SLOT.lead, Number.NaN, Number.NaN);
      else spare++;
    }
    forget();
  };
  /** The words are followed by what is no number. */
  const noNumber = (what: number, start: number, end: number): void => {
    if (count === MOST_SLOTS) return;
    slot(SLOT.named, Number.NaN, Number.NaN);
    cell[count - 1] = what;
    textFrom[count - 1] = start;
    textTo[count - 1] = end;
    // The mean in brackets behind it (`loss: - (1.85)`) is no number of its own then either.
    begun = true;
    forget();
  };

  function scan(bytes: Buffer, from: number, to: number): void {
    count = 0;
    spare = 0;
    scanner.bar = false;
    scanner.fixed = true;
    words = 0;
    first = BASIS;
    second = BASIS;
    wordsFrom = -1;
    wordsTo = -1;
    wordsHash = BASIS;
    wordsAbout = 0;
    outerFrom = -1;
    outerTo = -1;
    outerHash = BASIS;
    outerAbout = 0;
    marked = false;
    begun = false;
    looseEnd = -1;
    afterLoose = false;
    numberEnd = -1;
    isUnit = false;
    let at = from;

    while (at < to) {
      const byte = bytes[at]!;
      const kindHere = kindOf[byte]!;
      if (kindHere === BLANK) {
        if (byte === TAB && !marked && wordsFrom >= 0) {
          // `Epoch\t3` is a name and its number; a name alone in its cell is a lead.
          let next = at + 1;
          while (next < to && kindOf[bytes[next]!] === BLANK) next++;
          if (kindOf[bytes[next]!] === LETTER) lead();
        } else if (isUnit && wordsAbout === 0 && wordsFrom >= 0 && kindOf[bytes[at + 1]!] === BLANK) {
          // `Speed 2300.1 samples/sec   Loss 2.3`
          spare++;
          forget();
        }
        at++;
        continue;
      }
      const signed = (byte === MINUS || byte === PLUS || byte === DOT) && at + 1 < to;
      let stop = -1;
      const isWritten = mayBeWord(bytes, at, to) && !(wordsFrom >= 0 && isCountOf(bytes, at));
      if (kindHere === DIGIT || signed || isWritten) stop = scanNumber(bytes, at, to);
      if (stop > 0) {
        let number = scanned[0]!;
        let whole = true;
        let total = Number.NaN;
        numberAt = at;
        totalAt = -1;
        const after = stop < to ? bytes[stop]! : 0;
        const kindAfter = stop < to ? kindOf[after]! : BLANK;
        const spread = kindAfter === LETTER || after === PLUS ? endOfSpread(bytes, at, stop, to) : -1;
        const done = kindAfter === LETTER ? endOfIterations(bytes, stop, to) : -1;
        if (done > 0) {
          // `3100it [04:12, 12.1it/s]` and `1.20kit/5.00kit`: how far a bar is that tqdm draws.
          lead();
          const scale = SI_SCALE.get(after) ?? 1;
          if (scale > 1) scanner.fixed = false;
          wordsFrom = done - ITERATIONS.length;
          wordsTo = done;
          wordsHash = ITERATIONS_HASH;
          wordsAbout = ABOUT.axis;
          words |= ABOUT.axis;
          slot(SLOT.named, scale > 1 ? Math.round(number * scale) : number, Number.NaN);
          forget();
          begun = true;
          at = done;
          if (bytes[at] === SLASH) while (at < to && kindOf[bytes[at]!] !== BLANK) at++;
          numberEnd = at;
          continue;
        }
        if (spread > 0) {
          // xgboost.cv: `train-rmse:0.31+0.02`, the mean of the folds and their spread.
          stop = spread;
        } else if (kindAfter === LETTER && !isBox(bytes, stop)) {
          const scale = isCounterWord(wordsAbout) ? (SI_SCALE.get(after) ?? 1) : 1;
          const ends = stop + 1 >= to || kindOf[bytes[stop + 1]!] === BLANK || bytes[stop + 1] === COMMA;
          if (scale > 1 && ends) {
            // `steps: 350k`, `step 1.25M`
            number = Math.round(number * scale);
            scanner.fixed = false;
            stop++;
          } else {
            // `step: 12th step`, `time 245.26ms`
            const isMeasured = wordsFrom >= 0 && (wordsAbout & (ABOUT.loss | ABOUT.axis)) === 0;
            const end = isMeasured ? endOfUnit(bytes, stop, to) : endOfOrdinal(bytes, stop, to);
            whole = end > 0 && (isMeasured || isCounterWord(wordsAbout));
            if (whole) stop = end;
            // A time and a size are no part of the record.
            if (isMeasured) spare++;
          }
        } else if (after === MINUS && opensSquare(bytes, from, at) && isRange(bytes, stop, to)) {
          // `Batch [0-50]`, `Minibatch[   1- 100]`: what was reached.
          numberAt = stop + 1;
          while (kindOf[bytes[numberAt]!] === BLANK) numberAt++;
          stop = scanNumber(bytes, numberAt, to);
          number = scanned[0]!;
        } else if (kindAfter === JOINT && after !== SLASH && after !== QUOTE) {
          // The end of a sentence is no part of its number, nor is a rule: `---- Iteration: 1000 ----`, without blanks.
          const next = stop + 1 < to ? bytes[stop + 1]! : 0;
          whole = after === DOT ? next === 0 || kindOf[next] === BLANK : after === MINUS && next === MINUS;
        } else if (after === COLON && stop + 1 < to && kindOf[bytes[stop + 1]!] === DIGIT) whole = false;
        else if (after === COMMA && stop + 3 < to && kindOf[bytes[stop + 1]!] === DIGIT) {
          // 1,234.5: a thousands separator, unless the comma is followed by another count of digits.
          let digits = stop + 1;
          while (digits < to && kindOf[bytes[digits]!] === DIGIT) digits++;
          if (digits === stop + 4 && stop - at <= 4) {
            // `iter:   1,000`: a counter in groups.
            const end = isCounterWord(wordsAbout) ? endOfGroups(bytes, at, stop, to) : -1;
            if (end > 0) {
              number = Number(bytes.toString('latin1', at, end).replaceAll(',', ''));
              stop = end;
              scanner.fixed = false;
            } else whole = false;
          }
        } else if (after === 0x5e || after === 0x24 || after === 0x7e || after === 0x2a || after === HASH)
          whole = false;
        if (whole && kindHere !== LETTER) {
          // 10/1252, 200/ 2983, 100 of 938
          let next = stop;
          while (next < to && kindOf[bytes[next]!] === BLANK) next++;
          let isOf = false;
          if (bytes[next] === SLASH && next < to) {
            next++;
            isOf = true;
          } else if (
            next > stop &&
            bytes[next] === 0x6f &&
            bytes[next + 1] === 0x66 &&
            kindOf[bytes[next + 2]!] === BLANK
          ) {
            next += 2;
            isOf = true;
          }
          if (isOf) {
            while (next < to && kindOf[bytes[next]!] === BLANK) next++;
            const end = kindOf[bytes[next]!] === DIGIT && next < to ? scanNumber(bytes, next, to) : -1;
            // 1.0/2 is a counter, 1.5/2 is none.
            if (end > 0 && !(isDigits(bytes, at, stop) && isDigits(bytes, next, end))) scanner.fixed = false;
            if (end > 0 && Number.isInteger(scanned[0]!) && Number.isInteger(number)) {
              total = scanned[0]!;
              totalAt = next;
              stop = end;
              // A third part makes it a date.
              whole = !(bytes[end] === SLASH && kindOf[bytes[end + 1]!] === DIGIT);
            } else if (bytes[stop] === SLASH) whole = beginsPair(bytes, stop + 1, to);
          }
        }
        if (whole && stop < to && bytes[stop] === PERCENT) {
          if (bytes[stop + 1] === BAR || isBox(bytes, stop + 1)) {
            // `Training: 10%|█  | 10/100`: how far a bar is.
            lead();
            scanner.bar = true;
            begun = true;
            at = stop + 1;
            continue;
          }
        }
        // A share, a weight or a power that was lost: packets, premiums, heat.
        if (whole && (wordsAbout & ABOUT.loss) !== 0 && isPhysical(bytes, stop, to)) {
          spare++;
          forget();
          begun = true;
          at = stop;
          continue;
        }
        if (whole && bytes[stop] === PERCENT) stop++;
        if (!whole) {
          // A time, a date, a version, a number with a unit: no value, to its end.
          stop = endOfOther(bytes, stop, to);
          if ((wordsAbout & ABOUT.loss) !== 0) noNumber(CELL.refused, at, stop);
          else if (wordsFrom >= 0) {
            spare++;
            forget();
          }
          at = stop;
          begun = true;
          continue;
        }
        const named = wordsFrom >= 0;
        if (!Number.isNaN(total)) slot(SLOT.counter, number, total);
        else if (named) slot(SLOT.named, number, total);
        else if (marked || !begun) slot(SLOT.bare, number, total);
        else if (bytes[stop - 1] !== PERCENT) {
          loose = number;
          looseAt = numberAt;
          looseEnd = stop;
        }
        begun = true;
        forget();
        at = stop;
        numberEnd = stop;
        continue;
      }
      if (wordsFrom >= 0 && !marked && (wordsAbout & ABOUT.loss) !== 0) {
        const end = endOfNoValue(bytes, at, to, isBlank(bytes, from, wordsFrom));
        if (end > 0) {
          noNumber(isMark(byte) && byte !== MINUS ? CELL.refused : CELL.missing, at, end);
          at = end;
          continue;
        }
      }
      if (kindHere === LETTER && !isBox(bytes, at)) {
        const end = scanWord(bytes, at, to, wordsHash);
        let hash = wordHash;
        const flags = wordAbout;
        words |= flags;
        const length = end - at;
        const next = end < to ? bytes[end]! : 0;
        // train.py:12, logging.py:  99 and solver.cpp:218 are places in a source.
        if (next === COLON && isPlaceInSource(bytes, at, end)) {
          let digits = end + 1;
          while (digits < to && kindOf[bytes[digits]!] === BLANK) digits++;
          while (digits < to && kindOf[bytes[digits]!] === DIGIT) digits++;
          at = digits;
          lead();
          continue;
        }
        if (next === OPEN_ROUND && length <= 12 && WRAPPERS.test(bytes.toString('latin1', at, end))) {
          at = end + 1;
          continue;
        }
        if (marked && wordsFrom >= 0) {
          const told = bytes[end - 1] === DOT ? length - 1 : length;
          if (told <= 4 && NO_VALUE.test(bytes.toString('latin1', at, at + told))) {
            noNumber(CELL.missing, at, end);
            at = end;
            continue;
          }
          // `loss=overflow lr=0.1`: the word stands where the number would, and begins no name.
          if ((wordsAbout & ABOUT.loss) !== 0 && bytes[at - 1] === EQUALS) {
            noNumber(CELL.refused, at, end);
            at = end;
            continue;
          }
          if ((wordsAbout & ABOUT.loss) !== 0) noNumber(CELL.refused, at, end);
          else lead();
          hash = wordsHash;
          for (let k = at; k < end; k++) hash = Math.imul(hash ^ bytes[k]!, PRIME);
        }
        if (wordsFrom < 0) {
          wordsFrom = at;
          afterLoose = looseEnd >= 0 && isBlank(bytes, looseEnd, at);
          isUnit = numberEnd === at - 1;
        } else hash = Math.imul(hash ^ 0x20, PRIME);
        wordsTo = end;
        wordsHash = hash;
        wordsAbout |= flags;
        marked = false;
        // The end of a sentence, `20.9 s. Mean Reward`.
        if (bytes[end - 1] === DOT && (length > 6 || (isUnit && wordsFrom === at))) lead();
        at = end;
        continue;
      }
      if ((byte === MINUS || byte === EQUALS) && wordsFrom >= 0 && !marked) {
        const isDash = byte === MINUS && (wordsAbout & ABOUT.loss) !== 0 && isDashBefore(bytes, at, to);
        const arrow = isDash ? at + 1 : endOfArrow(bytes, at, to);
        if (arrow > 0) {
          marked = true;
          at = arrow;
          continue;
        }
      }
      if (
        (byte === OPEN_SQUARE || byte === OPEN_ROUND) &&
        (wordsAbout & ABOUT.loss) !== 0 &&
        wordsTo === at
      ) {
        const end = endOfIndex(bytes, at, to);
        if (end > 0) {
          // `loss[2]: 0.4`: the number in the bracket is part of the name.
          for (; at < end; at++) wordsHash = Math.imul(wordsHash ^ bytes[at]!, PRIME);
          wordsTo = end;
          scanner.fixed = false;
          continue;
        }
      }
      at++;
      if (byte === EQUALS && bytes[at] === EQUALS) {
        // A version that is asked for, a comparison.
        lead();
        at++;
      } else if (byte === COLON || byte === EQUALS) {
        marked = true;
      } else if (
        byte === BAR &&
        (wordsAbout & ABOUT.loss) !== 0 &&
        !marked &&
        begun &&
        isLastCell(bytes, at, to)
      ) {
        // `Step 100: train CrossEntropyLoss | 2.31`: the words still wait.
        marked = true;
      } else if (byte === QUOTE || byte === DOUBLE_QUOTE || byte === OPEN_SQUARE) {
        // `"loss": "2.3"` and `[3]`: the words still wait.
      } else if (
        marked &&
        (wordsAbout & ABOUT.loss) !== 0 &&
        (isMark(byte) || (byte === OPEN_ROUND && kindOf[bytes[at]!] === DIGIT))
      ) {
        // `loss: ***`, `loss=$0.4`, `loss: --`: up to what ends a cell.
        const start = at - 1;
        at = endOfCell(bytes, at, to);
        noNumber(isDashes(bytes, start, at) ? CELL.missing : CELL.refused, start, at);
      } else if (
        byte === OPEN_ROUND &&
        wordsAbout === ABOUT.split &&
        kindOf[bytes[at - 2]!] === BLANK &&
        kindOf[bytes[at]!] === LETTER
      ) {
        // `valid (NDCG@10: 0.34, HR@10: 0.58), test (`: what is in the bracket is of that.
        lead();
      } else if (byte === OPEN_ROUND || byte === OPEN_CURLY) {
        outerFrom = wordsFrom;
        outerTo = wordsTo;
        outerHash = wordsHash;
        outerAbout = wordsAbout;
        outerCount = count;
        if (byte === OPEN_CURLY) lead();
        else forget();
      } else if (byte === CLOSE_ROUND) {
        const inner = wordsFrom >= 0;
        if (inner) lead();
        if (outerFrom >= 0) {
          wordsFrom = outerFrom;
          wordsTo = outerTo;
          wordsHash = outerHash;
          wordsAbout = outerAbout;
          outerFrom = -1;
          // `valid (3/30) loss: 0.5`: all of the line is of that.
          const isCounted = count === outerCount + 1 && kind[outerCount] === SLOT.counter;
          if (isCounted && wordsAbout === ABOUT.split) lead();
        }
      } else if (
        byte === MINUS &&
        bytes[at] === MINUS &&
        kindOf[bytes[at + 1]!] === LETTER &&
        !isCapital(bytes[at + 1]!) &&
        bytes[at - 2] !== MINUS
      ) {
        // --max-loss 3: an option of a command, with its value; `--BiasedMFRecommender iter 1` is what LibRec says.
        lead();
        at = endOfOption(bytes, at, to);
        spare++;
      } else if (byte === HASH && (wordsAbout & ABOUT.axis) !== 0) {
        // `Epoch #3`: the words still wait.
      } else if (byte === HASH && at < to && kindOf[bytes[at]!] === DIGIT) {
        // Train net output #0: a number that is part of the name.
        while (at < to && kindOf[bytes[at]!] === DIGIT) {
          wordsHash = Math.imul(wordsHash ^ bytes[at]!, PRIME);
          at++;
        }
        if (wordsFrom >= 0) wordsTo = at;
      } else if (byte === BOX_FIRST && isBox(bytes, at - 1)) {
        at += 2;
        if (!marked) lead();
      } else if (byte === DOT || byte === SLASH) {
        // Nothing.
      } else {
        lead();
      }
    }
    lead();
    scanner.count = count;
    scanner.spare = spare;
    scanner.words = words;
    // 53 bits of two hashes.
    scanner.key = (first >>> 0) * 0x200000 + (second & 0x1fffff);
  }
  return scanner;
}

/** `[epoch12]`, `step100:`, `epoch3 loss`: an axis and its number in one word, which ends there. */
function isGluedAxis(bytes: Buffer, from: number, digits: number, to: number): boolean {
  if (!/^(?:epoch|step|iter|iteration|batch)$/i.test(bytes.toString('latin1', from, digits))) return false;
  let end = digits;
  while (end < to && kindOf[bytes[end]!] === DIGIT) end++;
  const next = end < to ? bytes[end]! : 0;
  // Of `step1 loss` and `step2 loss` the number is one of a stage.
  if (kindOf[next] === BLANK) return next === 0 || /^epoch$/i.test(bytes.toString('latin1', from, digits));
  return next === CLOSE_SQUARE || next === CLOSE_ROUND || next === COLON || next === COMMA || next === BAR;
}

/** Whether the unit behind a number is one of a quantity that is not the loss of a model. */
const isPhysical = (bytes: Buffer, from: number, to: number): boolean =>
  NO_LOSS_UNIT.test(bytes.toString('latin1', from, Math.min(to, from + 8)));

/** Units of times and sizes that stand right behind their number. */
const UNITS = /^(?:[mun]?s|secs?|min|[KMG]i?B)(?![\w/.-])/;
/** Where the unit behind a number ends; -1 where none does. */
function endOfUnit(bytes: Buffer, from: number, to: number): number {
  const found = UNITS.exec(bytes.toString('latin1', from, Math.min(to, from + 5)));
  return found === null ? -1 : from + found[0].length;
}

const ITERATIONS = 'it';
const ITERATIONS_HASH = hashOf(ITERATIONS);
/** What tqdm's `unit_scale` puts before its unit. */
const SI_SCALE = new Map([
  [code('k'), 1e3],
  [code('M'), 1e6],
]);

/** Where the `it` behind a number ends, or `kit` and `Mit`, that counts and is no rate; -1 where none follows. */
function endOfIterations(bytes: Buffer, at: number, to: number): number {
  const start = SI_SCALE.has(bytes[at]!) ? at + 1 : at;
  const end = start + ITERATIONS.length;
  if (end > to || bytes.toString('latin1', start, end) !== ITERATIONS) return -1;
  if (end === to || kindOf[bytes[end]!] === BLANK) return end;
  return bytes[end] === SLASH && kindOf[bytes[end + 1]!] === DIGIT ? end : -1;
}

/** Where the cell of a value that is not a number ends. */
function endOfCell(bytes: Buffer, from: number, to: number): number {
  let at = from;
  for (; at < to && kindOf[bytes[at]!] !== BLANK && bytes[at] !== BAR && bytes[at] !== 0x3b; at++)
    if (bytes[at] === COMMA && kindOf[bytes[at + 1]!] !== DIGIT) break;
  return at;
}

const isDashes = (bytes: Buffer, from: number, to: number): boolean => {
  for (let at = from; at < to; at++) if (bytes[at] !== MINUS) return false;
  return true;
};

/** Where a time, a date, a version or a number with a unit ends. */
function endOfOther(bytes: Buffer, from: number, to: number): number {
  let at = from;
  for (; at < to; at++) {
    const here = bytes[at]!;
    if (kindOf[here] === BLANK || here === CLOSE_SQUARE || here === CLOSE_ROUND || here === BAR) break;
    if (here === COMMA && kindOf[bytes[at + 1]!] !== DIGIT) break;
    if (here === 0x3b || isBox(bytes, at)) break;
  }
  return at;
}

/** Where an option of a command ends, with its value: `--max-loss 3`. */
function endOfOption(bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to && kindOf[bytes[at]!] !== BLANK && bytes[at] !== EQUALS) at++;
  while (at < to && (kindOf[bytes[at]!] === BLANK || bytes[at] === EQUALS)) at++;
  if (bytes[at] !== MINUS) while (at < to && kindOf[bytes[at]!] !== BLANK) at++;
  return at;
}

/** Where `[2]` or `(2)` ends that starts here, if `:` or `=` follows it; -1 where it does not. */
function endOfIndex(bytes: Buffer, from: number, to: number): number {
  let at = from + 1;
  while (at < to && kindOf[bytes[at]!] === DIGIT) at++;
  const isClosed = bytes[at] === (bytes[from] === OPEN_SQUARE ? CLOSE_SQUARE : CLOSE_ROUND);
  if (at === from + 1 || !isClosed) return -1;
  return bytes[at + 1] === COLON || bytes[at + 1] === EQUALS ? at + 1 : -1;
}

/** Whether a dash between blanks stands before a number with a point: `0 10 loss - 5.123`. */
function isDashBefore(bytes: Buffer, at: number, to: number): boolean {
  if (kindOf[bytes[at - 1]!] !== BLANK || kindOf[bytes[at + 1]!] !== BLANK || at + 2 >= to) return false;
  const end = scanNumber(bytes, at + 2, to);
  return end > 0 && (end === to || kindOf[bytes[end]!] === BLANK) && !isDigits(bytes, at + 2, end);
}

/** Where an arrow that starts here ends, if a number follows it (`Loss --> 2.3`, `loss => nan`); -1 where none does. */
function endOfArrow(bytes: Buffer, from: number, to: number): number {
  const shaft = bytes[from]!;
  let end = from;
  while (end < to && end - from < 4 && bytes[end] === shaft) end++;
  if (bytes[end] !== CLOSE_ANGLE) return -1;
  let at = end + 1;
  while (at < to && kindOf[bytes[at]!] === BLANK) at++;
  if (at >= to) return -1;
  const isSigned = bytes[at] === MINUS || bytes[at] === PLUS || bytes[at] === DOT;
  if (kindOf[bytes[at]!] !== DIGIT && !isSigned && !mayBeWord(bytes, at, to)) return -1;
  return scanNumber(bytes, at, to) > 0 ? end + 1 : -1;
}

/** Where `+0.0004` or `±0.0004` ends that is the spread of the mean before it; -1 where none follows. */
function endOfSpread(bytes: Buffer, from: number, at: number, to: number): number {
  const sign = bytes[at] === PLUS ? 1 : bytes[at] === 0xc2 && bytes[at + 1] === 0xb1 ? 2 : 0;
  // Sums of whole numbers are none.
  if (sign === 0 || isDigits(bytes, from, at)) return -1;
  const start = at + sign;
  if (start >= to || (kindOf[bytes[start]!] !== DIGIT && !mayBeWord(bytes, start, to))) return -1;
  const end = scanNumber(bytes, start, to);
  if (end < 0 || isDigits(bytes, start, end)) return -1;
  return end >= to || kindOf[bytes[end]!] === BLANK || bytes[end] === COMMA ? end : -1;
}

/** Words about how far training is, and no loss. */
const isCounterWord = (about: number): boolean => (about & ABOUT.axis) !== 0 && (about & ABOUT.loss) === 0;

/** Where a whole number in groups of three ends (`12,345,678`); -1 where it is none. */
function endOfGroups(bytes: Buffer, from: number, comma: number, to: number): number {
  if (comma - from > 3 || !isDigits(bytes, from, comma)) return -1;
  let at = comma;
  while (at + 3 < to && bytes[at] === COMMA && isDigits(bytes, at + 1, at + 4)) at += 4;
  const next = at < to ? bytes[at]! : 0;
  // Digits, a point or a slash make something else of it.
  if (kindOf[next] === DIGIT || kindOf[next] === LETTER) return -1;
  if ((next === COMMA || next === DOT) && kindOf[bytes[at + 1]!] === DIGIT) return -1;
  return next === SLASH ? -1 : at;
}

/** Whether `st`, `nd`, `rd` or `th` ends a number. */
function endOfOrdinal(bytes: Buffer, at: number, to: number): number {
  if (at + 2 < to && kindOf[bytes[at + 2]!] !== BLANK) return -1;
  return /^(?:st|nd|rd|th)$/.test(bytes.toString('latin1', at, Math.min(at + 2, to))) ? at + 2 : -1;
}

const isDigits = (bytes: Buffer, from: number, to: number): boolean => {
  for (let at = from; at < to; at++) if (kindOf[bytes[at]!] !== DIGIT) return false;
  return true;
};

/** Whether the number of a line follows a word that is the name of a source file. */
const isPlaceInSource = (bytes: Buffer, from: number, to: number): boolean =>
  kindOf[bytes[to + 1]!] === DIGIT
    ? isSource(bytes, from, to)
    : bytes.toString('latin1', Math.max(from, to - 3), to) === '.py';

/** Whether a word is the name of a source file: a dot and at most four letters at its end. */
function isSource(bytes: Buffer, from: number, to: number): boolean {
  for (let at = to - 1; at > from && at >= to - 5; at--)
    if (bytes[at] === DOT) return at < to - 1;
    else if (kindOf[bytes[at]!] !== LETTER) return false;
  return false;
}

/** Whether a word may be one that stands for a number: `nan`, `inf`. */
/** `epoch=0/micro_step=0/global_step=0`: behind the slash a name and its number begin. */
function beginsPair(bytes: Buffer, from: number, to: number): boolean {
  let at = from;
  while (at < to && kindOf[bytes[at]!] === LETTER) at++;
  return at > from && bytes[at] === EQUALS;
}

/** Megatron's `number of nan iterations: 0`: what is counted is no value. */
const isCountOf = (bytes: Buffer, at: number): boolean =>
  bytes.toString('latin1', at - 10, at) === 'number of ';
const mayBeWord = (bytes: Buffer, at: number, to: number): boolean => {
  if (at + 2 >= to) return false;
  const first = bytes[at]! | 0x20;
  if (first === 0x6e) return (bytes[at + 1]! | 0x20) === 0x61 && (bytes[at + 2]! | 0x20) === 0x6e;
  return first === 0x69 && (bytes[at + 1]! | 0x20) === 0x6e && (bytes[at + 2]! | 0x20) === 0x66;
};

const isBlank = (bytes: Buffer, from: number, to: number): boolean => {
  for (let at = from; at < to; at++) if (kindOf[bytes[at]!] !== BLANK) return false;
  return true;
};

/**
 * Where a cell ends that has no number and that nothing parts from the name of its loss: `val loss -`, `train loss None, val loss`,
 * `loss , time`, and `val loss ???` in a line of its own; -1 elsewhere.
 */
function endOfNoValue(bytes: Buffer, from: number, to: number, isAlone: boolean): number {
  const byte = bytes[from]!;
  if (byte === COMMA) return kindOf[bytes[from - 1]!] === BLANK && !isAlone ? from : -1;
  if (byte !== MINUS && isMark(byte)) {
    const end = isAlone ? endOfCell(bytes, from + 1, to) : to;
    return isAlone && isBlank(bytes, end, to) ? end : -1;
  }
  let end = from;
  if (byte === MINUS) end += bytes[from + 1] === MINUS ? 2 : 1;
  else if (kindOf[byte] === LETTER) {
    while (end < to && end <= from + 4 && kindOf[bytes[end]!] !== BLANK && bytes[end] !== COMMA) end++;
    if (!NO_VALUE.test(bytes.toString('latin1', from, end))) return -1;
  } else return -1;
  return bytes[end] === COMMA || isBlank(bytes, end, to) ? end : -1;
}

/** Whether `[` stands before a place, or blanks after it. */
function opensSquare(bytes: Buffer, from: number, at: number): boolean {
  let before = at - 1;
  while (before >= from && kindOf[bytes[before]!] === BLANK) before--;
  return before >= from && bytes[before] === OPEN_SQUARE;
}

/** Whether `-50]` follows. */
function isRange(bytes: Buffer, from: number, to: number): boolean {
  let start = from + 1;
  while (start < to && kindOf[bytes[start]!] === BLANK) start++;
  let at = start;
  while (at < to && kindOf[bytes[at]!] === DIGIT) at++;
  return at > start && bytes[at] === CLOSE_SQUARE;
}

/** Whether the rest of a line is one word or number. */
function isLastCell(bytes: Buffer, from: number, to: number): boolean {
  let at = from;
  while (at < to && kindOf[bytes[at]!] === BLANK) at++;
  const start = at;
  while (at < to && kindOf[bytes[at]!] !== BLANK && bytes[at] !== BAR) at++;
  return at > start && isBlank(bytes, at, to);
}
