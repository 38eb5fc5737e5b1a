import { countedPlain } from '../../model/format-number.ts';
import { RATIO } from '../../model/options.ts';
import { usualDistance } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'Check that the resume restored the optimizer state and the position in the data: `clippy-diag inspect CHECKPOINT` lists what a checkpoint holds.';

export const repeatedOrLostSteps = {
  id: 'repeated-or-lost-steps',
  title: 'A resume repeats or loses steps',
  severity: 'warning',
  thresholds: [
    {
      name: 'gap',
      value: 3,
      unit: 'usual distances of two points',
      range: RATIO,
      origin: 'one missed point doubles the distance; twice that is a hole',
    },
  ],
  docs: {
    summary: 'Where one attempt follows another, steps are in both or in neither.',
    details: `At each seam between attempts of the loss: the new one begins at or before the last step of the one before (repeated; a beginning at the very start is
a new run and says nothing), or further on than \`gap\` times the usual distance of two points (lost). An attempt that was too short to judge and was done again is a note.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    if (judged.loss === null) return notApplicable('the log has no loss');
    const { series, doneAgain } = judged.loss;
    if (series.attemptOffsets.length < 2) return notApplicable('the run has one attempt');
    const findings = series.attemptOffsets.flatMap((offset, attempt) => {
      if (attempt === 0) return [];
      // What was too short and done again is not what this one goes on from.
      let last = attempt - 1;
      while (last > 0 && doneAgain[last]!) last--;
      const before = attemptOf(series, last).step;
      const { step } = attemptOf(series, attempt);
      if (before.length < 2 || step.length === 0) return [];
      const usual = usualDistance(before);
      const end = before.at(-1)!;
      const first = step.at(0)!;
      if (first <= before.at(0)! + usual) return [];
      const repeated = before.filter((value) => value >= first).length;
      const lost = first - end > threshold('gap') * usual ? first - end - usual : 0;
      if (repeated === 0 && lost === 0) return [];
      return findingAt(run, series, offset, offset, {
        id: 'repeated-or-lost-steps',
        severity: doneAgain[attempt]! ? 'note' : 'warning',
        message:
          repeated > 0
            ? `Attempt ${attempt + 1} begins at ${run.stepUnit} ${first}, before the end of the one before (${end}): ${countedPlain(repeated, 'logged point')} ${repeated === 1 ? 'is' : 'are'} repeated.`
            : `Attempt ${attempt + 1} begins at ${run.stepUnit} ${first} and the one before ended at ${end}: ${countedPlain(lost, run.stepUnit)} ${lost === 1 ? 'is' : 'are'} in neither.`,
        measured:
          repeated > 0
            ? quantity('repeated points', repeated, 'points')
            : quantity('gap', (first - end) / usual, 'usual distances of two points'),
        threshold:
          repeated > 0
            ? quantity('repeated points', 0, 'points')
            : quantity('gap', threshold('gap'), 'usual distances of two points'),
        advice,
      });
    });
    return outcomeOf(findings);
  },
} as const satisfies Detector;
