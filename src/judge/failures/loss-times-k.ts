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

/** Settings that a sum in place of a mean multiplies by. */
const NUMBERS =
  /batch_?size|bsz|seq(uence)?_?len|block_?size|max_?length|accum|world_?size|num_?(gpus|ranks|classes)|n_?gpu/i;

export const lossTimesK: KnownFailure = {
  id: 'loss-times-k',
  title: 'The loss is k times as large from one step on, and k is a setting',
  symptoms: [
    'loss scale',
    'reduction',
    'sum instead of mean',
    'batch size',
    'loss jumps',
    'loss times batch size',
  ],
  docs: {
    summary:
      'The loss and its gradient are multiplied by the batch size, or by another setting, in one step.',
    evidence: `At the onset the loss jumps in one step: the median of the ${AFTER} losses from there is k times that of the ${BEFORE} before, and so is the norm of the first gradient, within a factor of 2. k is at least ${LEAST} and within ${100 * EQUAL} % of a setting (batch size, length, accumulated batches, ranks, classes). The relative spread of the loss is at most ${SPREAD} times that before.`,
    notThis:
      'A run that is thrown out: its loss moves from step to step, and its level is no setting. Bad rows: the loss of other batches is as before.',
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
    if (after.length < AFTER || !(factor >= LEAST) || spreadOf(after) > SPREAD * spreadOf(before))
      return null;
    const setting = [...run.hyperparameters].find(
      ([name, value]) => NUMBERS.test(name) && Math.abs(factor / Number(value) - 1) <= EQUAL,
    );
    if (setting === undefined || !normJumps(log, Number(setting[1]))) return null;
    const [name, value] = setting;
    const step = loss.step.at(onset)!;
    const statement = `the loss becomes ${formatNumber(factor, 'brief')} times as large at ${run.stepUnit} ${step} (${formatNumber(medianOf(before))} before, ${formatNumber(medianOf(after))} from there on) and varies as before; ${name} is ${value}`;
    return {
      trigger: 'code',
      confidence: 'likely',
      lead: 'the loss is summed where it was averaged',
      step,
      factor: Number(value),
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
        statement: `look at what the loss is divided by from ${run.stepUnit} ${step} on; the loss of one batch, computed with the code of before and of now, confirms the factor ${value}`,
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
