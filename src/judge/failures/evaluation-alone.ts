import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf } from '../../model/run.ts';
import { areOnOneScale } from '../../model/words.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { epochEnd, type LogEvidence, levelBefore, type Points } from './log-evidence.ts';
import { overFitting } from './over-fitting.ts';

/** Evaluations that tell, and those among them in the first epoch, where nothing can be learnt by heart. */
const [EVALUATIONS, FIRST_EPOCH] = [5, 2];
/** Times the training loss of their steps that evaluations are in the middle, and that nine of ten are at least, once the training loss has come down. */
const [ABOVE, LEAST] = [1.4, 1.15];
/** Share of its first distance to the training loss that the evaluation may come down by. */
const CLOSED = 0.25;
/** Share of the training's relative fall from which an evaluation falls with it: the two may be on other scales, such as sums of batches of other sizes. */
const ALIKE = 0.5;
/** Share of what the training learnt that the evaluations may show: above it they are those of other rows, which are a little harder. */
const SHOWN = 0.85;
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
    evidence: `${EVALUATIONS} evaluations or more, ${FIRST_EPOCH} of them in the first epoch: in the middle they are ${ABOVE} times the training loss of their steps, nine of ten at least ${LEAST} times. From the first third of them to the last they come down by less than ${CLOSED} of the distance to the training loss, and in per cent by less than half of what the training loss falls. The training loss comes down to ${LEARNT} of the highest of its first three points, and the evaluations by less than ${SHOWN} of that way. In a log without epochs the cause stays open, and an evaluation that rises from its best step is \`over-fitting\`.`,
    notThis:
      'Over-fitting (`over-fitting`): the evaluation is good at first. An evaluation set of another kind of data is above the training loss, too, and falls with it.',
    whatToDo:
      'Evaluate rows of the training set in evaluation mode. A high loss confirms that the evaluation computes something else: batch-norm statistics (momentum, a frozen layer), dropout, preprocessing or scaling that only one of the two has. A loss as in training says that the evaluation data are of another kind.',
  },
  look(log) {
    const { run, loss } = log;
    if (loss === null || log.onsetStep !== null || log.judged?.decides?.series.role === 'eval_loss')
      return null;
    const found = run.series
      .filter(
        ({ name, role, lossLike }) =>
          role === 'eval_loss' && lossLike === undefined && areOnOneScale(name, loss.name),
      )
      .map((series) => ({ series, apart: apartFrom(log, attemptOf(series, log.attempt)) }))
      .find(({ apart }) => apart !== null);
    if (found === undefined) return null;
    const { series, apart } = found;
    const { step, evaluated, trained, isInFirstEpoch } = apart!;
    if (!isInFirstEpoch && overFitting.look(log) !== null) return null;
    const statement = `"${series.name}" is ${formatNumber(evaluated)} at the end and hardly better than at its first evaluations, while the training loss has come down to ${formatNumber(trained)}`;
    const common = {
      trigger: isInFirstEpoch ? 'evaluation' : 'none-found',
      step,
      factor: evaluated / trained,
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
      remedy: { action: 'fix-evaluation', statement: LOOK },
    } as const satisfies Partial<FoundFailure>;
    return isInFirstEpoch
      ? {
          ...common,
          confidence: 'likely',
          lead: 'the evaluation is wrong, not the training',
          statement: `${statement}; it was so in the first epoch, where nothing can be learnt by heart`,
        }
      : {
          ...common,
          confidence: null,
          statement: `${statement}; either the evaluation computes something else than the training, or what is learnt does not hold for other rows (learnt by heart, labels at random, a split by another key); the log does not show which`,
        };
  },
};

const LOOK =
  'evaluate rows of the training set in evaluation mode: a high loss confirms that the evaluation is wrong, then look at batch-norm statistics, dropout and preprocessing; a loss as in training says that the evaluation data are of another kind';

interface Apart {
  /** Of the first evaluation. */
  readonly step: number;
  readonly evaluated: number;
  readonly trained: number;
  readonly isInFirstEpoch: boolean;
}

function apartFrom({ run, loss }: LogEvidence, evals: Points): Apart | null {
  const count = evals.value.length;
  if (count < EVALUATIONS) return null;
  const first = epochEnd(run);
  const isInFirstEpoch = first !== null && evals.step.filter((step) => step < first).length >= FIRST_EPOCH;
  if (first !== null && !isInFirstEpoch) return null;
  const before = Math.max(...arrayOf(loss!.value.subarray(0, 3)).filter(Number.isFinite));
  const trainedAt = (step: number): number =>
    levelBefore(loss!.value, loss!.step.findLastIndex((one) => one <= step) + 1);
  const pairs = Array.from({ length: count }, (_, i) => [evals.value.at(i)!, trainedAt(evals.step.at(i)!)]);
  const last = levelBefore(loss!.value, loss!.value.length);
  // Before most is learnt the two are alike.
  const most = LEARNT * last + (1 - LEARNT) * before;
  const ratios = Float64Array.from(
    pairs.flatMap(([evaluated, trained]) => (trained! <= most ? [evaluated! / trained!] : [])),
  ).sort();
  if (ratios.length < EVALUATIONS - 1) return null;
  if (!(medianOf(ratios) >= ABOVE && ratios[Math.floor(ratios.length / 10)]! >= LEAST)) return null;
  const third = Math.max(1, Math.floor(count / 3));
  const levelsOf = (column: 0 | 1): number[] =>
    [pairs.slice(0, third), pairs.slice(count - third)].map((some) =>
      medianOf(Float64Array.from(some, (pair) => pair[column]!)),
    );
  const [begin, end] = levelsOf(0) as [number, number];
  if (!(begin - end <= CLOSED * (begin - last) && last <= LEARNT * before)) return null;
  const [trainedBegin, trainedEnd] = levelsOf(1) as [number, number];
  if (1 - end / begin >= ALIKE * (1 - trainedEnd / trainedBegin) && end < begin) return null;
  if (!(before - end < SHOWN * (before - last))) return null;
  return { step: evals.step.at(0)!, evaluated: end, trained: last, isInFirstEpoch };
}
