/** Tables (CSV, JSON) that may be printed lines with commas: read once more as text, where that plainly holds more of the log. */
import type { LogContent, LoggedSeries } from '../format.ts';
import { isErrorMeasure, isLossName, isRankingMeasure } from '../metric-roles.ts';

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

/** Whether what text says is the better reading of a table. A guess is not. */
export function isBetter(text: LogContent, table: LogContent): boolean {
  const [told, known] = [mostOfLoss(text), mostOfLoss(table)];
  if (told === undefined || text.readBy?.how === 'guess') return false;
  if (known === undefined || text.readBy?.how === 'layout') return true;
  const points = known.value.length;
  const rows = told.value.length;
  // What nothing counts is no better than a loss at its steps.
  const isCounted = table.runs.some(({ stepUnit, series }) => stepUnit !== 'row' && series.includes(known));
  if (isCounted && points >= ENOUGH && text.runs.every(({ stepUnit }) => stepUnit === 'row')) return false;
  return points < FEW ? rows >= ENOUGH : rows >= MANY_MORE * points;
}
