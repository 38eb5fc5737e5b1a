import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { KnownFailure } from './failure.ts';
import { type LogEvidence, lastBefore, spreadOf } from './log-evidence.ts';

/** Points before the jump and after it that make the two levels. */
const [BEFORE, AFTER] = [20, 10];
/** Smallest factor, and the share by which it may differ from the setting. */
const [LEAST, EQUAL] = [4, 0.15];
/** Times its relative spread before that the loss may have after it: another unit keeps it. */
const SPREAD = 3;
/** Without a setting: smallest factor, share by which the loss and the norm may differ in it, and times a spread may change. */
const [BOTH, ALIKE, SAME] = [1.8, 0.1, 2];
/** Points on each side that they are looked at over: at most, and at least. */
const [MOST, FEWEST] = [50, 20];

/** Settings that a sum in place of a mean multiplies by. */
const NUMBERS =
  /batch_?size|bsz|seq(uence)?_?len|block_?size|max_?length|accum|world_?size|num_?(gpus|ranks|classes)|n_?gpu/i;

export const lossTimesK: KnownFailure = {
  id: 'loss-times-k',
  title: 'The loss is k times as large from one step on',
  symptoms: [
    'loss scale',
    'reduction',
    'sum instead of mean',
    'batch size',
    'loss jumps',
    'loss times batch size',
  ],
  docs: {
    summary: 'The loss and its gradient are multiplied by one number, such as the batch size, in one step.',
    evidence: `At the onset the loss jumps in one step: the median of the ${AFTER} losses from there is k times that of the ${BEFORE} before, and so is the norm of the first gradient, within a factor of 2. k is at least ${LEAST} and within ${100 * EQUAL} % of a setting (batch size, length, accumulated batches, ranks, classes). The relative spread of the loss is at most ${SPREAD} times that before. Without such a setting a logged gradient norm has to become k times as large, too, within ${100 * ALIKE} %, and k is at least ${BOTH}. Both are compared over ${MOST} points on either side (${FEWEST} at least), and the relative spread of both stays within ${SAME} times.`,
    notThis:
      'A run that is thrown out: its loss moves from step to step, and its norm by another factor. Bad rows: the loss of other batches is as before. Labels of other rows: the loss varies less than before, and the norm rises by another factor.',
    whatToDo:
      'Look at the reduction of the loss, at what it is divided by, and at its mask. The loss of one batch, computed with the code of before and of now, confirms the factor.',
  },
  look(log) {
    const { run, loss, onset } = log;
    if (loss === null || onset < BEFORE || run.stepUnit !== 'step') return null;
    const [before, after] = [
      loss.value.subarray(onset - BEFORE, onset),
      loss.value.subarray(onset, onset + AFTER),
    ];
    const factor = medianOf(after) / medianOf(before);
    if (after.length < AFTER || !(factor >= BOTH) || spreadOf(after) > SPREAD * spreadOf(before)) return null;
    const setting = [...run.hyperparameters].find(
      ([name, value]) => NUMBERS.test(name) && Math.abs(factor / Number(value) - 1) <= EQUAL,
    );
    const isOfSetting = factor >= LEAST && setting !== undefined && normJumps(log, Number(setting[1]));
    const k = isOfSetting ? Number(setting[1]) : constantFactor(log);
    if (k === null) return null;
    const step = loss.step.at(onset)!;
    const whose = isOfSetting ? 'the loss becomes' : 'the loss and the gradient norm both become';
    const what = isOfSetting
      ? `${setting[0]} is ${setting[1]}`
      : 'data or weights that went wrong change the two by different factors; no setting in the log is that number';
    const statement = `${whose} ${formatNumber(isOfSetting ? factor : k, 'brief')} times as large at ${run.stepUnit} ${step} (${formatNumber(medianOf(before))} before, ${formatNumber(medianOf(after))} from there on) and ${isOfSetting ? 'varies' : 'vary'} as before; ${what}`;
    return {
      trigger: 'code',
      confidence: 'likely',
      lead: isOfSetting ? 'the loss is summed where it was averaged' : 'the loss is multiplied by a constant',
      step,
      factor: k,
      statement,
      evidence: [
        {
          id: 'loss-level',
          statement,
          value: medianOf(after),
          unit: 'loss',
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'fix-code',
        statement: `look at what the loss is divided by or weighted with from ${run.stepUnit} ${step} on: accumulated batches, ranks, rows, a mask; the loss of one batch, computed with the code of before and of now, confirms the factor ${formatNumber(k, 'brief')}`,
      },
    };
  },
};

/** Whether the first gradient norm from the onset on is about k times the level before; true where none is logged. */
function normJumps({ norms, onsetStep }: LogEvidence, k: number): boolean {
  if (norms === null) return true;
  const at = lastBefore(norms, onsetStep!) + 1;
  const ratio = norms.value.at(at)! / medianOf(norms.value.subarray(Math.max(0, at - BEFORE), at));
  return ratio >= k / 2 && ratio <= 2 * k;
}

/** What the loss and the norm are both multiplied by from the onset on, while they vary as before; null where that is not so. */
function constantFactor({ loss, norms, onset, onsetStep }: LogEvidence): number | null {
  if (norms === null) return null;
  const pairs = [
    [loss!.value, onset],
    [norms.value, lastBefore(norms, onsetStep!) + 1],
  ] as const;
  const levels = pairs.map(([value, at]) => ({
    before: value.subarray(Math.max(0, at - MOST), at),
    after: value.subarray(at, at + MOST),
  }));
  if (levels.some(({ before, after }) => Math.min(before.length, after.length) < FEWEST)) return null;
  const [ofLoss, ofNorm] = levels.map(({ before, after }) => medianOf(after) / medianOf(before));
  const varyAsBefore = levels.every(({ before, after }) => {
    const ratio = spreadOf(after) / spreadOf(before);
    return ratio <= SAME && ratio >= 1 / SAME;
  });
  return varyAsBefore && ofLoss! >= BOTH && Math.abs(ofNorm! / ofLoss! - 1) <= ALIKE
    ? Math.sqrt(ofLoss! * ofNorm!)
    : null;
}
