/** What the slots of a printed line mean: which one counts, which ones are series, and under which names. */
import { wordsOf } from '../../model/words.ts';
import { axisName, axisUseOf } from './axis-words.ts';
import { SLOT } from './line-scanner.ts';
import { EVAL_WORDS, isLossName, TRAIN_WORDS } from './metric-roles.ts';
import type { Slot } from './text/cells.ts';

/** A slot as text. */
export interface RawSlot {
  readonly kind: number;
  /** The words before it; empty where there are none. */
  readonly text: string;
  /** Words follow where the number should be: of a loss a value that is none, or the heading of what comes. */
  readonly words?: boolean;
}

/** What a slot is for, and under which name. */
export type NamedSlot = Pick<Slot, 'use' | 'name'>;

/** How many there are or were, where lines do not show that it moves: `num_batches 500`, `total_steps 10000`. */
const AMOUNT = /^(?:num|n|total)_(?!timesteps$)/;
const RANK_NAME = /^(?:global |local )?(?:rank|local_rank|global_rank)$/i;
/** Words before the name of an axis that make something else of it: a limit, a duration, a share. */
const NO_AXIS =
  /(?:^|[\s/])(?:per|max|maximum|min|total|num|number|n|best|every|each|warmup|warm-up|save|log|last|time|sec|secs|seconds|ms|s|of|by|after|next|patience|accumulation)$/i;
/** `Training of Epoch 18`, `end of epoch 3`: the line is of it. */
const OF_AXIS =
  /(?:^|\s)(?:train(?:ing)?|valid(?:ation)?|eval(?:uation)?|test(?:ing)?|start|end|summary|results?) of$/i;
/** `episode steps: 200` is how long an episode was. */
const EPISODE_LENGTH = /(?:^|[\s_])(?:episode|ep) steps$/i;
const EPISODE = /^episodes?(?: (?:num|number|no|id|idx))?$/i;
/** What training has seen so far; a batch has as many in every line, and is told from it by that. */
const SEEN =
  /^(?:nsamp|(?:n|num|total|consumed|seen)_(?:samples|examples|tokens|frames|images|sequences)|kimg)$/i;
/** What names the number of an axis once more: `batch i: 3`, `epoch number: 3`, `step no. 3`. */
const NUMBER_WORD =
  /(?<=(?:epochs?|steps?|iter(?:ation)?|batch))[ _](?:i|id|idx|index|no\.?|nr\.?|num|number)$/i;
/** Words that tell nothing at the ends of a name. */
const LEADING = /^(?:the|and|with|at|for|of|on|in|current|is|a)\s+/i;
const TRAILING = /(?<!\s)\s+(?:is|was|at|of|to|on|in|for|after|by|the)$/i;

/** Words that a sentence has between others, and no name; what a loss improved by is no loss. */
const SENTENCE = /\s(?:(?:that|which|the|our|we|this)\s|(?:improved|decreased|increased)(?:\s|$))/i;

