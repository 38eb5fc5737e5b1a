/**
 * Lines of numbers that no word calls a loss: `      0/ 200000: 27.8817`, `#Iter=  3	Train=0.87	Test=0.91`. They are not
 * read, since nothing says which number is which; a refusal shows those that repeat most, and a `--pattern` for them.
 */

/** Lines that are looked at, kinds of them that are kept, and lines of a kind that are held against each other. */
const MOST_LINES = 2000;
const MOST_KINDS = 256;
const MOST_SAMPLES = 8;
const LEAST_SAMPLES = 4;
const LONGEST_LINE = 400;
const LONGEST_PATTERN = 400;

/** A number that stands by itself, or between a colon and a blank: none of a time, a date, a version or a name. */
const NUMBER =
  /(?<![\w./-]|[\d.]:)[-+]?(?:\d{1,20}(?:\.\d{0,20})?(?:e[-+]?\d{1,3})?|nan|inf)(?![\w-]|:\S|\.\w)/gi;
const ANY_NUMBER = '[-+.\\w]+';
/** A bar that tqdm draws: as long in each line as training has come. */
const BAR = /\|[\u2588-\u258f# ]{1,200}\|/g;
/** A clock or a rate, how much was done, or a setting. */
const NO_LOSS =
  /^(?:time|ms|secs?|eta|data|speed|mem|memory|lr|rate|progress|size|per|weights?|scale|coef\w{0,8}|lambda|betas?|gamma|momentum|decay|eps|epsilon|seed)$/i;
/** A measure of which more is better, or of how much was right. */
const METRIC =
  /^(?:acc\w{0,8}|auc|m?iou|map|precision|recall|f1|psnr|ssim|bleu|score|reward|return|correct)$/i;
/** The words of the last name of a text, without a verb behind it: `Pixel` and `accuracy` of `Pixel_accuracy is `. */
const lastWords = (text: string): string[] =>
  text
    .match(/[A-Za-z](?:[\w/.-]*[A-Za-z])?/g)
    ?.filter((word) => !/^(?:is|was|of|at)$/i.test(word))
    .at(-1)
    ?.split(/[^A-Za-z]+/) ?? [];

export interface Unnamed {
  readonly line: number;
  readonly text: string;
  readonly pattern: string;
}

export interface UnnamedLines {
  add(bytes: Buffer, from: number, to: number, line: number): void;
  /** The kind of lines that repeats most, with a number that counts before others. */
  likeliest(): Unnamed | undefined;
}

interface Kind {
  readonly line: number;
  readonly samples: string[];
  count: number;
}

export function unnamedLines(): UnnamedLines {
  const kinds = new Map<string, Kind>();
  let looked = 0;
  return {
    add(bytes, from, to, line) {
      if (looked >= MOST_LINES || to - from > LONGEST_LINE) return;
      looked++;
      const text = bytes.toString('utf8', from, to);
      if (!/\d/.test(text)) return;
      const shape = text.replace(BAR, '||').replace(NUMBER, '0').replace(/\d+/g, '0').replace(/\s+/g, ' ');
      // `nan` is a number and the 18 of `in18` is none, so lines of one shape may have other counts of them.
      const key = `${[...text.matchAll(NUMBER)].length} ${shape}`;
      const kind = kinds.get(key);
      if (kind !== undefined) {
        kind.count++;
        if (kind.samples.length < MOST_SAMPLES) kind.samples.push(text);
      } else if (kinds.size < MOST_KINDS) kinds.set(key, { line, samples: [text], count: 1 });
    },
    likeliest() {
      let best: { rank: number; found: Unnamed } | undefined;
      for (const { line, samples, count } of kinds.values()) {
        const told = samples.length < LEAST_SAMPLES ? undefined : patternFor(samples);
        if (told === undefined) continue;
        const rank = count + (told.counts ? MOST_LINES : 0);
        if (best === undefined || rank > best.rank)
          best = { rank, found: { line, text: samples[0]!, pattern: told.pattern } };
      }
      return best?.found;
    },
  };
}

/** An expression for lines of one kind; undefined where none of their numbers goes up and down as a loss does. */
function patternFor(samples: readonly string[]): { pattern: string; counts: boolean } | undefined {
  const rows = samples.map((sample) => [...sample.matchAll(NUMBER)]);
  const [first] = rows as [RegExpMatchArray[]];
  const places = [...first.keys()];
  const cells = (k: number): string[] => rows.map((row) => row[k]![0]);
  const step = places.find((k) => {
    const found = cells(k).map(Number);
    const { index, 0: printed } = first[k]!;
    // A share of what is to be done says less than the count behind it.
    if (samples[0]![index! + printed.length] === '%') return false;
    return found.every((one, i) => Number.isInteger(one) && (i === 0 || one > found[i - 1]!));
  });
  const before = (k: number): string => samples[0]!.slice(0, first[k]!.index);
  const likely = places.filter(
    (k) =>
      k !== step &&
      new Set(cells(k)).size > 1 &&
      cells(k).some((cell) => /[.e]|nan|inf/i.test(cell)) &&
      !lastWords(before(k)).some((word) => NO_LOSS.test(word) || METRIC.test(word)),
  );
  // Of a total and its parts the total.
  const loss =
    likely.find((k) => lastWords(before(k)).some((word) => /^tot(?:al)?$/i.test(word))) ?? likely[0];
  if (loss === undefined) return undefined;
  const text = samples[0]!;
  let pattern = '^';
  let at = 0;
  for (const k of places.slice(0, Math.max(loss, step ?? 0) + 1)) {
    const { index, 0: printed } = first[k]!;
    // The end of a sentence is no part of a step.
    const number = k === step ? printed.replace(/\.$/, '') : printed;
    pattern += literal(text.slice(at, index));
    // A step may be printed as `1.000e+03`.
    const counter = samples.every((_, row) => /^\d+\.?$/.test(rows[row]![k]![0])) ? '\\d+' : ANY_NUMBER;
    pattern += k === loss ? `(?<loss>${ANY_NUMBER})` : k === step ? `(?<step>${counter})` : ANY_NUMBER;
    at = index! + number.length;
  }
  return pattern.length > LONGEST_PATTERN ? undefined : { pattern, counts: step !== undefined };
}

/** Text between numbers: blanks fill columns, digits are those of a time or a date. A quote would end the argument of a shell. */
const literal = (text: string): string =>
  text
    .split(BAR)
    .map((part) =>
      part
        .replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
        .replace(/\d+/g, '\\d+')
        .replace(/\s+/g, '\\s*')
        .replaceAll("'", '.'),
    )
    .join('\\|[^|]*\\|');
