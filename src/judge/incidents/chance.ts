/** The level of a guess: what a run has that says nothing of its rows, where the log or its configuration shows that level. */
import { arrayOf, varies } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { finiteOf, MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import { digitsOf } from '../../model/printed-digits.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import { BLOCKS, ERRORS, levelError, medianError } from './level-error.ts';
import { aucsOf } from './signs.ts';

/** Our numbers. Distance of an AUC from 0.5, evaluations that tell, and shares of ln K by which a loss may miss it, and at most. */
const CHANCE = { auc: 0.02, evaluations: 5, loss: 0.005, most: 0.02 };
/** Classes that a first loss may be chance for: of more, ln K is near any number. Significant digits that show it is. */
const EXACT = { classes: 100, digits: 6 };
/**
 * Classes that an accuracy shows at most, the share of 1/K by which it may miss it, and the share where it never moves: then it is
 * the share of the one class that is always said. An accuracy whose level is known to less than the last of them shows no chance.
 */
const ACCURACY = { classes: 1200, share: 0.02, still: 0.25, wide: 0.1 };
/** The last part of a run that has to be at chance. */
const LAST = 3;

/** A guess that the end of a run is no better than. */
export interface Chance {
  /** Loss of that guess; NaN where only a metric shows it. */
  readonly level: number;
  readonly why: string;
  /** Whether a second quantity shows it too. */
  readonly isTwice: boolean;
}

/** The chance level that a log or its configuration shows, and that the losses of an attempt are at where they end; null without one. */
export function chanceOf(run: Run, attempt: number, values: Float64Array): Chance | null {
  return (
    aucAtChance(run, attempt) ??
    exactChance(run, attempt) ??
    byAccuracy(run, attempt, values) ??
    byClasses(run, values)
  );
}

/** The last third, and as many points as have an error at least. */
const endOf = (values: Float64Array): Float64Array =>
  values.subarray(-Math.max(BLOCKS, Math.ceil(values.length / LAST)));

/** Whether the end of losses is at a level: above it by little, below it by no more than its errors and what was printed. */
function isAt(values: Float64Array, level: number): boolean {
  return [endOf(values), values.subarray(-Math.max(BLOCKS, Math.floor(values.length / 10)))].every((part) => {
    const error = Math.min(CHANCE.most * level, ERRORS * levelError(part));
    const above = medianOf(part) - level;
    const decimals = Math.max(...[...finiteOf(part)].map((one) => digitsOf(one).decimals));
    const printed = Math.min(CHANCE.loss * level, 0.5 * 10 ** -decimals);
    return above <= Math.max(CHANCE.loss * level, error) && -above <= Math.max(printed, error);
  });
}

/** An AUC that ranks nothing, from its first point to its last. */
function aucAtChance(run: Run, attempt: number): Chance | null {
  for (const auc of aucsOf(run)) {
    const { value } = attemptOf(auc, attempt);
    if (value.length >= CHANCE.evaluations && value.every((one) => Math.abs(one - 0.5) <= CHANCE.auc))
      return {
        level: Number.NaN,
        why: `"${auc.name}" is at chance from its first point to its last (${formatNumber(value.at(-1)!)})`,
        isTwice: false,
      };
  }
  return null;
}

/**
 * A loss of the run whose first point is ln K to six digits, which a net says that gives every class the same, and whose last points
 * are there still. A net that was trained does not begin with that number.
 */
function exactChance(run: Run, attempt: number): Chance | null {
  for (const series of run.series) {
    if (series.role !== 'loss' && series.role !== 'task_loss') continue;
    const values = arrayOf(attemptOf(series, attempt).value);
    const classes = Math.round(Math.exp(values[0] ?? 0));
    if (!(classes >= 2 && classes <= EXACT.classes) || digitsOf(values[0]!).digits < EXACT.digits) continue;
    const level = Math.log(classes);
    if (Number(level.toPrecision(EXACT.digits)) !== Number(values[0]!.toPrecision(EXACT.digits))) continue;
    const end = medianOf(finiteOf(values.subarray(-Math.ceil(values.length / 10))));
    if (Math.abs(end - level) <= CHANCE.loss * level)
      return {
        level: Number.NaN,
        why: `"${series.name}" begins at exactly ln ${classes} = ${formatNumber(level)}, which is chance for ${classes} classes, and is at ${formatNumber(end)} to the end`,
        isTwice: false,
      };
  }
  return null;
}

const isAccuracy = ({ role, name }: TimeSeries): boolean => {
  const words = wordsOf(name);
  return (
    role === 'metric' &&
    words.some((word) => /^(?:acc(?:uracy)?(?:@?1)?|(?:top|prec)@?1)$/.test(word)) &&
    !words.some((word) => /^\D*(?:[2-9]|\d\d+)$/.test(word))
  );
};

/** Words of an accuracy of the whole task: that of one benchmark, class or head has further ones, and may be at chance for long. */
const WHOLE_TASK =
  /^(?:acc(?:uracy)?(?:@?1)?|(?:top|prec)@?1|val(?:id(?:ation)?)?|eval(?:uation)?|test|dev|sparse|categorical|binary|mean|avg|epoch)$/;
/** Share of its evaluations whose level shows where an accuracy begins, and where it ends. */
const PART = 3;

/**
 * The number of classes that an accuracy is at chance for, from its first point to its last; null where it is not, or where it hardly
 * ever moves: it is the share of one class then.
 *
 * @param points of one attempt, as shares or in per cent
 */
export function classesAtChance(series: TimeSeries, points: Float64Array): number | null {
  if (!isAccuracy(series) || !wordsOf(series.name).every((word) => WHOLE_TASK.test(word))) return null;
  const value = finiteOf(points);
  if (value.length < 2 * CHANCE.evaluations || value.length < points.length) return null;
  const level = medianOf(value);
  const whole = value.some((one) => one > 1) ? 100 : 1;
  const classes = Math.round(whole / level);
  if (!(classes >= 2 && classes <= ACCURACY.classes)) return null;
  const guess = whole / classes;
  const part = Math.floor(value.length / PART);
  const noise = MAD_TO_SIGMA * medianOf(value.map((one) => Math.abs(one - level)));
  const isAtGuess = [value, value.subarray(0, part), value.subarray(-part)].every((some) => {
    const error = ERRORS * medianError(noise, some.length);
    return Math.abs(medianOf(some) - guess) <= Math.max(ACCURACY.share * guess, error);
  });
  // A noise as wide as the guess itself shows no level.
  return isAtGuess && noise > 0 && ERRORS * medianError(noise, value.length) <= ACCURACY.wide * guess
    ? classes
    : null;
}

/** A loss at ln K, while every accuracy is at 1/K: both are what a net has that says the same of every row. */
function byAccuracy(run: Run, attempt: number, values: Float64Array): Chance | null {
  const accuracies = run.series
    .filter(isAccuracy)
    .map((one) => endOf(finiteOf(arrayOf(attemptOf(one, attempt).value))))
    .filter(({ length }) => length >= CHANCE.evaluations);
  if (accuracies.length === 0) return null;
  // 0.1 or 10 %: of ten classes.
  const shares = accuracies.map((value) => medianOf(value));
  const classes = Math.round(Math.exp(medianOf(endOf(values))));
  if (!(classes >= 2 && classes <= ACCURACY.classes) || !isAt(values, Math.log(classes))) return null;
  const isGuess = accuracies.every((value, k) => {
    const own = Math.abs(shares[k]! * classes - 1) > Math.abs(shares[k]! * classes - 100) ? 0.01 : 1;
    const away = Math.abs(own * shares[k]! * classes - 1);
    const error = ERRORS * own * levelError(value) * classes;
    return away <= (varies(value) ? ACCURACY.share + Math.min(error, ACCURACY.still) : ACCURACY.still);
  });
  return isGuess ? ofClasses(classes, values, `its accuracy at ${formatNumber(shares[0]!)}`, true) : null;
}

/** A loss at ln K where the configuration says that there are K classes. */
function byClasses(run: Run, values: Float64Array): Chance | null {
  for (const [name, value] of run.hyperparameters) {
    const classes = Number(value);
    if (!/(^|[^a-z])(num|n)_?(classes|labels)$/i.test(name) || !(classes >= 2)) continue;
    if (isAt(values, Math.log(classes))) return ofClasses(classes, values, `${name} = ${classes}`, false);
  }
  return null;
}

function ofClasses(classes: number, values: Float64Array, shown: string, isTwice: boolean): Chance {
  const level = Math.log(classes);
  const end = formatNumber(medianOf(endOf(values)));
  const guess = `chance for ${classes} classes (ln ${classes} = ${formatNumber(level)})`;
  return {
    level,
    why: isTwice
      ? `the loss is at ${end} to the end and ${shown}, which is ${guess}`
      : `the loss is at ${end} to the end, which is ${guess}; ${shown}`,
    isTwice,
  };
}
