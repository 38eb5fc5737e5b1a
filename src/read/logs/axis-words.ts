/**
 * The one table of the names of an axis, for printed lines and for tables (CSV, JSON, Parquet): which of them count steps,
 * epochs or episodes, and which is best where a record has several.
 */
import { wordsOf } from '../../model/words.ts';
import { means } from './text/words.ts';

/** A name in the form in which the table has it: `GlobalStep`, `global step` and `global-step` are `global_step`. */
export const axisName = (name: string): string =>
  name
    .trim()
    .replace(/([a-z\d])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replace(/[\s-]+/g, '_');

/** What counts steps, the best first: what counts the whole run comes before what counts a part of it. */
const STEP_WORDS = [
  /^global_steps?$/,
  /^total_timesteps$/,
  /^(?:n_?|num_)updates?$/,
  /^updates?$/,
  /^steps?$/,
  /steps?$/,
  /^(?:n_|num_|training_|train_)?(?:iter(?:ation)?s?|itr|it)$/,
  /./,
];
/** Of whose steps: `env_step`, `optimizer_step`, `trainer/global_step`, W&B's `_step`. */
const OWNER =
  /^_$|^(?:train(?:er)?\/)?(?:global_?|(?:env|train|training|cur|current|opt|optimizer|n|num)_)?$/;
/** A total is one of steps so far where it moves. */
const WORD =
  /(?:(?:[^/]{1,60}\/)?total_timesteps|total[_/]steps|timesteps?|steps?|iter(?:ation)?s?|itr|it|mini_?batch(?:es)?|batch(?:es)?|n?updates?|rounds?|up|permille)(?:_(?:id|idx|num|no|index|count)|_in_(?:epoch|slice))?$/;
const EPOCHS = new Set(['epoch', 'epochs', 'ep', 'current_epoch', 'train/epoch', 'n_epoch']);
/** Of reinforcement learning, where a log has no step. */
const EPISODES = new Set(['episode', 'episodes']);

export type AxisUse = 'step' | 'epoch' | 'episode';

/** What a name counts; undefined where it is a value. */
export function axisUseOf(name: string): AxisUse | undefined {
  const own = axisName(name);
  if (EPOCHS.has(own)) return 'epoch';
  if (EPISODES.has(own)) return 'episode';
  const word = WORD.exec(own);
  return word !== null && OWNER.test(own.slice(0, word.index)) ? 'step' : undefined;
}

/** How good a name of a counter of steps is: 0 is the best. */
export function stepRank(name: string): number {
  const own = axisName(name).replace(/^(?:.*\/|_)/, '');
  return STEP_WORDS.findIndex((pattern) => pattern.test(own));
}

/** Whether a column is one of the axes that rows are counted by. */
export function isAxisName(name: string): boolean {
  const use = axisUseOf(name);
  return use === 'step' || use === 'epoch';
}

/** Seconds since 1970. */
const TIMES = new Set(['_timestamp', 'timestamp', 'wall_time', 'walltime']);
/** Names of a clock, where its values are seconds since 1970: many logs have durations under them. */
const CLOCKS = new Set(['time', 'ts']);

/** Whether a column says when a row was written. */
export const isTimeName = (name: string): boolean => TIMES.has(axisName(name));
/** The same, or a name of durations in other logs. */
export const mayBeTime = (name: string): boolean => isTimeName(name) || CLOCKS.has(axisName(name));

/** Words of a number of things so far: `tokens`, `num_env_steps_sampled`, `total_steps`. */
const AMOUNTS = new Set(['tokens', 'samples', 'total', 'num', 'number', 'count', 'counts']);
/** Meanings of words that rise evenly and count no steps. */
const MEASURED = ['resource', 'rate', 'metric', 'thing', 'rank'] as const;

/** Whether a name is of what may rise evenly and counts no steps. */
export const isMeasured = (name: string): boolean =>
  wordsOf(name).some((word) => !AMOUNTS.has(word) && MEASURED.some((meaning) => means(word, meaning)));

/** Share of the strides of a counter without a known name that are the commonest one. */
const LEAST_EVEN = 0.8;

/** Whether cells are whole numbers that rise by one stride; those of restarts and of another stride are few. */
export function isCounter(cells: Float64Array): boolean {
  if (cells.length < 3) return false;
  for (let k = 0; k < cells.length; k++) if (!(Number.isInteger(cells[k]!) && cells[k]! >= 0)) return false;
  const strides = new Map<number, number>();
  // Of the same stride again and again the rows are counted together.
  for (let k = 1, from = 1; k < cells.length; k++) {
    const stride = cells[k]! - cells[k - 1]!;
    if (k + 1 < cells.length && cells[k + 1]! - cells[k]! === stride) continue;
    strides.set(stride, (strides.get(stride) ?? 0) + k + 1 - from);
    from = k + 1;
  }
  let most = 0;
  for (const [stride, count] of strides) if (stride > 0 && count > most) most = count;
  return most >= LEAST_EVEN * (cells.length - 1);
}
