import { countedPlain } from '../../model/format-number.ts';
import { missingCells } from '../../model/missing-cells.ts';
import { COUNT } from '../../model/options.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import type { VerdictSettings } from '../incidents/settings.ts';
import { columnStop } from '../incidents/signs.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'Suspect NaN: JSON writes it as `null`, and pandas as an empty cell. Look at the console output of these steps. If the loss is not computed there, log it in every row, or in a steady rhythm.';

/** The gaps of a loss, without the stretch after its last value if that is reported as a column that stops. */
function gapsOf(run: Run, series: TimeSeries, settings: VerdictSettings): Uint32Array | undefined {
  const { gaps, value, step, role } = series;
  if (gaps === undefined || value.length === 0 || !(gaps[value.length]! > 0)) return gaps;
  const last = step.at(value.length - 1)!;
  const goesOn = run.series.some(
    (other) => other !== series && other.role === role && other.step.at(other.step.length - 1)! > last,
  );
  // Many logs end with a summary in a separate row, which has no learning rate either.
  const isSummary =
    gaps[value.length] === 1 &&
    run.series.some(
      (other) =>
        other.role === 'learning_rate' &&
        other.step.at(other.step.length - 1) === last &&
        other.gaps?.[other.value.length] === 1,
    );
  if (role !== 'eval_loss' && !goesOn && !isSummary && columnStop(run, series, settings) === null)
    return gaps;
  const inside = gaps.slice();
  inside[value.length] = 0;
  return inside;
}

export const missingLoss = {
  id: 'missing-loss',
  title: 'Values of a loss are missing while its rows go on',
  severity: 'error',
  thresholds: [
    {
      name: 'missingValues',
      value: 1,
      unit: 'values',
      range: COUNT,
      origin: 'ours: one NaN in the loss is an error, and so is one that was written as nothing',
    },
  ],
  docs: {
    summary: 'Rows of a loss say that there is no value: NaN written as `null` or as an empty cell.',
    details: `Counts the cells of every loss that say that there is no value (\`null\`, empty, \`NA\`), in rows of the kind that it is logged in.
A regular pattern is not a gap: an evaluation every hundred rows, a value in every second row. A stretch of more than twice the usual distance is. It takes
\`missingValues\` of them. A loss that is
missing to the end is a column that stops, or one that goes on under another name; an evaluation that is missing at the end is not counted.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const losses = seriesOf(run, 'loss', 'task_loss', 'eval_loss').filter(({ value }) => value.length > 0);
    if (losses.length === 0) return notApplicable('the log has no loss');
    const least = threshold('missingValues');
    return outcomeOf(
      losses.flatMap((series) => {
        const gaps = gapsOf(run, series, judged.settings);
        if (gaps === undefined) return [];
        const { unexplained, longest } = missingCells({ ...series, gaps });
        if (unexplained < least) return [];
        const after = gaps.indexOf(longest);
        const points = series.value.length;
        const [from, to] = [Math.max(after - 1, 0), Math.min(after, points - 1)];
        const place =
          after === 0
            ? 'before'
            : after === points
              ? 'after'
              : `between ${run.stepUnit} ${series.step.at(from)} and`;
        return findingAt(run, series, from, to, {
          id: 'missing-loss',
          severity: 'error',
          message: `"${series.name}" has no value in ${countedPlain(unexplained, 'row')} of its own; the longest stretch, ${countedPlain(longest, 'row')}, lies ${place} ${run.stepUnit} ${series.step.at(to)}.`,
          measured: quantity('missing values', unexplained, 'values'),
          threshold: quantity('missing values', least, 'values'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;
