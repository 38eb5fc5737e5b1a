import { arrayOf, type Column, evenly, readerOf } from '../../model/column.ts';
import type { Quantity } from '../../model/finding.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { COUNT, SHARE } from '../../model/options.ts';
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { classesAtChance } from '../incidents/chance.ts';
import { rewardsOf } from '../incidents/rewards.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { aucsOf } from '../incidents/signs.ts';
import { levelSaysLittle } from '../incidents/verdict.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'Check that gradients reach every layer, that the optimizer has the parameters that are trained, that its learning rate is not zero, and that labels belong to their rows.';

interface Still {
  readonly series: TimeSeries;
  /** Indices into the whole series. */
  readonly from: number;
  readonly to: number;
  readonly message: string;
  readonly measured: Quantity;
  readonly limit: number;
}

/** Scales of the noise by which the highest of a few points exceeds it, as for a spike. */
const OUTLIER = 6;
/** Minimum number of points of a level at the start or the end. */
const LEVEL = 20;

export const nothingLearnt = {
  id: 'nothing-learnt',
  title: 'The loss, its gradient or a metric does not move: nothing is learnt, or nothing more',
  severity: 'note',
  thresholds: [
    {
      name: 'points',
      value: 50,
      unit: 'points',
      range: COUNT,
      origin: 'a loss printed with few digits repeats a value some times, not so often',
    },
    {
      name: 'aucPoints',
      value: 5,
      unit: 'points',
      range: COUNT,
      origin: 'the first evaluations of a run that learns may be at chance',
    },
    ...verdictThresholds('chance'),
    {
      name: 'fall',
      value: 0.02,
      unit: 'share of the first level',
      range: SHARE,
      origin: 'the median of 20 points with 5 % of noise is off by 1.4 %',
    },
  ],
  docs: {
    summary: 'No jump and no climb: the loss, its gradient or a metric of the whole task does not move.',
    details: `In the last attempt: an AUC within \`chance\` of 0.5 from its first point to its last, \`aucPoints\` of them at least; an accuracy of the whole task at 1/K from its first point to its last, twice as many at least; a gradient norm that is exactly 0, or a loss
that is exactly the same number, for \`points\` points and a tenth of the run, to the end; and a loss that begins with the run, and whose last quarter has a median less than \`fall\`
below that of its first ${LEVEL} points, none of which stands out of the noise. Losses that rise in runs that go well are left out, and so are runs with rewards, whose losses need not fall.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const last = run.attempts.length - 1;
    const norms = seriesOf(run, 'grad_norm');
    const loss = judged.loss?.series;
    const aucs = aucsOf(run);
    if (loss === undefined && norms.length === 0 && aucs.length === 0)
      return notApplicable('the log has no loss, no gradient norm and no AUC');
    // Where it is proven it is an error, and said there.
    if (judged.neverLearned !== null) return outcomeOf([]);
    const unit = run.stepUnit;
    const found: Still[] = [];

    found.push(...aucsAtChance(run, threshold('aucPoints'), threshold('chance')), ...accuraciesAtChance(run));

    /** The equal points at the end of the last attempt; null where they are too few. */
    const still = (series: TimeSeries): { from: number; value: number; points: number } | null => {
      const { value } = attemptOf(series, last);
      const end = value.at(-1);
      if (end === undefined || !Number.isFinite(end)) return null;
      const at = readerOf(value);
      let from = value.length - 1;
      while (from > 0 && at(from - 1) === end) from--;
      const points = value.length - from;
      return points >= Math.max(threshold('points'), value.length / 10) ? { from, value: end, points } : null;
    };
    for (const series of [...norms, ...(loss === undefined ? [] : [loss])]) {
      const end = still(series);
      const isLoss = series === loss;
      // Zeros of a loss belong to dead-run, or are its goal.
      if (end === null || (isLoss ? end.value === 0 : end.value !== 0)) continue;
      const offset = series.attemptOffsets[last]!;
      const from = attemptOf(series, last).step.at(end.from);
      found.push({
        series,
        from: offset + end.from,
        to: offset + end.from + end.points - 1,
        message: `"${series.name}" is exactly ${formatNumber(end.value)} from ${unit} ${from} to the end (${countedPlain(end.points, 'point')}): ${isLoss ? 'the weights do not change, or the loss is not theirs' : 'no gradient reaches the weights'}.`,
        measured: quantity('equal points to the end', end.points, 'points'),
        limit: threshold('points'),
      });
    }

    if (
      loss !== undefined &&
      found.length === 0 &&
      rewardsOf(run).length === 0 &&
      !levelSaysLittle(run, loss)
    ) {
      const { value, step } = attemptOf(loss, last);
      const quarter = value.length >> 2;
      const first = medianOf(value.subarray(0, LEVEL));
      const ending = evenly(value, value.length - quarter, value.length, LOOKED_AT);
      const end = medianOf(ending);
      // A series that begins later starts from trained weights.
      const begins = step.length > 0 && step.at(0)! <= step.at(-1)! / 20;
      if (quarter >= LEVEL && begins && last === 0 && judged.verdict.class === 'healthy' && first > 0) {
        const fall = 1 - end / first;
        // Learning within a few points counts: the first of them exceeds the noise.
        const highest = Math.max(...arrayOf(value.subarray(0, LEVEL)));
        const noise = MAD_TO_SIGMA * medianOf(ending.map((one) => Math.abs(one - end)));
        if (fall < threshold('fall') && highest <= end + threshold('fall') * first + OUTLIER * noise) {
          const offset = loss.attemptOffsets[last]!;
          found.push({
            series: loss,
            from: offset,
            to: offset + value.length - 1,
            message: `"${loss.name}" does not fall: ${formatNumber(first)} at first, ${formatNumber(end)} at the end. Unless the run began with trained weights, nothing is learnt.`,
            measured: quantity('fall of the loss', fall, 'share of the first level'),
            limit: threshold('fall'),
          });
        }
      }
    }
    return outcomeOf(
      found.map(({ series, from, to, message, measured, limit }) =>
        findingAt(run, series, from, to, {
          id: 'nothing-learnt',
          severity: 'note',
          message,
          measured,
          threshold: { ...measured, value: limit },
          advice,
        }),
      ),
    );
  },
} as const satisfies Detector;

/** Where a metric of the last attempt is, from its first point to its last. */
const allOf = (run: Run, series: TimeSeries): { from: number; to: number; where: string } => {
  const attempt = run.attempts.length - 1;
  const from = series.attemptOffsets[attempt]!;
  const { step } = attemptOf(series, attempt);
  const where = `from its first point, at ${run.stepUnit} ${step.at(0)}, to its last, at ${run.stepUnit} ${step.at(-1)}`;
  return { from, to: from + step.length - 1, where };
};

/** AUCs that rank nothing. @param points that one needs @param chance largest distance from 0.5 */
const aucsAtChance = (run: Run, points: number, chance: number): Still[] =>
  aucsOf(run).flatMap((series) => {
    const { value } = attemptOf(series, run.attempts.length - 1);
    const furthest = furthestFrom(value, 0.5);
    if (value.length < points || !(furthest <= chance)) return [];
    const { where, ...range } = allOf(run, series);
    return {
      series,
      ...range,
      message: `"${series.name}" is at chance ${where} (${formatNumber(value.at(-1)!)}): nothing that ranks is learnt.`,
      measured: quantity('distance from 0.5', furthest, 'AUC'),
      limit: chance,
    };
  });

/** Accuracies that are those of a guess. */
const accuraciesAtChance = (run: Run): Still[] =>
  seriesOf(run, 'metric').flatMap((series) => {
    const values = arrayOf(attemptOf(series, run.attempts.length - 1).value);
    const classes = classesAtChance(series, values);
    if (classes === null) return [];
    const { where, ...range } = allOf(run, series);
    const level = medianOf(values);
    return {
      series,
      ...range,
      message: `"${series.name}" is ${formatNumber(level)} ${where}: chance for ${classes} classes.`,
      measured: quantity('level of the accuracy', level, 'accuracy'),
      limit: level,
    };
  });

/** The largest distance of a point; NaN where one is not finite. */
function furthestFrom(value: Column, center: number): number {
  let furthest = 0;
  const at = readerOf(value);
  for (let i = 0; i < value.length; i++) furthest = Math.max(furthest, Math.abs(at(i) - center));
  return furthest;
}

/** Points of a level that are used: more add no information, and in a log of millions they would take its memory again. */
const LOOKED_AT = 1000;
