/**
 * The last stage of reading a text: what a reader of known layouts refused, read without a loss, or read in part, is read
 * once more as tables of whatever lines it has. A reading replaces another only where it plainly holds more of the log.
 */
import type { LogContent, LoggedSeries } from '../format.ts';
import { isErrorMeasure, isLossName, isRankingMeasure } from '../metric-roles.ts';
import { sameButForPrefix } from './guess.ts';
import type { ReadText } from './read-text.ts';
import type { TextLog } from './table.ts';

/** So many times the records make another reading the log. */
const MANY_MORE = 4;
/** Of two points nobody judges a run. */
const FEW = 3;
const ENOUGH = 10;

const isJudged = ({ name, quantity }: LoggedSeries): boolean => {
  const measure = quantity ?? name;
  return isLossName(measure) || isErrorMeasure(measure) || isRankingMeasure(measure);
};

/** The series of a loss with the most points; undefined where no series has any. */
export function mostOfLoss({ runs }: Pick<LogContent, 'runs'>): LoggedSeries | undefined {
  return runs
    .flatMap(({ series }) => series)
    .filter((one) => isJudged(one) && one.value.length > 0)
    .reduce<LoggedSeries | undefined>(
      (most, one) => (most === undefined || one.value.length > most.value.length ? one : most),
      undefined,
    );
}

/** Share of the lines that name a loss which a reading may leave without a second look: headings, sums, best values. */
const LEFT = 0.05;

/** Share of the bytes of a log that were skipped and are worth a second look. */
const MUCH = 0.2;

/**
 * Whether a text is worth a second reading.
 *
 * @param first what a reader of known layouts found
 * @param lossLines lines that name a loss
 */
export function isDoubtful(first: LogContent, lossLines: number): boolean {
  const loss = mostOfLoss(first);
  const { passedOver, bytes } = first.account;
  if (passedOver > MUCH * bytes) return true;
  return loss === undefined || lossLines > loss.value.length * (1 + LEFT) + 2;
}

/**
 * Whether a table is a damaged one, and not printed text with commas: of text only the rows do not fit, of a table also its
 * header or the column of its loss.
 */
export const isDamaged = ({ errors, account, runs }: LogContent): boolean =>
  errors.some(({ id }) => id !== 'log-lines-bad') ||
  (runs.some(({ series }) => series.some(isJudged)) &&
    (errors.length > 0 ||
      account.lost.length > 0 ||
      runs.some(({ series }) => series.some((one) => one.refused > 0 && isJudged(one)))));

/** Whether all points of a series are in another: the same lines, and in them the same numbers. */
function holds(more: LoggedSeries, less: LoggedSeries): boolean {
  if (less.line === undefined || more.line === undefined) return false;
  const values = new Map<number, number>();
  for (let k = 0; k < more.value.length; k++) values.set(more.line.at(k)!, more.value.at(k)!);
  return less.line.every((line, k) => Object.is(values.get(line), less.value.at(k)));
}

const isBar = ({ template }: TextLog['members'][number]): boolean =>
  /^\s*\d+\/\d+ \[[=>.]*\] - /.test(template.sample.toString('latin1', 0, 80));

/**
 * Whether the second reading of a text is the better one.
 *
 * @param mayGuess whether a loss that no word names counts: not in a table of another format
 */
export function isBetter(second: ReadText, first: LogContent, mayGuess: boolean): boolean {
  const { log } = second;
  if (log === undefined || (log.by === 'guess' && !mayGuess)) return false;
  const known = mostOfLoss(first);
  if (known === undefined) return true;
  if (log.by === 'guess') return false;
  const points = known.value.length;
  // The bars of Keras are drawn over and over until their epoch, which the first reading has, is known.
  if (points >= FEW && log.members.every(isBar)) return false;
  // What nothing counts is no better than a loss at its steps.
  const isCounted = first.runs.some(({ stepUnit, series }) => stepUnit !== 'row' && series.includes(known));
  if (isCounted && points >= ENOUGH && second.runs.every(({ stepUnit }) => stepUnit === 'row')) return false;
  if (points < FEW ? log.rows >= ENOUGH : log.rows >= MANY_MORE * points) return true;
  const loss = log.series.find(({ name }) => name === log.loss);
  if (loss === undefined || log.rows <= points || !holds(loss, known)) return false;
  // Numbers with a separator of thousands, each refused by itself: `1,234.5`.
  if (known.refused > 0) return known.refused >= FEW && loss.value.length === points + known.refused;
  // The lines that were left are the same ones with something before them.
  const lines = new Set(known.line);
  const isRead = ({ template }: (typeof log.members)[number]): boolean =>
    lines.has(template.line.finish().at(0)!);
  const read = log.members.filter(isRead);
  const left = log.members.filter((one) => !isRead(one));
  const rows = left.reduce((sum, one) => sum + one.rows.count, 0);
  return rows >= FEW && left.every((one) => read.some((base) => sameButForPrefix(one, base)));
}