/** A name without what was printed around it. */
export function cleanName(text: string): string {
  let name = text
    // Which one of several is part of the name: `loss[2]`.
    .replace(/(?<=\w)[([](\d{1,4})[)\]]/g, '#$1')
    // `training [time: 12.1s, …`: in the bracket another name begins.
    .replace(/^[^([]*\s\[(?=[A-Za-z][\w ]*$)/, '')
    .replace(/(?<!\s)\s*[([][^()[\]]*[)\]]?/g, ' ')
    .replace(/\s+/g, ' ')
    .replace(/^[\s\-*>|:=.,•·▶]+|[\s\-*>|:=,]+$/g, '');
  for (let before = ''; before !== name; ) {
    before = name;
    name = name.replace(LEADING, '').replace(TRAILING, '');
  }
  return name;
}

/** Which axis the words name, and the words before its name. */
function axisOf(words: string): { use: 'step' | 'epoch' | 'rank'; head: string } | undefined {
  if (RANK_NAME.test(words)) return { use: 'rank', head: '' };
  const name = words.replace(NUMBER_WORD, '');
  const cut = name.lastIndexOf(' ');
  const last = axisName(name.slice(cut + 1)).replace(/[.#]$/, '');
  const head = cut < 0 ? '' : name.slice(0, cut);
  const counted = AMOUNT.test(last) ? undefined : axisUseOf(last);
  const use = counted === 'episode' ? undefined : counted;
  // FunASR's `total step: 6990` is how many there were; `total steps` are how many there shall be.
  const isSoFar = last === 'step' && /^total$/i.test(head);
  if (
    use === undefined ||
    (NO_AXIS.test(head) && !OF_AXIS.test(head) && !isSoFar) ||
    EPISODE_LENGTH.test(name)
  )
    return undefined;
  return { use, head };
}

const splitOf = (words: readonly string[]): 'eval' | 'train' | undefined =>
  words.some((word) => EVAL_WORDS.has(word))
    ? 'eval'
    : words.some((word) => TRAIN_WORDS.has(word))
      ? 'train'
      : undefined;

const withoutSplit = (words: readonly string[]): string =>
  words.filter((word) => !EVAL_WORDS.has(word) && !TRAIN_WORDS.has(word)).join(' ');

/** A name with the next number behind it that is not taken: a second loss of a line is no copy of the first. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  let count = 2;
  while (taken.has(`${name} ${count}`)) count++;
  return `${name} ${count}`;
}

/** A name that a line has already, with what was named before it, or of a loss with a number; undefined for other names. */
function otherName(name: string, of: string, taken: ReadonlySet<string>): string | undefined {
  if (of !== '' && !taken.has(`${of} ${name}`)) return `${of} ${name}`;
  return isLossName(name) ? freeName(name, taken) : undefined;
}

/** How the line of an Estimator's evaluation begins. */
const SAVES_DICT = /^saving dict\b/i;

/** The meaning of every slot of a line. */
export function nameSlots(raw: readonly RawSlot[]): NamedSlot[] {
  const named: NamedSlot[] = [];
  const taken = new Set<string>();
  /** The evaluation that the line is of, as it is printed. */
  let context = '';
  /** The last words without a number that name a loss, and the last ones of any kind. */
  let lossLead = '';
  let lastLead = '';
  /** What the last loss was of. */
  let lastTask = '';
  /** Words before an axis: of `loss at step 3: 0.5` the name of the number that comes next. */
  let pending = '';
  /** Names without the word that says that they are of an evaluation: a line that has `val_loss` has a `loss` too. */
  const evaluated = new Set(
    (SAVES_DICT.test(raw[0]?.text ?? '') ? [] : raw).flatMap(({ text }) => {
      const words = wordsOf(cleanName(text));
      return words.some((word) => EVAL_WORDS.has(word)) ? [withoutSplit(words)] : [];
    }),
  );

  const look = (text: string): void => {
    const words = wordsOf(text);
    const split = words.length > 5 ? undefined : splitOf(words);
    // The dictionary that an Estimator saves is that of an evaluation.
    if (SAVES_DICT.test(text)) context = 'eval';
    else if (split === 'eval') context = words.find((word) => EVAL_WORDS.has(word))!;
    else if (split === 'train') context = '';
  };
  const value = (name: string): NamedSlot => {
    const words = wordsOf(name);
    let full = name;
    if (lossLead !== '' && words.every((word) => EVAL_WORDS.has(word) || TRAIN_WORDS.has(word)))
      full = `${lossLead} ${name}`;
    const fullWords = wordsOf(full);
    if (
      context !== '' &&
      !fullWords.some((word) => EVAL_WORDS.has(word)) &&
      !evaluated.has(withoutSplit(fullWords))
    )
      full = `${context} ${full}`;
    if (taken.has(full)) {
      // Said once more in a line, it is of what was said last: `task ctr loss 0.5 auc 0.7; task cvr loss 0.4 auc 0.8`.
      const other = otherName(full, lastLead === '' && !isLossName(full) ? lastTask : lastLead, taken);
      if (other === undefined) return { use: 'none', name };
      full = other;
    }
    taken.add(full);
    if (isLossName(full)) lastTask = / loss$/i.test(full) ? full.slice(0, -' loss'.length) : '';
    // "loss train: 2.3, val: 2.4"
    if (isLossName(full)) {
      const bare = full
        .split(' ')
        .filter((word) => !TRAIN_WORDS.has(word.toLowerCase()) && !EVAL_WORDS.has(word.toLowerCase()));
      if (bare.length > 0 && bare.length < full.split(' ').length) lossLead = bare.join(' ');
    }
    return { use: 'value', name: full };
  };

  // In a line that has no other counter: `Episode 10  Average reward: 3.5` of reinforcement learning, `nsamp = 12800, loss = 3.6`.
  const countsAlone = (k: number): boolean =>
    (EPISODE.test(cleanName(raw[k]!.text)) || SEEN.test(cleanName(raw[k]!.text))) &&
    raw.every(
      ({ kind, text }, i) =>
        i === k || (kind !== SLOT.counter && kind !== SLOT.bare && axisOf(cleanName(text)) === undefined),
    );

  raw.forEach(({ kind, text, words: heading }, k): void => {
    const name = cleanName(text);
    if (heading === true && isLossName(name)) lossLead = name;
    if (kind === SLOT.lead) {
      look(name);
      const axis = axisOf(name);
      if (axis === undefined) lastLead = name;
      if (isLossName(name)) lossLead = name;
      named.push({ use: 'none', name });
      return;
    }
    if (kind === SLOT.bare) {
      if (k === 0) named.push({ use: 'index', name: 'iteration' });
      else if (pending !== '') {
        named.push(value(pending));
        pending = '';
      } else named.push({ use: 'none', name });
      return;
    }
    // `[3/300][10/1251]`, `Train: [3/300][10/1251]`: the second counter starts again with each count of the first.
    const before = raw[k + 1];
    const holds =
      k === 0 && kind === SLOT.counter && before?.kind === SLOT.counter && cleanName(before.text) === '';
    if (name === '') {
      named.push(
        holds
          ? { use: 'epoch', name: 'epoch' }
          : { use: kind === SLOT.counter ? 'count' : 'none', name: 'batch' },
      );
      return;
    }
    const axis = axisOf(name);
    if (axis !== undefined) {
      look(axis.head);
      if (isLossName(axis.head)) pending = cleanName(axis.head);
      named.push({ use: axis.use, name: name.slice(axis.head.length).trim() });
      return;
    }
    const words = wordsOf(name);
    const onlySplit = words.every((word) => EVAL_WORDS.has(word) || TRAIN_WORDS.has(word));
    if (kind === SLOT.counter && holds && onlySplit) {
      look(name);
      named.push({ use: 'epoch', name: 'epoch' });
      return;
    }
    if (kind === SLOT.counter) {
      look(name);
      named.push(
        onlySplit || k === 0 || /\b(?:training|processing|progress)\b|^data$/i.test(name)
          ? { use: 'count', name: 'batch' }
          : { use: 'none', name },
      );
      return;
    }
    // timm: `Train: 0 [ 0/1251 (0%)]`; SELFRec: `training: 1 batch 0`
    if (onlySplit && lossLead === '' && k === 0) {
      look(name);
      const next = raw[1];
      const holdsNext =
        next !== undefined &&
        (next.kind === SLOT.counter || (next.kind === SLOT.named && /^batch$/i.test(cleanName(next.text))));
      named.push({ use: holdsNext ? 'epoch' : 'none', name: 'epoch' });
      return;
    }
    if (countsAlone(k)) {
      named.push({ use: 'step', name });
      return;
    }
    const isSentence = name.split(' ').length > 6 || name.length > 120 || SENTENCE.test(name);
    named.push(isSentence ? { use: 'none', name } : value(name));
  });
  return named;
}
