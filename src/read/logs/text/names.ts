/**
 * What the slots of a table are called: the words right before a number (`train loss: 2.3`), the words behind it
 * (`2.3 loss`), or the cell of a header above (`epoch | loss`).
 */
import { wordsOf } from '../../../model/words.ts';
import { inEnglish } from '../in-english.ts';
import { roleByName } from '../metric-roles.ts';
import { freeName } from '../slot-names.ts';
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
const PARTS = /[|;,\t{}<>]|\s{3,}|\s-{1,3}\s|:(?=\s*\S)|=(?=\s*\S)|\)|\]|\.\s/u;
/** A number in a call: `tensor(2.3)`, `np.float64(2.3)`. */
const WRAPPER =
  /^(?:tensor|array|np\.float\d*|np\.array|float\d*|jnp\.float\d*|Array|DeviceArray|tf\.Tensor)$/;
/** Words between a name and its number: `loss is 2.3`, `accuracy of 0.9`. */
const FILLER = /^(?:is|was|of|at|in|on|for|the|a|an|to|with|and|are|has|now|by|after|value|reached|became)$/i;
/** `train.py`, `main.cc`: the place of a log message. */
const FILE = /\.(?:py|cc|cpp|cu|c|h|go|rs|js|ts|lua|java|scala|jl|log|txt|sh|yaml|json)$/i;

/** What a container's runtime puts before each line: the stream and whether the line is whole. */
const STREAM = /\bstd(?:out|err) [FP] /;

const isWord = (text: string): boolean => /[A-Za-z\u00c0-\u1fff\u3040-\ufdff]/.test(text);

/** The words of a piece of text that may be (the end of) a name. */
function wordsIn(piece: string): string[] {
  return (piece.match(WORD) ?? []).filter((word) => !WRAPPER.test(word) && !FILE.test(word));
}

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
  const pieces = withoutEnd(whole, NAME_END).split(PARTS);
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

/** What a name counts; undefined where it is a value. */
function counterOf(full: string): Use | undefined {
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

/** Whether the words in front of a slot say that the line is of an evaluation: `Test: [3/100] loss 0.5`. */
function splitBefore(text: string): 'train' | 'eval' | undefined {
  let split: 'train' | 'eval' | undefined;
  for (const word of text.match(WORD) ?? []) {
    if (FILE.test(word) || word.includes('.')) continue;
    for (const part of wordsOf(inEnglish(word))) {
      if (means(part, 'eval')) split = 'eval';
      else if (means(part, 'train')) split = 'train';
    }
  }
  return split;
}

/** The text between the slots of a template, with the text before the first and behind the last. */
export function gapsOf({ sample, from, to }: Template): string[] {
  const gaps: string[] = [];
  let at = 0;
  for (let k = 0; k < from.length; k++) {
    gaps.push(sample.toString('utf8', at, from[k]));
    at = to[k]!;
  }
  gaps.push(sample.toString('utf8', at));
  // Colours of a terminal are no words.
  return gaps.map((gap) => gap.replace(/\u001b\[[\d;?]*[ -/]*[@-~]|#033\[[\d;]*m|#011/g, ' '));
}

/** The cells of a line of words that may be the header of a table: `epoch | train loss | val loss`. */
function headerCells(header: string): string[] {
  const trimmed = header.trim().replace(/^[|│┃+]|[|│┃+]$/g, '');
  const parted = /[|│┃;\t,]/.test(trimmed) ? trimmed.split(/[|│┃;\t,]/) : trimmed.split(/\s{2,}/);
  const cells = parted.map((cell) => cell.trim());
  if (cells.length > 1) return cells;
  return trimmed.split(/\s+/);
}

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
  const before = gaps.slice(0, count).map((gap, k) => {
    const glued = k > 0 && kind[k - 1] !== SLOT.clock && !/^\s/.test(gap);
    return kind[k] === SLOT.total ? '' : nameBefore(gap, glued, k > 0);
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
  const numbers = [...kind.keys()].filter((k) => kind[k] !== SLOT.clock && kind[k] !== SLOT.total);
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
  let text = '';
  return withoutTwins(
    numbers.map((k, at): Named => {
      text += gaps[k]!;
      const behind = isBehind ? nameBehind(gaps[kind[k + 1] === SLOT.total ? k + 2 : k + 1]!) : '';
      const own = header?.[at] ?? (isBehind ? behind : before[k]!);
      // A share, weight or power that was lost: packets, premiums, heat.
      const isShare = NO_LOSS_UNIT.test(template.sample.toString('latin1', to[k], to[k]! + 8));
      return named(own, k, text, { isShare, isCounter: kind[k + 1] === SLOT.total });
    }),
  );
}

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

/** The slots with a number behind each name that a line has twice: a second loss of a line is no copy of the first. */
function withoutTwins(slots: readonly Named[]): Named[] {
  const taken = new Set<string>();
  return slots.map((one) => {
    const isTwin = one.use === 'value' && one.loss !== undefined && taken.has(one.name);
    const name = isTwin ? freeName(one.name, taken) : one.name;
    taken.add(name);
    return isTwin ? { ...one, name } : one;
  });
}

/** A slot with its name, and what it is for. */
function named(
  own: string,
  column: number,
  text: string,
  { isShare, isCounter }: { isShare: boolean; isCounter: boolean },
): Named {
  const english = inEnglish(own);
  const words = wordsOf(english);
  const counter = counterOf(english);
  const slot = { column, ofColumn: isCounter ? column + 1 : -1, loss: undefined };
  if (counter !== undefined) return { ...slot, name: own, use: counter };
  if (isCounter && lossOf(english) === undefined)
    return { ...slot, name: own, use: own === '' ? 'count' : 'none' };
  const split = words.some((word) => means(word, 'eval') || means(word, 'train'))
    ? undefined
    : splitBefore(text.slice(0, Math.max(0, text.lastIndexOf(own))));
  const name = split === 'eval' && own !== '' ? `eval ${own}` : own;
  const loss = isShare || own === '' ? undefined : lossOf(name);
  return { ...slot, name, use: 'value', loss };
}
