import { verdictThresholds } from '../incidents/settings.ts';
import { columnStop, goesOnAs } from '../incidents/signs.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity, seriesOf } from './detector.ts';

const advice =
  'Suspect NaN: pandas writes it as an empty cell, and some trainers leave a NaN loss out. Look at the console output of the steps after the last value.';

export const lossColumnStops = {
  id: 'loss-column-stops',
  title: 'The loss is no longer logged while other columns go on',
  severity: 'warning',
  thresholds: verdictThresholds('missingPoints', 'together'),
  docs: {
    summary: 'The loss stops before a column that was always logged with it: NaN written as an empty cell.',
    details: `For the total loss and each task loss, in the last attempt: the columns that were logged at the same steps (\`together\` of either's) and
go on for at least \`missingPoints\` points after its last one. One public click model of this kind has NaN in its event file and
empty cells in its CSV from the step of the divergence on. A run whose loss stops is never called healthy, unless the loss goes on under another name (\`loss\` for 100 steps, \`train/loss\` to the end): that is
judged, and the stop is a note.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    const losses = seriesOf(run, 'loss', 'task_loss');
    if (losses.length === 0) return notApplicable('the log has no training loss');
    const findings = losses.flatMap((series) => {
      const stop = columnStop(run, series, judged.settings);
      if (stop === null) return [];
      const other = goesOnAs(run, series, stop.lastStep);
      return findingAt(run, series, stop.last, stop.last, {
        id: 'loss-column-stops',
        severity: other === undefined ? 'warning' : 'note',
        message: `"${series.name}" ends at ${run.stepUnit} ${series.step.at(stop.last)} while "${stop.companion}" goes on to ${run.stepUnit} ${stop.lastStep} (${stop.missing} more points).${other === undefined ? '' : ` The loss goes on as "${other.name}".`}`,
        measured: quantity('points without a loss', stop.missing, 'points'),
        threshold: quantity('points without a loss', threshold('missingPoints'), 'points'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
