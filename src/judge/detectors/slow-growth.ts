import { readerOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { NOT_NEGATIVE, POSITIVE, RATIO } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { rollingBand, scaleOf, windowFor } from '../incidents/bands.ts';
import { levelSaysLittle } from '../incidents/verdict.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'The loss grew too slowly for a jump to be seen. Compare the learning rate and the data before and after the onset, and keep the checkpoint from before it.';

export const slowGrowth = {
  id: 'slow-growth',
  title: 'The loss grows slowly above its best level',
  severity: 'note',
  thresholds: [
    {
      name: 'allowance',
      value: 1,
      unit: 'scales',
      range: NOT_NEGATIVE,
      origin:
        'excess that a level may have for nothing; half of the shift that is to be found (Page 1954), here two scales',
    },
    {
      name: 'alarm',
      value: 50,
      unit: 'scales, summed',
      range: POSITIVE,
      origin: 'a shift of two scales is found in 50 levels; noise with allowance 1 stays below 8',
    },
    {
      name: 'ratio',
      value: 1.1,
      unit: 'ratio to the best level',
      range: RATIO,
      origin:
        'healthy public runs move by up to a tenth between data shards and schedule phases; for a language model a tenth is much',
    },
  ],
  docs: {
    summary:
      'Against a frozen baseline, the best level so far, the loss has grown by a sum that noise does not reach.',
    details: `A rolling band follows slow growth and never complains. Here the baseline is the lowest median that the trailing window has had, and it
stays. CUSUM over medians of neighbours (a thousand a run at most): each adds its excess over the baseline in scales, less \`allowance\`, never below zero; at \`alarm\`, with the median of
the window \`ratio\` above the baseline, the growth is reported with the last step at which the sum was zero. Growth that is part of an
incident is left to its detector.`,
    advice,
    references: ['E. S. Page, Continuous inspection schemes, Biometrika 41, 1954'],
  },
  detect(run, { judged, threshold }) {
    if (judged.loss === null) return notApplicable('the log has no loss');
    const { series, attempts } = judged.loss;
    if (levelSaysLittle(run, series)) return notApplicable('such a loss rises in runs that go well');
    const findings = series.attemptOffsets.flatMap((offset, attempt) => {
      const { value, step } = attemptOf(series, attempt);
      const scale = scaleOf(value);
      // Medians of neighbours, 1,000 at most: growth is slow, and they carry less noise than points.
      const width = Math.ceil(value.length / 1000);
      const at = readerOf(value);
      const levels = Float64Array.from({ length: Math.floor(value.length / width) }, (_, k) =>
        scale.to(width === 1 ? at(k) : medianOf(value.subarray(k * width, (k + 1) * width))),
      );
      const { size, start } = windowFor(levels.length, judged.settings);
      const band = rollingBand(size, judged.settings.smallSample);
      const inIncident = (from: number, to: number): boolean =>
        attempts[attempt]!.incidents.some(
          ({ onset, recovered, form }) =>
            (form === 'jump' || to > onset) && from <= (recovered ?? Infinity) && to >= onset,
        );
      let best = Number.POSITIVE_INFINITY;
      let spread = 0;
      let sum = 0;
      let since = 0;
      for (let k = 0; k < levels.length; k++) {
        const y = levels[k]!;
        const i = Math.min(value.length, (k + 1) * width) - 1;
        if (!Number.isFinite(y)) continue;
        band.push(y);
        if (band.points < Math.max(start, size / 2)) continue;
        if (!(band.center > best)) {
          best = band.center;
          spread = band.scale;
          sum = 0;
        }
        if (sum === 0) since = k * width;
        // Clipped, so that one spike is not a growth.
        sum = Math.max(0, sum + Math.min((y - best) / spread, 4) - threshold('allowance'));
        if (!(sum > threshold('alarm') && band.center > scale.above(best, threshold('ratio'), spread)))
          continue;
        if (inIncident(since, i)) return [];
        const then = band.center;
        for (let rest = k + 1; rest < levels.length; rest++)
          if (Number.isFinite(levels[rest])) band.push(levels[rest]!);
        return findingAt(run, series, offset + since, offset + i, {
          id: 'slow-growth',
          severity: 'note',
          message: `"${series.name}" grows from its best level of ${formatNumber(scale.from(best))} from ${run.stepUnit} ${step.at(since)} on; its median is ${formatNumber(scale.from(then))} at ${run.stepUnit} ${step.at(i)} and ${formatNumber(scale.from(band.center))} at the end.`,
          measured: quantity('summed excess over the best level', sum, 'scales'),
          threshold: quantity('summed excess over the best level', threshold('alarm'), 'scales'),
          advice,
        });
      }
      return [];
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
