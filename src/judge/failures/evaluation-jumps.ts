import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { smallest } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { isRaised, usualRange } from '../incidents/unlike.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, lastBefore, levelBefore, levelFrom, type Points } from './log-evidence.ts';

/** Times the level before that the evaluation jumps to, evaluations before the jump, and times that every later one still is. */
const [JUMP, BEFORE, STILL] = [1.5, 4, 1.4];
/** Times the jump's own that a later evaluation is at most: a net that other data train moves on, and its evaluation with it. */
const ONCE = 1.1;
/** Share of its best that the last evaluation before may be above: one that had begun to rise is over-fitting. */
const BEGAN = 1.1;
/** Share that the level of the training loss may rise by, and fall to, from before the jump to after it. */
const [RISES, FALLS] = [1.1, 0.6];
/** Times that the training gradient's norm may change, either way. */
const NORM = 2;

export const evaluationJumps: KnownFailure = {
  id: 'evaluation-jumps-alone',
  title: 'The evaluation becomes bad from one to the next, and the training does not',
  symptoms: [
    'eval loss',
    'validation loss',
    'val loss jump',
    'eval spike',
    'train eval gap',
    'preprocessing',
  ],
  docs: {
    summary:
      'The evaluation loss jumps once and stays up, while loss and gradient norm of the training go on as before.',
    evidence: `Before the jump there are ${BEFORE} evaluations or more, and the last of them is within ${Math.round(100 * (BEGAN - 1))} % of the best. The jump is to ${JUMP} times the level before or more, out of its range. Every later evaluation (one at least) is above ${STILL} times that level and below ${ONCE} times the first. The level of the training loss rises by less than ${Math.round(100 * (RISES - 1))} % and does not fall below ${FALLS} of itself; the gradient norm changes less than ${NORM}-fold.`,
    notThis:
      'Over-fitting (`over-fitting`), and training data of another kind: the evaluation rises over several evaluations. A jump with the training loss: then the weights or the data changed. One bad evaluation among good ones.',
    whatToDo:
      'Evaluate the checkpoint from before the jump with the code and the data of today. A high loss confirms that the evaluation changed (its rows, preprocessing, mode of the model); a loss as before says that what only the evaluation uses changed in the weights: batch-norm statistics, averaged weights.',
  },
  look(log) {
    const { run, loss, onsetStep } = log;
    if (loss === null || onsetStep !== null || log.judged?.decides?.series.role === 'eval_loss') return null;
    for (const series of run.series) {
      if (series.role !== 'eval_loss' || series.lossLike !== undefined) continue;
      const evals = { ...attemptOf(series, log.attempt), name: series.name };
      const at = jumpIn(evals);
      if (at < 0 || !trainingGoesOn(log, evals.step.at(at - 1)!, evals.step.at(at)!)) continue;
      const [before, step] = [evals.step.at(at - 1)!, evals.step.at(at)!];
      const statement = `"${series.name}" is ${formatNumber(evals.value.at(at - 1)!)} at ${run.stepUnit} ${before}, ${formatNumber(evals.value.at(at)!)} at ${run.stepUnit} ${step} and stays so, while the training loss goes on as before`;
      return {
        trigger: 'evaluation',
        confidence: 'likely',
        lead: 'the evaluation changed, not the training',
        step,
        statement: `${statement}; what is learnt by heart, or from other data, makes it rise over several evaluations`,
        evidence: [
          {
            id: 'evaluation-loss',
            statement,
            value: evals.value.at(at)!,
            unit: 'loss',
            usual: null,
            at: { step, batchStep: null },
          },
        ],
        remedy: {
          action: 'fix-evaluation',
          statement: `evaluate a checkpoint from before ${run.stepUnit} ${step} with the code and the data of today: a high loss confirms that the evaluation changed; a loss as before says that batch-norm statistics or averaged weights did`,
        },
      };
    }
    return null;
  },
};

/** Position of an evaluation that jumps out of the level of those before, and never comes back; -1 without one. */
function jumpIn({ value }: Points): number {
  for (let at = BEFORE; at + 1 < value.length; at++) {
    const recent = value.subarray(Math.max(0, at - BEFORE), at);
    const level = levelBefore(value, at, BEFORE);
    const best = smallest(arrayOf(recent.filter(Number.isFinite)));
    const usual = usualRange(recent);
    if (!(level > 0) || usual === null || !(value.at(at - 1)! <= BEGAN * best)) continue;
    if (!(value.at(at)! >= JUMP * level) || !isRaised(value.at(at)!, usual)) continue;
    const most = ONCE * value.at(at)!;
    if (value.subarray(at).every((one) => one >= STILL * level && one <= most)) return at;
  }
  return -1;
}

/** Whether loss and gradient norm of the training have the level after a jump that they had before it. */
function trainingGoesOn({ loss, norms }: LogEvidence, before: number, after: number): boolean {
  const change = (points: Points): number =>
    levelFrom(points.value, lastBefore(points, after) + 1) /
    levelBefore(points.value, lastBefore(points, before) + 1);
  const ofLoss = change(loss!);
  const ofNorm = norms === null ? 1 : change(norms);
  return ofLoss <= RISES && ofLoss >= FALLS && ofNorm <= NORM && ofNorm >= 1 / NORM;
}
