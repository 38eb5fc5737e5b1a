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

/** Bytes of the shortest word. */
const WINDOW = 3;
/** Words by the last two of their first {@link WINDOW} bytes; how far a search may go on from any two bytes (Wu and Manber 1994). */
const BY_PAIR: (readonly Word[] | undefined)[] = new Array(1 << 16);
const STRIDE = new Uint8Array(1 << 16).fill(WINDOW - 1);
for (const [list, whole] of [
  [ANYWHERE, false],
  [WHOLE, true],
] as const)
  for (const word of list) {
    const lower = Buffer.from(word);
    for (let k = 1; k < WINDOW; k++)
      for (const first of [lower[k - 1]!, lower[k - 1]! - 32])
        for (const second of [lower[k]!, lower[k]! - 32]) {
          const pair = (first << 8) | second;
          STRIDE[pair] = Math.min(STRIDE[pair]!, WINDOW - 1 - k);
          if (k === WINDOW - 1) BY_PAIR[pair] = [...(BY_PAIR[pair] ?? []), { bytes: lower, whole }];
        }
  }

const isLetter = (byte: number | undefined): boolean =>
  byte !== undefined && (((byte | 32) >= 97 && (byte | 32) <= 122) || byte >= 0x80);

function isWordAt(bytes: Uint8Array, at: number, to: number, { bytes: word, whole }: Word): boolean {
  const end = at + word.length;
  if (end > to) return false;
  for (let k = 0; k < word.length; k++)
    if (word[k] !== bytes[at + k] && word[k] !== (bytes[at + k]! | 32)) return false;
  return !whole || !(isLetter(bytes[at - 1]) || isLetter(bytes[end]));
}

/** Where the first loss-like word of [from, to) ends; infinite where there is none. */
export function lossWordEnd(bytes: Uint8Array, from: number, to: number): number {
  for (let last = from + WINDOW - 1; last < to; ) {
    const pair = (bytes[last - 1]! << 8) | bytes[last]!;
    const step = STRIDE[pair]!;
    last += step;
    if (step > 0) continue;
    const at = last - WINDOW + 1;
    for (const word of BY_PAIR[pair]!) if (isWordAt(bytes, at, to, word)) return at + word.bytes.length;
    last++;
  }
  return Number.POSITIVE_INFINITY;
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
