/**
 * Words that name a loss, found in a single scan of the bytes. Deliberately its own short list, apart from the vocabulary of the
 * log formats: a word that those forget must not be forgotten here too.
 */

/** Each of them counts anywhere in a name (`train_loss`, `LossMean`), in any case. */
const ANYWHERE = ['loss'];
/** These count only as a whole part of a name: `nll`, `val/nll`, but not `null`. */
const WHOLE = [
  'nll',
  'xent',
  'bce',
  'cost',
  'perplexity',
  'ppl',
  'trl',
  'perte',
  'verlust',
  'perdita',
  'pérdida',
  'perda',
];

/** Names that hold the word and measure something else, by what is before or after it. */
const NO_LOSS =
  /loss(?:es)?[ _.-]?(?:scal|weight|wt\b|coef|lambda|ratio|fn|func|type|name|mode|reduc|time|window|mask|aware|y\b|less|spike|factor|alpha|beta|gamma|config|cfg|class|module|kwargs|args)|(?:packet|data|stop|weight|heat|power|no|hair|hearing|precision)[ _.-]loss|(?:time|memory|compute)[ _.-]cost/i;

/** Parts of a name, or words just before it, that say data which is not trained on. */
const EVALUATION =
  /(?:^|[^a-z])(?:val|valid|validation|validating|vali|eval|evaluation|evaluate|evaluating|test|tst|testing|dev|heldout|held|holdout|ood)(?:$|[^a-z])|^(?:val|valid|test|eval|dev)loss/i;

interface Word {
  readonly bytes: Uint8Array;
  readonly whole: boolean;
}

/** Words by their last two bytes: one look-up a byte decides whether anything ends there. */
const BY_END: (readonly Word[] | undefined)[] = new Array(1 << 16);
export const ENDS = new Uint8Array(1 << 16);
/** Whether a byte is the second of any of those two. */
export const WORD_ENDS = new Uint8Array(256);
for (const [list, whole] of [
  [ANYWHERE, false],
  [WHOLE, true],
] as const)
  for (const word of list) {
    const lower = Buffer.from(word);
    const [a, b] = [lower.at(-2)!, lower.at(-1)!];
    for (const first of [a, a - 32])
      for (const second of [b, b - 32]) {
        const key = (first << 8) | second;
        BY_END[key] = [...(BY_END[key] ?? []), { bytes: lower, whole }];
        ENDS[key] = 1;
        WORD_ENDS[second] = 1;
      }
  }

const isLetter = (byte: number | undefined): boolean =>
  byte !== undefined && (((byte | 32) >= 97 && (byte | 32) <= 122) || byte >= 0x80);

/** Whether a loss-like word ends at `end` (exclusive) of bytes whose last two select candidates; its length, else 0. */
export function lossWordBefore(bytes: Uint8Array, from: number, end: number): number {
  const words = BY_END[(bytes[end - 2]! << 8) | bytes[end - 1]!];
  if (words === undefined) return 0;
  for (const { bytes: word, whole } of words) {
    const start = end - word.length;
    if (start < from) continue;
    let k = 0;
    while (k < word.length && (word[k] === bytes[start + k] || word[k] === (bytes[start + k]! | 32))) k++;
    if (k < word.length) continue;
    if (whole && (isLetter(bytes[start - 1]) || isLetter(bytes[end]))) continue;
    return word.length;
  }
  return 0;
}

/** What a name with a loss-like word in it is. */
export type NameKind = 'loss' | 'evaluation' | 'none';

/** @param before the words of the line just before the name, up to a number */
export const kindOfName = (name: string, before: string): NameKind =>
  NO_LOSS.test(name) || NO_LOSS.test(`${before} ${name}`)
    ? 'none'
    : EVALUATION.test(name) || EVALUATION.test(before)
      ? 'evaluation'
      : 'loss';
