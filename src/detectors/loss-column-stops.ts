import { attemptOf, type Run, type TimeSeries } from '../model/run.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'Suspect NaN: pandas writes it as an empty cell, and some trainers leave a NaN loss out. Look at the console output of the steps after the last value.';

/** Points that another column must go on for. */
const MISSING_POINTS = 5;
/** Share of the loss's steps at which the other column was logged too, before the loss stopped. */
const TOGETHER = 0.9;

export const lossColumnStops = {
  id: 'loss-column-stops',
  title: 'The loss is no longer logged while other columns go on',
  severity: 'warning',
  thresholds: [
    {
      name: 'missingPoints',
      value: MISSING_POINTS,
      unit: 'points',
      origin: 'a summary row or a torn last line leaves one or two',
    },
    {
      name: 'together',
      value: TOGETHER,
      unit: 'share of the steps of either',
      origin:
        'only a column that is logged with the loss tells that the loss is missing: evals have other steps',
    },
  ],
  docs: {
    summary: 'The loss stops before a column that was always logged beside it: NaN written as an empty cell.',
    details: `For the total loss and each task loss, in the last attempt: the columns that were logged at the same steps (\`together\` of either's) and
go on for at least \`missingPoints\` points after its last one. One public click model of this kind has NaN in its event file and
empty cells in its CSV from the step of the divergence on. A run whose loss stops is never called healthy.`,
    advice,
    references: [],
  },
  detect(run) {
    const losses = seriesOf(run, 'loss', 'task_loss');
    if (losses.length === 0) return notApplicable('the log has no training loss');
    const findings = losses.flatMap((series) => {
      const stop = columnStop(run, series);
      if (stop === null) return [];
      return findingAt(run, series, stop.last, stop.last, {
        id: 'loss-column-stops',
        severity: 'warning',
        message: `"${series.name}" ends at ${run.stepUnit} ${series.step[stop.last]} while "${stop.companion}" goes on to ${run.stepUnit} ${stop.lastStep} (${stop.missing} more points).`,
        measured: quantity('points without a loss', stop.missing, 'points'),
        threshold: quantity('points without a loss', MISSING_POINTS, 'points'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;

/**
 * The last point of a series (index into the whole series) in the run's last attempt, if a column that was logged beside it goes on; of several the
 * one that goes on longest.
 */
export function columnStop(run: Run, series: TimeSeries) {
  const attempt = run.attempts.length - 1;
  const { step } = attemptOf(series, attempt);
  if (step.length === 0) return null;
  let found: { last: number; companion: string; lastStep: number; missing: number } | null = null;
  for (const other of run.series) {
    if (other === series) continue;
    const beside = attemptOf(other, attempt).step;
    const missing = beside.length - upperBound(beside, step.at(-1)!);
    if (missing < MISSING_POINTS || missing <= (found?.missing ?? 0)) continue;
    const until = beside.length - missing;
    if (sharedSteps(step, beside) < TOGETHER * Math.max(step.length, until)) continue;
    found = { last: series.step.length - 1, companion: other.name, lastStep: beside.at(-1)!, missing };
  }
  return found;
}

/** Number of leading entries that are at most `limit`, in steps that do not fall. */
function upperBound(steps: Float64Array, limit: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many entries of `a` are also in `b`; both do not fall. */
function sharedSteps(a: Float64Array, b: Float64Array): number {
  let shared = 0;
  let j = 0;
  for (let i = 0; i < a.length; i++) {
    while (j < b.length && b[j]! < a[i]!) j++;
    if (b[j] === a[i]) shared++;
  }
  return shared;
}
