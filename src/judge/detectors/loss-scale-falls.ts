import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { COUNT } from '../../model/options.ts';
import { attemptOf } from '../../model/run.ts';
import { fallsToEnd, lossScaleOf } from '../incidents/signs.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'A gradient is not finite at each of these steps, so the scaler skips them and no parameter moves: the loss stays where it is, and the run is dead. Stop it, go back to a checkpoint from before, and train in bfloat16 or float32, or find what overflows there (a batch, an exponential, a division).';

export const lossScaleFalls = {
  id: 'loss-scale-falls',
  title: 'The loss scaler skips every step',
  severity: 'error',
  thresholds: [
    {
      name: 'falls',
      value: 6,
      unit: 'points in a row',
      range: COUNT,
      origin:
        'a scaler finds its scale in up to five; the one of PyTorch halves it at each step that it skips',
    },
  ],
  docs: {
    summary: 'The logged loss scale falls from point to point to the end of the log.',
    details: `A loss scaler lowers its scale at each step whose gradient is not finite, and skips the step. Counts the points at the end of each attempt
at which the scale is below that of the point before (or 0); at least \`falls\` of them are a finding. A scale that falls and then stays, as at the start of most runs, is not.`,
    advice,
    references: [],
  },
  detect(run, { threshold }) {
    const scale = lossScaleOf(run);
    if (scale === undefined) return notApplicable('the log has no loss scale');
    return outcomeOf(
      scale.attemptOffsets.flatMap((offset, attempt) => {
        const { value, step } = attemptOf(scale, attempt);
        const from = fallsToEnd(value);
        const falls = value.length - from;
        if (falls < threshold('falls')) return [];
        return findingAt(run, scale, offset + from, offset + value.length - 1, {
          id: 'loss-scale-falls',
          severity: 'error',
          message: `"${scale.name}" falls at ${countedPlain(falls, 'point')} in a row, from ${run.stepUnit} ${step.at(from)} to the end (${formatNumber(value.at(from - 1)!)} → ${formatNumber(value.at(-1)!)}): the loss scaler skips these steps, and nothing is learned.`,
          measured: quantity('falls to the end', falls, 'points in a row'),
          threshold: quantity('falls to the end', threshold('falls'), 'points in a row'),
          advice,
        });
      }),
    );
  },
} as const satisfies Detector;
