import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { RATIO } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { aucsOf } from '../incidents/signs.ts';
import type { JudgedRun } from '../incidents/verdict.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice = 'Keep the checkpoint of the best evaluation; regularise, stop earlier, or get more data.';

/** AUC that is lost at least, in evaluations each of which is lower than the one before, and how many they are. */
const [LOST, LOWER] = [0.01, 2];

export const overfit = {
  id: 'overfit',
  title: 'The eval loss rises while the training loss falls',
  severity: 'note',
  thresholds: [
    {
      name: 'ratio',
      value: 1.1,
      unit: 'ratio to the own minimum',
      range: RATIO,
      origin: 'evals of healthy public runs end within 3 % of their best',
    },
    {
      name: 'points',
      value: 8,
      unit: 'points',
      range: { min: 3, max: Number.POSITIVE_INFINITY, integer: true },
      origin: 'medians of three at the best and at the end, and some between',
    },
  ],
  docs: {
    summary:
      'Since its best evaluation the eval loss has risen by more than a tenth, and the training loss went on falling.',
    details: `The eval loss, of \`points\` evaluations and more, is smoothed by running medians of three. If it ends above \`ratio\` times its minimum, and the training loss ends lower than it was
at that minimum, the model learns the training set and nothing else. An AUC of an evaluation, however few they are, counts where it falls in ${LOWER} evaluations or more in a row to the end, by ${LOST} or more.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const loss = judged.loss?.series;
    const hasEvaluations = evaluationsOf(run).length > 0 || aucsOf(run).length > 0;
    if (!hasEvaluations || loss === undefined || loss.role === 'eval_loss')
      return notApplicable('needs a training loss and an eval loss or an AUC');
    const findings = risenEvaluations(run, judged, threshold('ratio'), threshold('points')).map(
      ({ series, from, to, best, end, ratio }) =>
        findingAt(run, series, from, to, {
          id: 'overfit',
          severity: 'note',
          message: `"${series.name}" has risen from ${formatNumber(best)} at ${run.stepUnit} ${series.step.at(from)} to ${formatNumber(end)} while "${loss.name}" went on falling.`,
          measured: quantity('end over the best', ratio, 'ratio'),
          threshold: quantity('end over the best', threshold('ratio'), 'ratio'),
          advice,
        }),
    );
    return outcomeOf([...findings, ...fallenAucs(run, judged)]);
  },
} as const satisfies Detector;

/** AUCs of an evaluation that fall from their best value to the end while the training loss falls: of few evaluations each one counts. */
function fallenAucs(run: Run, judged: Pick<JudgedRun, 'loss'>): Finding[] {
  const loss = judged.loss!.series;
  const attempt = run.attempts.length - 1;
  const training = attemptOf(loss, attempt);
  return aucsOf(run).flatMap((series) => {
    const { value, step } = attemptOf(series, attempt);
    const to = value.length - 1;
    let at = to;
    while (at > 0 && value.at(at - 1)! > value.at(at)!) at--;
    const [best, end] = [value.at(at)!, value.at(to)!];
    const isBest = value.every((one) => !(one > best));
    // An AUC that is logged as often as the loss is one of single batches.
    const isSparse = 2 * value.length <= training.value.length;
    if (!isSparse || !isBest || to - at < LOWER || !(best - end >= LOST)) return [];
    const [then, now] = [trainedUntil(training, step.at(at)!), trainedUntil(training, Infinity)];
    if (!(now < then)) return [];
    const offset = series.attemptOffsets[attempt] ?? 0;
    return findingAt(run, series, offset + at, offset + to, {
      id: 'overfit',
      severity: 'note',
      message: `"${series.name}" is best at ${run.stepUnit} ${step.at(at)} (${formatNumber(best)}) and falls in each of the ${to - at} evaluations after it, to ${formatNumber(end)}, while "${loss.name}" went on falling.`,
      measured: quantity('AUC lost since the best', best - end, 'AUC'),
      threshold: quantity('AUC lost since the best', LOST, 'AUC'),
      advice,
    });
  });
}

/** Level of the training loss up to a step. */
function trainedUntil(training: Pick<TimeSeries, 'step' | 'value'>, limit: number): number {
  const window = Math.max(3, Math.floor(training.value.length / 20));
  const end = training.step.findLastIndex((at) => at <= limit) + 1;
  return medianOf(training.value.subarray(Math.max(0, end - window), end));
}

/** An evaluation loss that rises from its best level to the end of the last attempt while the training loss falls. */
export interface RisenEvaluation {
  readonly series: TimeSeries;
  /** Positions in the series of its best level and of its last point. */
  readonly from: number;
  readonly to: number;
  /** What is logged there. */
  readonly best: number;
  readonly end: number;
  /** Of the running medians of three evaluations at the end and at their lowest. */
  readonly ratio: number;
  /** Levels of the training loss up to the best evaluation, and at the end. */
  readonly trainedThen: number;
  readonly trainedNow: number;
}

/**
 * The evaluation losses of the last attempt that rise from their best level while the training loss falls.
 *
 * @param least ratio of the level at the end to the best one that counts as a rise
 * @param points that a series needs
 * @returns none where the run has no training loss of its own
 */
export function risenEvaluations(
  run: Run,
  judged: Pick<JudgedRun, 'loss'>,
  least: number,
  points: number,
): readonly RisenEvaluation[] {
  const loss = judged.loss?.series;
  if (loss === undefined || loss.role === 'eval_loss') return [];
  const attempt = run.attempts.length - 1;
  const training = attemptOf(loss, attempt);
  return evaluationsOf(run).flatMap((series) => {
    const { value, step } = attemptOf(series, attempt);
    if (value.length < points) return [];
    const smooth = (i: number): number => medianOf(value.subarray(Math.max(0, i - 2), i + 1));
    let lowest = 2;
    for (let i = 3; i < value.length; i++) if (smooth(i) < smooth(lowest)) lowest = i;
    const ratio = smooth(value.length - 1) / smooth(lowest);
    // A single low evaluation is not the best level; of the three that are, the lowest is.
    const at = lowestOf(value, lowest - 2, lowest + 1);
    const [best, end] = [value.at(at)!, value.at(-1)!];
    const [trainedThen, trainedNow] = [
      trainedUntil(training, step.at(at)!),
      trainedUntil(training, Infinity),
    ];
    if (!(ratio > least && end > best && best > 0 && trainedNow < trainedThen)) return [];
    const offset = series.attemptOffsets[attempt] ?? 0;
    return [
      {
        series,
        from: offset + at,
        to: offset + value.length - 1,
        ...{ best, end, ratio, trainedThen, trainedNow },
      },
    ];
  });
}

/** The position of the lowest value from `from` to before `to`. */
function lowestOf(value: TimeSeries['value'], from: number, to: number): number {
  let at = from;
  for (let k = from + 1; k < to; k++) if (!(value.at(k)! >= value.at(at)!)) at = k;
  return at;
}

/** Losses of evaluations, without other measures that are printed like one. */
const evaluationsOf = (run: Run): readonly TimeSeries[] =>
  seriesOf(run, 'eval_loss').filter(({ lossLike }) => lossLike === undefined);
