/**
 * What the slots of a table are called: the words right before a number (`train loss: 2.3`), the words behind it
 * (`2.3 loss`), or the cell of a header above (`epoch | loss`).
 */
import { wordsOf } from '../../../model/words.ts';
import { axisUseOf } from '../axis-words.ts';
import { inEnglish } from '../in-english.ts';
import { endOfStamp, withoutStamp } from '../line-prefix.ts';
import { roleByName } from '../metric-roles.ts';
import type { Slot, Use } from './cells.ts';
import type { Template } from './templates.ts';
import { SLOT } from './tokens.ts';
import { means, NO_LOSS_UNIT, type WordMeaning } from './words.ts';

/** A slot with its name; its column is its index in its template. */
export interface Named extends Slot {
  /** A loss by its name: of training or of an evaluation. */
  readonly loss: 'train' | 'eval' | undefined;
}

/** Words of a name that are kept. */
const MOST_WORDS = 5;
const LONGEST_NAME = 80;
/** A word of a name, in any script. */
const WORD =
  /[A-Za-z\u00c0-\u1fff\u3040-\ufdff_][A-Za-z\u00c0-\u1fff\u3040-\ufdff\d_]*(?:[./@'&+-][A-Za-z\u00c0-\u1fff\u3040-\ufdff\d_]+)*/g;
/** What parts one name from the next. */
const PARTS = /[|;,\t{}<>]|\[(?=[A-Za-z])|\s{3,}|\s-{1,3}\s|:(?=\s*\S)|=(?=\s*\S)|\)|\]|\.\s/u;
/** A number in a call: `tensor(2.3)`, `np.float64(2.3)`. */
const WRAPPER =
  /^(?:tensor|array|np\.float\d*|np\.array|float\d*|jnp\.float\d*|Array|DeviceArray|tf\.Tensor)$/;
/** Words between a name and its number: `loss is 2.3`, `accuracy of 0.9`. */
const FILLER =
  /^(?:is|was|of|at|in|on|for|the|a|an|to|with|and|are|has|now|by|after|reached|became|current)$/i;
/** `train.py`, `main.cc`: the place of a log message. */
const FILE = /\.(?:py|cc|cpp|cu|c|h|go|rs|js|ts|lua|java|scala|jl|log|txt|sh|yaml|json)$/i;

/** What a container's runtime puts before each line: the stream and whether the line is whole. */
const STREAM = /\bstd(?:out|err) [FP] /;

const isWord = (text: string): boolean => /[A-Za-z\u00c0-\u1fff\u3040-\ufdff]/.test(text);

/** The words of a piece of text that may be (the end of) a name. */
function wordsIn(piece: string): string[] {
  return (piece.match(WORD) ?? []).filter((word) => !WRAPPER.test(word) && !FILE.test(word));
}

/** `Loss --> 2.3`, `loss => 2.3`. */
const ARROW = /\s(?:-{1,3}|={1,3})>\s{0,4}$/;
/** What may come between a name and its number. */
const NAME_END = ` \t\r\n:=(['"`;

/** A text without the characters at its end that are among some: a loop, since an expression would look back again. */
function withoutEnd(text: string, characters: string): string {
  let end = text.length;
  while (end > 0 && characters.includes(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** `loss (train): ` as `loss train`: words in a bracket at the end are part of the name. */
function withoutBracket(text: string): string {
  const end = withoutEnd(text, ' \t\r\n:=');
  if (!end.endsWith(')')) return text;
  const inner = end.slice(end.lastIndexOf('(') + 1, -1);
  return isWord(inner) && !inner.includes(')') ? text.replace(/[()]/g, ' ') : text;
}

/** The name in the text between one number and the next. */
function nameBefore(gap: string, glued: boolean, isBehindNumber: boolean): string {
  // A unit that is glued to the number before, or the rest of its word: `3.2it/s`, `12th`.
  const text = gap.replace(STREAM, ' ');
  const rest = glued ? text.replace(/^[A-Za-z\u00c0-\u1fff\u3040-\ufdff%°/]+/, ' ') : text;
  const whole = withoutBracket(rest);
  const pieces = withoutEnd(whole.replace(ARROW, ' '), NAME_END).split(PARTS);
  const last = pieces.at(-1) ?? '';
  const words = wordsIn(last);
  // The unit of the number before: `812.4 samples/s  loss: 2.3`.
  if (pieces.length === 1 && isBehindNumber && words.length > 1 && isUnit(words[0]!)) words.shift();
  words.splice(0, words.slice(0, -1).findLastIndex(isLevel) + 1);
  while (words.length > 1 && FILLER.test(words.at(-1)!)) words.pop();
  const begin = words.findLastIndex((word) => FILLER.test(word));
  const kept = words.slice(begin + 1).slice(-MOST_WORDS);
  return kept.join(' ').slice(0, LONGEST_NAME);
}

/**
 * A value that is named before its counter: `Train loss @epoch 1: 0.4`, `validation loss at step 500: 3.2`.
 *
 * @param gap the text before the counter
 * @param between the text between the counter and the value
 */
function nameAtCounter(gap: string, between: string): { counter: string; name: string } | undefined {
  if (!/^\s{0,8}[:=]\s{0,8}$/.test(between)) return undefined;
  const words = wordsIn(withoutEnd(gap, NAME_END).split(PARTS).at(-1) ?? '');
  words.splice(0, words.slice(0, -1).findLastIndex(isLevel) + 1);
  const counter = words.pop();
  if (counter === undefined || !['epoch', 'step', 'count'].some((use) => counterOf(counter) === use))
    return undefined;
  while (words.length > 0 && FILLER.test(words.at(-1)!)) words.pop();
  const name = words.slice(-MOST_WORDS).join(' ').slice(0, LONGEST_NAME);
  return lossOf(name) === undefined ? undefined : { counter, name };
}

/** The first words behind a number, up to the next mark: `2.3 loss, 0.4 acc`. */
const nameBehind = (gap: string): string =>
  wordsIn((/^\s*([^|;,:=()[\]{}]*)/u.exec(gap)?.[1] ?? '').trim())
    .slice(0, 3)
    .join(' ');

/** `P10947 INFO Train loss`: what a logger puts before its message ends with the level, in capitals. */
const isLevel = (word: string): boolean => word === word.toUpperCase() && means(word.toLowerCase(), 'level');

const has = (words: readonly string[], meaning: WordMeaning): boolean =>
  words.some((word) => means(word, meaning));

/** Words before the name of an axis that make a limit, a duration or a share of it. */
const NO_COUNTER =
  /(?:^|\s)(?:per|max|maximum|min|num|number|n|best|every|each|warmup|save|log|last|time|by|after|next|patience|accumulation)\s+\S+$/i;
/** `epoch no. 3`, `batch id: 4`. */
const NUMBER_WORD = /[\s_](?:i|id|idx|index|no|nr|num|number)$/i;

/** How many there are or were, where lines do not show that it moves: `num_batches 500`, `total_steps 10000`. */
const AMOUNT = /^(?:num|n|total)_(?!timesteps$)|(?:^|[\s_])(?:episode|ep) steps$/i;
/** What a name counts; undefined where it is a value. */
function counterOf(full: string): Use | undefined {
  const use = axisUseOf(full.replace(NUMBER_WORD, ''));
  if (AMOUNT.test(full)) return undefined;
  if (use === 'epoch' || use === 'step') return use;
  if (use === 'episode') return undefined;
  if (NO_COUNTER.test(full)) return undefined;
  const name = full.replace(NUMBER_WORD, '');
  const words = wordsOf(name);
  const last = words.at(-1) ?? '';
  const only = words.length <= 3 && roleByName(name) === 'other';
  if (!only && !means(last, 'step') && !means(last, 'epoch')) return undefined;
  if (has(words, 'resource') || has(words, 'loss')) return undefined;
  if (means(last, 'epoch') || (words.length <= 2 && has(words, 'epoch'))) return 'epoch';
  if (means(last, 'step') || (words.length <= 2 && has(words, 'step'))) return 'step';
  if (means(last, 'batch') || (words.length <= 2 && has(words, 'batch'))) return 'count';
  if (means(last, 'rank')) return 'rank';
  return undefined;
}

/** Which loss a name is of; undefined where it is not a loss. */
export function lossOf(name: string): 'train' | 'eval' | undefined {
  const role = roleByName(name);
  return role === 'loss-like' ? 'train' : role === 'eval_loss' ? 'eval' : undefined;
}

/** The text between the slots of a template, with the text before the first and behind the last, without a stamp. */
export function gapsOf({ sample, from, to }: Template): string[] {
  const gaps: string[] = [];
  let at = endOfStamp(sample);
  for (let k = 0; k < from.length; k++) {
    gaps.push(sample.toString('utf8', at, Math.max(at, from[k]!)));
    at = Math.max(at, to[k]!);
  }
  gaps.push(sample.toString('utf8', at));
  // Colours of a terminal are no words.
  return gaps.map((gap) => gap.replace(/\u001b\[[\d;?]*[ -/]*[@-~]|#033\[[\d;]*m|#011/g, ' '));
}

/** The cells of a line of words that may be the header of a table: `epoch | train loss | val loss`. */
function headerCells(header: string): string[] {
  const trimmed = withoutStamp(header)
    .trim()
    .replace(/^[|│┃+]|[|│┃+]$/g, '');
  const parted = /[|│┃;\t,]/.test(trimmed) ? trimmed.split(/[|│┃;\t,]/) : trimmed.split(/\s{2,}/);
  const cells = parted.map((cell) => cell.trim());
  if (cells.length > 1) return cells;
  return trimmed.split(/\s+/);
}

/** How many words of the first line are in no name. */
export const spareWords = (template: Template, slots: readonly Named[]): number =>
  Math.max(
    0,
    wordsIn(gapsOf(template).join(' ')).length -
      slots.reduce((sum, { name }) => sum + wordsIn(name).length, 0),
  );

/** Names of slots that have none, from the header above their first line, where it has a cell for each. */
function namesOfHeader(template: Template, slots: number): string[] | undefined {
  const cells = headerCells(template.header);
  return slots > 1 && cells.length === slots && cells.every((cell) => isWord(cell)) ? cells : undefined;
}

/** `s`, `samples/s`, `MB`: the unit of the number before it. */
const isUnit = (name: string): boolean =>
  name.includes('/') || wordsOf(name).every((word) => means(word, 'resource'));

/** The names and uses of the slots of a template. */
export function nameSlots(template: Template): Named[] {
  const gaps = gapsOf(template);
  const { kind, to } = template;
  const count = kind.length;
  const stamp = endOfStamp(template.sample);
  const begin = to.findIndex((end) => end > stamp);
  const before = gaps.slice(0, count).map((gap, k) => {
    const glued = k > begin && kind[k - 1] !== SLOT.clock && !/^\s/.test(gap);
    return kind[k] === SLOT.total ? '' : nameBefore(gap, glued, k > begin);
  });
  for (let k = 0; k + 1 < count; k++) {
    const shared = before[k + 1] === '' ? nameAtCounter(gaps[k]!, gaps[k + 1]!) : undefined;
    if (shared !== undefined) [before[k], before[k + 1]] = [shared.counter, shared.name];
  }
  nameListed(before, gaps);
  for (let k = 0; k + 1 < count; k++)
    if (isIndex(gaps[k]!, gaps[k + 1]!) && lossOf(before[k]!) !== undefined) {
      const index = template.sample.toString('latin1', template.from[k], to[k]);
      [before[k], before[k + 1]] = ['', `${before[k]}#${index}`];
    }
  const numbers = [...kind.keys()].filter(
    (k) => kind[k] !== SLOT.clock && kind[k] !== SLOT.total && to[k]! > stamp,
  );
  const header = numbers.every((k) => before[k] === '') ? namesOfHeader(template, numbers.length) : undefined;
  // `0.31 loss, 0.9 acc`: where no word comes before the first number and words follow each.
  const first = numbers[0];
  const isBehind =
    header === undefined &&
    first !== undefined &&
    !isWord(gaps.slice(0, first + 1).join('')) &&
    !gaps.slice(1, count).some((gap) => /[:=]\s*$/.test(gap)) &&
    !isUnit(nameBehind(gaps[count]!)) &&
    numbers.every((k) => nameBehind(gaps[kind[k + 1] === SLOT.total ? k + 2 : k + 1]!) !== '');
  // `[3/300][10/1251]`: the second counter starts again with each count of the first.
  const held = numbers.findIndex((k, at) => {
    const next = numbers[at + 1];
    const areCounters = kind[k + 1] === SLOT.total && next === k + 2 && kind[next + 1] === SLOT.total;
    return areCounters && /^\W*$/.test(gaps[next]!) && wordsOf(inEnglish(before[k]!)).every(ofSplit);
  });
  if (held >= 0) {
    const k = numbers[held]!;
    [before[k], gaps[k]] = ['epoch', `${gaps[k]} epoch`];
  }
  /** `… 3.29 loss, 0.41 s`, and `train CrossEntropyLoss | 2.31` at the end of a line. */
  const lossBeside = (k: number): string => {
    const behind = nameBehind(gaps[k + 1]!);
    if (lossOf(behind) !== undefined && (before[k + 1] ?? '') === '') return behind;
    const cell =
      k === count - 1 && gaps[count]!.trim() === ''
        ? nameBefore(gaps[k]!.replace(/\|\s{0,8}$/, ''), false, k > 0)
        : '';
    return lossOf(cell) === undefined ? '' : cell;
  };
  const context = new Context(template, header ?? before);
  const named = numbers.map((k, at): Named => {
    const behind = isBehind ? nameBehind(gaps[kind[k + 1] === SLOT.total ? k + 2 : k + 1]!) : '';
    const own = header?.[at] ?? (isBehind ? behind : before[k] || lossBeside(k));
    // A share, weight, power or price that was lost (packets, premiums, heat), an address, a version that is asked for.
    const isShare =
      /^x[\dA-Fa-f]/.test(gaps[k + 1]!) ||
      /(?:[$€£]|==)\s?$/.test(gaps[k]!) ||
      NO_LOSS_UNIT.test(template.sample.toString('latin1', to[k], to[k]! + 8));
    const text = gaps.slice((numbers[at - 1] ?? -1) + 1, k + 1).join(' ');
    const isMeasured = isUnit(/^[A-Za-z]+/.exec(gaps[k + 1]!)?.[0] ?? 'loss');
    const isDone = /^%\s?\|/.test(gaps[k + 1]!);
    return context.name(own, k, text, { isShare, isCounter: kind[k + 1] === SLOT.total, isMeasured, isDone });
  });
  const isCounted = named.some(({ use }) => use !== 'value' && use !== 'none');
  const isTold = named.some(({ use, name }) => use === 'value' && roleByName(name) !== 'other');
  return isCounted || !isTold
    ? named
    : named.map((one) => (COUNTS_ALONE.test(one.name) ? { ...one, use: 'step' } : one));
}

/** In a line that has no other counter: `Episode 10  Average reward: 3.5`, and what training has seen so far. */
const COUNTS_ALONE =
  /^(?:episodes?(?: (?:num|number|no|id|idx))?|nsamp|kimg|(?:n|num|total|consumed|seen)_(?:samples|examples|tokens|frames|images|sequences))$/i;

/** Names one after the other before their numbers: `loss_a,loss_b 7.18 5.51`. */
const LISTED = /(?:^|[\s|;])([A-Za-z_]\w{0,40}(?:[,/][A-Za-z_]\w{0,40}){1,9})[:=]?\s{0,4}$/;

/** Gives each number of a row the name that a list before the first of them has for it. */
function nameListed(before: string[], gaps: readonly string[]): void {
  for (let k = 0; k < before.length; k++) {
    const listed = (LISTED.exec(gaps[k]!)?.[1] ?? '').split(/[,/]/);
    const rest = before.slice(k + 1, k + listed.length);
    const isRow = rest.every((name, at) => name === '' && /^[\s,/]{1,8}$/.test(gaps[k + 1 + at]!));
    if (listed.length < 2 || rest.length < listed.length - 1 || !isRow || before[k + listed.length] === '')
      continue;
    before.splice(k, listed.length, ...listed);
  }
}

/** Whether a number in a bracket says which one of several the name before it is of: `loss[2]: 0.4`. */
const isIndex = (before: string, behind: string): boolean =>
  /[A-Za-z\u00c0-\u1fff\u3040-\ufdff\d_][([]$/.test(before) && /^[)\]]\s{0,4}[:=]\s{0,4}$/.test(behind);

/** A name with the next number behind it that is not taken: a second loss of a line is no copy of the first. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  let count = 2;
  while (taken.has(`${name} ${count}`)) count++;
  return `${name} ${count}`;
}

/** The dictionary that an Estimator saves is that of an evaluation. */
const SAVES_DICT = /\bsaving dict\b/i;
/** More words than this are a sentence, which names no data. */
const MOST_HEADING = 5;

const ofSplit = (word: string): boolean => means(word, 'eval') || means(word, 'train');
const withoutSplit = (words: readonly string[]): string => words.filter((word) => !ofSplit(word)).join(' ');

/** What is counted on the way through the data. */
const OF_DATA = /\b(?:training|processing|progress)\b|^data$/i;

/** What the words of a line say of the numbers behind them: `Test: [3/100] loss 0.5`, `loss train: 2.3, val: 2.4`. */
class Context {
  /** The evaluation that the numbers are of, as it is printed. */
  private of = '';
  /** The last loss, without its data, and what it is of: `loss`, `task ctr`. */
  private loss = '';
  private task = '';
  private readonly taken = new Set<string>();
  /** Names of an evaluation without the word for it: a line that has `val_loss` has a `loss` too. */
  private readonly evaluated: ReadonlySet<string>;

  constructor({ sample }: Template, names: readonly string[]) {
    const isSaved = SAVES_DICT.test(sample.toString('latin1', 0, 200));
    if (isSaved) this.of = 'eval';
    const words = isSaved ? [] : names.map((name) => wordsOf(inEnglish(name)));
    this.evaluated = new Set(words.filter((one) => has(one, 'eval')).map(withoutSplit));
  }

  /** Looks at text that does not name a value. */
  private look(text: string): void {
    for (const piece of text.split(PARTS)) {
      const parts = (piece.match(WORD) ?? []).filter((word) => !FILE.test(word) && !word.includes('.'));
      const words = parts.flatMap((word) => wordsOf(inEnglish(word)));
      if (words.length > MOST_HEADING) continue;
      const found = words.findLast((word) => means(word, 'eval'));
      if (found !== undefined) this.of = found;
      else if (has(words, 'train')) this.of = '';
    }
  }

  /** A slot with its name, and what it is for. */
  name(
    own: string,
    column: number,
    text: string,
    {
      isShare,
      isCounter,
      isMeasured,
      isDone,
    }: Record<'isShare' | 'isCounter' | 'isMeasured' | 'isDone', boolean>,
  ): Named {
    const english = inEnglish(own);
    const counter = counterOf(english);
    const slot = { column, ofColumn: isCounter ? column + 1 : -1, loss: undefined };
    if (counter !== undefined || (isCounter && lossOf(english) === undefined)) {
      this.look(text);
      const isAlone =
        wordsOf(english).every(ofSplit) || OF_DATA.test(english) || (this.taken.size === 0 && column === 0);
      return { ...slot, name: own, use: counter ?? (isAlone ? 'count' : 'none') };
    }
    // `validating:  48%|███  | 10/21 [loss: 2.3]`: how far a bar is drawn, and what of.
    if (isDone && own !== '' && wordsOf(english).every(ofSplit)) {
      this.look(text);
      return { ...slot, name: own, use: 'none' };
    }
    if (own === '' && isMeasured) return { ...slot, name: own, use: 'none' };
    this.look(text.slice(0, Math.max(0, own === '' ? text.length : text.lastIndexOf(own.split(' ')[0]!))));
    const name = own === '' ? own : this.full(own, wordsOf(english));
    const loss = own === '' ? undefined : lossOf(inEnglish(name));
    return isShare && loss !== undefined
      ? { ...slot, name, use: 'none' }
      : { ...slot, name, use: 'value', loss };
  }

  /** The name of a value with what the line says of it. */
  private full(own: string, words: readonly string[]): string {
    const isData = words.length > 0 && words.every(ofSplit);
    let name = isData && this.loss !== '' ? `${this.loss} ${own}` : own;
    if (this.of !== '' && !has(words, 'eval') && !this.evaluated.has(withoutSplit(words)))
      name = `${this.of} ${name}`;
    const isLoss = lossOf(inEnglish(name)) !== undefined;
    if (this.taken.has(name)) {
      // Said once more in a line, it is of what was said last: `task ctr loss 0.5 auc 0.7; task cvr loss 0.4 auc 0.8`.
      const other = isLoss || this.task === '' ? name : `${this.task} ${name}`;
      name = this.taken.has(other) && isLoss ? freeName(name, this.taken) : other;
    }
    this.taken.add(name);
    if (isLoss) {
      this.task = / loss$/i.test(name) ? name.slice(0, -' loss'.length) : '';
      const bare = name.split(' ').filter((word) => !ofSplit(word.toLowerCase()));
      if (bare.length > 0 && bare.length < name.split(' ').length) this.loss = bare.join(' ');
    }
    return name;
  }
}
