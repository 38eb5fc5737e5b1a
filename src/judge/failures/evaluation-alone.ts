import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run } from '../../model/run.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, levelBefore, levelFrom, type Points } from './log-evidence.ts';

/** Evaluations that tell, and those among them in the first epoch, where nothing can be learnt by heart. */
const [EVALUATIONS, FIRST_EPOCH] = [5, 2];
/** Times the training loss of the same step that every evaluation is, and share of its first level that it ends at. */
const [ABOVE, STAYS] = [1.4, 0.95];
/** Share of its first level that the training loss has to come down to: else nothing is learnt that an evaluation could show. */
const LEARNT = 0.7;

export const evaluationAlone: KnownFailure = {
  id: 'evaluation-alone-bad',
  title: 'The evaluation is bad from the start, and the training is not',
  symptoms: [
    'eval loss',
    'validation loss',
    'val loss',
    'batch norm',
    'batchnorm',
    'eval mode',
    'model.eval',
    'train eval gap',
    'preprocessing',
    'overfitting',
  ],
  docs: {
    summary: 'Training learns, and no evaluation shows it, from the first one on.',
    evidence: `${EVALUATIONS} evaluations or more, ${FIRST_EPOCH} of them in the first epoch: each is at least ${ABOVE} times the training loss of its step, and the last third of them is no lower than ${STAYS} of the first. The training loss comes down to ${LEARNT} of its first three points.`,
    notThis:
      'Over-fitting (`overfit`): the evaluation is good at first. An evaluation set of another kind of data is above the training loss, too, and falls with it.',
    whatToDo:
      'Evaluate rows of the training set in evaluation mode. A high loss confirms that the evaluation computes something else: batch-norm statistics (momentum, a frozen layer), dropout, preprocessing or scaling that only one of the two has. A loss as in training says that the evaluation data are of another kind.',
  },
  look(log) {
    const { run, loss } = log;
    if (loss === null || log.onsetStep !== null || log.judged?.decides?.series.role === 'eval_loss')
      return null;
    const found = run.series
      .filter(({ role, lossLike }) => role === 'eval_loss' && lossLike === undefined)
      .map((series) => ({ series, apart: apartFrom(log, attemptOf(series, log.attempt)) }))
      .find(({ apart }) => apart !== null);
    if (found === undefined) return null;
    const { series, apart } = found;
    const { step, evaluated, trained } = apart!;
    const statement = `"${series.name}" is ${formatNumber(evaluated)} at the end and no better than at its first evaluations, while the training loss has come down to ${formatNumber(trained)}`;
    return {
      trigger: 'evaluation',
      confidence: 'likely',
      lead: 'the evaluation is wrong, not the training',
      step,
      factor: evaluated / trained,
      statement: `${statement}; it was so in the first epoch, where nothing can be learnt by heart`,
      evidence: [
        {
          id: 'evaluation-loss',
          statement,
          value: evaluated,
          unit: 'loss',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'fix-evaluation',
        statement:
          'evaluate rows of the training set in evaluation mode: a high loss confirms it, then look at batch-norm statistics, dropout and preprocessing; a loss as in training says that the evaluation data are of another kind',
      },
    };
  },
};

function apartFrom(
  { run, loss }: LogEvidence,
  evals: Points,
): { step: number; evaluated: number; trained: number } | null {
  const count = evals.value.length;
  const first = epochEnd(run);
  if (count < EVALUATIONS || first === null) return null;
  const early = evals.step.filter((step) => step < first).length;
  if (early < FIRST_EPOCH) return null;
  const trainedAt = (step: number): number => {
    const until = loss!.step.findLastIndex((one) => one <= step) + 1;
    return levelBefore(loss!.value, until, 10);
  };
  for (let i = 0; i < count; i++)
    if (!(evals.value.at(i)! >= ABOVE * trainedAt(evals.step.at(i)!))) return null;
  const third = Math.max(1, Math.floor(count / 3));
  const [begin, end] = [
    medianOf(evals.value.subarray(0, third)),
    medianOf(evals.value.subarray(count - third)),
  ];
  const [before, trained] = [levelFrom(loss!.value, 0, 3), levelBefore(loss!.value, loss!.value.length)];
  if (!(end >= STAYS * begin && trained <= LEARNT * before)) return null;
  return { step: evals.step.at(0)!, evaluated: end, trained };
}

/** First step after the first epoch; null where the log does not tell epochs. */
function epochEnd(run: Run): number | null {
  if (run.epochs !== undefined) return run.epochs.first + run.epochs.batches;
  const epochs = run.series.find(({ name }) => /^(train[/_])?epochs?$/i.test(name));
  if (epochs === undefined) return null;
  const at = epochs.value.findIndex((value) => value > 1);
  return at < 0 ? Number.POSITIVE_INFINITY : epochs.step.at(at)!;
}
