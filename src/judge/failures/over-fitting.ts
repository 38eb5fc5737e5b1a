import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { type RisenEvaluation, risenEvaluations } from '../detectors/overfit.ts';
import { classesAtChance } from '../incidents/chance.ts';
import type { KnownFailure } from './failure.ts';
import { epochEnd } from './log-evidence.ts';

/** Times its best level that the evaluation ends at, and evaluations that it needs. */
const [RATIO, EVALUATIONS] = [1.1, 8];
/** Evaluations around the best one, and standard errors by which the last third lies above them. */
const [BEST, ERRORS] = [3, 3];

export const overFitting: KnownFailure = {
  id: 'over-fitting',
  title: 'The evaluation gets worse while the training loss falls',
  symptoms: [
    'overfitting',
    'over-fitting',
    'overfit',
    'validation loss increases',
    'val loss goes up',
    'eval loss rises',
    'early stopping',
    'generalisation',
    'memorises',
  ],
  docs: {
    summary: 'The evaluation loss has a best step and rises from there on, while the training loss falls on.',
    evidence: `${EVALUATIONS} evaluations or more. A running median of three ends above ${RATIO} times its lowest value, the last evaluation is above the best one, and the training loss is lower than it was there. The last third of the evaluations lies ${ERRORS} standard errors above the ${BEST} around the best one; their noise is taken from the differences of neighbours.`,
    notThis:
      'An evaluation that was never good (`evaluation-alone-bad`). An evaluation that computes something else than the training: in a log without epochs the two read alike, and within the first epoch nothing is learnt by heart yet. A loss of the evaluation that rises while its accuracy still improves: the model becomes over-confident, and the metric that counts has its own best step.',
    whatToDo:
      'Use the checkpoint of the best evaluation. For a better one: more data or augmentation, weight decay or dropout, a smaller network. To confirm it, evaluate rows of the training set: their loss is low where that of the evaluation set is high.',
  },
  look({ run, judged, onsetStep, attempt }) {
    if (judged === null || onsetStep !== null) return null;
    const found = risenEvaluations(run, judged, RATIO, EVALUATIONS).find(isAboveNoise);
    if (found === undefined) return null;
    const { series, from, to, best, end, trainedThen, trainedNow } = found;
    // An accuracy of a guess makes no checkpoint the best one.
    const isGuess = run.series.some(
      (one) => classesAtChance(one, arrayOf(attemptOf(one, attempt).value)) !== null,
    );
    const step = series.step.at(from)!;
    const statement = `"${series.name}" is best at ${run.stepUnit} ${step} (${formatNumber(best)}) and ends at ${formatNumber(end)}, while the training loss falls from ${formatNumber(trainedThen)} to ${formatNumber(trainedNow)}`;
    return {
      trigger: 'none-found',
      confidence: null,
      step,
      statement: `${statement}; ${whyOf(series.step.at(to)!, epochEnd(run))}`,
      evidence: [
        {
          id: 'evaluation-loss',
          statement,
          value: end,
          unit: 'loss',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'rewind',
        statement: `${isGuess ? '' : `use the checkpoint of ${run.stepUnit} ${step}, or the one nearest to it; `}evaluate rows of the training set the same way: a low loss confirms that they are known by heart, a high one that the evaluation is wrong; against the first, more data, augmentation, weight decay or dropout help`,
      },
    };
  },
};

/** What may be the reason of a rise that ends at a step. Rows that are seen for the first time cannot be known by heart. */
function whyOf(last: number, epoch: number | null): string {
  if (epoch === null)
    return 'either the network learns its training rows by heart from there on, or the evaluation computes something else than the training; the log does not show which';
  if (last < epoch)
    return 'it is the first epoch, where nothing can be learnt by heart: the evaluation computes something else than the training, or its data are of another kind';
  return 'from there on the network learns its training rows by heart, if the evaluation computes what the training does';
}

/** Whether the last third of the evaluations lies above the best ones by more than their own noise. */
function isAboveNoise({ series, from, to }: RisenEvaluation): boolean {
  const since = arrayOf(series.value.subarray(Math.max(0, from - 1), to + 1)).filter(Number.isFinite);
  const last = since.slice(-Math.max(BEST, Math.floor(since.length / 3)));
  const best = since.slice(0, BEST);
  if (since.length < 2 * BEST) return false;
  const differences = since.slice(1).map((value, i) => Math.abs(value - since[i]!));
  const noise = (MAD_TO_SIGMA * medianOf(differences)) / Math.SQRT2;
  // The error of a median of noise is a quarter more than that of a mean.
  const error = 1.25 * noise * Math.sqrt(1 / last.length + 1 / best.length);
  return medianOf(last) - medianOf(best) > ERRORS * error;
}
