/** Why, and what would have held: the answer of curvature and closed loop, where they were computed. */
import { tellThresholds } from '../findings/thresholds.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RunReport } from '../model/report.ts';
import { replayLabel } from './replay-label.ts';

/** The curvature of the whole model and loss that has a limit. */
export const ratiosOf = (run: RunReport): RunReport['curvature'] =>
  run.curvature.filter(
    ({ stability, block, task }) => stability.ratio !== null && block === 'all' && task === 'all',
  );

/** One sentence on thresholds that are not the defaults, one on the sharpness, one on the rules that held in the closed loop; none of what was not computed. */
export function whySentences(run: RunReport): string[] {
  const { onsetStep } = run.verdict;
  // What came before the incident, not what it left.
  const before = ratiosOf(run).filter(({ step }) => step === null || onsetStep === null || step <= onsetStep);
  const against = before
    .slice(-4)
    .map(
      ({ step, stability }) =>
        `${formatNumber(stability.ratio!)} times at ${run.stepUnit} ${step === null ? '?' : formatCount(step)}`,
    );
  const meaning = before.some(({ stability }) => stability.ratio! > 1)
    ? 'sharpness against what the learning rate tolerates'
    : 'sharpness was below what the learning rate tolerates wherever it was measured';
  const held = run.replay
    .filter((entry) => entry.mode === 'closed-loop' && entry.verdict === 'prevented')
    .map(replayLabel);
  const thresholds = tellThresholds(run.thresholds ?? {});
  return [
    ...(thresholds === '' ? [] : [`judged by thresholds other than the defaults: ${inertName(thresholds)}`]),
    ...(against.length === 0
      ? []
      : [`${onsetStep === null ? '' : 'why: '}${meaning}: ${against.join(', ')}`]),
    ...(held.length === 0 ? [] : [`would have held (closed loop): ${held.join(', ')}`]),
  ];
}
